// SPDX-License-Identifier: Apache-2.0
//
// TimerQueue orders the timers of one loop. It reads no clock: the loop gives
// it a function that says what time it is, asks for the next deadline, and
// tells it to fire what is due. Timers with the same deadline fire in the order
// in which they were armed.
//
// A timer may outlive the queue: it is then dead and never fires.

#ifndef FLOTILLA_COMMON_EVENT_TIMER_QUEUE_H_
#define FLOTILLA_COMMON_EVENT_TIMER_QUEUE_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "common/event/loop.h"

namespace flotilla {

// See the file comment.
//
// Loop-affine.
class TimerQueue {
 public:
  using Now = absl::AnyInvocable<absl::Duration() const>;

  explicit TimerQueue(Now now);
  ~TimerQueue();
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;

  std::unique_ptr<Timer> Create(absl::AnyInvocable<void()> callback);

  // Fires the earliest timer if it is due at `now`. Returns whether it did.
  bool FireOne(absl::Duration now);

  // When the earliest armed timer is due; none if no timer is armed.
  absl::optional<absl::Duration> NextDeadline() const;

 private:
  class QueuedTimer;
  struct Shared;

  // Shared with the timers, which may live longer.
  const std::shared_ptr<Shared> shared_;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_EVENT_TIMER_QUEUE_H_
