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
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/env/subprocess.h"
#include "common/event/loop.h"
#include "flotilla/render/v1/render.pb.h"
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
  int running_workers() const;

 private:
  struct Job {
    render::v1::RenderRequest request;
    Done done;
  };
  // A thread and the process that it feeds. The process is started by the
  // thread, because it dies with it.
  struct Slot {
    std::thread thread;
    // Owned by the thread; here so that the destructor can kill it.
    Subprocess* process = nullptr;
  };

  void RunSlot(Slot* slot);
  void Enqueue(Job job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Job Dequeue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Waits for a job; false when the renderer ends. `idle`: none came in time,
  // and the process may go.
  bool NextJob(bool has_process, Job* job, bool* idle);
  absl::StatusOr<render::v1::RenderResponse> Serve(
      const render::v1::RenderRequest& request, Slot* slot,
      std::unique_ptr<Subprocess>* process);
  absl::StatusOr<render::v1::RenderResponse> Ask(
      const std::string& frame, Subprocess* process);
  void SetProcess(Slot* slot, std::unique_ptr<Subprocess>* process,
                  std::unique_ptr<Subprocess> replacement);

  // Constant after construction.
  const WorkerRendererOptions options_;

  // Collaborators. Not owned.
  Loop& loop_;
  Subprocesses& subprocesses_;

  mutable absl::Mutex mu_;
  // Lines with somebody in them, and whose turn is next.
  std::map<std::string, std::deque<Job>> lines_ ABSL_GUARDED_BY(mu_);
  std::deque<std::string> turns_ ABSL_GUARDED_BY(mu_);
  size_t waiting_ ABSL_GUARDED_BY(mu_) = 0;
  int idle_threads_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::unique_ptr<Slot>> slots_ ABSL_GUARDED_BY(mu_);

  // Loop state.
  uint64_t next_id_ = 1;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_WORKER_RENDERER_H_
