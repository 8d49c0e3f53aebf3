// SPDX-License-Identifier: Apache-2.0
//
// The files of one commit, read out of a clone's object database: there is no
// work tree. A submodule whose commit is in the same database is a directory.

#ifndef FLOTILLA_MANAGER_GITSYNC_COMMIT_TREE_H_
#define FLOTILLA_MANAGER_GITSYNC_COMMIT_TREE_H_

#include <git2.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "manager/gitsync/file_tree.h"
#include "manager/gitsync/libgit2_handles.h"

namespace flotilla::manager {

// Thread-compatible.
class CommitTree : public FileTree {
 public:
  // `lock` guards `repository`, which other trees of the clone use too; `keep`
  // keeps it and `damaged` alive. `damaged` is set when the clone cannot be
  // read.
  CommitTree(std::shared_ptr<void> keep, absl::Mutex& lock,
             std::atomic<bool>& damaged, RepositoryPtr repository,
             const git_oid& root);

 protected:
  absl::StatusOr<std::vector<RawEntry>> ReadDirectory(
      const std::string& directory) override;
  absl::StatusOr<std::string> ReadFile(const std::string& path,
                                       uint64_t max_bytes) override;
  absl::StatusOr<std::string> ReadLink(const std::string& path) override;

 private:
  absl::StatusOr<TreePtr> Lookup(const git_oid& id, absl::string_view path)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The tree of a directory, through submodules too.
  absl::StatusOr<TreePtr> LookupDirectory(absl::string_view directory)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The tree of a submodule's commit; null when that was not fetched.
  TreePtr LookupSubmodule(const git_oid& commit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Damage(const GitError& error, absl::string_view path);

  const std::shared_ptr<void> keep_;
  absl::Mutex& mu_;
  std::atomic<bool>& damaged_;
  const RepositoryPtr repository_ ABSL_GUARDED_BY(mu_);
  const git_oid root_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_COMMIT_TREE_H_
