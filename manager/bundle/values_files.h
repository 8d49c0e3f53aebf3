// SPDX-License-Identifier: Apache-2.0
//
// Merges the files that `helm.valuesFiles` names into the values of a bundle
// (spec 2.3, rules 2 and 3): in order, on top of the inline values. The root's
// are read only when `helm.chart` or `helm.repo` is set, as in Fleet; else it
// warns.

#ifndef FLOTILLA_MANAGER_BUNDLE_VALUES_FILES_H_
#define FLOTILLA_MANAGER_BUNDLE_VALUES_FILES_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "manager/documents/fleet_yaml.h"

namespace flotilla::manager {

// A values file, read.
struct ValuesFile {
  std::string path;  // For messages.
  std::string text;
};

// Reads a file by its name as it is written in `helm.valuesFiles`.
using ReadValuesFile =
    absl::FunctionRef<absl::StatusOr<ValuesFile>(const std::string&)>;

// Problems go to `yaml.errors` and `yaml.warnings`; `file` is where the names
// stand.
void MergeValuesFiles(absl::string_view file, absl::string_view subject,
                      ReadValuesFile read, FleetYaml& yaml);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_VALUES_FILES_H_
