// SPDX-License-Identifier: Apache-2.0
//
// Deployment is all that the Reconciler holds of one assignment.

#ifndef FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_H_
#define FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_H_

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/apply/service_accounts.h"
#include "agent/reconcile/deployment_fold.h"
#include "agent/reconcile/deployment_machine.h"
#include "agent/reconcile/object_state.h"
#include "common/event/loop.h"
#include "common/kube/object.h"
#include "common/retry/backoff.h"
#include "flotilla/agentstate/v1/agentstate.pb.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

class DeploymentRun;

// Thread-compatible.
struct Deployment {
  explicit Deployment(const Backoff::Options& retry_options)
      : retry(retry_options) {}

  std::string bundle_id;
  agentstate::v1::StoredAssignment record;
  DeploymentMachine machine;

  // The newest manifest that can be read, which may lack blobs.
  std::shared_ptr<const core::v1::Manifest> manifest;
  uint64_t manifest_generation = 0;
  // The one that runs: every blob is here.
  std::shared_ptr<const core::v1::Manifest> running;
  uint64_t running_generation = 0;

  // Whom its requests act as; an error until that is known.
  ActingUser user = absl::FailedPreconditionError(
      "it is not known yet under which service account it is deployed");

  // Of `running`, and objects that are being pruned.
  ObjectStates objects;
  std::shared_ptr<DeploymentRun> run;
  uint64_t run_number = 0;

  // Left on purpose, for people: by the last plan, and by deletions since this
  // manifest runs.
  std::vector<std::string> notes;
  std::vector<std::string> left;
  // What holds it up; empty: nothing.
  std::string trouble;
  // Why its newest generation, which is all here, is not applied yet.
  std::vector<core::v1::Problem> holds;
  // What is wrong with the namespace that it wants.
  std::vector<core::v1::Problem> namespace_problems;
  // Fleet's word for its state (spec 7.1), for those that depend on it.
  std::string state = "WaitApplied";
  // Other bundles that claim objects of this one too.
  std::vector<core::v1::Problem> rivals;
  // Objects of its own that others of it wait for.
  std::set<ObjectIdentity> waited_for;
  // A run found that it must wait for, or shares objects with, other bundles.
  bool looks_at_others = false;

  absl::Duration stored_at = absl::ZeroDuration();
  absl::Duration apply_duration = absl::ZeroDuration();
  Backoff retry;
  std::unique_ptr<Timer> retry_timer;

  // What was published.
  core::v1::Phase phase = core::v1::PHASE_UNSPECIFIED;
  uint64_t phase_generation = 0;
  absl::Time phase_time = absl::InfinitePast();
  // Since when its phase is one that is only passed through.
  absl::Duration passing_since = absl::InfiniteDuration();
  bool published = false;
  std::set<ObjectIdentity> dirty;
};

// nullptr when `id` is none of its objects.
inline ObjectState* StateOf(Deployment& deployment, const ObjectIdentity& id) {
  const auto found = deployment.objects.find(id);
  return found == deployment.objects.end() ? nullptr : &found->second;
}

// Nothing of it is kept: it is being deleted, or was.
inline bool IsLeft(const ObjectState* object) {
  return object == nullptr || object->sync == core::v1::SYNC_STATE_PRUNING;
}

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_H_
