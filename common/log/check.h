// SPDX-License-Identifier: Apache-2.0
//
// CHECK and DCHECK end the process when their condition is false. For bugs of
// ours that this very file can rule out, and for main(); never for anything
// that a peer, a disk or a user can cause.
//
//   DCHECK(loop_.IsCurrent());
//   CHECK(parsed) << "built-in document";

#ifndef FLOTILLA_COMMON_LOG_CHECK_H_
#define FLOTILLA_COMMON_LOG_CHECK_H_

#include <sstream>

#include "absl/base/optimization.h"

namespace flotilla::internal {

// Collects what is streamed in; writes it and aborts when it is destroyed.
//
// Thread-compatible.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  CheckFailure(const CheckFailure&) = delete;
  CheckFailure& operator=(const CheckFailure&) = delete;
  [[noreturn]] ~CheckFailure();

  std::ostream& stream() { return text_; }

 private:
  std::ostringstream text_;
};

// Turns a stream into void, so that both arms of ?: have one type.
struct CheckVoidify {
  void operator&(const std::ostream&) const {}
};

}  // namespace flotilla::internal

#ifndef CHECK
#define CHECK(condition)                                                     \
  ABSL_PREDICT_TRUE(condition)                                               \
  ? (void)0                                                                  \
  : ::flotilla::internal::CheckVoidify() &                                   \
        ::flotilla::internal::CheckFailure(__FILE__, __LINE__, #condition) \
            .stream()
#endif

#ifndef DCHECK
#ifdef NDEBUG
#define DCHECK(condition) CHECK(true || (condition))
#else
#define DCHECK(condition) CHECK(condition)
#endif
#endif

#endif  // FLOTILLA_COMMON_LOG_CHECK_H_
