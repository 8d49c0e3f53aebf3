// SPDX-License-Identifier: Apache-2.0
//
// The `status` of Fleet's objects (spec.md 1 and 7) from what the admin API
// says of them: the same words, counts and columns. A cluster that is offline
// is NotReady and says since when; nothing unknown is Ready. Conditions carry
// no times: whoever shows them knows when they changed.

#ifndef FLOTILLA_MANAGER_ADMIN_FLEET_STATUS_H_
#define FLOTILLA_MANAGER_ADMIN_FLEET_STATUS_H_

#include <cstdint>
#include <vector>

#include "flotilla/admin/v1/admin.pb.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

using DeploymentPtrs = std::vector<const admin::v1::Deployment*>;

// `deployments` are those of the object itself. `generation` is that of the
// document, `sync_generation` its forceSyncGeneration.
nlohmann::json GitRepoStatus(const admin::v1::GitRepo& repo,
                             const DeploymentPtrs& deployments,
                             int64_t generation, int64_t sync_generation);
nlohmann::json HelmOpStatus(const admin::v1::HelmOp& helm_op,
                            const DeploymentPtrs& deployments,
                            int64_t generation);
nlohmann::json BundleStatus(const admin::v1::Bundle& bundle,
                            const DeploymentPtrs& deployments,
                            int64_t generation);
nlohmann::json ClusterStatus(const admin::v1::Cluster& cluster,
                             const DeploymentPtrs& deployments);
// `clusters` are the group's.
nlohmann::json ClusterGroupStatus(
    const admin::v1::ClusterGroup& group,
    const std::vector<const admin::v1::Cluster*>& clusters);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_ADMIN_FLEET_STATUS_H_
