// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/cluster_matcher.h"

#include <algorithm>

namespace flotilla::manager {
namespace {

using storage::v1::Target;

constexpr char kDisplayName[] = "management.cattle.io/cluster-display-name";

bool NameMatches(const std::string& name, const TargetCluster& cluster) {
  if (cluster.name == name) return true;
  const auto it = cluster.labels.find(kDisplayName);
  return it != cluster.labels.end() && it->second == name;
}

bool GroupMatches(const Target& target, const TargetGroup& group) {
  if (!target.cluster_group().empty() &&
      target.cluster_group() != group.name) {
    return false;
  }
  return !target.has_cluster_group_selector() ||
         SelectorMatches(target.cluster_group_selector(), group.labels);
}

}  // namespace

bool TargetMatches(const Target& target, const TargetCluster& cluster) {
  const bool by_group =
      !target.cluster_group().empty() || target.has_cluster_group_selector();
  if (target.cluster_name().empty() && !target.has_cluster_selector() &&
      !by_group) {
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
  if (!by_group) return true;
  // A cluster without groups is in one without a name and labels.
  if (cluster.groups.empty()) return GroupMatches(target, TargetGroup());
  return std::any_of(cluster.groups.begin(), cluster.groups.end(),
                     [&target](const TargetGroup& group) {
                       return GroupMatches(target, group);
                     });
}

}  // namespace flotilla::manager
