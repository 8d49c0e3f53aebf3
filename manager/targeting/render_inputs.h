// SPDX-License-Identifier: Apache-2.0
//
// What `flotilla render DIR` renders: the records that a manager would have of
// a tree and one cluster. Blocks as FileTree does.

#ifndef FLOTILLA_MANAGER_TARGETING_RENDER_INPUTS_H_
#define FLOTILLA_MANAGER_TARGETING_RENDER_INPUTS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/blob/blob_store.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/bundle/chart_needs.h"
#include "manager/gitsync/file_tree.h"
#include "manager/targeting/cluster_matcher.h"

namespace flotilla::manager {

struct RenderSubject {
  // Where the tree comes from.
  storage::v1::Document git_repo;
  // GitRepoRestrictions and Policies of its workspace.
  std::vector<storage::v1::Document> policies;
  // Of the tree.
  core::v1::Commit commit;
  // The cluster's document, and what it is for targets.
  storage::v1::Document cluster;
  TargetCluster target;
};

// A GitRepo with one target, which matches every cluster.
storage::v1::Document PlainGitRepo(absl::string_view workspace,
                                   absl::string_view name);

struct BundleInput {
  storage::v1::BundleRevision revision;
  // Without ids of bundle and cluster, which only a manager gives.
  storage::v1::Desired desired;
};

struct RenderInputList {
  std::vector<BundleInput> bundles;  // Sorted by name.
  // Names of bundles that the cluster does not get: no target means it, or one
  // keeps it from the cluster (doNotDeploy).
  std::vector<std::string> not_deployed;
  // Downloads that `charts` does not have: to render bundles with such, fetch
  // these and read again.
  std::vector<ChartNeed> needs;
  // Nothing is to be rendered when there is one.
  std::vector<core::v1::Problem> errors;
  std::vector<core::v1::Problem> warnings;
};

// Files of the tree are put into `blobs`, where those of `charts` are.
RenderInputList ReadRenderInputs(FileTree& tree, const RenderSubject& subject,
                                 BlobStore& blobs,
                                 const FetchedCharts& charts = {});

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_TARGETING_RENDER_INPUTS_H_
