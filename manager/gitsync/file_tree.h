// SPDX-License-Identifier: Apache-2.0
//
// FileTree is a read-only tree of files: one commit of a Git repository, or a
// directory on disk for `flotilla render`. Nothing outside the tree can be
// read through it: paths are normalised, symbolic links are followed inside
// the tree only, and every read has a limit. Every call blocks on the disk:
// use it from a WorkerPool. Errors: NOT_FOUND (no such path),
// INVALID_ARGUMENT (a path or link that leaves the tree, a link loop, not a
// file), RESOURCE_EXHAUSTED (over a limit), DATA_LOSS (damaged repository).
// Texts name the path in the tree, never a path of the machine.

#ifndef FLOTILLA_MANAGER_GITSYNC_FILE_TREE_H_
#define FLOTILLA_MANAGER_GITSYNC_FILE_TREE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace flotilla::manager {

struct TreeEntry {
  enum class Kind {
    kFile,
    kDirectory,
    // A link that cannot be followed: it leaves the tree, loops, or names
    // nothing. `problem` says which. Links that can be followed have the kind
    // of what they lead to.
    kBrokenLink,
    // A submodule: never fetched.
    kSubmodule,
    // Nothing that can be read: a device, socket or pipe (on disk only), or a
    // name that no path may have; `problem` says which.
    kOther,
  };

  std::string path;  // From the root of the tree: "a/b.yaml".
  Kind kind = Kind::kFile;
  bool executable = false;
  uint64_t size = 0;    // In bytes; of files only.
  std::string blob_id;  // Hex; equal ids mean equal bytes. Empty on disk.
  std::string problem;  // A sentence; of kBrokenLink and kOther only.

  // Last part of `path`.
  absl::string_view name() const;
};

struct WalkLimits {
  size_t max_entries = 100'000;
  int max_depth = 64;
};

// Thread-compatible.
class FileTree {
 public:
  // What lies in a directory itself, before links are followed.
  struct RawEntry {
    enum class Kind { kFile, kDirectory, kLink, kSubmodule, kOther };
    std::string name;
    Kind kind = Kind::kFile;
    bool executable = false;
    uint64_t size = 0;
    std::string blob_id;
  };

  virtual ~FileTree() = default;

  // The entries of one directory, sorted by name. "" is the root.
  absl::StatusOr<std::vector<TreeEntry>> List(absl::string_view directory);

  // Everything below a directory (itself excluded), sorted by path. Symbolic
  // links to directories are not descended into twice: a link to one of its
  // own parents is a kBrokenLink.
  absl::StatusOr<std::vector<TreeEntry>> Walk(absl::string_view directory,
                                              const WalkLimits& limits = {});

  // What is at `path`; NOT_FOUND when nothing is. The root is a directory.
  absl::StatusOr<TreeEntry> Stat(absl::string_view path);

  // The bytes of a file.
  absl::StatusOr<std::string> Read(absl::string_view path, uint64_t max_bytes);

 protected:
  // `directory` and `path` are normalised and hold no link.
  virtual absl::StatusOr<std::vector<RawEntry>> ReadDirectory(
      const std::string& directory) = 0;
  virtual absl::StatusOr<std::string> ReadFile(const std::string& path,
                                               uint64_t max_bytes) = 0;
  // The text of a symbolic link.
  virtual absl::StatusOr<std::string> ReadLink(const std::string& path) = 0;

 private:
  struct Resolved {
    std::string path;  // Real path, no link in it.
    RawEntry raw;
  };
  absl::StatusOr<Resolved> Resolve(const std::string& path);
  absl::StatusOr<TreeEntry> ToEntry(const std::string& shown_path,
                                    const std::string& real_path,
                                    const RawEntry& raw, std::string* real);
  absl::StatusOr<const std::vector<RawEntry>*> CachedDirectory(
      const std::string& directory);

  // The last directories read; a commit does not change, and a directory on
  // disk is read for one command.
  std::vector<std::pair<std::string, std::vector<RawEntry>>> recent_;
  size_t next_recent_ = 0;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_FILE_TREE_H_
