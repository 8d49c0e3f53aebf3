// SPDX-License-Identifier: Apache-2.0
//
// PosixRandom is the kernel's source of randomness. Without it no key can be
// made, so a kernel that has none ends the process.

#ifndef FLOTILLA_COMMON_ENV_POSIX_POSIX_RANDOM_H_
#define FLOTILLA_COMMON_ENV_POSIX_POSIX_RANDOM_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "common/env/random.h"

namespace flotilla {

// See the file comment.
//
// Thread-safe.
class PosixRandom final : public Random {
 public:
  std::string Bytes(size_t count) override;
  uint64_t Uniform(uint64_t bound) override;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_ENV_POSIX_POSIX_RANDOM_H_
