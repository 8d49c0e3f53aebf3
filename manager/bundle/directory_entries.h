// SPDX-License-Identifier: Apache-2.0
//
// What lies below a directory of a FileTree, with names as that directory sees
// them. Views of one walk: bundles inside one another share it.

#ifndef FLOTILLA_MANAGER_BUNDLE_DIRECTORY_ENTRIES_H_
#define FLOTILLA_MANAGER_BUNDLE_DIRECTORY_ENTRIES_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "manager/gitsync/file_tree.h"

namespace flotilla::manager {

struct DirectoryEntry {
  absl::string_view path;  // From the directory; a part of `entry->path`.
  const TreeEntry* entry;  // Not owned.
};

// Sorted by path: a directory comes before what is in it.
using DirectoryEntries = std::vector<DirectoryEntry>;

// Whether a path is Git's own, which no bundle reads.
bool IsInGit(absl::string_view path);

// Those of `entries`, sorted by path, that lie in `directory`.
DirectoryEntries EntriesBelow(const std::string& directory,
                              const std::vector<TreeEntry>& entries);

// Equal when nothing in the directory has changed; empty when not known.
std::string FingerprintOf(const DirectoryEntries& entries);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_DIRECTORY_ENTRIES_H_
