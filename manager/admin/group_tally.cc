// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/group_tally.h"

#include "manager/admin/deployment_tally.h"
#include "manager/status/status_fold.h"

namespace flotilla::manager {

void GroupTally::Set(const std::string& cluster, MemberState state) {
  Remove(cluster);
  AddCounts(state.deployments, deployments_);
  AddCounts(state.resources, resources_);
  if (!state.ready) {
    not_ready_.insert(cluster);
    waiting_[{state.rank, state.word}].insert(cluster);
  }
  members_[cluster] = std::move(state);
}

void GroupTally::Remove(const std::string& cluster) {
  const auto member = members_.find(cluster);
  if (member == members_.end()) return;
  const MemberState& state = member->second;
  SubtractCounts(state.deployments, deployments_);
  SubtractCounts(state.resources, resources_);
  if (!state.ready) {
    not_ready_.erase(cluster);
    const auto alike = waiting_.find({state.rank, state.word});
    alike->second.erase(cluster);
    if (alike->second.empty()) waiting_.erase(alike);
  }
  members_.erase(member);
}

}  // namespace flotilla::manager
