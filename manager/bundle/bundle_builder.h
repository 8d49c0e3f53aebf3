// SPDX-License-Identifier: Apache-2.0
//
// Turns a tree of files into bundles: which directories become one (spec 3.2),
// which files belong to it (3.4), what its fleet.yaml says (2.1-2.3), and what
// it is called (3.7). The same tree gives the same bundles. Reads through
// FileTree only, so it blocks: use it from a WorkerPool.
//
// Every problem is found at once, with file and line. With one error nothing
// of the tree may be released (3.10).
//
// Better than Fleet on purpose: a path of a GitRepo that is not there is an
// error, so that a typo deletes nothing; hidden YAML files make no bundle; a
// .fleetignore counts for its own directory, not for neighbours whose name
// begins alike.

#ifndef FLOTILLA_MANAGER_BUNDLE_BUNDLE_BUILDER_H_
#define FLOTILLA_MANAGER_BUNDLE_BUNDLE_BUILDER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/documents/fleet_yaml.h"
#include "manager/gitsync/file_tree.h"

namespace flotilla::manager {

struct BuildLimits {
  uint64_t max_file_bytes = 10 << 20;
  uint64_t max_bundle_bytes = 50 << 20;
  size_t max_bundle_files = 10000;
  // Of files that are not in the cache.
  uint64_t max_read_bytes = 256 << 20;
  size_t max_bundles = 10000;
};

struct ContentFile {
  std::string name;  // Relative to the bundle's directory.
  uint64_t size = 0;
  // There may be a Kubernetes Secret in it.
  bool secret = false;
  // Empty once `digest` is known.
  std::string bytes;
  // SHA-256, raw; the caller's to fill in when it has stored the bytes.
  std::string digest;
};

// A directory, read. What it holds depends on the directory alone.
struct BundleContent {
  std::string directory;  // "" is the root.
  // Equal when nothing in the directory has changed; empty when not known.
  std::string fingerprint;
  // With values files merged into the values.
  FleetYaml yaml;
  // Sorted by name.
  std::vector<ContentFile> files;
};

// Contents of an earlier build by directory, digests filled in.
using BundleCache = std::map<std::string, std::shared_ptr<const BundleContent>>;

struct BuiltBundle {
  std::string name;
  std::shared_ptr<const BundleContent> content;  // Not null.
  // The same object when it was read now and its digests are to be filled in;
  // null when it came from the cache.
  std::shared_ptr<BundleContent> fresh;
};

struct BuildResult {
  std::vector<BuiltBundle> bundles;  // Sorted by name.
  std::vector<core::v1::Problem> errors;
  std::vector<core::v1::Problem> warnings;
  // Directories that were read, not taken from the cache.
  size_t read_directories = 0;
};

// `git_repo` is a Document of kind GitRepo.
BuildResult BuildBundles(FileTree& tree, const storage::v1::Document& git_repo,
                         const BundleCache& cache = {},
                         const BuildLimits& limits = {});

// The revision of a built bundle, its GitRepo's settings put in (spec 2.5).
storage::v1::BundleRevision MakeRevision(const BuiltBundle& bundle,
                                         const storage::v1::Document& git_repo);

// The revision of a Bundle document. `read` gives the bytes of a file by its
// name; used for values files.
// Errors: INVALID_ARGUMENT for a values file that is absent or broken;
// UNIMPLEMENTED for a chart that is not among the files.
absl::StatusOr<storage::v1::BundleRevision> MakeDocumentRevision(
    const storage::v1::Document& bundle,
    absl::FunctionRef<absl::StatusOr<std::string>(const std::string&)> read);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUNDLE_BUILDER_H_
