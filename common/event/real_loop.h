// SPDX-License-Identifier: Apache-2.0
//
// RealLoop is the loop of a running process: a queue of tasks, timers on the
// monotonic clock, and signals, all on the thread that calls RunUntilStopped().
// Until then the thread that made it counts as its own, so that a composition
// root can build loop-affine objects first.
//
// Each turn runs what was posted before it began, then the timers that are due,
// so neither can starve the other.
//
// Example:
//   RealLoop loop;
//   loop.CatchSignals({SIGINT, SIGTERM}, [&](int) { loop.Stop(); });
//   ...
//   loop.RunUntilStopped();

#ifndef FLOTILLA_COMMON_EVENT_REAL_LOOP_H_
#define FLOTILLA_COMMON_EVENT_REAL_LOOP_H_

#include <atomic>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/event/loop.h"
#include "common/event/timer_queue.h"

namespace flotilla {

// Post() and Stop() may be called from any thread.
//
// Thread-safe.
class RealLoop final : public Loop {
 public:
  RealLoop();
  // REQUIRES: RunUntilStopped() is not running.
  ~RealLoop() override;
  RealLoop(const RealLoop&) = delete;
  RealLoop& operator=(const RealLoop&) = delete;

  // Runs `callback` on the loop for each of `signals` that arrives, and blocks
  // their usual effect.
  // REQUIRES: called at most once, before the process starts other threads.
  void CatchSignals(const std::vector<int>& signals,
                    absl::AnyInvocable<void(int)> callback);

  // Runs tasks, timers and signals on this thread until Stop(). May be called
  // again afterwards.
  void RunUntilStopped();

  // Makes RunUntilStopped() return after the turn it is in. What is still
  // posted stays queued. A Stop() before the run makes the run return at once.
  void Stop();

  void Post(Task task) override;
  std::unique_ptr<Timer> CreateTimer(
      absl::AnyInvocable<void()> callback) override;
  bool IsCurrent() const override;
  absl::Duration MonotonicNow() const override;

 private:
  // Returns false when told to stop.
  bool RunTurn();
  void Sleep();
  void Wake();
  void ReadSignals();

  // Constant after construction, but for the signals: set before the run.
  const int wake_fd_;
  int signal_fd_ = -1;
  absl::AnyInvocable<void(int)> on_signal_;
  std::atomic<std::thread::id> thread_;

  absl::Mutex mu_;
  std::deque<Task> posted_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  bool awake_ ABSL_GUARDED_BY(mu_) = false;

  // Loop state.
  TimerQueue timers_;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_EVENT_REAL_LOOP_H_
