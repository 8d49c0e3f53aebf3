// SPDX-License-Identifier: Apache-2.0
//
// Turns a tree of files into bundles: which directories become one (spec 3.2,
// 3.3), which files belong to it (3.4), what its fleet.yaml says (2.1-2.3),
// what it is called (3.7), and which charts it needs from elsewhere (3.8). The
// same tree gives the same bundles. Reads through FileTree only, so it blocks:
// use it from a WorkerPool.
//
// Every problem is found at once, with file and line. With one error nothing
// of the tree may be released (3.10).
//
// Better than Fleet on purpose: a path of a GitRepo that is not there is an
// error, so that a typo deletes nothing; hidden YAML files make no bundle; a
// .fleetignore counts for its own directory, not for neighbours whose name
// begins alike; dependencies are fetched for charts that are used, not for
// every Chart.yaml that lies about.

#ifndef FLOTILLA_MANAGER_BUNDLE_BUNDLE_BUILDER_H_
#define FLOTILLA_MANAGER_BUNDLE_BUNDLE_BUILDER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/bundle/chart_needs.h"
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
  // Files and directories of all bundles together, nested ones counted for
  // each bundle that ships them.
  size_t max_entries = 2'000'000;

  BundleSizeLimits bundle() const {
    return {max_bundle_files, max_bundle_bytes};
  }
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

// Where a bundle lies: its directory ("" is the root), and the file that stands
// for fleet.yaml as GitRepo.spec.bundles names it, relative to the directory;
// empty for fleet.yaml.
using BundlePlace = std::pair<std::string, std::string>;

// A directory, read. What it holds depends on the directory alone, and on what
// `outside` names.
struct BundleContent {
  std::string directory;  // "" is the root.
  std::string options_file;  // As in BundlePlace.
  // Equal when nothing in the directory has changed; empty when not known.
  std::string fingerprint;
  // Paths outside the directory that were read, with a fingerprint each.
  std::vector<std::pair<std::string, std::string>> outside;
  // With values files merged into the values, and the root's chart inherited
  // by targets (spec 2.3.1).
  FleetYaml yaml;
  // Sorted by name.
  std::vector<ContentFile> files;
  // What is to be downloaded, in the order in which it is asked for.
  std::vector<ChartNeed> charts;

  BundlePlace place() const { return {directory, options_file}; }
};

// Contents of an earlier build, digests filled in.
using BundleCache =
    std::map<BundlePlace, std::shared_ptr<const BundleContent>>;

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

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUNDLE_BUILDER_H_
