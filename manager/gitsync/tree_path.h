// SPDX-License-Identifier: Apache-2.0
//
// Paths in a FileTree: relative to its root, parts joined by '/', no "." or
// ".." in them, and "" for the root itself. NormalizeTreePath() and
// JoinTreePath() make one of what a user wrote; the others take such paths.

#ifndef FLOTILLA_MANAGER_GITSYNC_TREE_PATH_H_
#define FLOTILLA_MANAGER_GITSYNC_TREE_PATH_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace flotilla::manager {

// Bytes of a path.
inline constexpr size_t kMaxTreePath = 4096;

// "./a//b/" becomes "a/b", "a/../b" becomes "b"; the root is "".
// INVALID_ARGUMENT for an absolute path, one that leaves the root, and one
// with a backslash or a control character.
absl::StatusOr<std::string> NormalizeTreePath(absl::string_view path);

// Joins and normalises: `path` is relative to `directory`.
absl::StatusOr<std::string> JoinTreePath(absl::string_view directory,
                                         absl::string_view path);

// What is called `name` in `directory`. Either may be "".
std::string TreeChild(absl::string_view directory, absl::string_view name);

// "a" of "a/b"; "" of what lies in the root.
absl::string_view TreeParent(absl::string_view path);

// "b" of "a/b".
absl::string_view TreeName(absl::string_view path);

// Whether `path` is `directory` or lies in it.
bool IsWithin(absl::string_view directory, absl::string_view path);

// "b/c" of "a/b/c" in "a".
// REQUIRES: `path` lies in `directory` and is not `directory` itself.
absl::string_view RelativeTo(absl::string_view directory,
                             absl::string_view path);

// Whether a part of it begins with a dot.
bool IsHiddenPath(absl::string_view path);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_TREE_PATH_H_
