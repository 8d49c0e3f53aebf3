// SPDX-License-Identifier: Apache-2.0
//
// ProcessChartFetcher downloads charts with child processes of
// manager/charts/fetcher, and keeps what came in the blob store. A process is
// started for the first request, kept for the next ones and ended when nothing
// came for a while; one that breaks or takes too long is killed.
//
// Requests wait in a line for each host, and the lines take turns; one host
// never has all processes, so that a silent server holds up its own only.
// Exact versions are remembered over restarts (chart_cache.h) for requests with
// the same credentials.

#ifndef FLOTILLA_MANAGER_CHARTS_PROCESS_CHART_FETCHER_H_
#define FLOTILLA_MANAGER_CHARTS_PROCESS_CHART_FETCHER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/blob/blob_store.h"
#include "common/env/subprocess.h"
#include "common/event/loop.h"
#include "common/event/worker_pool.h"
#include "flotilla/render/v1/fetch.pb.h"
#include "manager/charts/chart_cache.h"
#include "manager/charts/chart_fetcher.h"
#include "manager/helper/process_pool.h"

namespace flotilla::manager {

struct ProcessChartFetcherOptions {
  // The fetcher's program.
  std::string fetcher_path;
  // "HTTPS_PROXY=http://proxy:3128": what the program gets of an environment.
  std::vector<std::string> environment;
  // Mixed into the keys of the cache; as lasting as the cache.
  std::string cache_secret;
  // Processes at the same time, and how many of them for one host.
  int max_processes = 4;
  int max_for_host = 2;
  // For one request. The program itself says when it is over; it is killed
  // when it does not.
  absl::Duration timeout = absl::Seconds(120);
  // A process that had nothing to do for so long is ended.
  absl::Duration idle_timeout = absl::Seconds(30);
  uint64_t max_memory_mib = 768;
};

// Loop-affine.
class ProcessChartFetcher final : public ChartFetcher {
 public:
  // All must outlive it; `cache` may be null.
  ProcessChartFetcher(Loop& loop, WorkerPool& workers,
                      Subprocesses& subprocesses, BlobStore& blobs,
                      ChartCache* cache, ProcessChartFetcherOptions options);
  // Kills the processes; requests that wait are dropped with their completion.
  ~ProcessChartFetcher() override;
  ProcessChartFetcher(const ProcessChartFetcher&) = delete;
  ProcessChartFetcher& operator=(const ProcessChartFetcher&) = delete;

  void Fetch(ChartRequest request, Done done) override;

  // Processes that run now, for tests and diagnosis.
  int running_processes() const { return pool_.running_processes(); }

 private:
  struct Waiter {
    std::string hint;
    Done done;
  };
  struct Job {
    // Of `flights_`, and of the cache.
    std::string key;
    std::string host;
    render::v1::FetchRequest request;
  };

  void Enqueue(Job job);
  absl::StatusOr<FetchedChart> Serve(const Job& job, ProcessPool::Slot& slot);
  // `answered` is set when the process did its part, whatever the outcome.
  absl::StatusOr<FetchedChart> Ask(const Job& job, Subprocess& process,
                                   bool* answered);
  absl::Status Keep(render::v1::FetchResponse* response,
                    std::map<std::string, storage::v1::BundleFile>* files);
  void Finish(const std::string& key, absl::StatusOr<FetchedChart> result);

  // Constant after construction.
  const ProcessChartFetcherOptions options_;

  // Collaborators. Not owned.
  Loop& loop_;
  WorkerPool& workers_;
  Subprocesses& subprocesses_;
  BlobStore& blobs_;
  ChartCache* const cache_;

  // Loop state.
  uint64_t next_id_ = 1;
  // Who waits for which request.
  std::map<std::string, std::vector<Waiter>> flights_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  // Last: its threads use the rest.
  ProcessPool pool_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_CHARTS_PROCESS_CHART_FETCHER_H_
