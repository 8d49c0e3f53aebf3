// SPDX-License-Identifier: Apache-2.0
//
// What libgit2 hands out, owned; and what it says when something fails.

#ifndef FLOTILLA_MANAGER_GITSYNC_LIBGIT2_HANDLES_H_
#define FLOTILLA_MANAGER_GITSYNC_LIBGIT2_HANDLES_H_

#include <git2.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace flotilla::manager {

template <auto Free>
struct GitDeleter {
  template <typename T>
  void operator()(T* value) const {
    Free(value);
  }
};
// Shared: a tree that is open keeps its handle.
using RepositoryPtr = std::shared_ptr<git_repository>;
using RemotePtr = std::unique_ptr<git_remote, GitDeleter<git_remote_free>>;
using CommitPtr = std::unique_ptr<git_commit, GitDeleter<git_commit_free>>;
using ObjectPtr = std::unique_ptr<git_object, GitDeleter<git_object_free>>;
using TreePtr = std::unique_ptr<git_tree, GitDeleter<git_tree_free>>;
using TreeEntryPtr =
    std::unique_ptr<git_tree_entry, GitDeleter<git_tree_entry_free>>;
using BlobPtr = std::unique_ptr<git_blob, GitDeleter<git_blob_free>>;
using OdbPtr = std::unique_ptr<git_odb, GitDeleter<git_odb_free>>;

RepositoryPtr OwnRepository(git_repository* repository);

// What libgit2 said last on this thread.
struct GitError {
  int code = 0;
  int klass = 0;
  std::string message;
};
GitError LastGitError(int code);

// 40 digits.
std::string HexOf(const git_oid* id);

// Errors of a clone on our disk: RESOURCE_EXHAUSTED when it is full, else
// DATA_LOSS.
absl::Status DiskError(const GitError& error, absl::string_view what);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_LIBGIT2_HANDLES_H_
