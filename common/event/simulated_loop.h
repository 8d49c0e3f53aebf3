// SPDX-License-Identifier: Apache-2.0
//
// SimulatedLoop is a Loop for tests: it runs only when told to, on virtual time
// that moves only when told to, so a test waits for nothing and always takes
// the same course.
//
// Example:
//   SimulatedLoop loop;
//   Poller poller(loop, ...);
//   loop.Advance(absl::Seconds(15));   // the poller has polled once

#ifndef FLOTILLA_COMMON_EVENT_SIMULATED_LOOP_H_
#define FLOTILLA_COMMON_EVENT_SIMULATED_LOOP_H_

#include <deque>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/event/loop.h"
#include "common/event/timer_queue.h"

namespace flotilla {

// Post() may be called from any thread; the rest on the thread that made it.
//
// Thread-safe.
class SimulatedLoop final : public Loop {
 public:
  SimulatedLoop();
  ~SimulatedLoop() override;
  SimulatedLoop(const SimulatedLoop&) = delete;
  SimulatedLoop& operator=(const SimulatedLoop&) = delete;

  // Runs tasks, and timers that are due now, until none is left. Time stands
  // still. Aborts the test after a million steps: something posts for ever.
  void RunUntilIdle();

  // Moves time forward by `duration`, stopping at each timer on the way to run
  // it and all that follows from it.
  void Advance(absl::Duration duration);

  // Moves time from timer to timer until `done`, at most by `limit`. Returns
  // whether `done` holds.
  bool RunUntil(absl::FunctionRef<bool()> done, absl::Duration limit);

  void Post(Task task) override;
  std::unique_ptr<Timer> CreateTimer(
      absl::AnyInvocable<void()> callback) override;
  bool IsCurrent() const override;
  absl::Duration MonotonicNow() const override { return now_; }

 private:
  bool RunOne();

  // Constant after construction.
  const std::thread::id thread_;

  absl::Mutex mu_;
  std::deque<Task> posted_ ABSL_GUARDED_BY(mu_);

  // Loop state.
  absl::Duration now_ = absl::Hours(1);
  TimerQueue timers_;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_EVENT_SIMULATED_LOOP_H_
