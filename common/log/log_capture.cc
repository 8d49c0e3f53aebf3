// SPDX-License-Identifier: Apache-2.0

#include "common/log/log_capture.h"

#include <utility>

namespace flotilla {

LogCapture::LogCapture() {
  previous_ = SetLogObserver([this](const LogRecord& record) {
    absl::MutexLock lock(&mu_);
    entries_.push_back({record.level, std::string(record.message)});
    return false;
  });
}

LogCapture::~LogCapture() { SetLogObserver(std::move(previous_)); }

std::vector<LogCapture::Entry> LogCapture::entries() const {
  absl::MutexLock lock(&mu_);
  return entries_;
}

std::vector<std::string> LogCapture::Messages(LogLevel level) const {
  absl::MutexLock lock(&mu_);
  std::vector<std::string> messages;
  for (const Entry& entry : entries_) {
    if (entry.level == level) messages.push_back(entry.message);
  }
  return messages;
}

}  // namespace flotilla
