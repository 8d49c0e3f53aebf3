// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/libgit2_handles.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "manager/gitsync/display_text.h"

namespace flotilla::manager {

RepositoryPtr OwnRepository(git_repository* repository) {
  return RepositoryPtr(repository, git_repository_free);
}

GitError LastGitError(int code) {
  GitError out;
  out.code = code;
  if (const git_error* error = git_error_last()) {
    out.klass = error->klass;
    if (error->message != nullptr) out.message = error->message;
  }
  return out;
}

std::string HexOf(const git_oid* id) {
  char text[GIT_OID_HEXSZ + 1] = {};
  git_oid_tostr(text, sizeof(text), id);
  return text;
}

absl::Status DiskError(const GitError& error, absl::string_view what) {
  const std::string text =
      absl::StrCat(what, ": ", ToDisplayText(error.message, 300));
  if (absl::StrContains(error.message, "No space left")) {
    return absl::ResourceExhaustedError(
        absl::StrCat(text, "; free space in the data directory"));
  }
  return absl::DataLossError(text);
}

}  // namespace flotilla::manager
