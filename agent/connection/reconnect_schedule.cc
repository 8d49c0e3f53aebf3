// SPDX-License-Identifier: Apache-2.0

#include "agent/connection/reconnect_schedule.h"

#include <algorithm>

#include "absl/time/time.h"

namespace flotilla::agent {
namespace {

constexpr int kMaxDoublings = 16;

absl::Duration Capped(absl::Duration first, int doublings,
                      absl::Duration longest) {
  return std::min(longest, first * (1 << std::min(doublings, kMaxDoublings)));
}

}  // namespace

absl::Duration ReconnectSchedule::OnEnded(Ending ending, absl::Duration now,
                                          double unit, absl::Duration asked) {
  if (live_since_ != absl::InfiniteDuration() &&
      now - live_since_ >= options_.proven_after) {
    failures_ = 0;
    supersessions_ = 0;
  }
  live_since_ = absl::InfiniteDuration();
  if (ending == Ending::kSuperseded) {
    const absl::Duration wait = Capped(options_.superseded, supersessions_++,
                                       options_.superseded_longest);
    return std::max(asked, wait * (1 + unit / 2));
  }
  if (ending == Ending::kRefused) {
    // Late enough not to be a nuisance, soon enough once it was put right.
    return std::max(asked, options_.longest / 2 * (1 + unit));
  }
  if (ending == Ending::kAsked) {
    return std::max(asked, options_.first * (1 + unit));
  }
  const absl::Duration wait =
      Capped(options_.first, failures_++, options_.longest) * unit;
  // Spread what the manager asked of everybody at once.
  return std::max(wait, asked * (1 + unit / 4));
}

}  // namespace flotilla::agent
