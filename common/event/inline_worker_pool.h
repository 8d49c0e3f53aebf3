// SPDX-License-Identifier: Apache-2.0
//
// InlineWorkerPool is a WorkerPool for tests, without threads: work and its
// completion each run as a task of the loop, never inside Run(). With a
// SimulatedLoop the whole of it is repeatable.

#ifndef FLOTILLA_COMMON_EVENT_INLINE_WORKER_POOL_H_
#define FLOTILLA_COMMON_EVENT_INLINE_WORKER_POOL_H_

#include <memory>

#include "common/event/loop.h"
#include "common/event/worker_pool.h"

namespace flotilla {

// Destroying it drops what has not run yet.
//
// Loop-affine.
class InlineWorkerPool final : public WorkerPool {
 public:
  explicit InlineWorkerPool(Loop& loop) : loop_(loop) {}
  ~InlineWorkerPool() override { *alive_ = false; }
  InlineWorkerPool(const InlineWorkerPool&) = delete;
  InlineWorkerPool& operator=(const InlineWorkerPool&) = delete;

  void Run(Task work, Task done) override;

 private:
  // Collaborators. Not owned.
  Loop& loop_;

  // Loop state.
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_EVENT_INLINE_WORKER_POOL_H_
