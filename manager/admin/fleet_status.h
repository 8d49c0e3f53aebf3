// SPDX-License-Identifier: Apache-2.0
//
// The `status` of Fleet's objects (spec.md 1 and 7) from what the admin API
// says of them: the same words, counts and columns. A cluster that is offline
// is NotReady; nothing unknown is Ready. Conditions carry no times: whoever
// shows them knows when they changed.
//
// Each status leaves room for such additions within kMaxStatusBytes, however
// many clusters, bundles and objects there are. What has no room is left out,
// the best states first, and condition Truncated says so.

#ifndef FLOTILLA_MANAGER_ADMIN_FLEET_STATUS_H_
#define FLOTILLA_MANAGER_ADMIN_FLEET_STATUS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/time/time.h"
#include "flotilla/admin/v1/admin.pb.h"
#include "manager/admin/deployment_tally.h"
#include "manager/admin/resource_index.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// What is told of deployments beside their counts.
struct StatusParts {
  // Those of the object itself; with shares for GitRepo and HelmOp.
  const DeploymentTally& tally;
  // The first kMaxNonReady of it.
  std::vector<NotReadyOne> waiting;
};
inline constexpr size_t kMaxNonReady = 10;

// Objects of a source in at most that many bytes.
using ResourcesWithin = std::function<ResourceList(size_t budget)>;

// Messages have to be lasting. `generation` is that of the document,
// `sync_generation` its forceSyncGeneration.
nlohmann::json GitRepoStatus(const admin::v1::GitRepo& repo,
                             const StatusParts& parts,
                             const ResourcesWithin& resources,
                             int64_t generation, int64_t sync_generation);
nlohmann::json HelmOpStatus(const admin::v1::HelmOp& helm_op,
                            const StatusParts& parts,
                            const ResourcesWithin& resources,
                            int64_t generation);
nlohmann::json BundleStatus(const admin::v1::Bundle& bundle,
                            const StatusParts& parts, int64_t generation);
// `now` counts for agents that are there, in steps of kCheckIn.
nlohmann::json ClusterStatus(const admin::v1::Cluster& cluster,
                             const StatusParts& parts,
                             SourceCounts git_repos, SourceCounts helm_ops,
                             absl::Time now);
nlohmann::json ClusterGroupStatus(const admin::v1::ClusterGroup& group);

// Fleet's agents check in that often (spec.md 10.6).
inline constexpr absl::Duration kCheckIn = absl::Minutes(15);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_ADMIN_FLEET_STATUS_H_
