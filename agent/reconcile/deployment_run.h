// SPDX-License-Identifier: Apache-2.0
//
// DeploymentRun carries out one ApplyPlan: claims what it will touch in the
// inventory, sends wave after wave, and has deleted at the end what nobody
// wants any more (PruneRun); only if every object before was applied.
// Destroying the run stops it; answers that are on their way are still
// recorded.

#ifndef FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_RUN_H_
#define FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_RUN_H_

#include <cstddef>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "agent/apply/apply_plan.h"
#include "agent/apply/refusal.h"
#include "agent/reconcile/deployment.h"
#include "agent/reconcile/prune_run.h"
#include "agent/reconcile/run_tools.h"
#include "common/event/loop.h"
#include "common/kube/object.h"

namespace flotilla::agent {

// Loop-affine.
class DeploymentRun : public std::enable_shared_from_this<DeploymentRun> {
 public:
  // `may_prune`: every assignment's manifest is known.
  DeploymentRun(const RunTools& tools, std::weak_ptr<Deployment> deployment,
                ApplyPlan plan, bool may_prune,
                absl::AnyInvocable<void(RunResult)> done);
  DeploymentRun(const DeploymentRun&) = delete;
  DeploymentRun& operator=(const DeploymentRun&) = delete;

  void Start();

  // It left the watch.
  void OnLeft(const ObjectIdentity& id);

 private:
  void NextWave();
  void OnSent(const absl::optional<Refusal>& refusal,
              absl::Duration retry_after);
  void AfterWave();
  // Until each CRD of the wave is established, at most some time.
  void AwaitCrds();
  void StartPrunes();
  void End();

  // Constant after construction.
  const RunTools tools_;
  const std::weak_ptr<Deployment> deployment_;
  const bool may_prune_;

  // Loop state.
  absl::AnyInvocable<void(RunResult)> done_;
  ApplyPlan plan_;
  RunResult result_;
  size_t wave_ = 0;
  int outstanding_ = 0;
  absl::Duration crd_deadline_ = absl::ZeroDuration();
  absl::Duration pause_ = absl::ZeroDuration();
  std::unique_ptr<Timer> timer_;
  std::shared_ptr<PruneRun> prunes_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_RUN_H_
