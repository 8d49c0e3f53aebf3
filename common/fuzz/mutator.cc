// SPDX-License-Identifier: Apache-2.0

#include "common/fuzz/mutator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/string_view.h"

namespace flotilla {
namespace {

// Where parsers stumble.
const char* const kTokens[] = {
    "-1",   "0",    "1e999", "18446744073709551616", "null", "true", "\n",
    "\r\n", "\t",   "---\n", "...\n", "- ", ": ", "? ", "{", "}", "[", "]",
    "\"",   "'",    "&a ",   "*a", "<<: ", "!!binary ", "| ", ">-\n", "#",
    "%",    "\xef\xbb\xbf", "\xff", "\xc3", "\xe2\x80\xa8", "..", "/", "//",
    "../",  "\\",  "${", "}", "~"};

}  // namespace

Mutator::Mutator(uint64_t seed, std::vector<std::string> tokens,
                 size_t max_size)
    : tokens_(std::move(tokens)), max_size_(max_size), state_(seed) {}

size_t Mutator::Below(size_t end) {
  // SplitMix64.
  state_ += 0x9e3779b97f4a7c15;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  z ^= z >> 31;
  return static_cast<size_t>(z % end);
}

std::string Mutator::Next(const std::vector<std::string>& corpus) {
  std::string input = corpus[Below(corpus.size())];
  const size_t rounds = size_t{1} << Below(5);
  for (size_t i = 0; i < rounds; ++i) MutateOnce(corpus, input);
  if (input.size() > max_size_) input.resize(max_size_);
  return input;
}

void Mutator::MutateOnce(const std::vector<std::string>& corpus,
                         std::string& input) {
  const size_t at = Below(input.size() + 1);
  const size_t length =
      std::min(input.size() - at, size_t{1} << Below(10));
  switch (Below(9)) {
    case 0:
      if (at < input.size()) input[at] = static_cast<char>(Below(256));
      return;
    case 1:
      if (at < input.size()) {
        input[at] = static_cast<char>(input[at] ^ (1 << Below(8)));
      }
      return;
    case 2:
      input.erase(at, length);
      return;
    case 3:
      input.insert(at, kTokens[Below(std::size(kTokens))]);
      return;
    case 4:
      if (!tokens_.empty()) input.insert(at, tokens_[Below(tokens_.size())]);
      return;
    case 5: {
      // A part of another input, over this one or between.
      const std::string& other = corpus[Below(corpus.size())];
      const size_t from = Below(other.size() + 1);
      const std::string part = other.substr(from, size_t{1} << Below(10));
      if (Below(2) == 0) {
        input.insert(at, part);
      } else {
        input.replace(at, length, part);
      }
      return;
    }
    case 6:
      // Once more, somewhere else.
      input.insert(Below(input.size() + 1), input.substr(at, length));
      return;
    case 7: {
      // Many times over: depth and length.
      const std::string part =
          input.substr(at, std::min<size_t>(length, size_t{1} << Below(6)));
      std::string many;
      const size_t times = size_t{1} << Below(12);
      for (size_t i = 0; i < times && many.size() < max_size_; ++i) {
        many += part;
      }
      input.insert(at, many);
      break;
    }
    default:
      input.resize(at);
      return;
  }
  if (input.size() > max_size_) input.resize(max_size_);
}

}  // namespace flotilla
