// SPDX-License-Identifier: Apache-2.0
//
// ProblemSink puts problems about one subject into two lists that belong to
// whoever asked. It makes texts from repositories fit to be shown, and drops
// what a full list (ProblemLog::kMaxProblems) has no room for.

#ifndef FLOTILLA_MANAGER_BUNDLE_PROBLEM_SINK_H_
#define FLOTILLA_MANAGER_BUNDLE_PROBLEM_SINK_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::manager {

// Thread-compatible.
class ProblemSink {
 public:
  using Problems = std::vector<core::v1::Problem>;

  // The lists must outlive it.
  ProblemSink(std::string subject, Problems& errors, Problems& warnings)
      : subject_(std::move(subject)), errors_(errors), warnings_(warnings) {}
  ProblemSink(const ProblemSink&) = delete;
  ProblemSink& operator=(const ProblemSink&) = delete;

  // Lines count from 1; 0 when there is none.
  void Error(absl::string_view code, absl::string_view file, int line,
             absl::string_view message);
  void Error(const absl::Status& status, absl::string_view file);
  void Warning(absl::string_view file, int line, absl::string_view message);

  const std::string& subject() const { return subject_; }
  bool ok() const { return errors_.empty(); }

 private:
  void Add(Problems& list, absl::string_view code, absl::string_view file,
           int line, absl::string_view message) const;

  // Constant after construction.
  const std::string subject_;

  // Not owned.
  Problems& errors_;
  Problems& warnings_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_PROBLEM_SINK_H_
