// SPDX-License-Identifier: Apache-2.0

#include "manager/rollout/rollout_planner.h"

#include <optional>
#include <string>

#include "absl/container/flat_hash_set.h"

namespace flotilla::manager {

using storage::v1::Desired;
using storage::v1::Released;
using storage::v1::Rendered;

bool IsRendered(const Desired& desired, const Rendered* rendered) {
  return rendered != nullptr && rendered->revision() == desired.revision() &&
         rendered->options_digest() == desired.options_digest();
}

bool OwesDeployment(const Desired& desired, const Rendered* rendered,
                    const Released* released) {
  if (desired.removal() != core::v1::DELETE_CAUSE_UNSPECIFIED) return false;
  if (!IsRendered(desired, rendered) || rendered->problems_size() > 0) {
    return true;
  }
  return desired.paused() &&
         (released == nullptr ||
          released->state() != Released::STATE_ACTIVE ||
          released->manifest_digest() != rendered->manifest_digest());
}

namespace {

// Whether `rendered` has not every object of `released` as it was.
bool LacksSomeOf(const Released& released, const Rendered& rendered) {
  const absl::flat_hash_set<std::string> has(rendered.blob_digests().begin(),
                                             rendered.blob_digests().end());
  for (const std::string& digest : released.blob_digests()) {
    if (!has.contains(digest)) return true;
  }
  return false;
}

std::optional<Released> PlanRemoval(const Desired& desired,
                                    const Released* released,
                                    const core::v1::DeploymentState* observed,
                                    const ClusterDebt& debt) {
  if (released == nullptr || released->state() == Released::STATE_GONE) {
    return std::nullopt;
  }
  if (released->state() == Released::STATE_DELETING) {
    if (observed == nullptr ||
        observed->generation() != released->generation() ||
        observed->phase() != core::v1::PHASE_DELETED) {
      return std::nullopt;
    }
    Released gone = *released;
    gone.set_state(Released::STATE_GONE);
    gone.clear_blob_digests();
    gone.clear_previous_blob_digests();
    return gone;
  }
  // Only a person's delete goes on while the rest is held.
  if (desired.paused() &&
      desired.removal() != core::v1::DELETE_CAUSE_OPERATOR) {
    return std::nullopt;
  }
  // An operator's delete is its own approval and waits for nothing.
  if (desired.removal() != core::v1::DELETE_CAUSE_OPERATOR &&
      debt.commits.contains(desired.removed_by())) {
    return std::nullopt;
  }
  Released tombstone = *released;
  tombstone.set_state(Released::STATE_DELETING);
  tombstone.set_generation(released->generation() + 1);
  tombstone.set_cause(desired.removal());
  tombstone.set_approved_by(desired.removed_by());
  tombstone.set_keep_resources(desired.options().keep_resources());
  return tombstone;
}

}  // namespace

std::optional<Released> PlanRelease(const Desired& desired,
                                    const Rendered* rendered,
                                    const Released* released,
                                    const core::v1::DeploymentState* observed,
                                    const ClusterDebt& debt) {
  if (desired.removal() != core::v1::DELETE_CAUSE_UNSPECIFIED) {
    return PlanRemoval(desired, released, observed, debt);
  }
  if (desired.paused()) return std::nullopt;
  // A failed or outstanding render leaves the last good release running.
  if (!IsRendered(desired, rendered) || rendered->problems_size() > 0 ||
      rendered->manifest_digest().empty()) {
    return std::nullopt;
  }
  const bool active =
      released != nullptr && released->state() == Released::STATE_ACTIVE;
  if (active && released->manifest_digest() == rendered->manifest_digest()) {
    return std::nullopt;
  }
  if (active && debt.rendering.contains(desired.commit().id()) &&
      LacksSomeOf(*released, *rendered)) {
    return std::nullopt;
  }
  Released next;
  next.set_generation(released == nullptr ? 1 : released->generation() + 1);
  next.set_state(Released::STATE_ACTIVE);
  next.set_manifest_digest(rendered->manifest_digest());
  next.set_manifest_size(rendered->manifest_size());
  *next.mutable_commit() = rendered->commit();
  next.set_workspace(desired.workspace());
  next.set_bundle_name(desired.bundle_name());
  next.set_revision(rendered->manifest_revision());
  *next.mutable_blob_digests() = rendered->blob_digests();
  if (active) *next.mutable_previous_blob_digests() = released->blob_digests();
  return next;
}

}  // namespace flotilla::manager
