// SPDX-License-Identifier: Apache-2.0
//
// Logging to stderr, one line per record.
//
//   FLOTILLA_LOG(INFO) << "listening on " << address;
//   FLOTILLA_LOG_EVERY(WARNING, absl::Seconds(10)) << "disk is slow";
//   FLOTILLA_BUG(a <= b) << "a=" << a << " b=" << b;
//
// Levels are DEBUG, INFO, WARNING, ERROR (see LogLevel). What is streamed is
// not evaluated when the level is off. FLOTILLA_LOG_EVERY writes at most one
// record per period from its place in the code, and says how many it left out.
//
// FLOTILLA_BUG is for invariants of ours that may not hold: when `condition` is
// false it logs an ERROR and counts; where SetBugsFatal(true) was called
// (simulations, tests) it ends the process.
//
// A secret must never be streamed in: nothing here can tell.

#ifndef FLOTILLA_COMMON_LOG_LOG_H_
#define FLOTILLA_COMMON_LOG_LOG_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <sstream>
#include <string>

#include "absl/base/optimization.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/log/log_line.h"

namespace flotilla {

struct LogOptions {
  LogFormat format = LogFormat::kText;
  LogLevel minimum = LogLevel::kInfo;
};

// Sets how records are written from now on. From main().
void SetLogOptions(const LogOptions& options);

bool LogLevelEnabled(LogLevel level);

// Gets each record that is enabled, before it is written; returns whether it
// should be written to stderr as well. Empty: written. Returns the last one.
using LogObserver = std::function<bool(const LogRecord&)>;
LogObserver SetLogObserver(LogObserver observer);

// How often FLOTILLA_BUG found its condition false.
int64_t BugCount();
void SetBugsFatal(bool fatal);

namespace internal {

// One record: collects what is streamed in, writes it when it is destroyed.
//
// Thread-compatible.
class LogMessage {
 public:
  LogMessage(LogLevel level, const char* file, int line)
      : level_(level), file_(file), line_(line) {}
  LogMessage(const LogMessage&) = delete;
  LogMessage& operator=(const LogMessage&) = delete;
  ~LogMessage();

  LogMessage& AsBug(const char* condition);
  LogMessage& WithLeftOut(int64_t count);
  std::ostream& stream() { return text_; }

 private:
  const LogLevel level_;
  const char* const file_;
  const int line_;
  bool bug_ = false;
  int64_t left_out_ = 0;
  std::ostringstream text_;
};

// Turns a stream into void, so that both arms of ?: have one type. Binds less
// tightly than << and more than ?:.
struct LogVoidify {
  void operator&(const std::ostream&) const {}
};

// The state of one FLOTILLA_LOG_EVERY.
//
// Thread-safe.
class LogThrottle {
 public:
  // Whether a record may be written now; counts it as left out if not.
  bool Allow(absl::Duration period);
  int64_t TakeLeftOut() { return left_out_.exchange(0); }

 private:
  std::atomic<int64_t> next_ns_{0};
  std::atomic<int64_t> left_out_{0};
};

}  // namespace internal
}  // namespace flotilla

#define FLOTILLA_LOG_LEVEL_DEBUG_ ::flotilla::LogLevel::kDebug
#define FLOTILLA_LOG_LEVEL_INFO_ ::flotilla::LogLevel::kInfo
#define FLOTILLA_LOG_LEVEL_WARNING_ ::flotilla::LogLevel::kWarning
#define FLOTILLA_LOG_LEVEL_ERROR_ ::flotilla::LogLevel::kError

#define FLOTILLA_LOG(level)                                            \
  !::flotilla::LogLevelEnabled(FLOTILLA_LOG_LEVEL_##level##_)          \
      ? (void)0                                                        \
      : ::flotilla::internal::LogVoidify() &                           \
            ::flotilla::internal::LogMessage(                          \
                FLOTILLA_LOG_LEVEL_##level##_, __FILE__, __LINE__)     \
                .stream()

#define FLOTILLA_LOG_EVERY(level, period)                                   \
  for (::flotilla::internal::LogThrottle* flotilla_throttle =               \
           [] {                                                             \
             static ::flotilla::internal::LogThrottle throttle;             \
             return &throttle;                                              \
           }();                                                             \
       flotilla_throttle != nullptr &&                                      \
       ::flotilla::LogLevelEnabled(FLOTILLA_LOG_LEVEL_##level##_) &&        \
       flotilla_throttle->Allow(period);                                    \
       flotilla_throttle = nullptr)                                         \
  ::flotilla::internal::LogMessage(FLOTILLA_LOG_LEVEL_##level##_, __FILE__, \
                                   __LINE__)                                \
      .WithLeftOut(flotilla_throttle->TakeLeftOut())                        \
      .stream()

#define FLOTILLA_BUG(condition)                                            \
  ABSL_PREDICT_TRUE(condition)                                             \
  ? (void)0                                                                \
  : ::flotilla::internal::LogVoidify() &                                   \
        ::flotilla::internal::LogMessage(::flotilla::LogLevel::kError,     \
                                         __FILE__, __LINE__)               \
            .AsBug(#condition)                                             \
            .stream()

#endif  // FLOTILLA_COMMON_LOG_LOG_H_
