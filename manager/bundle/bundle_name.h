// SPDX-License-Identifier: Apache-2.0
//
// Names of bundles and of Kubernetes objects as Fleet makes them (spec 3.7).
// A name that was cut is never an identity: bundles have ids.

#ifndef FLOTILLA_MANAGER_BUNDLE_BUNDLE_NAME_H_
#define FLOTILLA_MANAGER_BUNDLE_BUNDLE_NAME_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace flotilla::manager {

inline constexpr size_t kMaxReleaseName = 53;

// Name of the bundle of a directory that gives none: the GitRepo's name and
// the directory (relative to the repository's root, "" for the root itself),
// joined and made a valid release name.
std::string BundleName(absl::string_view git_repo,
                       absl::string_view directory);

// A valid Helm release name for any text; a valid one stays as it is.
std::string ReleaseName(absl::string_view text);

// Cuts to `max` characters, with a digest of the whole where it had to.
std::string LimitName(absl::string_view text, size_t max);

// Parts joined with "-", cut below 64 characters with a digest of the whole.
std::string SafeConcat(const std::vector<std::string>& parts);

// MD5 in hex: for names only, never for anything that must not be forged.
std::string Md5Hex(absl::string_view text);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUNDLE_NAME_H_
