// SPDX-License-Identifier: Apache-2.0
//
// Backoff says how long to wait before the next attempt: a ceiling that grows
// from `initial` by `factor` up to `maximum`, and a wait that is spread evenly
// between `minimum` and that ceiling ("full jitter"), so that ten thousand
// agents do not come back together. It draws nothing itself: the caller passes
// a random number.
//
// Example:
//   timer->Arm(backoff.Next(random.Uniform(Backoff::kRandomBound)));
//   ...
//   backoff.Reset();   // it worked

#ifndef FLOTILLA_COMMON_RETRY_BACKOFF_H_
#define FLOTILLA_COMMON_RETRY_BACKOFF_H_

#include <cstdint>

#include "absl/time/time.h"

namespace flotilla {

// See the file comment.
//
// Thread-compatible.
class Backoff {
 public:
  struct Options {
    absl::Duration minimum = absl::Milliseconds(50);
    absl::Duration initial = absl::Seconds(1);
    absl::Duration maximum = absl::Minutes(1);
    double factor = 2.0;
  };

  // What Next() takes is uniform in [0, kRandomBound).
  static constexpr uint64_t kRandomBound = uint64_t{1} << 32;

  // REQUIRES: 0 <= minimum <= initial <= maximum and factor >= 1.
  explicit Backoff(const Options& options);
  Backoff() : Backoff(Options()) {}

  // The wait before the next attempt; the one after may be longer.
  absl::Duration Next(uint64_t random);

  // The next wait is the first again.
  void Reset();

  // How often Next() was called since the last Reset().
  int attempts() const { return attempts_; }

 private:
  // Constant after construction.
  const Options options_;

  absl::Duration ceiling_;
  int attempts_ = 0;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_RETRY_BACKOFF_H_
