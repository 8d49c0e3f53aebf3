// SPDX-License-Identifier: Apache-2.0
//
// ThreadWorkerPool is the WorkerPool of a running process: a fixed number of
// threads that take work in the order in which it was handed in. The queue is
// not bounded here: who submits bounds what it has in flight.
//
// Stop() it before what its work uses is destroyed. It must outlive who
// submits.

#ifndef FLOTILLA_COMMON_EVENT_THREAD_WORKER_POOL_H_
#define FLOTILLA_COMMON_EVENT_THREAD_WORKER_POOL_H_

#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/event/loop.h"
#include "common/event/worker_pool.h"

namespace flotilla {

// See the file comment.
//
// Thread-safe.
class ThreadWorkerPool final : public WorkerPool {
 public:
  // REQUIRES: threads > 0.
  ThreadWorkerPool(Loop& loop, int threads);
  // Stops.
  ~ThreadWorkerPool() override;
  ThreadWorkerPool(const ThreadWorkerPool&) = delete;
  ThreadWorkerPool& operator=(const ThreadWorkerPool&) = delete;

  // Drops what has not begun, waits for what has; no completion runs after it,
  // and what is submitted after it is dropped. Again is OK.
  // REQUIRES: called on the loop, or when that does not run.
  void Stop();

  // After Stop() it drops both.
  void Run(Task work, Task done) override;

 private:
  struct Job {
    Task work;
    Task done;
  };

  void RunJobs();
  bool HasJobOrStops() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return stopping_ || !queue_.empty();
  }

  // Collaborators. Not owned.
  Loop& loop_;

  // Read and written on the loop only: completions that arrive there after
  // Stop() see it.
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  absl::Mutex mu_;
  std::deque<Job> queue_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  // Declared last: destroyed first.
  std::vector<std::thread> threads_;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_EVENT_THREAD_WORKER_POOL_H_
