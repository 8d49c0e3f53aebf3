// SPDX-License-Identifier: Apache-2.0
//
// Which document a bundle comes from: a GitRepo, a HelmOp, or a Bundle. The
// "source key" is the key of that document.

#ifndef FLOTILLA_MANAGER_BUNDLE_BUNDLE_SOURCE_H_
#define FLOTILLA_MANAGER_BUNDLE_BUNDLE_SOURCE_H_

#include <string>

#include "absl/strings/string_view.h"
#include "flotilla/storage/v1/storage.pb.h"

namespace flotilla::manager {

inline constexpr char kGitRepoKind[] = "GitRepo";
inline constexpr char kBundleKind[] = "Bundle";
inline constexpr char kHelmOpKind[] = "HelmOp";

bool IsSourceKind(absl::string_view kind);

std::string SourceKeyOf(const storage::v1::BundleHead& head);

// For people: "GitRepo workspace/name".
std::string SubjectOf(const storage::v1::Document& document);
std::string OwnerOf(const storage::v1::BundleHead& head);

bool Owns(const storage::v1::Document& document,
          const storage::v1::BundleHead& head);

// Of the BundleBuild that says what its last build had wrong.
std::string BuildRecordName(const storage::v1::Document& document);
std::string BuildRecordKey(const storage::v1::Document& document);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUNDLE_SOURCE_H_
