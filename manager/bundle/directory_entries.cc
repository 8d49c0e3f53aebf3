// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/directory_entries.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/crypto/sha256.h"

namespace flotilla::manager {

bool IsInGit(absl::string_view path) {
  return path == ".git" || absl::StartsWith(path, ".git/") ||
         absl::StrContains(path, "/.git/");
}

DirectoryEntries EntriesBelow(const std::string& directory,
                              const std::vector<TreeEntry>& entries) {
  DirectoryEntries own;
  // What lies below stands together.
  const std::string prefix = directory.empty() ? "" : directory + "/";
  auto it = std::lower_bound(
      entries.begin(), entries.end(), prefix,
      [](const TreeEntry& e, const std::string& p) { return e.path < p; });
  for (; it != entries.end() && absl::StartsWith(it->path, prefix); ++it) {
    if (IsInGit(it->path)) continue;
    own.push_back({absl::string_view(it->path).substr(prefix.size()), &*it});
  }
  return own;
}

std::string FingerprintOf(const DirectoryEntries& entries) {
  std::string text;
  for (const DirectoryEntry& entry : entries) {
    const TreeEntry& raw = *entry.entry;
    if (raw.kind == TreeEntry::Kind::kFile && raw.blob_id.empty()) return "";
    absl::StrAppend(&text, entry.path.size(), ":", entry.path, ":",
                    static_cast<int>(raw.kind), ":", raw.blob_id, "\n");
  }
  return Sha256(text);
}

}  // namespace flotilla::manager
