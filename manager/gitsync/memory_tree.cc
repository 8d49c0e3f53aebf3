// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/memory_tree.h"

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace flotilla::manager {

absl::StatusOr<std::vector<FileTree::RawEntry>> MemoryTree::ReadDirectory(
    const std::string& directory) {
  const std::string prefix =
      directory.empty() ? "" : absl::StrCat(directory, "/");
  std::map<std::string, RawEntry> found;
  const auto add = [&](const std::string& path, RawEntry::Kind kind) {
    if (!absl::StartsWith(path, prefix)) return;
    const std::string rest = path.substr(prefix.size());
    const size_t slash = rest.find('/');
    RawEntry entry;
    entry.name = rest.substr(0, slash);
    entry.kind = slash == std::string::npos ? kind : RawEntry::Kind::kDirectory;
    if (entry.kind == RawEntry::Kind::kFile) {
      entry.size = files_.at(path).size();
      // Equal for equal bytes only, and never empty.
      entry.blob_id =
          absl::StrCat("00", absl::BytesToHexString(files_.at(path)));
    }
    found[entry.name] = entry;
  };
  for (const auto& [path, text] : files_) add(path, RawEntry::Kind::kFile);
  for (const auto& [path, target] : links_) add(path, RawEntry::Kind::kLink);
  std::vector<RawEntry> out;
  for (const auto& [name, entry] : found) out.push_back(entry);
  return out;
}

absl::StatusOr<std::string> MemoryTree::ReadFile(const std::string& path,
                                                 uint64_t max_bytes) {
  const auto it = files_.find(path);
  if (it == files_.end()) return absl::NotFoundError(path);
  if (it->second.size() > max_bytes) return absl::ResourceExhaustedError(path);
  return it->second;
}

absl::StatusOr<std::string> MemoryTree::ReadLink(const std::string& path) {
  const auto it = links_.find(path);
  if (it == links_.end()) return absl::NotFoundError(path);
  return it->second;
}

}  // namespace flotilla::manager
