// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/read_rate.h"

#include <algorithm>

namespace flotilla::manager {
namespace {

constexpr double kFramesPerSecond = 200;
constexpr double kBytesPerSecond = 4.0 * 1024 * 1024;
constexpr double kBurstSeconds = 5;

}  // namespace

ReadRate::ReadRate(absl::Duration now)
    : frame_tokens_(kFramesPerSecond * kBurstSeconds),
      byte_tokens_(kBytesPerSecond * kBurstSeconds),
      tokens_at_(now) {}

void ReadRate::Spend(size_t bytes, absl::Duration now) {
  const double seconds = absl::ToDoubleSeconds(now - tokens_at_);
  tokens_at_ = now;
  frame_tokens_ = std::min(frame_tokens_ + seconds * kFramesPerSecond,
                           kFramesPerSecond * kBurstSeconds) -
                  1;
  byte_tokens_ = std::min(byte_tokens_ + seconds * kBytesPerSecond,
                          kBytesPerSecond * kBurstSeconds) -
                 static_cast<double>(bytes);
}

absl::Duration ReadRate::Delay(absl::Duration now) const {
  const double missing = std::max(-frame_tokens_ / kFramesPerSecond,
                                  -byte_tokens_ / kBytesPerSecond);
  return std::max(absl::ZeroDuration(),
                  absl::Seconds(missing) - (now - tokens_at_));
}

}  // namespace flotilla::manager
