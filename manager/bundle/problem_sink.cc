// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/problem_sink.h"

#include <algorithm>
#include <cstdint>

#include "manager/documents/field_reader.h"
#include "manager/gitsync/display_text.h"

namespace flotilla::manager {
namespace {

// Bytes of a problem's text.
constexpr size_t kMaxText = 4000;

}  // namespace

void ProblemSink::Error(absl::string_view code, absl::string_view file,
                        int line, absl::string_view message) {
  Add(errors_, code, file, line, message);
}

void ProblemSink::Error(const absl::Status& status, absl::string_view file) {
  Error(absl::StatusCodeToString(status.code()), file, 0, status.message());
}

void ProblemSink::Warning(absl::string_view file, int line,
                          absl::string_view message) {
  Add(warnings_, "WARNING", file, line, message);
}

void ProblemSink::Add(Problems& list, absl::string_view code,
                      absl::string_view file, int line,
                      absl::string_view message) const {
  if (list.size() >= ProblemLog::kMaxProblems) return;
  core::v1::Problem& problem = list.emplace_back();
  problem.set_code(std::string(code));
  problem.set_subject(subject_);
  problem.set_file(ToDisplayText(file, kMaxText));
  problem.set_line(static_cast<uint32_t>(std::max(0, line)));
  problem.set_message(ToDisplayText(message, kMaxText));
}

}  // namespace flotilla::manager
