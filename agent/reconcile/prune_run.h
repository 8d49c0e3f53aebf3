// SPDX-License-Identifier: Apache-2.0
//
// PruneRun deletes what a plan found that nobody wants any more, in groups, one
// after another. Nothing is deleted without proof that it is ours: the watch
// has seen our mark on it, or it is looked at first (prune_rules.h). Deletions
// carry the UID that we knew and are over when the object is gone. What takes
// long is told with the finalizers that it waits for, and the others go on
// without it. Destroying the run stops it.

#ifndef FLOTILLA_AGENT_RECONCILE_PRUNE_RUN_H_
#define FLOTILLA_AGENT_RECONCILE_PRUNE_RUN_H_

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/apply/apply_plan.h"
#include "agent/reconcile/deployment.h"
#include "agent/reconcile/run_tools.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "common/kube/object.h"

namespace flotilla::agent {

// Loop-affine.
class PruneRun : public std::enable_shared_from_this<PruneRun> {
 public:
  // `done` may run inside Start().
  PruneRun(const RunTools& tools, std::weak_ptr<Deployment> deployment,
           std::vector<std::vector<PlannedPrune>> groups,
           absl::AnyInvocable<void(RunResult)> done);
  PruneRun(const PruneRun&) = delete;
  PruneRun& operator=(const PruneRun&) = delete;

  void Start();

  // It left the watch.
  void OnLeft(const ObjectIdentity& id);

 private:
  // Later groups begin without what is not gone after that time: more than pods
  // have by default to end.
  static constexpr absl::Duration kPatience = absl::Seconds(40);

  enum class Stage {
    kWaiting,  // For its group, or for what may need it.
    kGoing,
    kFailed,
    kOver,
  };
  struct Item {
    PlannedPrune prune;
    Stage stage = Stage::kWaiting;
    std::string uid;
    bool checking = false;
  };

  void Advance();
  // Begins with what of the open groups need not wait; false: with nothing.
  bool BeginSome();
  void Begin(const ObjectIdentity& id, Item& item);
  void Look(const ObjectIdentity& id);
  void OnLooked(const ObjectIdentity& id,
                const absl::StatusOr<KubeObject>& live);
  // What others would lose with it is to be known first.
  void LookWithin(const ObjectIdentity& id);
  void Delete(const ObjectIdentity& id);
  void Check(const ObjectIdentity& id);
  void OnChecked(const ObjectIdentity& id,
                 const absl::StatusOr<KubeObject>& live);
  // What had its UID is no more: over, or on with what we made in its place.
  void Replaced(const ObjectIdentity& id);
  void Leave(const ObjectIdentity& id, const std::string& why);
  void Gone(const ObjectIdentity& id);
  void Failed(const ObjectIdentity& id, const absl::Status& status);
  void End();
  // nullptr when nothing is under way with it.
  Item* Going(const ObjectIdentity& id);

  // Constant after construction.
  const RunTools tools_;
  const std::weak_ptr<Deployment> deployment_;
  const std::vector<std::vector<PlannedPrune>> groups_;

  // Loop state.
  absl::AnyInvocable<void(RunResult)> done_;
  RunResult result_;
  std::map<ObjectIdentity, Item> items_;
  // UIDs of what is not to go: an object may bear two names.
  std::set<std::string> stays_;
  size_t open_ = 0;
  int going_ = 0;
  absl::Duration last_begun_ = absl::ZeroDuration();
  absl::Duration pause_ = absl::ZeroDuration();
  std::unique_ptr<Timer> timer_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_RECONCILE_PRUNE_RUN_H_
