// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/fake_git_repository.h"

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "manager/gitsync/memory_tree.h"

namespace flotilla::manager {

void FakeGitRepository::Fetch(GitSource source, Done<FetchedCommit> done) {
  fetches_.push_back(source);
  Held held{std::move(source), std::move(done)};
  if (holding_) {
    held_.push_back(std::move(held));
  } else {
    Complete(std::move(held));
  }
}

void FakeGitRepository::Complete(Held held) {
  const std::string& url = held.source.url;
  absl::StatusOr<FetchedCommit> result = FetchedCommit();
  const auto error = errors_.find(url);
  const auto commit = commits_.find(url);
  if (error != errors_.end()) {
    result = error->second;
  } else if (commit == commits_.end()) {
    result = absl::NotFoundError(
        absl::StrCat("there is no Git repository at ", url));
  } else {
    result->id = commit->second;
    result->tree_id = absl::StrCat("tree-of-", commit->second);
    result->clone_id =
        absl::StrCat(url, held.source.credentials.password.empty() ? "" : "+p");
    result->author = "A <a@example.com>";
    result->summary = absl::StrCat("commit ", commit->second);
    result->time = absl::FromUnixSeconds(1'700'000'000);
    result->repo = url;
  }
  loop_.Post([done = std::move(held.done),
              result = std::move(result)]() mutable {
    done(std::move(result));
  });
}

absl::StatusOr<std::unique_ptr<FileTree>> FakeGitRepository::OpenTree(
    const std::string& clone_id, const std::string& commit_id) {
  const auto it = files_.find(commit_id);
  if (it == files_.end()) {
    return absl::NotFoundError(
        absl::StrCat("commit ", commit_id, " is not in clone ", clone_id));
  }
  return std::unique_ptr<FileTree>(std::make_unique<MemoryTree>(it->second));
}

void FakeGitRepository::SetCommit(const std::string& url,
                                  const std::string& commit_id,
                                  std::map<std::string, std::string> files) {
  commits_[url] = commit_id;
  files_[commit_id] = std::move(files);
}

void FakeGitRepository::SetError(const std::string& url, absl::Status error) {
  if (error.ok()) {
    errors_.erase(url);
  } else {
    errors_[url] = std::move(error);
  }
}

void FakeGitRepository::ReleaseOne() {
  if (held_.empty()) return;
  Held held = std::move(held_.front());
  held_.pop_front();
  Complete(std::move(held));
}

void FakeGitRepository::ReleaseAll() {
  holding_ = false;
  while (!held_.empty()) ReleaseOne();
}

}  // namespace flotilla::manager
