// SPDX-License-Identifier: Apache-2.0
//
// PruneRun deletes what a plan found that nobody wants any more, group after
// group. Deletions carry the UID that we knew and are over when the object is
// gone. Destroying the run stops it.

#ifndef FLOTILLA_AGENT_RECONCILE_PRUNE_RUN_H_
#define FLOTILLA_AGENT_RECONCILE_PRUNE_RUN_H_

#include <cstddef>
#include <map>
#include <memory>
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
#include "flotilla/core/v1/core.pb.h"

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
  struct Pruning {
    core::v1::ResourceKey key;
    std::string uid;
    bool checking = false;
  };

  void NextGroup();
  void Prune(const PlannedPrune& prune);
  void Delete(const core::v1::ResourceKey& key, const std::string& uid);
  void Check(const ObjectIdentity& id);
  void OnChecked(const ObjectIdentity& id,
                 const absl::StatusOr<KubeObject>& live);
  // What had `uid` is no more: over, or on with what we made in its place.
  void Replaced(const ObjectIdentity& id, const std::string& uid);
  void Gone(const ObjectIdentity& id);
  void Failed(const ObjectIdentity& id, const absl::Status& status);
  void OneDone();
  void End();

  // Constant after construction.
  const RunTools tools_;
  const std::weak_ptr<Deployment> deployment_;
  const std::vector<std::vector<PlannedPrune>> groups_;

  // Loop state.
  absl::AnyInvocable<void(RunResult)> done_;
  RunResult result_;
  size_t next_ = 0;
  int outstanding_ = 0;
  std::map<ObjectIdentity, Pruning> pruning_;
  absl::Duration pause_ = absl::ZeroDuration();
  std::unique_ptr<Timer> timer_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_RECONCILE_PRUNE_RUN_H_
