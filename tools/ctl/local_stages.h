// SPDX-License-Identifier: Apache-2.0
//
// The manager's stages between a directory and its objects, run one after the
// other in this process (docs/adr, 0008): downloads of charts, the render
// worker, and what was downloaded.

#ifndef FLOTILLA_TOOLS_CTL_LOCAL_STAGES_H_
#define FLOTILLA_TOOLS_CTL_LOCAL_STAGES_H_

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/blob/memory_blob_store.h"
#include "common/env/posix/posix_clock.h"
#include "common/env/posix/posix_random.h"
#include "common/env/posix/posix_subprocess.h"
#include "common/event/real_loop.h"
#include "common/event/thread_worker_pool.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/render/v1/render.pb.h"
#include "manager/bundle/chart_needs.h"
#include "manager/charts/chart_fetcher.h"
#include "manager/charts/git_chart_fetcher.h"
#include "manager/charts/process_chart_fetcher.h"
#include "manager/gitsync/libgit2_repository.h"
#include "manager/render/worker_renderer.h"

namespace flotilla::ctl {

// INVALID_ARGUMENT with a line for each problem.
absl::Status ProblemsError(const std::vector<core::v1::Problem>& problems);

// Prints a line for each.
void PrintWarnings(const std::vector<core::v1::Problem>& problems,
                   std::ostream& out);

// Blocks while it works.
//
// Thread-compatible.
class LocalStages {
 public:
  LocalStages();
  ~LocalStages();
  LocalStages(const LocalStages&) = delete;
  LocalStages& operator=(const LocalStages&) = delete;

  // Downloads without credentials, in addition to what `fetched` has. The
  // error names file and line of who asked.
  absl::Status FetchCharts(const std::vector<manager::ChartNeed>& needs,
                           manager::FetchedCharts& fetched);

  absl::StatusOr<render::v1::RenderResponse> Render(
      const render::v1::RenderRequest& request);

  // What was downloaded, by digest.
  BlobStore& blobs() { return blobs_; }

 private:
  // The fetcher of this chart. The first one that lies in Git makes a folder
  // for clones.
  absl::StatusOr<manager::ChartFetcher*> FetcherOf(const std::string& chart);

  RealLoop loop_;
  PosixClock clock_;
  PosixRandom random_;
  PosixSubprocesses subprocesses_;
  MemoryBlobStore blobs_;
  // Of clones; empty when there is none.
  std::string folder_;
  std::unique_ptr<manager::Libgit2Repository> git_;
  ThreadWorkerPool workers_;
  // Declared last: destroyed first.
  std::unique_ptr<manager::ProcessChartFetcher> fetcher_;
  std::unique_ptr<manager::GitChartFetcher> git_fetcher_;
  std::unique_ptr<manager::WorkerRenderer> renderer_;
};

}  // namespace flotilla::ctl

#endif  // FLOTILLA_TOOLS_CTL_LOCAL_STAGES_H_
