// SPDX-License-Identifier: Apache-2.0
//
// FakeClock stands still until a test moves it. It starts at noon of
// 1 June 2030, UTC.

#ifndef FLOTILLA_COMMON_ENV_FAKE_CLOCK_H_
#define FLOTILLA_COMMON_ENV_FAKE_CLOCK_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/env/clock.h"

namespace flotilla {

// See the file comment.
//
// Thread-safe.
class FakeClock final : public Clock {
 public:
  FakeClock()
      : now_(absl::FromCivil(absl::CivilHour(2030, 6, 1, 12),
                             absl::UTCTimeZone())) {}
  explicit FakeClock(absl::Time now) : now_(now) {}

  absl::Time Now() const override {
    absl::MutexLock lock(&mu_);
    return now_;
  }
  void Set(absl::Time now) {
    absl::MutexLock lock(&mu_);
    now_ = now;
  }
  void Advance(absl::Duration duration) {
    absl::MutexLock lock(&mu_);
    now_ += duration;
  }

 private:
  mutable absl::Mutex mu_;
  absl::Time now_ ABSL_GUARDED_BY(mu_);
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_ENV_FAKE_CLOCK_H_
