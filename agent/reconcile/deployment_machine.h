// SPDX-License-Identifier: Apache-2.0
//
// DeploymentMachine is one assignment's life (protocol.md 4, step 10): stored,
// fetched, applied, judged, and in the end deleted. It is told what happened
// and says what to do next; who does it is the Reconciler. A newer generation
// pre-empts an older one as soon as all its bytes are here; until then the
// older one goes on.

#ifndef FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_MACHINE_H_
#define FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_MACHINE_H_

#include <cstdint>
#include <vector>

#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// How a run over a deployment's objects ended.
enum class RunEnd {
  kClean,    // Every object was sent and every prune is done.
  kBlocked,  // The API server could not be asked; try again soon.
  kWaiting,  // A kind or a namespace is not there.
  kFailed,   // An object was refused; try again later.
};

// What the objects look like together.
//
// Thread-compatible.
struct ObjectsView {
  bool error = false;        // Refused or in conflict.
  bool waiting = false;      // WAIT_APPLIED, or not yet sent.
  bool unhealthy = false;    // DEGRADED, MISSING.
  bool unfinished = false;   // PROGRESSING, UNKNOWN, not judged, drifted.
};

// Thread-compatible.
class DeploymentMachine {
 public:
  enum class Action {
    kFetchManifest,
    kFetchBlobs,  // Of the manifest that is here.
    kRun,         // Plan and send; for a tombstone: delete.
    kCancelRun,
    kMarkDeleted,
  };
  using Actions = std::vector<Action>;

  // The assignment as stored. `runs`: that very generation has all its bytes
  // here already (after a restart).
  Actions Assigned(uint64_t generation, bool tombstone, bool deleted,
                   bool runs);
  // The manifest of `generation` can be read.
  Actions ManifestHere(uint64_t generation);
  // All bytes of `generation` are durable, and something outside holds it: an
  // older one goes on until BlobsHere().
  void Held(uint64_t generation);
  // All bytes of `generation` are durable.
  Actions BlobsHere(uint64_t generation);
  // What the plan needs to know of the cluster and of other bundles is known,
  // or no longer.
  Actions Ready(bool ready);
  // Something changed that a plan looks at.
  Actions Replan();
  Actions RunEnded(RunEnd end);
  // The record of the deletion is durable.
  void DeletionStored(uint64_t generation);

  core::v1::Phase PhaseOf(const ObjectsView& view) const;

  uint64_t generation() const { return generation_; }
  bool ready() const { return ready_; }
  bool running() const { return running_; }
  bool tombstone() const { return tombstone_; }
  // The newest generation is what runs.
  bool current() const { return stage_ >= Stage::kReady; }
  bool held() const { return stage_ == Stage::kHeld; }
  // A run of the newest generation has come to its end, whatever it was.
  bool settled() const { return stage_ == Stage::kSettled; }
  RunEnd last_end() const { return last_end_; }

 private:
  enum class Stage {
    kNone,
    kNoManifest,
    kNoBlobs,
    kHeld,
    kReady,
    kSettled,
    kDeleting,
    kDeletedUnstored,
    kDeleted,
  };

  Actions Start();

  uint64_t generation_ = 0;
  Stage stage_ = Stage::kNone;
  bool tombstone_ = false;
  bool ready_ = false;
  // An older generation runs while this one is fetched.
  bool older_runs_ = false;
  bool running_ = false;
  bool again_ = false;
  RunEnd last_end_ = RunEnd::kClean;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_MACHINE_H_
