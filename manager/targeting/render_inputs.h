// SPDX-License-Identifier: Apache-2.0
//
// What `flotilla render DIR` renders: the bundles that one cluster would get of
// a tree that is taken as a repository with one target that matches. Blocks as
// FileTree does.

#ifndef FLOTILLA_MANAGER_TARGETING_RENDER_INPUTS_H_
#define FLOTILLA_MANAGER_TARGETING_RENDER_INPUTS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/bundle/bundle_builder.h"
#include "manager/bundle/chart_needs.h"
#include "manager/gitsync/file_tree.h"
#include "manager/targeting/cluster_matcher.h"

namespace flotilla::manager {

struct BundleInput {
  std::string bundle;     // Name.
  std::string directory;  // In the tree.
  std::string target_name;
  // Merged for the cluster.
  storage::v1::DeployOptions options;
  // With their bytes, `digest` empty; those of downloads, which come last, the
  // other way round.
  std::vector<ContentFile> files;
};

struct RenderInputList {
  std::vector<BundleInput> bundles;  // Sorted by name.
  // Bundles that a customization keeps from the cluster (doNotDeploy).
  std::vector<std::string> not_deployed;
  // Downloads that `charts` does not have: to render bundles with such, fetch
  // these and read again.
  std::vector<ChartNeed> needs;
  // Nothing is to be rendered when there is one.
  std::vector<core::v1::Problem> errors;
  std::vector<core::v1::Problem> warnings;
};

// `repository` is the GitRepo's name, from which bundles get theirs.
RenderInputList ReadRenderInputs(FileTree& tree, absl::string_view repository,
                                 const TargetCluster& cluster,
                                 const FetchedCharts& charts = {});

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_TARGETING_RENDER_INPUTS_H_
