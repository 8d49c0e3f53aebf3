// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/target_clusters.h"

#include <utility>

#include "common/labels/label_selector.h"
#include "manager/targeting/target_resolver.h"

namespace flotilla::manager {

using storage::v1::Document;

TargetCluster MakeTargetCluster(const Document& cluster,
                                const std::vector<const Document*>& groups) {
  TargetCluster result;
  result.name = cluster.name();
  result.labels = ToLabelMap(cluster.labels());
  for (const Document* group : groups) {
    if (!group->has_cluster_group() || group->has_delete_time() ||
        group->workspace() != cluster.workspace() ||
        !group->cluster_group().has_selector() ||
        !SelectorMatches(group->cluster_group().selector(), result.labels)) {
      continue;
    }
    result.groups.push_back({group->name(), ToLabelMap(group->labels())});
  }
  return result;
}

size_t CountMatchingClusters(const Document& source,
                             const std::vector<const Document*>& documents) {
  size_t count = 0;
  for (const Document* cluster : documents) {
    if (!cluster->has_cluster() || cluster->has_delete_time() ||
        cluster->workspace() != source.workspace()) {
      continue;
    }
    const TargetCluster target = MakeTargetCluster(*cluster, documents);
    if (source.has_git_repo()
            ? AnyTargetMatches(source.git_repo().targets(), target)
            : !source.bundle().targets().empty() &&
                  AnyTargetMatches(source.bundle().targets(), target)) {
      ++count;
    }
  }
  return count;
}

}  // namespace flotilla::manager
