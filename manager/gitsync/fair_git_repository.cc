// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/fair_git_repository.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "manager/gitsync/git_url.h"

namespace flotilla::manager {

void FairGitRepository::Fetch(GitSource source, Done<FetchedCommit> done) {
  const absl::StatusOr<GitUrl> url = ParseGitUrl(source.url);
  // What is wrong with a URL is told without asking anybody.
  if (!url.ok() || url->transport == GitUrl::Transport::kFile) {
    repository_.Fetch(std::move(source), std::move(done));
    return;
  }
  const std::string name = absl::StrCat(url->host, ":", url->port);
  Server& server = servers_[name];
  Waiting fetch{std::move(source), std::move(done)};
  if (server.running >= max_per_server_) {
    server.waiting.push_back(std::move(fetch));
    return;
  }
  ++server.running;
  Start(name, std::move(fetch));
}

void FairGitRepository::Start(const std::string& server, Waiting fetch) {
  repository_.Fetch(
      std::move(fetch.source),
      [this, server, weak = std::weak_ptr<bool>(alive_),
       done = std::move(fetch.done)](
          absl::StatusOr<FetchedCommit> result) mutable {
        if (weak.expired()) return;
        OnFetched(server);
        done(std::move(result));
      });
}

void FairGitRepository::OnFetched(const std::string& name) {
  Server& server = servers_[name];
  if (!server.waiting.empty()) {
    Waiting next = std::move(server.waiting.front());
    server.waiting.pop_front();
    Start(name, std::move(next));
  } else if (--server.running == 0) {
    servers_.erase(name);
  }
}

}  // namespace flotilla::manager
