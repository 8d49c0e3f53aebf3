// SPDX-License-Identifier: Apache-2.0
//
// ReadRate says how fast one agent's frames are read: so many frames and bytes
// a second, with bursts, so that a hostile agent costs its own stream only.

#ifndef FLOTILLA_MANAGER_STREAM_READ_RATE_H_
#define FLOTILLA_MANAGER_STREAM_READ_RATE_H_

#include <cstddef>

#include "absl/time/time.h"

namespace flotilla::manager {

// Loop-affine.
class ReadRate {
 public:
  explicit ReadRate(absl::Duration now);

  // A frame of `bytes` was read.
  void Spend(size_t bytes, absl::Duration now);

  // How long the next one must wait; zero when it need not.
  absl::Duration Delay(absl::Duration now) const;

 private:
  // Loop state. Below zero: so much is to be waited for.
  double frame_tokens_;
  double byte_tokens_;
  absl::Duration tokens_at_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_READ_RATE_H_
