// SPDX-License-Identifier: Apache-2.0
//
// WorkerRenderer renders with child processes of manager/render/worker. A
// process is started for the first request, kept warm for the next ones, and
// ended when nothing came for a while. One that breaks, takes too long or too
// much memory is killed; the next request gets a new one.
//
// Requests wait when all processes are busy. There is a line for each release
// (namespace and name), and the lines take turns: a bundle for ten thousand
// clusters does not hold up the others.
//
// A request that a used process dies of is tried once more by a new one, for
// the old one may have been full of what others left; then it is an error.

#ifndef FLOTILLA_MANAGER_RENDER_WORKER_RENDERER_H_
#define FLOTILLA_MANAGER_RENDER_WORKER_RENDERER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/env/subprocess.h"
#include "common/event/loop.h"
#include "flotilla/render/v1/render.pb.h"
#include "manager/helper/process_pool.h"
#include "manager/render/renderer.h"

namespace flotilla::manager {

struct WorkerRendererOptions {
  // The worker's program.
  std::string worker_path;
  // Processes at the same time; 0: one for each core.
  int max_workers = 0;
  // From the last byte of a request to the first one of its answer.
  absl::Duration timeout = absl::Seconds(60);
  // CPU time of one request. The worker itself says when it is over, and what
  // it was doing; `timeout` is for when it does not.
  absl::Duration max_cpu_time = absl::Seconds(20);
  // A process that had nothing to do for so long is ended.
  absl::Duration idle_timeout = absl::Seconds(60);
  uint64_t max_memory_mib = 512;
  uint64_t max_answer_mib = 64;
};

// Sees whether the worker can be started and can shut itself off from network
// and files on this machine. Blocks for some tens of milliseconds. The error is
// a sentence for the operator.
absl::Status CheckRenderWorker(Subprocesses& subprocesses,
                               const std::string& worker_path);

// Loop-affine.
class WorkerRenderer final : public Renderer {
 public:
  // `subprocesses` and `loop` must outlive it.
  WorkerRenderer(Loop& loop, Subprocesses& subprocesses,
                 WorkerRendererOptions options);
  // Kills the processes; requests that wait are dropped with their completion.
  ~WorkerRenderer() override;
  WorkerRenderer(const WorkerRenderer&) = delete;
  WorkerRenderer& operator=(const WorkerRenderer&) = delete;

  void Render(render::v1::RenderRequest request, Done done) override;

  // Processes that run now, for tests and diagnosis.
  int running_workers() const { return pool_.running_processes(); }

 private:
  absl::StatusOr<render::v1::RenderResponse> Serve(
      const render::v1::RenderRequest& request, ProcessPool::Slot& slot);
  absl::StatusOr<render::v1::RenderResponse> Ask(const std::string& frame,
                                                 Subprocess& process);

  // Constant after construction.
  const WorkerRendererOptions options_;

  // Collaborators. Not owned.
  Loop& loop_;
  Subprocesses& subprocesses_;

  // Loop state.
  uint64_t next_id_ = 1;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  // Last: its threads use the rest.
  ProcessPool pool_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_WORKER_RENDERER_H_
