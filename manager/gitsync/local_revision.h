// SPDX-License-Identifier: Apache-2.0
//
// The Git repository that a directory lies in, for `flotilla bundle`,
// `diff` and `render`. Nothing is fetched and nothing is run.

#ifndef FLOTILLA_MANAGER_GITSYNC_LOCAL_REVISION_H_
#define FLOTILLA_MANAGER_GITSYNC_LOCAL_REVISION_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "manager/gitsync/file_tree.h"

namespace flotilla::manager {

// The directory as it was in `revision`, which is what `git rev-parse` takes: a
// commit, branch, tag, "HEAD~1".
// NOT_FOUND, saying which, when there is no repository, no such revision, or
// no such directory in it. Blocks on the disk.
absl::StatusOr<std::unique_ptr<FileTree>> OpenLocalRevision(
    const std::string& directory, const std::string& revision);

struct LocalCommit {
  // 40 digits.
  std::string id;
  // Since 1970, never negative.
  int64_t seconds = 0;
};

// What is checked out; nothing when there is no repository or no commit. Blocks
// on the disk.
absl::optional<LocalCommit> FindLocalCommit(const std::string& directory);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_LOCAL_REVISION_H_
