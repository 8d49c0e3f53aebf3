// SPDX-License-Identifier: Apache-2.0

#include "common/env/posix/posix_clock.h"

#include "absl/time/clock.h"

namespace flotilla {

absl::Time PosixClock::Now() const { return absl::Now(); }

}  // namespace flotilla
