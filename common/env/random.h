// SPDX-License-Identifier: Apache-2.0
//
// Random is the process's only source of randomness, so that tests can replace
// it. Its bytes are fit for keys and tokens.

#ifndef FLOTILLA_COMMON_ENV_RANDOM_H_
#define FLOTILLA_COMMON_ENV_RANDOM_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace flotilla {

// Thread-safe.
class Random {
 public:
  virtual ~Random() = default;

  // `count` unpredictable bytes.
  virtual std::string Bytes(size_t count) = 0;

  // Uniform in [0, bound). REQUIRES: bound > 0.
  virtual uint64_t Uniform(uint64_t bound) = 0;

  // A version 4 UUID in lower-case text form (RFC 4122).
  std::string Uuid() {
    static constexpr char kHex[] = "0123456789abcdef";
    std::string b = Bytes(16);
    b[6] = static_cast<char>((b[6] & 0x0f) | 0x40);
    b[8] = static_cast<char>((b[8] & 0x3f) | 0x80);
    std::string out;
    for (size_t i = 0; i < b.size(); ++i) {
      if (i == 4 || i == 6 || i == 8 || i == 10) out.push_back('-');
      out.push_back(kHex[(static_cast<unsigned char>(b[i]) >> 4) & 0xf]);
      out.push_back(kHex[static_cast<unsigned char>(b[i]) & 0xf]);
    }
    return out;
  }
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_ENV_RANDOM_H_
