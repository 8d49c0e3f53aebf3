// SPDX-License-Identifier: Apache-2.0
//
// PosixClock is the machine's wall clock.

#ifndef FLOTILLA_COMMON_ENV_POSIX_POSIX_CLOCK_H_
#define FLOTILLA_COMMON_ENV_POSIX_POSIX_CLOCK_H_

#include "absl/time/time.h"
#include "common/env/clock.h"

namespace flotilla {

// See the file comment.
//
// Thread-safe.
class PosixClock final : public Clock {
 public:
  absl::Time Now() const override;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_ENV_POSIX_POSIX_CLOCK_H_
