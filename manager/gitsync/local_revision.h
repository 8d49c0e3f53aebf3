// SPDX-License-Identifier: Apache-2.0
//
// The Git repository that a directory lies in, for `flotilla diff` and
// `flotilla render`. Nothing is fetched and nothing is run.

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

// Seconds since 1970 of the commit that is checked out; nothing when there is
// no repository or no commit. Blocks on the disk.
absl::optional<int64_t> LocalCommitTime(const std::string& directory);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_LOCAL_REVISION_H_
