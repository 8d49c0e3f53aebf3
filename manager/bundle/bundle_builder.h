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

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/bundle/build_limits.h"
#include "manager/bundle/bundle_content.h"
#include "manager/gitsync/file_tree.h"

namespace flotilla::manager {

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
