// SPDX-License-Identifier: Apache-2.0
//
// FairGitRepository keeps one Git server from taking all the threads that
// fetch: a server that is silent, or sends a byte a second, holds a thread
// until it is given up. Fetches above the limit of their server wait for their
// turn; those of file:// do not.

#ifndef FLOTILLA_MANAGER_GITSYNC_FAIR_GIT_REPOSITORY_H_
#define FLOTILLA_MANAGER_GITSYNC_FAIR_GIT_REPOSITORY_H_

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "manager/gitsync/file_tree.h"
#include "manager/gitsync/git_repository.h"

namespace flotilla::manager {

// Fetch() is loop-affine, OpenTree() may be called from any thread; as
// GitRepository says.
//
// Thread-compatible.
class FairGitRepository : public GitRepository {
 public:
  // `repository` must outlive it. No completion runs after it is gone.
  FairGitRepository(GitRepository& repository, size_t max_per_server)
      : repository_(repository), max_per_server_(max_per_server) {}

  void Fetch(GitSource source, Done<FetchedCommit> done) override;
  absl::StatusOr<std::unique_ptr<FileTree>> OpenTree(
      const std::string& clone_id, const std::string& commit_id) override {
    return repository_.OpenTree(clone_id, commit_id);
  }
  void RetainClones(std::vector<std::string> clone_ids) override {
    repository_.RetainClones(std::move(clone_ids));
  }

 private:
  struct Waiting {
    GitSource source;
    Done<FetchedCommit> done;
  };
  struct Server {
    size_t running = 0;
    std::deque<Waiting> waiting;
  };

  void Start(const std::string& server, Waiting fetch);
  void OnFetched(const std::string& server);

  // Constant after construction.
  GitRepository& repository_;  // Not owned.
  const size_t max_per_server_;

  // Loop state. By host and port; only those with fetches.
  std::map<std::string, Server> servers_;

  // Completions hold it weakly: none runs after this is gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_FAIR_GIT_REPOSITORY_H_
