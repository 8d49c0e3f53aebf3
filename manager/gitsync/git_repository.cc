// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/git_repository.h"

#include <atomic>
#include <cstdint>

namespace flotilla::manager {

uint64_t NextFetchTicket() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

}  // namespace flotilla::manager
