// SPDX-License-Identifier: Apache-2.0
//
// HookRun runs the hooks of one event of a deployment, one after the other, as
// Helm does: what is left of an earlier one is deleted where its policy says
// so; it is applied; a Job must complete and a Pod succeed within the time of
// the deployment, for others being applied is enough. What has run is durable
// before the next one begins, so a restart goes on where this one ended. A hook
// that ran and failed is not run again, but for those of a deletion, which has
// no later release that could mend it.
//
// An object that is neither ours nor a hook is not deleted. Destroying the run
// stops it; a Job that runs goes on.

#ifndef FLOTILLA_AGENT_RECONCILE_HOOK_RUN_H_
#define FLOTILLA_AGENT_RECONCILE_HOOK_RUN_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

#include "flotilla/agentstate/v1/agentstate.pb.h"
#include "flotilla/core/v1/core.pb.h"

#include "agent/apply/hook_plan.h"
#include "agent/reconcile/deployment.h"
#include "agent/reconcile/run_tools.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"

namespace flotilla::agent {

// Loop-affine.
class HookRun : public std::enable_shared_from_this<HookRun>,
                private WatchListener {
 public:
  // `progress` is that of the release. `done` never runs inside Start().
  HookRun(const RunTools& tools, std::weak_ptr<Deployment> deployment,
          HookEvent event, agentstate::v1::HookProgress progress,
          absl::AnyInvocable<void(RunResult)> done);
  HookRun(const HookRun&) = delete;
  HookRun& operator=(const HookRun&) = delete;
  ~HookRun() override;

  void Start();

  const agentstate::v1::HookProgress& progress() const { return progress_; }

 private:
  enum class Await { kNothing, kGone, kDone };

  void Next();
  void Look();
  void OnLive(const absl::StatusOr<KubeObject>& live);
  void Apply();
  void OnApplied(const absl::StatusOr<ApplyResult>& result);
  void Wait(Await what);
  void WatchAgain();
  // WatchListener
  void OnSync(Sync sync) override;
  void OnEvent(WatchEvent event) override;
  void OnClosed(absl::Status status) override;
  void OnState(const nlohmann::json& live);
  void OnGone();
  void StopWaiting();
  void Succeeded();
  // It ran, and failed: with the words of its pods.
  void Failed(std::string why);
  void EndFailed(const std::string& why);
  // Deletes those of `hooks` that are there and ours, from the last on.
  void Clean(std::vector<int> hooks, absl::AnyInvocable<void()> then);
  // The event is over.
  void Finish();
  void Save(absl::AnyInvocable<void()> then);
  void Stop(RunEnd end, const std::string& why);
  // Of the API server about the hook.
  void Refused(const absl::Status& status);
  void Say(const std::string& what);

  const core::v1::ManifestEntry& hook() const;
  std::string Text() const { return HookText(event_, hook()); }
  bool IsDeletion() const;

  // Constant after construction.
  const RunTools tools_;
  const std::weak_ptr<Deployment> deployment_;
  const std::shared_ptr<const core::v1::Manifest> manifest_;
  const HookEvent event_;
  const std::vector<int> hooks_;

  // Loop state.
  agentstate::v1::HookProgress progress_;
  absl::AnyInvocable<void(RunResult)> done_;
  size_t next_ = 0;
  std::string uid_;
  Await await_ = Await::kNothing;
  bool seen_ = false;
  absl::Duration deadline_ = absl::ZeroDuration();
  std::unique_ptr<KubeWatch> watch_;
  std::unique_ptr<Timer> deadline_timer_;
  std::unique_ptr<Timer> watch_timer_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_RECONCILE_HOOK_RUN_H_
