// SPDX-License-Identifier: Apache-2.0
//
// BundleFileReader reads the files of one build out of a FileTree, within
// BuildLimits, and knows what bundles read outside their own directories, so
// that a later build can tell whether that has changed. It blocks as FileTree
// does. Owned by one build.
//
// Thread-compatible.

#ifndef FLOTILLA_MANAGER_BUNDLE_BUNDLE_FILE_READER_H_
#define FLOTILLA_MANAGER_BUNDLE_BUNDLE_FILE_READER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "manager/bundle/build_limits.h"
#include "manager/bundle/bundle_content.h"
#include "manager/bundle/problem_sink.h"
#include "manager/gitsync/file_tree.h"

namespace flotilla::manager {

class BundleFileReader {
 public:
  // Both must outlive it.
  BundleFileReader(FileTree& tree, const BuildLimits& limits)
      : tree_(tree),
        limits_(limits),
        match_steps_(limits.max_match_steps) {}
  BundleFileReader(const BundleFileReader&) = delete;
  BundleFileReader& operator=(const BundleFileReader&) = delete;

  // RESOURCE_EXHAUSTED when the file, or all of the build, is too large.
  absl::StatusOr<std::string> Read(const std::string& path);

  // Reads `entry`, a file, into `files` under `name`. False after an error.
  bool AddFile(const TreeEntry& entry, const std::string& name,
               std::vector<ContentFile>& files, ProblemSink& problems);

  // Notes that a path was read, if it lies outside the bundle's directory.
  void NoteRead(const std::string& path, BundleContent& content);

  // Whether a bundle in `directory` with so many files has room for another
  // one, which makes it so many bytes; else an error.
  bool Fits(size_t files, uint64_t bytes, const std::string& directory,
            ProblemSink& problems) const;

  // Whether `content` is what would be read now of a directory with that
  // fingerprint.
  bool IsCurrent(const BundleContent& content, const std::string& fingerprint);

  FileTree& tree() { return tree_; }
  // What the rules of all bundles may still cost.
  uint64_t& match_steps() { return match_steps_; }

 private:
  // Of a file or of a directory; empty when not known.
  std::string Fingerprint(const std::string& path);

  // Not owned.
  FileTree& tree_;
  const BuildLimits& limits_;

  // Of what bundles read outside their directories, by path.
  std::map<std::string, std::string> fingerprints_;
  uint64_t read_bytes_ = 0;
  uint64_t match_steps_;
};

// Whether an entry is a file that can be read; else an error says what it is.
bool CheckReadable(const TreeEntry& entry, ProblemSink& problems);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUNDLE_FILE_READER_H_
