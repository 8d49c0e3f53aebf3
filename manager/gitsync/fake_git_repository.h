// SPDX-License-Identifier: Apache-2.0
//
// FakeGitRepository is a Git server and its clones in memory. A test says what
// each URL holds, makes fetches fail, and may hold them back to complete them
// in an order of its own.

#ifndef FLOTILLA_MANAGER_GITSYNC_FAKE_GIT_REPOSITORY_H_
#define FLOTILLA_MANAGER_GITSYNC_FAKE_GIT_REPOSITORY_H_

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/event/loop.h"
#include "manager/gitsync/file_tree.h"
#include "manager/gitsync/git_repository.h"

namespace flotilla::manager {

// Loop-affine.
class FakeGitRepository : public GitRepository {
 public:
  explicit FakeGitRepository(Loop& loop) : loop_(loop) {}

  void Fetch(GitSource source, Done<FetchedCommit> done) override;
  absl::StatusOr<std::unique_ptr<FileTree>> OpenTree(
      const std::string& clone_id, const std::string& commit_id) override;
  void RetainClones(std::vector<std::string> clone_ids) override {
    retained_.push_back(std::move(clone_ids));
  }

  // What a fetch of `url` finds from now on.
  void SetCommit(const std::string& url, const std::string& commit_id,
                 std::map<std::string, std::string> files = {});
  // Fetches of `url` fail from now on; OK ends it.
  void SetError(const std::string& url, absl::Status error);

  // Holds fetches back until Release().
  void Hold() { holding_ = true; }
  // Completes the oldest fetch that is held back, or all of them.
  void ReleaseOne();
  void ReleaseAll();
  size_t held() const { return held_.size(); }

  // All fetches so far.
  const std::vector<GitSource>& fetches() const { return fetches_; }
  // Arguments of RetainClones().
  const std::vector<std::vector<std::string>>& retained() const {
    return retained_;
  }

 private:
  struct Held {
    GitSource source;
    Done<FetchedCommit> done;
  };

  void Complete(Held held);

  Loop& loop_;
  bool holding_ = false;
  std::map<std::string, std::string> commits_;
  std::map<std::string, absl::Status> errors_;
  std::map<std::string, std::map<std::string, std::string>> files_;
  std::deque<Held> held_;
  std::vector<GitSource> fetches_;
  std::vector<std::vector<std::string>> retained_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_FAKE_GIT_REPOSITORY_H_
