// SPDX-License-Identifier: Apache-2.0
//
// ReconnectSchedule says how long to wait before the next try to reach the
// manager: capped exponential back-off with full jitter, reset only by a
// session that lived for a minute, so that a manager which accepts and drops is
// not hammered. What the manager asked for goes before.

#ifndef FLOTILLA_AGENT_CONNECTION_RECONNECT_SCHEDULE_H_
#define FLOTILLA_AGENT_CONNECTION_RECONNECT_SCHEDULE_H_

#include "absl/time/time.h"

namespace flotilla::agent {

// Loop-affine.
class ReconnectSchedule {
 public:
  struct Options {
    absl::Duration first = absl::Milliseconds(500);
    absl::Duration longest = absl::Seconds(60);
    absl::Duration proven_after = absl::Seconds(60);
    absl::Duration superseded = absl::Seconds(60);
    absl::Duration superseded_longest = absl::Minutes(16);
  };

  // How the last try ended.
  enum class Ending {
    kFailed,      // Not reached, or the session broke.
    kAsked,       // The manager said to come back: drain, resync.
    kSuperseded,  // Another session of this identity took over.
    kRefused,     // A person must do something.
  };

  explicit ReconnectSchedule(Options options) : options_(options) {}

  // A session is open since `now`.
  void OnLive(absl::Duration now) { live_since_ = now; }

  // The wait before the next try. `unit` is uniform in [0, 1); `asked` is the
  // manager's retry_after, or zero.
  absl::Duration OnEnded(Ending ending, absl::Duration now, double unit,
                         absl::Duration asked);

 private:
  // Constant after construction.
  const Options options_;

  // Loop state.
  absl::Duration live_since_ = absl::InfiniteDuration();
  int failures_ = 0;
  int supersessions_ = 0;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_CONNECTION_RECONNECT_SCHEDULE_H_
