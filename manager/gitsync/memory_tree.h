// SPDX-License-Identifier: Apache-2.0
//
// MemoryTree is a FileTree made of a map, for tests of what reads trees.

#ifndef FLOTILLA_MANAGER_GITSYNC_MEMORY_TREE_H_
#define FLOTILLA_MANAGER_GITSYNC_MEMORY_TREE_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "manager/gitsync/file_tree.h"

namespace flotilla::manager {

// Thread-compatible.
class MemoryTree : public FileTree {
 public:
  // Text by path ("a/b.yaml"); directories are made as needed. `links` are
  // symbolic links: target by path.
  explicit MemoryTree(std::map<std::string, std::string> files,
                      std::map<std::string, std::string> links = {})
      : files_(std::move(files)), links_(std::move(links)) {}

 protected:
  absl::StatusOr<std::vector<RawEntry>> ReadDirectory(
      const std::string& directory) override;
  absl::StatusOr<std::string> ReadFile(const std::string& path,
                                       uint64_t max_bytes) override;
  absl::StatusOr<std::string> ReadLink(const std::string& path) override;

 private:
  const std::map<std::string, std::string> files_;
  const std::map<std::string, std::string> links_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_MEMORY_TREE_H_
