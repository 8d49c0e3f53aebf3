// SPDX-License-Identifier: Apache-2.0
//
// Reads fleet.yaml (spec 2.1, 2.2): how the bundle of its directory is
// deployed. Values files are named here and read by the bundle builder. Unknown
// keys, and keys of Fleet that change nothing here, are warnings with file and
// line. It is as lenient as Fleet's reader (sigs.k8s.io/yaml): a number stands
// for a text, and keys count in any case, both with a warning.

#ifndef FLOTILLA_MANAGER_DOCUMENTS_FLEET_YAML_H_
#define FLOTILLA_MANAGER_DOCUMENTS_FLEET_YAML_H_

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "manager/documents/deploy_fields.h"

namespace flotilla::manager {

struct FleetYaml {
  // As written; empty: the name comes from the path.
  std::string name;
  google::protobuf::RepeatedPtrField<core::v1::LabelPair> labels;
  google::protobuf::RepeatedPtrField<core::v1::LabelPair> annotations;
  storage::v1::DeployOptions options;
  OptionLines lines;
  // `targets`, then `targetCustomizations`.
  google::protobuf::RepeatedPtrField<storage::v1::Target> customizations;
  // By position in `customizations`.
  std::vector<OptionLines> customization_lines;
  // targetCustomizationMode AllMatches.
  bool all_matches = false;
  // Present, even when empty: the GitRepo's targets do not count.
  std::optional<google::protobuf::RepeatedPtrField<storage::v1::Target>>
      override_targets;
  google::protobuf::RepeatedPtrField<core::v1::Dependency> depends_on;
  bool paused = false;
  std::optional<storage::v1::RolloutStrategy> rollout;
  // Nothing else may be used when there is an error.
  std::vector<core::v1::Problem> errors;
  std::vector<core::v1::Problem> warnings;
};

// `file` is the path in the repository, for messages. Empty text is valid.
// `keys` gets every key that was asked for, as ProblemLog::set_key_record()
// says.
FleetYaml ParseFleetYaml(absl::string_view text, absl::string_view file,
                         absl::string_view subject,
                         std::set<std::string>* keys = nullptr);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_FLEET_YAML_H_
