// SPDX-License-Identifier: Apache-2.0
//
// The file .gitmodules (gitmodules(5)): where a repository has its submodules
// from. Only `path` and `url` count; nothing in it is ever run or put into a
// configuration.

#ifndef FLOTILLA_MANAGER_GITSYNC_GIT_MODULES_H_
#define FLOTILLA_MANAGER_GITSYNC_GIT_MODULES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "manager/gitsync/git_url.h"

namespace flotilla::manager {

struct GitModule {
  std::string path;  // Normalised, from the root of the repository.
  std::string url;   // As written.
  int line = 0;      // Of `url`.
};

// Sections that lack a path or a URL are left out, as Git does.
// INVALID_ARGUMENT, with the line, when it cannot be read or a path leads out.
absl::StatusOr<std::vector<GitModule>> ParseGitModules(absl::string_view text);

// The address of a submodule: one that begins with "./" or "../" is relative
// to `parent`. INVALID_ARGUMENT when that leads nowhere, or when a repository
// that comes over the network names one on the manager's own disk.
absl::StatusOr<std::string> ResolveModuleUrl(const GitUrl& parent,
                                             absl::string_view url);

// Whether credentials of one address may be sent to another: transport, host
// and port are the same.
bool SameServer(const GitUrl& a, const GitUrl& b);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_GIT_MODULES_H_
