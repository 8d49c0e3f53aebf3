// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/cluster_matcher.h"

#include <algorithm>

namespace flotilla::manager {
namespace {

using storage::v1::Target;

bool NameMatches(const std::string& name, const TargetCluster& cluster) {
  if (cluster.name == name) return true;
  const auto it = cluster.labels.find(kDisplayNameLabel);
  return it != cluster.labels.end() && it->second == name;
}

}  // namespace

bool TargetMatchesByGroup(const Target& target, const TargetCluster& cluster,
                          const TargetGroup& group) {
  if (target.cluster_name().empty() && !target.has_cluster_selector() &&
      target.cluster_group().empty() && !target.has_cluster_group_selector()) {
    return false;
  }
  if (!target.cluster_name().empty() &&
      !NameMatches(target.cluster_name(), cluster)) {
    return false;
  }
  if (target.has_cluster_selector() &&
      !SelectorMatches(target.cluster_selector(), cluster.labels)) {
    return false;
  }
  if (!target.cluster_group().empty() &&
      target.cluster_group() != group.name) {
    return false;
  }
  return !target.has_cluster_group_selector() ||
         SelectorMatches(target.cluster_group_selector(), group.labels);
}

std::vector<TargetGroup> GroupsToTry(const TargetCluster& cluster) {
  if (cluster.groups.empty()) return {TargetGroup()};
  return cluster.groups;
}

bool TargetMatches(const Target& target, const TargetCluster& cluster) {
  if (cluster.groups.empty()) {
    return TargetMatchesByGroup(target, cluster, TargetGroup());
  }
  return std::any_of(cluster.groups.begin(), cluster.groups.end(),
                     [&](const TargetGroup& group) {
                       return TargetMatchesByGroup(target, cluster, group);
                     });
}

}  // namespace flotilla::manager
