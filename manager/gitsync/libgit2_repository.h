// SPDX-License-Identifier: Apache-2.0
//
// Libgit2Repository is the GitRepository of a running manager: one bare clone
// for each (URL, credentials) under a directory of its own, fetched by libgit2
// on the threads of a WorkerPool. libgit2 1.5 knows no shallow fetch: the one
// branch or tag that is wanted is fetched with its history; a commit given in
// full needs all branches and tags.
//
// A connection goes to the host and port of the URL, or to the proxy, and
// nowhere else; redirects elsewhere are errors. Passwords over http:// go to
// this machine only. Known hosts are checked strictly. Submodules are fetched
// into the same clone, with the credentials only where they are on the same
// server.

#ifndef FLOTILLA_MANAGER_GITSYNC_LIBGIT2_REPOSITORY_H_
#define FLOTILLA_MANAGER_GITSYNC_LIBGIT2_REPOSITORY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/env/clock.h"
#include "common/env/random.h"
#include "common/event/worker_pool.h"
#include "manager/gitsync/file_tree.h"
#include "manager/gitsync/git_proxy.h"
#include "manager/gitsync/git_repository.h"

namespace flotilla::manager {

// Thread-safe.
class Libgit2Repository : public GitRepository {
 public:
  struct Options {
    absl::Duration connect_timeout = absl::Seconds(10);
    // Without a byte moving.
    absl::Duration silence_limit = absl::Seconds(30);
    absl::Duration total_limit = absl::Minutes(10);
    // Of one fetch.
    uint64_t max_fetch_bytes = uint64_t{1} << 30;
    uint32_t max_fetch_objects = 5'000'000;
    // Branches and tags that a server may have.
    size_t max_refs = 100'000;
    ProxySettings proxy;
  };

  // `directory` is made if absent (mode 0700). `pool` and `clock` must outlive
  // it. Blocks on the disk.
  static absl::StatusOr<std::unique_ptr<Libgit2Repository>> Create(
      WorkerPool& pool, const Clock& clock, Random& random,
      const std::string& directory, const Options& options);
  static absl::StatusOr<std::unique_ptr<Libgit2Repository>> Create(
      WorkerPool& pool, const Clock& clock, Random& random,
      const std::string& directory) {
    return Create(pool, clock, random, directory, Options());
  }
  // Cuts what is under way; see CutAll().
  ~Libgit2Repository() override;

  void Fetch(GitSource source, Done<FetchedCommit> done) override;
  absl::StatusOr<std::unique_ptr<FileTree>> OpenTree(
      const std::string& clone_id, const std::string& commit_id) override;
  void RetainClones(std::vector<std::string> clone_ids) override;

  // Makes all fetches fail at once, those of the future too. Before the pool
  // is destroyed, so that it need not wait for a silent server.
  void CutAll();

 private:
  class Clones;

  Libgit2Repository(WorkerPool& pool, std::shared_ptr<Clones> clones);

  WorkerPool& pool_;
  // Shared with the work on other threads.
  const std::shared_ptr<Clones> clones_;
  // Completions hold it weakly: none runs after this is gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_LIBGIT2_REPOSITORY_H_
