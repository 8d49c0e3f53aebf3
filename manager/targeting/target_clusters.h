// SPDX-License-Identifier: Apache-2.0
//
// What targeting knows of clusters, made from documents: labels from the
// Cluster document, groups from the ClusterGroups of its workspace.

#ifndef FLOTILLA_MANAGER_TARGETING_TARGET_CLUSTERS_H_
#define FLOTILLA_MANAGER_TARGETING_TARGET_CLUSTERS_H_

#include <cstddef>
#include <vector>

#include "flotilla/storage/v1/storage.pb.h"
#include "manager/targeting/cluster_matcher.h"

namespace flotilla::manager {

// `cluster` is a Document of kind Cluster, `groups` are those of kind
// ClusterGroup in its workspace; others are passed over.
TargetCluster MakeTargetCluster(
    const storage::v1::Document& cluster,
    const std::vector<const storage::v1::Document*>& groups);

// How many of the Cluster documents a GitRepo's or Bundle's targets mean. With
// 0 the user is told that "0 clusters match". `documents` may hold all kinds.
size_t CountMatchingClusters(
    const storage::v1::Document& source,
    const std::vector<const storage::v1::Document*>& documents);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_TARGETING_TARGET_CLUSTERS_H_
