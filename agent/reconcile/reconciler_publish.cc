// SPDX-License-Identifier: Apache-2.0

// What the Reconciler says of its deployments.

#include <string>
#include <utility>

#include "absl/time/time.h"
#include "agent/reconcile/dependencies.h"
#include "agent/reconcile/deployment_fold.h"
#include "agent/reconcile/reconciler.h"

namespace flotilla::agent {
namespace {

// A phase that is passed through faster than this is not told.
constexpr absl::Duration kPassing = absl::Milliseconds(150);

bool IsPassing(core::v1::Phase phase) {
  return phase == core::v1::PHASE_STORED ||
         phase == core::v1::PHASE_FETCHING ||
         phase == core::v1::PHASE_READY || phase == core::v1::PHASE_APPLYING;
}

template <typename Proto>
void SetTime(absl::Time time, Proto* proto) {
  const int64_t millis = absl::ToUnixMillis(time);
  proto->set_seconds(millis / 1000);
  proto->set_nanos(static_cast<int32_t>(millis % 1000) * 1000000);
}

}  // namespace

void Reconciler::Touch(Deployment& deployment) {
  touched_.insert(deployment.bundle_id);
  // In the middle of a run nobody waits for each object.
  const absl::Duration wait = deployment.machine.running()
                                  ? absl::Milliseconds(10)
                                  : absl::ZeroDuration();
  if (!publish_timer_->armed() || wait == absl::ZeroDuration()) {
    publish_timer_->Arm(wait);
  }
}

void Reconciler::PublishAll() {
  const std::set<std::string> touched = std::move(touched_);
  touched_.clear();
  for (const std::string& bundle_id : touched) {
    if (const Ptr deployment = Find(bundle_id)) Publish(*deployment);
  }
}

void Reconciler::Publish(Deployment& deployment) {
  const std::set<ObjectIdentity> dirty = std::move(deployment.dirty);
  deployment.dirty.clear();
  for (const ObjectIdentity& id : dirty) {
    const auto found = deployment.objects.find(id);
    if (found == deployment.objects.end()) continue;
    const ObjectState& object = found->second;
    if (object.want.ensure_namespace() ||
        object.sync == core::v1::SYNC_STATE_UNSPECIFIED) {
      continue;
    }
    core::v1::ResourceStatus status = StatusOf(deployment.bundle_id, object);
    if (object.since != absl::InfinitePast()) {
      SetTime(object.since, status.mutable_since());
    }
    reporter_.SetResource(std::move(status));
  }
  PublishState(deployment);
}

void Reconciler::PublishState(Deployment& deployment) {
  DeploymentFold fold = FoldObjects(deployment.objects);
  core::v1::Phase phase = deployment.machine.PhaseOf(fold.view);
  const absl::Duration now = parts_.loop.MonotonicNow();
  std::string trouble = deployment.trouble;
  const WatchTrouble* const down = TroubleOf(deployment);
  if (down != nullptr && phase != core::v1::PHASE_DELETED &&
      phase != core::v1::PHASE_FETCHING && phase != core::v1::PHASE_FAILED) {
    if (phase != core::v1::PHASE_DELETING) phase = core::v1::PHASE_BLOCKED;
    trouble = down->message;
  }
  const bool nobody = !deployment.user.ok() && deployment.running != nullptr &&
                      accounts_.settled() && down == nullptr &&
                      phase != core::v1::PHASE_DELETED;
  if (nobody) {
    if (phase != core::v1::PHASE_DELETING) phase = core::v1::PHASE_BLOCKED;
    trouble = std::string(deployment.user.status().message());
  }
  if (!deployment.namespace_problems.empty() &&
      (phase == core::v1::PHASE_HEALTHY || phase == core::v1::PHASE_VERIFYING ||
       phase == core::v1::PHASE_DEGRADED)) {
    phase = core::v1::PHASE_FAILED;
  }
  const std::string word =
      FleetStateOf(phase, fold.counts, deployment.machine.settled());
  if (word != deployment.state) {
    deployment.state = word;
    ReviewSoon();
  }
  if (IsPassing(phase)) {
    if (deployment.passing_since == absl::InfiniteDuration()) {
      deployment.passing_since = now;
    }
    if (now - deployment.passing_since < kPassing) {
      // Another change publishes it before, or this timer does.
      if (!passing_timer_->armed()) passing_timer_->Arm(kPassing);
      return;
    }
  } else {
    deployment.passing_since = absl::InfiniteDuration();
  }
  const uint64_t generation = deployment.machine.generation();
  if (phase != deployment.phase || generation != deployment.phase_generation) {
    deployment.phase = phase;
    deployment.phase_generation = generation;
    deployment.phase_time = parts_.clock.Now();
  }
  core::v1::DeploymentState state;
  state.set_bundle_id(deployment.bundle_id);
  state.set_generation(generation);
  state.set_manifest_digest(deployment.record.manifest_digest());
  state.set_phase(phase);
  *state.mutable_counts() = fold.counts;
  SetTime(deployment.phase_time, state.mutable_phase_time());
  if (deployment.apply_duration > absl::ZeroDuration()) {
    const int64_t millis = absl::ToInt64Milliseconds(deployment.apply_duration);
    state.mutable_apply_duration()->set_seconds(millis / 1000);
    state.mutable_apply_duration()->set_nanos(
        static_cast<int32_t>(millis % 1000) * 1000000);
  }
  if (deployment.machine.held()) {
    for (const core::v1::Problem& problem : deployment.holds) {
      if (state.problems_size() < 10) *state.add_problems() = problem;
    }
  }
  const bool own_words = down != nullptr || nobody ||
                         deployment.machine.last_end() == RunEnd::kBlocked ||
                         fold.problems.empty();
  if (!trouble.empty() && own_words &&
      phase != core::v1::PHASE_HEALTHY) {
    core::v1::Problem* problem = state.add_problems();
    problem->set_code(nobody ? "FAILED_PRECONDITION" : "UNAVAILABLE");
    problem->set_message(trouble);
  }
  for (core::v1::Problem& problem : fold.problems) {
    if (state.problems_size() < 10) *state.add_problems() = std::move(problem);
  }
  for (const core::v1::Problem& problem : deployment.namespace_problems) {
    if (state.problems_size() < 10) *state.add_problems() = problem;
  }
  for (const core::v1::Problem& problem : deployment.rivals) {
    if (state.problems_size() < 10) *state.add_problems() = problem;
  }
  for (const auto* notes : {&deployment.notes, &deployment.left}) {
    for (const std::string& note : *notes) {
      if (state.notes_size() < 50) state.add_notes(note);
    }
  }
  reporter_.SetState(std::move(state));
}

const Reconciler::WatchTrouble* Reconciler::TroubleOf(
    const Deployment& deployment) const {
  if (unwatched_.empty()) return nullptr;
  const absl::Duration now = parts_.loop.MonotonicNow();
  for (const auto& [id, object] : deployment.objects) {
    if (object.want.ensure_namespace()) continue;
    const core::v1::ResourceKey& key = object.want.key();
    const auto found = unwatched_.find({key.group(), key.kind()});
    if (found != unwatched_.end() && now - found->second.since >= kWatchGrace) {
      return &found->second;
    }
  }
  return nullptr;
}

}  // namespace flotilla::agent
