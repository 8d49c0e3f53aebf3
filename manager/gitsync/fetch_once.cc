// SPDX-License-Identifier: Apache-2.0
//
// Fetches one commit and prints it, for tests against real servers. Reads a
// JSON object from standard input: directory, url, branch, revision, ca,
// insecure, username, password, key, known_hosts. Prints "OK <commit id>" and
// the files of the commit, or the code and text of the error.

#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

#include "common/env/fake_clock.h"
#include "common/env/fake_random.h"
#include "common/event/inline_worker_pool.h"
#include "common/event/simulated_loop.h"
#include "manager/gitsync/file_tree.h"
#include "manager/gitsync/git_repository.h"
#include "manager/gitsync/libgit2_repository.h"

namespace flotilla::manager {
namespace {

int Fail(const absl::Status& status) {
  std::cout << absl::StatusCodeToString(status.code()) << " "
            << status.message() << std::endl;
  return 0;
}

int Run(const std::string& input) {
  const auto json = nlohmann::json::parse(input, nullptr, false);
  if (!json.is_object()) return 2;
  const auto text = [&json](const char* key) {
    const auto it = json.find(key);
    return it != json.end() && it->is_string() ? it->get<std::string>()
                                               : std::string();
  };
  SimulatedLoop loop;
  InlineWorkerPool pool(loop);
  FakeClock clock(absl::Now());
  FakeRandom random;
  Libgit2Repository::Options options;
  options.silence_limit = absl::Seconds(10);
  options.proxy = {text("http_proxy"), text("https_proxy"), ""};
  auto repository = Libgit2Repository::Create(pool, clock, random,
                                              text("directory"), options);
  if (!repository.ok()) return Fail(repository.status());
  GitSource source;
  source.url = text("url");
  source.branch = text("branch");
  source.revision = text("revision");
  source.ca_bundle = text("ca");
  source.insecure_skip_tls_verify = text("insecure") == "yes";
  source.credentials.username = text("username");
  source.credentials.password = text("password");
  source.credentials.ssh_private_key = text("key");
  source.credentials.known_hosts = text("known_hosts");
  source.credentials_name = "Secret w/creds";
  absl::StatusOr<FetchedCommit> commit = absl::UnknownError("not completed");
  (*repository)->Fetch(std::move(source), [&](absl::StatusOr<FetchedCommit> c) {
    commit = std::move(c);
  });
  loop.RunUntilIdle();
  if (!commit.ok()) return Fail(commit.status());
  auto tree = (*repository)->OpenTree(commit->clone_id, commit->id);
  if (!tree.ok()) return Fail(tree.status());
  auto entries = (*tree)->Walk("");
  if (!entries.ok()) return Fail(entries.status());
  std::cout << "OK " << commit->id << std::endl;
  for (const TreeEntry& entry : *entries) std::cout << entry.path << std::endl;
  return 0;
}

}  // namespace
}  // namespace flotilla::manager

int main() {
  const std::string input((std::istreambuf_iterator<char>(std::cin)),
                          std::istreambuf_iterator<char>());
  return flotilla::manager::Run(input);
}
