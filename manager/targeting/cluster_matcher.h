// SPDX-License-Identifier: Apache-2.0
//
// Whether a target means a cluster (spec 4.1). All criteria that are there must
// hold, those of groups by one and the same group. No criteria: never. A
// cluster without groups is in one without a name and labels, so an empty
// clusterGroupSelector means it too.

#ifndef FLOTILLA_MANAGER_TARGETING_CLUSTER_MATCHER_H_
#define FLOTILLA_MANAGER_TARGETING_CLUSTER_MATCHER_H_

#include <string>
#include <vector>

#include "flotilla/storage/v1/storage.pb.h"
#include "common/labels/label_selector.h"

namespace flotilla::manager {

// This label is another name of a cluster.
inline constexpr char kDisplayNameLabel[] =
    "management.cattle.io/cluster-display-name";

struct TargetGroup {
  std::string name;
  LabelMap labels;
};

// What targeting knows of a cluster.
struct TargetCluster {
  std::string name;
  LabelMap labels;
  // Groups that it belongs to.
  std::vector<TargetGroup> groups;
};

bool TargetMatches(const storage::v1::Target& target,
                   const TargetCluster& cluster);

// The same with one of the cluster's groups.
bool TargetMatchesByGroup(const storage::v1::Target& target,
                          const TargetCluster& cluster,
                          const TargetGroup& group);

// `cluster.groups`, or one without a name when there are none.
std::vector<TargetGroup> GroupsToTry(const TargetCluster& cluster);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_TARGETING_CLUSTER_MATCHER_H_
