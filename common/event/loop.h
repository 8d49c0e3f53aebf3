// SPDX-License-Identifier: Apache-2.0
//
// Loop is the one thread on which all domain state of a process lives
// (docs/adr: one loop per process). Other threads hand it work with Post();
// nothing on the loop may block. Delays come from timers, never from sleeping.
// RealLoop runs on wall time; SimulatedLoop (testonly) on virtual time.

#ifndef FLOTILLA_COMMON_EVENT_LOOP_H_
#define FLOTILLA_COMMON_EVENT_LOOP_H_

#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"

namespace flotilla {

using Task = absl::AnyInvocable<void()>;

// A repeating-by-hand alarm: Arm() sets (or moves) the next firing, which
// happens once. Destroying or disarming it guarantees that its callback does
// not run afterwards.
//
// Loop-affine.
class Timer {
 public:
  virtual ~Timer() = default;

  // Fires once after `delay` (clamped to >= 0). Replaces an earlier Arm().
  virtual void Arm(absl::Duration delay) = 0;
  virtual void Disarm() = 0;
  virtual bool armed() const = 0;
};

// See the file comment. Post() may be called from any thread; everything else
// only on the loop.
//
// Thread-safe.
class Loop {
 public:
  virtual ~Loop() = default;

  // Runs `task` on the loop, after everything posted before it. Tasks still
  // queued when the loop is destroyed are destroyed without being run.
  virtual void Post(Task task) = 0;

  // REQUIRES: IsCurrent(), or the loop is not running yet.
  virtual std::unique_ptr<Timer> CreateTimer(
      absl::AnyInvocable<void()> callback) = 0;

  // True on the loop's own thread.
  virtual bool IsCurrent() const = 0;

  // Time since an arbitrary point that never goes back. For durations only.
  virtual absl::Duration MonotonicNow() const = 0;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_EVENT_LOOP_H_
