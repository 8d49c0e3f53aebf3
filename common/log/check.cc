// SPDX-License-Identifier: Apache-2.0

#include "common/log/check.h"

#include <cstdio>
#include <cstdlib>

namespace flotilla::internal {

CheckFailure::CheckFailure(const char* file, int line, const char* condition) {
  text_ << file << ":" << line << ": CHECK failed: " << condition << " ";
}

CheckFailure::~CheckFailure() {
  std::fprintf(stderr, "%s\n", text_.str().c_str());
  std::abort();
}

}  // namespace flotilla::internal
