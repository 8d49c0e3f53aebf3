// SPDX-License-Identifier: Apache-2.0
//
// The URL of a Git repository, taken apart and judged. Only transports that
// run no program and send no secret in clear are accepted: https, ssh,
// user@host:path, file, and http (with a password to this machine only).

#ifndef FLOTILLA_MANAGER_GITSYNC_GIT_URL_H_
#define FLOTILLA_MANAGER_GITSYNC_GIT_URL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace flotilla::manager {

// Immutable.
struct GitUrl {
  enum class Transport { kHttp, kHttps, kSsh, kFile };

  Transport transport = Transport::kHttps;
  std::string user;      // Decoded; empty when absent.
  std::string password;  // Decoded; a secret.
  std::string host;      // Lower case; IPv6 without brackets.
  int port = 0;          // Never 0 but for kFile.
  std::string path;      // As written, with its leading '/' if it has one.
  std::string local_path;  // `path` decoded; empty but for kFile.

  // What libgit2 is given: no user and no password for http(s), the user for
  // ssh.
  std::string fetch_url;
  // For people: as fetch_url.
  std::string display;

  // Whether `host` names this machine itself.
  bool IsLoopback() const;
};

// INVALID_ARGUMENT with a sentence that never holds the password.
absl::StatusOr<GitUrl> ParseGitUrl(absl::string_view url);

// INVALID_ARGUMENT unless it can name a branch or tag: git-check-ref-format's
// rules. `what` is "branch" or "revision".
absl::Status CheckRefName(absl::string_view what, absl::string_view name);

// Whether `text` is a commit in full: 40 or 64 hex digits.
bool IsFullCommitId(absl::string_view text);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_GIT_URL_H_
