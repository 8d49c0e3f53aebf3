// SPDX-License-Identifier: Apache-2.0
//
// PlanRelease decides what one cluster may have of one bundle now: a new
// generation, a tombstone, or nothing new. There is no budget yet: what is
// rendered is released (roll-outs by partition come on top of this).
//
// Rules (protocol.md sections 2, 9; decisions.md 1, 2):
// * a generation rises with each change of what the agent is to do and never
//   falls, also after the deployment was gone in between;
// * only `Desired.removal` makes a tombstone: an absent record changes nothing;
// * a tombstone waits while the same commit still owes the cluster something
//   else (`ClusterDebt`), since that may want the same objects: so a renamed
//   directory moves its objects instead of deleting them;
// * nothing new goes out while the bundle or the cluster is paused (spec.md
//   5.6), but for a delete that a person asked for;
// * a release that replaces another waits while the same commit is still being
//   rendered for the cluster, so that all of them go out together: an object
//   that moves from one bundle to another is wanted by somebody all the time.
//   A failed render holds nobody up.

#ifndef FLOTILLA_MANAGER_ROLLOUT_ROLLOUT_PLANNER_H_
#define FLOTILLA_MANAGER_ROLLOUT_ROLLOUT_PLANNER_H_

#include <optional>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"

namespace flotilla::manager {

// Commits or documents that still owe one cluster an active deployment: its
// Desired is not rendered yet, or its render failed.
struct ClusterDebt {
  absl::flat_hash_set<std::string> commits;
  // Those of which something is still to be rendered.
  absl::flat_hash_set<std::string> rendering;
};

// True when `rendered` is the outcome of exactly `desired`.
bool IsRendered(const storage::v1::Desired& desired,
                const storage::v1::Rendered* rendered);

// True when `desired` is wanted and has no good manifest of its own yet, or is
// paused and not released: what it replaces must then not go either.
bool OwesDeployment(const storage::v1::Desired& desired,
                    const storage::v1::Rendered* rendered,
                    const storage::v1::Released* released);

// The record to write, or nothing when the present one stands. `av` is left 0
// for the caller. Pointers may be null: there is no such record.
std::optional<storage::v1::Released> PlanRelease(
    const storage::v1::Desired& desired, const storage::v1::Rendered* rendered,
    const storage::v1::Released* released,
    const core::v1::DeploymentState* observed, const ClusterDebt& debt);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_ROLLOUT_ROLLOUT_PLANNER_H_
