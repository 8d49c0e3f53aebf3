// SPDX-License-Identifier: Apache-2.0

#include "common/env/posix/posix_random.h"

#include <sys/random.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace flotilla {

std::string PosixRandom::Bytes(size_t count) {
  std::string bytes(count, '\0');
  size_t filled = 0;
  while (filled < count) {
    const ssize_t n =
        ::getrandom(bytes.data() + filled, count - filled, /*flags=*/0);
    if (n > 0) {
      filled += static_cast<size_t>(n);
    } else if (errno != EINTR) {
      std::fprintf(stderr, "getrandom: %s\n", std::strerror(errno));
      std::abort();
    }
  }
  return bytes;
}

uint64_t PosixRandom::Uniform(uint64_t bound) {
  // Values from `limit` upwards would favour the small results.
  const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
  for (;;) {
    uint64_t value;
    std::memcpy(&value, Bytes(sizeof(value)).data(), sizeof(value));
    if (value < limit) return value % bound;
  }
}

}  // namespace flotilla
