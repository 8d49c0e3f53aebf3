// SPDX-License-Identifier: Apache-2.0
//
// DirectoryTree is a FileTree over a directory on disk, for `flotilla render`.
// `.git` is left out. The directory must not change while it is read.

#ifndef FLOTILLA_MANAGER_GITSYNC_DIRECTORY_TREE_H_
#define FLOTILLA_MANAGER_GITSYNC_DIRECTORY_TREE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "manager/gitsync/file_tree.h"

namespace flotilla::manager {

// Thread-compatible.
class DirectoryTree : public FileTree {
 public:
  // NOT_FOUND or INVALID_ARGUMENT when `root` is not a directory.
  static absl::StatusOr<std::unique_ptr<DirectoryTree>> Open(std::string root);

 protected:
  absl::StatusOr<std::vector<RawEntry>> ReadDirectory(
      const std::string& directory) override;
  absl::StatusOr<std::string> ReadFile(const std::string& path,
                                       uint64_t max_bytes) override;
  absl::StatusOr<std::string> ReadLink(const std::string& path) override;

 private:
  explicit DirectoryTree(std::string root) : root_(std::move(root)) {}

  std::string OnDisk(const std::string& path) const;

  const std::string root_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_DIRECTORY_TREE_H_
