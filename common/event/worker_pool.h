// SPDX-License-Identifier: Apache-2.0
//
// WorkerPool runs blocking work (Git, SQLite, subprocesses, files) on threads
// and returns the result to the loop. Work must not touch loop-affine state.
// Work still queued when the pool is destroyed is dropped with its completion;
// work that has begun is waited for, and its completion is dropped.
//
// Example:
//   pool.Submit<absl::Status>([path] { return Save(path); },
//                             [this](absl::Status s) { OnSaved(s); });

#ifndef FLOTILLA_COMMON_EVENT_WORKER_POOL_H_
#define FLOTILLA_COMMON_EVENT_WORKER_POOL_H_

#include <memory>
#include <optional>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "common/event/loop.h"

namespace flotilla {

// Thread-safe.
class WorkerPool {
 public:
  virtual ~WorkerPool() = default;

  // Runs `work` on a thread, then `done` on the loop.
  virtual void Run(Task work, Task done) = 0;

  template <typename T>
  void Submit(absl::AnyInvocable<T()> work, absl::AnyInvocable<void(T)> done) {
    auto result = std::make_shared<std::optional<T>>();
    Run([result, work = std::move(work)]() mutable { result->emplace(work()); },
        [result, done = std::move(done)]() mutable {
          done(std::move(**result));
        });
  }
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_EVENT_WORKER_POOL_H_
