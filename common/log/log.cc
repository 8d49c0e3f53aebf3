// SPDX-License-Identifier: Apache-2.0

#include "common/log/log.h"

#include <chrono>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/logger.h"
#include "spdlog/sinks/stdout_sinks.h"

namespace flotilla {
namespace {

// The one logging state of a process. Never destroyed: other static objects
// may log while they are.
struct LogState {
  LogState() {
    logger.set_pattern("%v");
    logger.set_level(spdlog::level::trace);
    logger.flush_on(spdlog::level::trace);
  }

  std::atomic<LogFormat> format{LogFormat::kText};
  std::atomic<LogLevel> minimum{LogLevel::kInfo};
  std::atomic<int64_t> bugs{0};
  std::atomic<bool> bugs_fatal{false};
  spdlog::logger logger{"flotilla",
                        std::make_shared<spdlog::sinks::stderr_sink_mt>()};
  std::mutex observer_mu;
  LogObserver observer;
};

LogState& State() {
  static LogState* const state = new LogState;
  return *state;
}

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

bool Observed(const LogRecord& record) {
  LogObserver observer;
  {
    const std::lock_guard<std::mutex> lock(State().observer_mu);
    observer = State().observer;
  }
  return observer == nullptr || observer(record);
}

}  // namespace

void SetLogOptions(const LogOptions& options) {
  State().format = options.format;
  State().minimum = options.minimum;
}

bool LogLevelEnabled(LogLevel level) { return level >= State().minimum; }

LogObserver SetLogObserver(LogObserver observer) {
  const std::lock_guard<std::mutex> lock(State().observer_mu);
  return std::exchange(State().observer, std::move(observer));
}

int64_t BugCount() { return State().bugs; }

void SetBugsFatal(bool fatal) { State().bugs_fatal = fatal; }

namespace internal {

LogMessage::~LogMessage() {
  std::string message = text_.str();
  if (left_out_ > 0) {
    absl::StrAppend(&message, " (", left_out_, " more like this left out)");
  }
  LogRecord record;
  record.time = absl::FromChrono(std::chrono::system_clock::now());
  record.level = level_;
  record.file = file_;
  record.line = line_;
  record.message = message;
  if (Observed(record)) {
    State().logger.log(
        ToSpdlog(level_),
        spdlog::string_view_t(FormatLogLine(record, State().format)));
  }
  if (bug_ && State().bugs_fatal) std::abort();
}

LogMessage& LogMessage::AsBug(const char* condition) {
  bug_ = true;
  ++State().bugs;
  text_ << "BUG: not (" << condition << ") ";
  return *this;
}

LogMessage& LogMessage::WithLeftOut(int64_t count) {
  left_out_ = count;
  return *this;
}

bool LogThrottle::Allow(absl::Duration period) {
  const int64_t now =
      std::chrono::steady_clock::now().time_since_epoch().count();
  int64_t next = next_ns_.load();
  if (now >= next &&
      next_ns_.compare_exchange_strong(
          next, now + absl::ToInt64Nanoseconds(period))) {
    return true;
  }
  ++left_out_;
  return false;
}

}  // namespace internal
}  // namespace flotilla
