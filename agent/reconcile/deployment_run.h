// SPDX-License-Identifier: Apache-2.0
//
// DeploymentRun carries out one ApplyPlan: claims what it will touch in the
// inventory, sends wave after wave, and deletes at the end what nobody wants
// any more; only if every object before was applied. Deletions carry the UID
// that we knew and are over when the object is gone. Destroying the run stops
// it; answers that are on their way are still recorded.

#ifndef FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_RUN_H_
#define FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_RUN_H_

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "agent/apply/applier.h"
#include "agent/apply/apply_plan.h"
#include "agent/apply/refusal.h"
#include "agent/cache/assignment_cache.h"
#include "agent/reconcile/deployment.h"
#include "agent/reconcile/object_keeper.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "common/kube/object.h"

namespace flotilla::agent {

// Loop-affine.
class DeploymentRun : public std::enable_shared_from_this<DeploymentRun> {
 public:
  // Not owned; all must outlive the run.
  struct Tools {
    AssignmentCache& cache;
    Applier& applier;
    ObjectKeeper& keeper;
    KubeClient& client;
    Loop& loop;
    // An object of the deployment changed, or is gone and no longer its.
    std::function<void(Deployment&, const ObjectIdentity&)> changed;
    std::function<void(Deployment&, const core::v1::ResourceKey&)> gone;
  };
  struct Result {
    RunEnd end = RunEnd::kClean;
    std::string trouble;  // For people; empty when clean.
    absl::Duration retry_after = absl::ZeroDuration();
  };

  // `may_prune`: every assignment's manifest is known.
  DeploymentRun(const Tools& tools, std::weak_ptr<Deployment> deployment,
                ApplyPlan plan, bool may_prune,
                absl::AnyInvocable<void(Result)> done);
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
  void NextPrunes();
  void Prune(const PlannedPrune& prune);
  void Delete(const core::v1::ResourceKey& key, const std::string& uid);
  void Check(const ObjectIdentity& id);
  void OnChecked(const ObjectIdentity& id,
                 const absl::StatusOr<KubeObject>& live);
  // What had `uid` is no more: over, or on with what we made in its place.
  void Replaced(const ObjectIdentity& id, const std::string& uid);
  void Gone(const ObjectIdentity& id);
  void PruneFailed(const ObjectIdentity& id, const absl::Status& status);
  void PruneDone();
  void Note(RunEnd end, const std::string& trouble);
  void End();

  struct Pruning {
    core::v1::ResourceKey key;
    std::string uid;
    bool checking = false;
  };

  // Constant after construction.
  const Tools tools_;
  const std::weak_ptr<Deployment> deployment_;
  const ApplyPlan plan_;
  const bool may_prune_;

  // Loop state.
  absl::AnyInvocable<void(Result)> done_;
  Result result_;
  size_t wave_ = 0;
  size_t prunes_ = 0;
  int outstanding_ = 0;
  std::map<ObjectIdentity, Pruning> pruning_;
  absl::Duration crd_deadline_ = absl::ZeroDuration();
  absl::Duration pause_ = absl::ZeroDuration();
  std::unique_ptr<Timer> timer_;
  bool awaiting_crds_ = false;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_RUN_H_
