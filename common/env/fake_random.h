// SPDX-License-Identifier: Apache-2.0
//
// FakeRandom draws from a seed: the same seed gives the same values in the same
// order. Fit for nothing but tests.

#ifndef FLOTILLA_COMMON_ENV_FAKE_RANDOM_H_
#define FLOTILLA_COMMON_ENV_FAKE_RANDOM_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/env/random.h"

namespace flotilla {

// See the file comment.
//
// Thread-safe.
class FakeRandom final : public Random {
 public:
  explicit FakeRandom(uint64_t seed = 1) : engine_(seed) {}

  std::string Bytes(size_t count) override {
    absl::MutexLock lock(&mu_);
    std::string bytes(count, '\0');
    for (char& byte : bytes) byte = static_cast<char>(engine_() >> 56);
    return bytes;
  }

  uint64_t Uniform(uint64_t bound) override {
    absl::MutexLock lock(&mu_);
    return engine_() % bound;
  }

 private:
  absl::Mutex mu_;
  std::mt19937_64 engine_ ABSL_GUARDED_BY(mu_);
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_ENV_FAKE_RANDOM_H_
