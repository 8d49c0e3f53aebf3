// SPDX-License-Identifier: Apache-2.0
//
// Clock is the wall clock: for certificates, tokens, retention and display
// only. Durations are measured with Loop::MonotonicNow().

#ifndef FLOTILLA_COMMON_ENV_CLOCK_H_
#define FLOTILLA_COMMON_ENV_CLOCK_H_

#include "absl/time/time.h"

namespace flotilla {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_ENV_CLOCK_H_
