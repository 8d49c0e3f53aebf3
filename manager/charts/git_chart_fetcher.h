// SPDX-License-Identifier: Apache-2.0
//
// GitChartFetcher fetches charts that lie in a folder of a Git repository
// (git_chart_address.h), and hands every other request to another fetcher. It
// has clones of its own, a bounded number of them, so that a chart that did
// not change is not transferred again.
//
// Its dependencies have to lie in the chart, as with archives.

#ifndef FLOTILLA_MANAGER_CHARTS_GIT_CHART_FETCHER_H_
#define FLOTILLA_MANAGER_CHARTS_GIT_CHART_FETCHER_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/blob/blob_store.h"
#include "common/event/loop.h"
#include "common/event/worker_pool.h"
#include "manager/charts/chart_fetcher.h"
#include "manager/charts/git_chart_address.h"
#include "manager/gitsync/git_repository.h"

namespace flotilla::manager {

// Loop-affine.
class GitChartFetcher final : public ChartFetcher {
 public:
  // Host keys that are known to everybody, as ssh's file of them.
  using KnownHosts = absl::AnyInvocable<std::string() const>;

  // All must outlive it. Nobody else fetches with `git`.
  GitChartFetcher(Loop& loop, WorkerPool& workers, GitRepository& git,
                  BlobStore& blobs, ChartFetcher& others,
                  KnownHosts known_hosts);
  ~GitChartFetcher() override;
  GitChartFetcher(const GitChartFetcher&) = delete;
  GitChartFetcher& operator=(const GitChartFetcher&) = delete;

  void Fetch(ChartRequest request, Done done) override;

 private:
  struct Waiter {
    std::string hint;
    Done done;
  };

  void OnCommit(const std::string& key, const std::string& folder,
                absl::StatusOr<FetchedCommit> commit);
  void Finish(const std::string& key, absl::StatusOr<FetchedChart> result);
  // Lets go of clones that were not used for long.
  void Retain();

  // Collaborators. Not owned.
  Loop& loop_;
  WorkerPool& workers_;
  GitRepository& git_;
  BlobStore& blobs_;
  ChartFetcher& others_;

  // Constant after construction.
  const KnownHosts known_hosts_;

  // Loop state. Who waits for which repository, ref and folder.
  std::map<std::string, std::vector<Waiter>> flights_;
  // Of the last clones that were used, the newest last.
  std::vector<std::string> clones_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_CHARTS_GIT_CHART_FETCHER_H_
