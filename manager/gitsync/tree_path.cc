// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/tree_path.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "manager/gitsync/display_text.h"

namespace flotilla::manager {
namespace {

std::string Shown(absl::string_view path) { return ToDisplayText(path, 256); }

}  // namespace

absl::StatusOr<std::string> NormalizeTreePath(absl::string_view path) {
  if (path.size() > kMaxTreePath) {
    return absl::InvalidArgumentError(absl::StrCat(
        "path \"", Shown(path), "\" is longer than ", kMaxTreePath, " bytes"));
  }
  if (!IsPlainText(path) || absl::StrContains(path, '\\')) {
    return absl::InvalidArgumentError(absl::StrCat(
        "path \"", Shown(path),
        "\" holds a backslash, a control character or bytes that are not "
        "UTF-8; use forward slashes and plain names"));
  }
  if (!path.empty() && path[0] == '/') {
    return absl::InvalidArgumentError(
        absl::StrCat("path \"", Shown(path),
                     "\" is absolute; write it relative to the repository"));
  }
  std::vector<absl::string_view> parts;
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
      continue;
    }
    if (parts.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("path \"", Shown(path), "\" leaves the repository"));
    }
    parts.pop_back();
  }
  return absl::StrJoin(parts, "/");
}

absl::StatusOr<std::string> JoinTreePath(absl::string_view directory,
                                         absl::string_view path) {
  if (!path.empty() && path[0] == '/') return NormalizeTreePath(path);
  return NormalizeTreePath(TreeChild(directory, path));
}

std::string TreeChild(absl::string_view directory, absl::string_view name) {
  return directory.empty() ? std::string(name)
                           : absl::StrCat(directory, "/", name);
}

absl::string_view TreeParent(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == absl::string_view::npos ? "" : path.substr(0, slash);
}

absl::string_view TreeName(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == absl::string_view::npos ? path : path.substr(slash + 1);
}

bool IsWithin(absl::string_view directory, absl::string_view path) {
  if (directory.empty() || path == directory) return true;
  return path.size() > directory.size() && path[directory.size()] == '/' &&
         absl::StartsWith(path, directory);
}

absl::string_view RelativeTo(absl::string_view directory,
                             absl::string_view path) {
  return directory.empty() ? path : path.substr(directory.size() + 1);
}

bool IsHiddenPath(absl::string_view path) {
  return absl::StartsWith(path, ".") || absl::StrContains(path, "/.");
}

}  // namespace flotilla::manager
