// SPDX-License-Identifier: Apache-2.0
//
// DeploymentRun carries out one ApplyPlan: claims what it will touch in the
// inventory, sends wave after wave, and has deleted at the end what nobody
// wants any more (PruneRun); only if every object before was applied. Hooks
// run where Helm runs them (HookRun): those before an install or upgrade after
// namespaces and CRDs, those after it at the end, and around a deletion.
// Destroying the run stops it; answers that are on their way are still
// recorded.

#ifndef FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_RUN_H_
#define FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_RUN_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "agent/apply/apply_plan.h"
#include "agent/apply/hook_plan.h"
#include "agent/apply/refusal.h"
#include "agent/reconcile/deployment.h"
#include "agent/reconcile/hook_run.h"
#include "agent/reconcile/prune_run.h"
#include "agent/reconcile/run_tools.h"
#include "common/event/loop.h"
#include "common/kube/object.h"
#include "flotilla/agentstate/v1/agentstate.pb.h"

namespace flotilla::agent {

// Loop-affine.
class DeploymentRun : public std::enable_shared_from_this<DeploymentRun> {
 public:
  // `may_prune`: every assignment's manifest is known. `deletes`: the plan is
  // that of a tombstone whose objects go.
  DeploymentRun(const RunTools& tools, std::weak_ptr<Deployment> deployment,
                ApplyPlan plan, bool may_prune, bool deletes,
                absl::AnyInvocable<void(RunResult)> done);
  DeploymentRun(const DeploymentRun&) = delete;
  DeploymentRun& operator=(const DeploymentRun&) = delete;

  void Start();

  // It left the watch.
  void OnLeft(const ObjectIdentity& id);

 private:
  void ReadProgress(const Deployment& deployment);
  void NextWave();
  void OnSent(const absl::optional<Refusal>& refusal,
              absl::Duration retry_after);
  void AfterWave();
  // Until each CRD of the wave is established, at most some time.
  void AwaitCrds();
  // Runs those of `event` that have not run, if there are any, and goes on
  // with `then` when they succeeded.
  void RunHooks(HookEvent event, void (DeploymentRun::*then)());
  void StartPrunes();
  void PruneNow();
  void PruneLast();
  void AfterPrunes();
  void Prune(std::vector<std::vector<PlannedPrune>> groups,
             void (DeploymentRun::*then)());
  void End();

  // Constant after construction.
  const RunTools tools_;
  const std::weak_ptr<Deployment> deployment_;
  const bool may_prune_;
  const bool deletes_;

  // Loop state.
  absl::AnyInvocable<void(RunResult)> done_;
  ApplyPlan plan_;
  RunResult result_;
  agentstate::v1::HookProgress progress_;
  size_t wave_ = 0;
  int outstanding_ = 0;
  absl::Duration crd_deadline_ = absl::ZeroDuration();
  absl::Duration pause_ = absl::ZeroDuration();
  std::unique_ptr<Timer> timer_;
  std::shared_ptr<PruneRun> prunes_;
  std::shared_ptr<HookRun> hooks_;
  // Those before the apply are over.
  bool hooks_before_ran_ = false;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_RUN_H_
