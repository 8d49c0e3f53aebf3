// SPDX-License-Identifier: Apache-2.0
//
// Reconciler runs one DeploymentMachine for each assignment: it hands them what
// happens (assignments, bytes, watches, answers) and carries out what they say.
// It starts from the disk before the link is up and heals with no manager; only
// what differs from the last applied state is sent.
//
// Which bundle an object belongs to is decided over all manifests together
// (Claims). Nothing is deleted before the manifest of every assignment is here.

#ifndef FLOTILLA_AGENT_RECONCILE_RECONCILER_H_
#define FLOTILLA_AGENT_RECONCILE_RECONCILER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/apply/applier.h"
#include "agent/apply/apply_plan.h"
#include "agent/apply/namespace_watch.h"
#include "agent/apply/service_accounts.h"
#include "agent/cache/assignment_cache.h"
#include "agent/connection/manager_link.h"
#include "agent/drift/drift_watcher.h"
#include "agent/facts/arrival_watch.h"
#include "agent/health/health_judge.h"
#include "agent/health/pod_watcher.h"
#include "agent/reconcile/dependencies.h"
#include "agent/reconcile/deployment.h"
#include "agent/reconcile/deployment_run.h"
#include "agent/reconcile/object_keeper.h"
#include "agent/reconcile/object_sender.h"
#include "agent/reconcile/run_tools.h"
#include "agent/report/status_reporter.h"
#include "agent/values/values_reader.h"
#include "common/assignment/set_digest.h"
#include "common/blob/blob_store.h"
#include "common/env/clock.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

// Loop-affine.
class Reconciler : public LinkEvents,
                   private DriftEvents,
                   private SenderEvents,
                   private KeeperEvents {
 public:
  // Not owned; all must outlive the reconciler.
  struct Parts {
    AssignmentCache& cache;
    BlobStore& blobs;
    KubeClient& client;
    ManagerLink& link;
    Loop& loop;
    const Clock& clock;
    Random& random;
    // Where the service accounts are that deployments act as.
    std::string agent_namespace = "cattle-fleet-system";
    HealthOptions health = {};
  };

  explicit Reconciler(const Parts& parts);
  Reconciler(const Reconciler&) = delete;
  Reconciler& operator=(const Reconciler&) = delete;
  ~Reconciler() override;

  // Begins with what the disk holds. Call it before the link's Start().
  void Start();

  // What the cluster serves has changed.
  void OnKindsChanged();

  // LinkEvents
  HeldSummary Held() override;
  std::vector<AssignedItem> Have() override;
  void OnWelcome(const SessionOpened& opened) override;
  void OnAssign(uint64_t epoch, const agent::v1::Assign& assign) override;
  void OnValuesRequest(const agent::v1::ValuesRequest& request) override;
  void OnReportAck(uint64_t seq) override;
  void OnReportable() override;
  void OnDisconnected(const absl::Status& why, bool refused) override;

  std::string DebugString() const;

 private:
  // How long a kind may be without its watch before it is told.
  static constexpr absl::Duration kWatchGrace = absl::Seconds(2);

  using Ptr = std::shared_ptr<Deployment>;
  struct Fetch;

  // DriftEvents
  void OnObject(const ObjectIdentity& id, KubeObject object) override;
  void OnLeft(const ObjectIdentity& id, KubeObject object) override;
  void OnListed(const std::string& group, const std::string& kind,
                const std::set<ObjectIdentity>& present) override;
  void OnWatchUp(const std::string& group, const std::string& kind) override;
  void OnWatchFailed(const std::string& group, const std::string& kind,
                     const absl::Status& status) override;

  // SenderEvents
  void OnObjectChanged(Deployment& deployment,
                       const ObjectIdentity& id) override;
  void OnWorkload(Deployment& deployment, const ObjectIdentity& id,
                  const nlohmann::json& live) override;
  void OnIdle(const Ptr& deployment, const ObjectIdentity& id) override;

  // KeeperEvents
  void OnDrift(core::v1::DriftRecord record) override;
  void OnNotCorrected(Deployment& deployment, const Refusal& refusal) override;

  // Thread-compatible.
  struct WatchTrouble {
    absl::Duration since;
    std::string message;
  };

  // reconciler.cc: life.
  Ptr Find(const std::string& bundle_id) const;
  Ptr OwnerOf(const ObjectIdentity& id) const;
  Ptr Make(const std::string& bundle_id);
  void OnLoaded();
  void OnStored(const std::string& bundle_id);
  void Perform(const Ptr& deployment,
               const DeploymentMachine::Actions& actions);
  void Adopt(Deployment& deployment);
  void Bury(Deployment& deployment);
  void ForgetHealth(const ObjectIdentity& id);
  void WatchKinds(const Deployment& deployment);
  // Runs those that waited for the watches of their kinds.
  void UpdateReady();
  void UpdateReady(const Ptr& deployment);
  // Of `deployment`: the others may have to plan again.
  void ClaimsChanged(const Deployment& deployment);
  const Claims& CurrentClaims();
  bool AllManifestsKnown() const;
  void StartRun(const Ptr& deployment);
  void ShowRivals(Deployment& deployment, const ApplyPlan& plan);
  void OnRunEnded(const Ptr& deployment, uint64_t number,
                  RunResult result);
  void Retry(Deployment& deployment, RunEnd end, absl::Duration at_least);
  // Those whose last run ended so.
  void PlanAgain(RunEnd end);
  void MarkDeleted(const Ptr& deployment);
  void Forget(const std::string& bundle_id, uint64_t generation);
  void Gone(Deployment& deployment, const core::v1::ResourceKey& key);
  std::string NameOf(const std::string& bundle_id) const;

  // reconciler_holds.cc: what a new generation waits for, and who acts.
  std::vector<core::v1::Problem> HoldsOf(const Deployment& deployment,
                                         const Dependencies* others);
  Dependencies Others() const;
  void ReviewSoon();
  void ReviewHolds();
  void OnAccountsChanged();
  void Act(Deployment& deployment);

  // reconciler_namespaces.cc: labels and annotations of namespaces.
  void SettleNamespace(const std::string& name);
  void PatchNamespace(const std::string& name, const Ptr& deployment,
                      NamespaceChange change);
  void SetNamespaceProblem(Deployment& deployment, const std::string& code,
                           const std::string& message);

  // reconciler_fetch.cc: bytes.
  void LoadManifest(const Ptr& deployment);
  void FetchManifest(const Ptr& deployment);
  void OnManifest(const Ptr& deployment, uint64_t generation,
                  absl::StatusOr<std::string> bytes, bool store);
  void FetchBlobs(const Ptr& deployment);
  // Again what was damaged on the disk.
  void FetchLost(const Ptr& deployment);
  void OnBlob(const std::shared_ptr<Fetch>& fetch,
              absl::StatusOr<std::string> bytes);
  void StoreBlobs(const std::shared_ptr<Fetch>& fetch);
  void FetchFailed(const Ptr& deployment, const absl::Status& status,
                   bool manifest);
  void Sweep();

  // reconciler_publish.cc: what is said.
  void Touch(Deployment& deployment);
  void PublishAll();
  void Publish(Deployment& deployment);
  void PublishState(Deployment& deployment);
  // Of a kind of its objects, for some time already; nullptr: none.
  const WatchTrouble* TroubleOf(const Deployment& deployment) const;

  // Constant after construction.
  const Parts parts_;

  // Loop state.
  std::map<std::string, Ptr> deployments_;
  // What every bundle claimed when it was last looked at.
  Claims claims_;
  std::map<std::string, std::shared_ptr<const core::v1::Manifest>> claimed_;
  std::set<std::string> claims_stale_;
  bool loaded_ = false;
  int loading_ = 0;
  int fetching_ = 0;
  std::set<std::string> touched_;
  // Bundles whose newest generation waits for something outside.
  std::set<std::string> held_;
  // Namespaces with a patch in flight, and those that were once as wanted.
  std::set<std::string> patching_;
  std::set<std::string> settled_;
  // Kinds, by group and name, that cannot be watched.
  std::map<std::pair<std::string, std::string>, WatchTrouble> unwatched_;
  const std::shared_ptr<bool> alive_;

  // Declared last: destroyed first.
  ServiceAccounts accounts_;
  ValuesReader values_;
  NamespaceWatch namespace_watch_;
  Applier applier_;
  StatusReporter reporter_;
  HealthJudge judge_;
  ObjectSender sender_;
  ObjectKeeper keeper_;
  DriftWatcher watcher_;
  PodWatcher pods_;
  const RunTools tools_;
  std::unique_ptr<Timer> publish_timer_;
  std::unique_ptr<Timer> passing_timer_;
  std::unique_ptr<Timer> api_timer_;
  std::unique_ptr<Timer> sweep_timer_;
  std::unique_ptr<Timer> hold_timer_;
  std::unique_ptr<ArrivalWatch> namespaces_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_RECONCILE_RECONCILER_H_
