// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/file_tree.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/status/status_macros.h"
#include "manager/gitsync/display_text.h"
#include "manager/gitsync/tree_path.h"

namespace flotilla::manager {
namespace {

// As Linux: more links on the way to one file are a loop.
constexpr int kMaxLinks = 40;
constexpr size_t kRecentDirectories = 64;

std::string Shown(absl::string_view path) { return ToDisplayText(path, 256); }

// Names that git itself refuses to check out, and such as no path may hold.
bool IsUsableName(absl::string_view name) {
  if (name.empty() || name == "." || name == ".." ||
      absl::EqualsIgnoreCase(name, ".git") ||
      absl::StartsWithIgnoreCase(name, ".git:") || !IsPlainText(name)) {
    return false;
  }
  return !absl::StrContains(name, '/') && !absl::StrContains(name, '\\');
}

absl::Status NotFound(absl::string_view path) {
  return absl::NotFoundError(
      absl::StrCat("there is no \"", Shown(path), "\" in the tree"));
}

}  // namespace

absl::string_view TreeEntry::name() const { return TreeName(path); }

absl::StatusOr<const std::vector<FileTree::RawEntry>*>
FileTree::CachedDirectory(const std::string& directory) {
  for (const auto& [path, entries] : recent_) {
    if (path == directory) return &entries;
  }
  ASSIGN_OR_RETURN(std::vector<RawEntry> entries, ReadDirectory(directory));
  std::sort(
      entries.begin(), entries.end(),
      [](const RawEntry& a, const RawEntry& b) { return a.name < b.name; });
  // Git makes no such directory, but whoever pushes can. Which of the two
  // would count is nobody's to guess.
  const auto twice = std::adjacent_find(
      entries.begin(), entries.end(),
      [](const RawEntry& a, const RawEntry& b) { return a.name == b.name; });
  if (twice != entries.end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "directory \"", Shown(directory), "\" has two entries called \"",
        Shown(twice->name), "\", as Git never writes it: commit it anew"));
  }
  if (recent_.size() < kRecentDirectories) {
    recent_.reserve(kRecentDirectories);
    recent_.emplace_back(directory, std::move(entries));
    return &recent_.back().second;
  }
  auto& slot = recent_[next_recent_];
  next_recent_ = (next_recent_ + 1) % kRecentDirectories;
  slot = {directory, std::move(entries)};
  return &slot.second;
}

absl::StatusOr<FileTree::Resolved> FileTree::Resolve(const std::string& path) {
  RawEntry root;
  root.kind = RawEntry::Kind::kDirectory;
  Resolved at{"", root};
  // Parts still to go, the next one last.
  std::vector<std::string> todo;
  const auto push = [&todo](absl::string_view text) {
    std::vector<std::string> parts = absl::StrSplit(text, '/');
    for (auto it = parts.rbegin(); it != parts.rend(); ++it) {
      if (!it->empty() && *it != ".") todo.push_back(std::move(*it));
    }
  };
  push(path);
  int links = 0;
  while (!todo.empty()) {
    const std::string part = std::move(todo.back());
    todo.pop_back();
    if (part == "..") {
      // From a link only. The parent of a real directory is one.
      if (at.path.empty()) {
        return absl::InvalidArgumentError(absl::StrCat(
            "symbolic link on the way to \"", Shown(path),
            "\" leaves the repository; a link may only lead to a file in it"));
      }
      at = {std::string(TreeParent(at.path)), root};
      continue;
    }
    if (at.raw.kind != RawEntry::Kind::kDirectory || !IsUsableName(part)) {
      return NotFound(path);
    }
    ASSIGN_OR_RETURN(const std::vector<RawEntry>* entries,
                     CachedDirectory(at.path));
    const auto found = std::lower_bound(
        entries->begin(), entries->end(), part,
        [](const RawEntry& e, const std::string& name) {
          return e.name < name;
        });
    if (found == entries->end() || found->name != part) return NotFound(path);
    const std::string here = TreeChild(at.path, part);
    if (found->kind != RawEntry::Kind::kLink) {
      at = {here, *found};
      continue;
    }
    if (++links > kMaxLinks) {
      return absl::InvalidArgumentError(absl::StrCat(
          "symbolic link \"", Shown(here), "\" leads in a circle"));
    }
    ASSIGN_OR_RETURN(const std::string target, ReadLink(here));
    if (target.empty() || target.size() > kMaxTreePath || target[0] == '/') {
      return absl::InvalidArgumentError(absl::StrCat(
          "symbolic link \"", Shown(here), "\" leads to \"", Shown(target),
          "\", outside the repository; a link may only lead to a file in it"));
    }
    if (todo.size() > kMaxTreePath) {
      return absl::InvalidArgumentError(absl::StrCat(
          "symbolic link \"", Shown(here), "\" leads in a circle"));
    }
    push(target);
  }
  return at;
}

absl::StatusOr<TreeEntry> FileTree::ToEntry(const std::string& shown_path,
                                            const std::string& real_path,
                                            const RawEntry& raw,
                                            std::string* real) {
  TreeEntry entry;
  entry.path = shown_path;
  RawEntry target = raw;
  *real = real_path;
  if (!real_path.empty() && !IsUsableName(raw.name)) {
    entry.path = ToDisplayText(shown_path, kMaxTreePath);
    entry.kind = TreeEntry::Kind::kOther;
    entry.problem = absl::StrCat(
        "\"", Shown(shown_path),
        "\" has a name that may not be used: rename it, without control "
        "characters, backslashes or bytes that are not UTF-8, and not "
        "\".git\"");
    return entry;
  }
  if (shown_path.size() > kMaxTreePath) {
    entry.kind = TreeEntry::Kind::kOther;
    entry.problem = absl::StrCat("\"", Shown(shown_path),
                                 "\" has a path that may not be used: it is "
                                 "longer than ",
                                 kMaxTreePath, " bytes");
    return entry;
  }
  if (raw.kind == RawEntry::Kind::kLink) {
    auto resolved = Resolve(real_path);
    if (!resolved.ok()) {
      // Only what the link itself causes; a damaged repository is an error.
      if (!absl::IsNotFound(resolved.status()) &&
          !absl::IsInvalidArgument(resolved.status())) {
        return resolved.status();
      }
      entry.kind = TreeEntry::Kind::kBrokenLink;
      entry.problem =
          absl::IsNotFound(resolved.status())
              ? absl::StrCat("symbolic link \"", Shown(shown_path),
                             "\" leads to a file that does not exist")
              : std::string(resolved.status().message());
      return entry;
    }
    target = resolved->raw;
    *real = resolved->path;
  }
  switch (target.kind) {
    case RawEntry::Kind::kFile:
      entry.kind = TreeEntry::Kind::kFile;
      break;
    case RawEntry::Kind::kDirectory:
      entry.kind = TreeEntry::Kind::kDirectory;
      break;
    case RawEntry::Kind::kSubmodule:
      entry.kind = TreeEntry::Kind::kSubmodule;
      break;
    case RawEntry::Kind::kLink:
    case RawEntry::Kind::kOther:
      entry.kind = TreeEntry::Kind::kOther;
      entry.problem =
          absl::StrCat("\"", Shown(shown_path), "\" is not a regular file");
      break;
  }
  entry.executable = target.executable;
  entry.size = entry.kind == TreeEntry::Kind::kFile ? target.size : 0;
  entry.blob_id = target.blob_id;
  return entry;
}

absl::StatusOr<TreeEntry> FileTree::Stat(absl::string_view path) {
  ASSIGN_OR_RETURN(const std::string normal, NormalizeTreePath(path));
  ASSIGN_OR_RETURN(const Resolved resolved, Resolve(normal));
  std::string real;
  return ToEntry(normal, resolved.path, resolved.raw, &real);
}

absl::StatusOr<std::vector<TreeEntry>> FileTree::List(
    absl::string_view directory) {
  ASSIGN_OR_RETURN(const std::string normal, NormalizeTreePath(directory));
  ASSIGN_OR_RETURN(const Resolved resolved, Resolve(normal));
  if (resolved.raw.kind != RawEntry::Kind::kDirectory) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", Shown(normal), "\" is not a directory"));
  }
  ASSIGN_OR_RETURN(const std::vector<RawEntry>* cached,
                   CachedDirectory(resolved.path));
  // A copy: following links may push this directory out of the cache.
  const std::vector<RawEntry> raws = *cached;
  std::vector<TreeEntry> out;
  out.reserve(raws.size());
  for (const RawEntry& raw : raws) {
    std::string real;
    ASSIGN_OR_RETURN(TreeEntry entry,
                     ToEntry(TreeChild(normal, raw.name),
                             TreeChild(resolved.path, raw.name), raw, &real));
    out.push_back(std::move(entry));
  }
  return out;
}

absl::StatusOr<std::vector<TreeEntry>> FileTree::Walk(
    absl::string_view directory, const WalkLimits& limits) {
  ASSIGN_OR_RETURN(const std::string normal, NormalizeTreePath(directory));
  ASSIGN_OR_RETURN(const Resolved start, Resolve(normal));
  if (start.raw.kind != RawEntry::Kind::kDirectory) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", Shown(normal), "\" is not a directory"));
  }
  struct Pending {
    std::string shown;
    std::string real;
    int depth;
    // Real directories on the way here that links jumped from.
    std::vector<std::string> jumps;
  };
  std::vector<TreeEntry> out;
  std::vector<Pending> stack = {{normal, start.path, 0, {}}};
  while (!stack.empty()) {
    const Pending at = std::move(stack.back());
    stack.pop_back();
    if (at.depth > limits.max_depth) {
      return absl::ResourceExhaustedError(
          absl::StrCat("directory \"", Shown(at.shown), "\" is more than ",
                       limits.max_depth, " levels deep"));
    }
    ASSIGN_OR_RETURN(const std::vector<RawEntry>* cached,
                     CachedDirectory(at.real));
    const std::vector<RawEntry> raws = *cached;
    for (const RawEntry& raw : raws) {
      if (out.size() >= limits.max_entries) {
        return absl::ResourceExhaustedError(absl::StrCat(
            "more than ", limits.max_entries, " files and directories under \"",
            Shown(normal), "\""));
      }
      std::string real;
      ASSIGN_OR_RETURN(TreeEntry entry,
                       ToEntry(TreeChild(at.shown, raw.name),
                               TreeChild(at.real, raw.name), raw, &real));
      if (entry.kind == TreeEntry::Kind::kDirectory) {
        Pending next{entry.path, real, at.depth + 1, at.jumps};
        bool loops = false;
        if (raw.kind == RawEntry::Kind::kLink) {
          loops = IsWithin(real, at.real);
          for (const std::string& jump : at.jumps) {
            loops = loops || IsWithin(real, jump);
          }
          next.jumps.push_back(at.real);
        }
        if (loops) {
          entry.kind = TreeEntry::Kind::kBrokenLink;
          entry.problem =
              absl::StrCat("symbolic link \"", Shown(entry.path),
                           "\" leads to a directory that it lies in");
        } else {
          stack.push_back(std::move(next));
        }
      }
      out.push_back(std::move(entry));
    }
  }
  std::sort(
      out.begin(), out.end(),
      [](const TreeEntry& a, const TreeEntry& b) { return a.path < b.path; });
  return out;
}

absl::StatusOr<std::string> FileTree::Read(absl::string_view path,
                                           uint64_t max_bytes) {
  ASSIGN_OR_RETURN(const std::string normal, NormalizeTreePath(path));
  ASSIGN_OR_RETURN(const Resolved resolved, Resolve(normal));
  if (resolved.raw.kind != RawEntry::Kind::kFile) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", Shown(normal), "\" is not a file"));
  }
  if (resolved.raw.size > max_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "file \"", Shown(normal), "\" has ", resolved.raw.size,
        " bytes; at most ", max_bytes, " are allowed"));
  }
  return ReadFile(resolved.path, max_bytes);
}

}  // namespace flotilla::manager
