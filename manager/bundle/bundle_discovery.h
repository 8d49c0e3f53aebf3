// SPDX-License-Identifier: Apache-2.0
//
// Finds which directories of a tree are bundles: those that GitRepo.spec.paths
// name and the ones below them with a fleet.yaml of their own (spec 3.2), or
// those that GitRepo.spec.bundles lists (3.3). Reads no file. A path that is
// not there is an error, so that a typo deletes nothing.

#ifndef FLOTILLA_MANAGER_BUNDLE_BUNDLE_DISCOVERY_H_
#define FLOTILLA_MANAGER_BUNDLE_BUNDLE_DISCOVERY_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "flotilla/storage/v1/storage.pb.h"
#include "manager/bundle/build_limits.h"
#include "manager/bundle/bundle_content.h"
#include "manager/bundle/directory_entries.h"
#include "manager/bundle/problem_sink.h"
#include "manager/gitsync/file_tree.h"

namespace flotilla::manager {

struct DiscoveredBundles {
  // `places` points into it.
  std::vector<std::unique_ptr<const std::vector<TreeEntry>>> walks;
  // Each with what lies in its directory; not null.
  std::map<BundlePlace, std::shared_ptr<const DirectoryEntries>> places;
};

// With a limit broken there are no places.
DiscoveredBundles DiscoverBundles(FileTree& tree,
                                  const storage::v1::GitRepoSpec& spec,
                                  const BuildLimits& limits,
                                  ProblemSink& problems);

// The paths that a GitRepo names, fit to be shown; not all when there are many.
std::vector<std::string> ShownPaths(const storage::v1::GitRepoSpec& spec);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUNDLE_DISCOVERY_H_
