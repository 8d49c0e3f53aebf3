// SPDX-License-Identifier: Apache-2.0
//
// Makes new inputs for a fuzz test from old ones. Draws from its own generator,
// so the same seed gives the same inputs on every machine.

#ifndef FLOTILLA_COMMON_FUZZ_MUTATOR_H_
#define FLOTILLA_COMMON_FUZZ_MUTATOR_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace flotilla {

// Thread-compatible.
class Mutator {
 public:
  // `tokens` are texts worth inserting. Inputs have at most `max_size` bytes.
  Mutator(uint64_t seed, std::vector<std::string> tokens, size_t max_size);

  // An input made from one or two of `corpus`, which must not be empty.
  std::string Next(const std::vector<std::string>& corpus);

 private:
  // Below `end`, which must not be 0.
  size_t Below(size_t end);
  void MutateOnce(const std::vector<std::string>& corpus, std::string& input);

  const std::vector<std::string> tokens_;
  const size_t max_size_;
  uint64_t state_;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_FUZZ_MUTATOR_H_
