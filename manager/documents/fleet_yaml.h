// SPDX-License-Identifier: Apache-2.0
//
// Reads fleet.yaml (spec 2.1, 2.2): how the bundle of its directory is
// deployed. Values files are named here and read by the bundle builder. Keys
// that Fleet knows and that are not honoured are errors; unknown keys are
// warnings; both with file and line.

#ifndef FLOTILLA_MANAGER_DOCUMENTS_FLEET_YAML_H_
#define FLOTILLA_MANAGER_DOCUMENTS_FLEET_YAML_H_

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
  storage::v1::DeployOptions options;
  OptionLines lines;
  // `targets`, then `targetCustomizations`.
  google::protobuf::RepeatedPtrField<storage::v1::Target> customizations;
  // By position in `customizations`.
  std::vector<OptionLines> customization_lines;
  // Nothing else may be used when there is an error.
  std::vector<core::v1::Problem> errors;
  std::vector<core::v1::Problem> warnings;
};

// `file` is the path in the repository, for messages. Empty text is valid.
FleetYaml ParseFleetYaml(absl::string_view text, absl::string_view file,
                         absl::string_view subject);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_FLEET_YAML_H_
