// SPDX-License-Identifier: Apache-2.0
//
// Readers for the blocks that fleet.yaml, Bundle and GitRepo share: options
// (spec 1.0.6, 1.0.7), targets and selectors (1.0.8), correctDrift, and the
// checks of names that go with them. A key of Fleet that changes nothing here
// is a warning that says what happens instead.

#ifndef FLOTILLA_MANAGER_DOCUMENTS_DEPLOY_FIELDS_H_
#define FLOTILLA_MANAGER_DOCUMENTS_DEPLOY_FIELDS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "manager/documents/field_reader.h"

namespace flotilla::manager {

// Where options stand in their file, for messages of later steps.
struct OptionLines {
  int helm_chart = 0;
  int helm_repo = 0;
  int helm_version = 0;
  int values_files_key = 0;
  // By position in HelmOptions.values_files.
  std::vector<int> values_files;
  int kustomize_dir = 0;
  // By position in DeployOptions.yaml_overlays.
  std::vector<int> yaml_overlays;
};

// Options that stand at the top level of `reader`'s object. Keys of theirs
// become known; the caller calls Finish().
storage::v1::DeployOptions ReadDeployOptions(FieldReader& reader,
                                             OptionLines& lines);

// name, clusterName, clusterSelector, clusterGroup, clusterGroupSelector.
// Warns when there is no criterion: such a target matches nothing.
void ReadTargetSelectors(FieldReader& reader, storage::v1::Target& target);

// A target of fleet.yaml or of a Bundle: selectors, doNotDeploy and options.
storage::v1::Target ReadBundleTarget(FieldReader& reader, OptionLines& lines);

// Gives each target without a name "target000", "target001", ... by position.
void NameTargets(google::protobuf::RepeatedPtrField<storage::v1::Target>& list);

// Sets `selector` when the key is there.
bool ReadLabelSelector(FieldReader& reader, absl::string_view key,
                       core::v1::LabelSelector& selector);

// `correctDrift`. `enabled` is UNSPECIFIED when it says nothing.
struct CorrectDrift {
  storage::v1::TriState enabled = storage::v1::TRI_STATE_UNSPECIFIED;
  bool force = false;
  bool keep_fail_history = false;
};
CorrectDrift ReadCorrectDrift(FieldReader& reader);

// Labels, checked, sorted by key.
void ReadLabels(FieldReader& reader, absl::string_view key,
                google::protobuf::RepeatedPtrField<core::v1::LabelPair>& out);

// As ReadLabels(), with any value.
void ReadAnnotations(
    FieldReader& reader, absl::string_view key,
    google::protobuf::RepeatedPtrField<core::v1::LabelPair>& out);

// The text at `key`, checked when it is not empty.
std::string ReadDnsLabel(FieldReader& reader, absl::string_view key);
std::string ReadDnsSubdomain(FieldReader& reader, absl::string_view key);

// What keeps a text from being a path that stays below its root; "" when
// nothing does. A slash at its beginning is the root's.
std::string PathProblem(absl::string_view path);

// What keeps a text from being such a name; "" when nothing does.
std::string DnsLabelProblem(absl::string_view name);
std::string DnsSubdomainProblem(absl::string_view name);
std::string LabelKeyProblem(absl::string_view key);
std::string LabelValueProblem(absl::string_view value);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_DEPLOY_FIELDS_H_
