// SPDX-License-Identifier: Apache-2.0

#include "common/retry/backoff.h"

#include <algorithm>

namespace flotilla {

Backoff::Backoff(const Options& options)
    : options_(options), ceiling_(options.initial) {}

absl::Duration Backoff::Next(uint64_t random) {
  ++attempts_;
  const double fraction = static_cast<double>(random % kRandomBound) /
                          static_cast<double>(kRandomBound);
  const absl::Duration wait =
      options_.minimum + (ceiling_ - options_.minimum) * fraction;
  ceiling_ = std::min(ceiling_ * options_.factor, options_.maximum);
  return wait;
}

void Backoff::Reset() {
  attempts_ = 0;
  ceiling_ = options_.initial;
}

}  // namespace flotilla
