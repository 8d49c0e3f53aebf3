// SPDX-License-Identifier: Apache-2.0
//
// GroupTally sums a changing set of clusters, those of a ClusterGroup: one
// that changes costs the logarithm of their number. It decides nothing.

#ifndef FLOTILLA_MANAGER_ADMIN_GROUP_TALLY_H_
#define FLOTILLA_MANAGER_ADMIN_GROUP_TALLY_H_

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "flotilla/admin/v1/admin.pb.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::manager {

// A cluster as its groups see it.
struct MemberState {
  bool ready = false;
  // The worse, the lower.
  int rank = 0;
  std::string word;
  admin::v1::StateCounts deployments;
  core::v1::ResourceCounts resources;
};

// Thread-compatible.
class GroupTally {
 public:
  // By rank and word.
  using Waiting = std::map<std::pair<int, std::string>, std::set<std::string>>;

  // In place of what was known of that cluster.
  void Set(const std::string& cluster, MemberState state);
  void Remove(const std::string& cluster);

  size_t size() const { return members_.size(); }
  const admin::v1::StateCounts& deployments() const { return deployments_; }
  const core::v1::ResourceCounts& resources() const { return resources_; }
  // Names of those that are not ready, and the same, the worst first.
  const std::set<std::string>& not_ready() const { return not_ready_; }
  const Waiting& waiting() const { return waiting_; }

 private:
  std::map<std::string, MemberState> members_;
  admin::v1::StateCounts deployments_;
  core::v1::ResourceCounts resources_;
  std::set<std::string> not_ready_;
  Waiting waiting_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_ADMIN_GROUP_TALLY_H_
