// SPDX-License-Identifier: Apache-2.0
//
// LogCapture collects what is logged while it lives, for tests, in place of
// stderr.

#ifndef FLOTILLA_COMMON_LOG_LOG_CAPTURE_H_
#define FLOTILLA_COMMON_LOG_LOG_CAPTURE_H_

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/log/log.h"
#include "common/log/log_line.h"

namespace flotilla {

// One at a time in a process.
//
// Thread-safe.
class LogCapture {
 public:
  struct Entry {
    LogLevel level;
    std::string message;
  };

  LogCapture();
  ~LogCapture();
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

  std::vector<Entry> entries() const;
  // Messages of one level, in order.
  std::vector<std::string> Messages(LogLevel level) const;

 private:
  LogObserver previous_;
  mutable absl::Mutex mu_;
  std::vector<Entry> entries_ ABSL_GUARDED_BY(mu_);
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_LOG_LOG_CAPTURE_H_
