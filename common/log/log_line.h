// SPDX-License-Identifier: Apache-2.0
//
// FormatLogLine makes one line of one record. Whatever a message holds, it
// stays one line of valid UTF-8 without control characters, so that nobody can
// forge a second record or play with the reader's terminal.

#ifndef FLOTILLA_COMMON_LOG_LOG_LINE_H_
#define FLOTILLA_COMMON_LOG_LOG_LINE_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace flotilla {

// DEBUG: for developers. INFO: state changes that an operator would want.
// WARNING: degraded, still working. ERROR: someone must act.
enum class LogLevel { kDebug, kInfo, kWarning, kError };

enum class LogFormat { kText, kJson };

struct LogRecord {
  absl::Time time;
  LogLevel level = LogLevel::kInfo;
  absl::string_view file;
  int line = 0;
  absl::string_view message;
};

// Without a line feed at its end.
std::string FormatLogLine(const LogRecord& record, LogFormat format);

// `text` with control characters, line separators and bytes that are not UTF-8
// written as escapes: "\n", "\x1b".
std::string EscapeForLog(absl::string_view text);

absl::string_view LogLevelName(LogLevel level);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_LOG_LOG_LINE_H_
