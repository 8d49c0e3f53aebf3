// SPDX-License-Identifier: Apache-2.0
//
// Files that say where bundles go: `targets` as in a GitRepo's specification,
// and `targetRestrictions` where these are not the same.

#ifndef FLOTILLA_TOOLS_CTL_TARGET_FILES_H_
#define FLOTILLA_TOOLS_CTL_TARGET_FILES_H_

#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "google/protobuf/repeated_ptr_field.h"

namespace flotilla::ctl {

struct TargetsFile {
  google::protobuf::RepeatedPtrField<storage::v1::Target> targets;
  // `targets` where the file says nothing.
  google::protobuf::RepeatedPtrField<storage::v1::Target> restrictions;
};

// A GitRepo document, a map with `targets`, or a list of targets; YAML or JSON.
// INVALID_ARGUMENT with every problem.
absl::StatusOr<TargetsFile> ReadTargetsFile(const std::string& path,
                                            std::ostream& warnings);

}  // namespace flotilla::ctl

#endif  // FLOTILLA_TOOLS_CTL_TARGET_FILES_H_
