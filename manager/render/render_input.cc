// SPDX-License-Identifier: Apache-2.0

#include "manager/render/render_input.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/text/cut_text.h"

namespace flotilla::manager {
namespace {

constexpr size_t kMaxProblemText = 2000;

}  // namespace

std::string InRepository(const RenderInput& input, absl::string_view file) {
  if (file.empty() || input.directory.empty() || input.directory == ".") {
    return std::string(file);
  }
  return absl::StrCat(absl::StripSuffix(input.directory, "/"), "/", file);
}

core::v1::Problem MakeProblem(const RenderInput& input, absl::string_view file,
                              int line, absl::string_view message,
                              absl::string_view subject,
                              absl::StatusCode code) {
  core::v1::Problem problem;
  problem.set_code(absl::StatusCodeToString(code));
  problem.set_message(std::string(CutText(message, kMaxProblemText)));
  problem.set_subject(std::string(subject));
  problem.set_file(InRepository(input, file));
  problem.set_line(static_cast<uint32_t>(std::max(line, 0)));
  return problem;
}

std::string DirectoryOf(absl::string_view file) {
  const size_t slash = file.rfind('/');
  return slash == absl::string_view::npos
             ? ""
             : std::string(file.substr(0, slash + 1));
}

absl::string_view BaseOf(absl::string_view file) {
  const size_t slash = file.rfind('/');
  return slash == absl::string_view::npos ? file : file.substr(slash + 1);
}

absl::optional<std::string> CleanPath(absl::string_view path) {
  if (absl::StartsWith(path, "/")) return absl::nullopt;
  std::vector<absl::string_view> parts;
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (parts.empty()) return absl::nullopt;
      parts.pop_back();
    } else {
      parts.push_back(part);
    }
  }
  return absl::StrJoin(parts, "/");
}

bool IsNamespaceName(absl::string_view text) {
  if (text.empty() || text.size() > 63) return false;
  for (char c : text) {
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-') {
      return false;
    }
  }
  return text.front() != '-' && text.back() != '-';
}

std::string ReleaseNamespace(const storage::v1::DeployOptions& options) {
  if (!options.namespace_().empty()) return options.namespace_();
  if (!options.default_namespace().empty()) return options.default_namespace();
  return "default";
}

}  // namespace flotilla::manager
