// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/deployment_machine.h"

namespace flotilla::agent {

using Actions = DeploymentMachine::Actions;

Actions DeploymentMachine::Assigned(uint64_t generation, bool tombstone,
                                    bool deleted, bool runs) {
  if (generation <= generation_) return {};
  older_runs_ = older_runs_ || stage_ == Stage::kReady ||
                stage_ == Stage::kSettled;
  generation_ = generation;
  tombstone_ = tombstone;
  last_end_ = RunEnd::kClean;
  if (tombstone) {
    older_runs_ = false;
    stage_ = deleted ? Stage::kDeleted : Stage::kDeleting;
    return deleted ? Actions() : Start();
  }
  if (runs) {
    older_runs_ = false;
    stage_ = Stage::kReady;
    return Start();
  }
  stage_ = Stage::kNoManifest;
  return {Action::kFetchManifest};
}

Actions DeploymentMachine::ManifestHere(uint64_t generation) {
  if (generation != generation_ || stage_ != Stage::kNoManifest) return {};
  stage_ = Stage::kNoBlobs;
  return {Action::kFetchBlobs};
}

void DeploymentMachine::Held(uint64_t generation) {
  if (generation == generation_ && stage_ == Stage::kNoBlobs) {
    stage_ = Stage::kHeld;
  }
}

Actions DeploymentMachine::BlobsHere(uint64_t generation) {
  if (generation != generation_ ||
      (stage_ != Stage::kNoBlobs && stage_ != Stage::kHeld)) {
    return {};
  }
  stage_ = Stage::kReady;
  older_runs_ = false;
  return Start();
}

Actions DeploymentMachine::Start() {
  Actions actions;
  if (running_) {
    actions.push_back(Action::kCancelRun);
    running_ = false;
  }
  again_ = false;
  if (ready_) {
    running_ = true;
    actions.push_back(Action::kRun);
  }
  return actions;
}

Actions DeploymentMachine::Ready(bool ready) {
  if (ready == ready_) return {};
  ready_ = ready;
  if (!ready || running_) return {};
  const bool waits = stage_ == Stage::kReady || stage_ == Stage::kDeleting ||
                     stage_ == Stage::kSettled || older_runs_;
  return waits ? Start() : Actions();
}

Actions DeploymentMachine::Replan() {
  if (running_) {
    again_ = true;
    return {};
  }
  // The record of it could not be written.
  if (stage_ == Stage::kDeletedUnstored) return {Action::kMarkDeleted};
  const bool can = stage_ == Stage::kReady || stage_ == Stage::kSettled ||
                   stage_ == Stage::kDeleting || older_runs_;
  return can ? Start() : Actions();
}

Actions DeploymentMachine::RunEnded(RunEnd end) {
  if (!running_) return {};
  running_ = false;
  last_end_ = end;
  if (stage_ == Stage::kDeleting && end == RunEnd::kClean && !again_) {
    stage_ = Stage::kDeletedUnstored;
    return {Action::kMarkDeleted};
  }
  if (stage_ == Stage::kReady) stage_ = Stage::kSettled;
  if (again_) return Start();
  return {};
}

void DeploymentMachine::DeletionStored(uint64_t generation) {
  if (generation == generation_ && stage_ == Stage::kDeletedUnstored) {
    stage_ = Stage::kDeleted;
  }
}

core::v1::Phase DeploymentMachine::PhaseOf(const ObjectsView& view) const {
  switch (stage_) {
    case Stage::kNone:
      return core::v1::PHASE_STORED;
    case Stage::kNoManifest:
    case Stage::kNoBlobs:
      return core::v1::PHASE_FETCHING;
    case Stage::kHeld:
      return core::v1::PHASE_BLOCKED;
    case Stage::kDeleting:
      return core::v1::PHASE_DELETING;
    case Stage::kDeletedUnstored:
      return core::v1::PHASE_DELETING;
    case Stage::kDeleted:
      return core::v1::PHASE_DELETED;
    case Stage::kReady:
      if (last_end_ == RunEnd::kBlocked) return core::v1::PHASE_BLOCKED;
      return running_ ? core::v1::PHASE_APPLYING : core::v1::PHASE_READY;
    case Stage::kSettled:
      break;
  }
  if (view.error) return core::v1::PHASE_FAILED;
  if (last_end_ == RunEnd::kFailed) return core::v1::PHASE_FAILED;
  if (last_end_ != RunEnd::kClean || view.waiting) {
    return core::v1::PHASE_BLOCKED;
  }
  if (view.unhealthy) return core::v1::PHASE_DEGRADED;
  if (view.unfinished) return core::v1::PHASE_VERIFYING;
  return core::v1::PHASE_HEALTHY;
}

}  // namespace flotilla::agent
