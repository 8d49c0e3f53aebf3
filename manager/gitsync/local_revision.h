// SPDX-License-Identifier: Apache-2.0
//
// A directory as it was in some revision of the Git repository that it lies
// in, for `flotilla diff`. Nothing is fetched and nothing is run.

#ifndef FLOTILLA_MANAGER_GITSYNC_LOCAL_REVISION_H_
#define FLOTILLA_MANAGER_GITSYNC_LOCAL_REVISION_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "manager/gitsync/file_tree.h"

namespace flotilla::manager {

// `revision` is what `git rev-parse` takes: a commit, branch, tag, "HEAD~1".
// NOT_FOUND, saying which, when there is no repository, no such revision, or
// no such directory in it. Blocks on the disk.
absl::StatusOr<std::unique_ptr<FileTree>> OpenLocalRevision(
    const std::string& directory, const std::string& revision);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_LOCAL_REVISION_H_
