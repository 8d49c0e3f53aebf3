// SPDX-License-Identifier: Apache-2.0
//
// HealthJudge gives the rules of health_rules.h what they need to know beside
// the object: the time, what the API server serves, and how storage classes
// bind volumes. It says when an object has to be looked at again though nothing
// of it has changed: its time is up, or what it waited for was learnt.
//
// Nothing is asked of the API server before a verdict needs it.

#ifndef FLOTILLA_AGENT_HEALTH_HEALTH_JUDGE_H_
#define FLOTILLA_AGENT_HEALTH_HEALTH_JUDGE_H_

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "agent/health/health_verdict.h"
#include "common/env/clock.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "common/kube/object.h"
#include "flotilla/core/v1/core.pb.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

// Thread-compatible.
struct HealthOptions {
  // How long a pod may wait for a node before that counts as broken.
  absl::Duration unschedulable_after = absl::Minutes(5);
};

// Loop-affine.
class HealthJudge {
 public:
  // The object must be fetched and judged again. Never inside of a call.
  using OnDue = std::function<void(const ObjectIdentity&)>;

  // All must outlive the judge.
  HealthJudge(KubeClient& client, Loop& loop, const Clock& clock,
              const HealthOptions& options, OnDue on_due);
  HealthJudge(const HealthJudge&) = delete;
  HealthJudge& operator=(const HealthJudge&) = delete;
  ~HealthJudge();

  // Learns what the cluster serves, so that few verdicts have to wait for it.
  void Start() { Discover(); }

  // `live` is the whole object, or its metadata where HasHealthRule() says
  // that no more is needed.
  HealthVerdict Judge(const ObjectIdentity& id,
                      const core::v1::DeployPolicy& policy,
                      const nlohmann::json& live);
  void Forget(const ObjectIdentity& id);

  // What the cluster serves has changed.
  void OnKindsChanged();

 private:
  // Thread-compatible.
  struct StorageClass {
    absl::optional<bool> binds_late;
    bool asking = false;
    // When it may be asked for again.
    absl::Duration old = absl::ZeroDuration();
    std::set<ObjectIdentity> waiting;
  };

  void Discover();
  absl::optional<bool> BindsLate(const ObjectIdentity& id,
                                 absl::string_view storage_class);
  void OnStorageClass(const std::string& name,
                      const absl::StatusOr<KubeObject>& live);
  // Those in `ids`, now.
  void Tell(std::set<ObjectIdentity> ids);
  void OnTimer();

  // Collaborators. Not owned.
  KubeClient& client_;
  Loop& loop_;
  const Clock& clock_;

  // Constant after construction.
  const HealthOptions options_;
  const OnDue on_due_;

  // Loop state.
  std::shared_ptr<const Discovery> discovery_;
  bool discovering_ = false;
  absl::Duration discover_again_;
  // Who waits for a kind to be listed.
  std::set<ObjectIdentity> unlisted_;
  // Whose kind was not listed when it was looked for.
  std::set<ObjectIdentity> looked_up_;
  std::map<std::string, StorageClass> classes_;
  std::map<ObjectIdentity, absl::Time> due_;
  const std::shared_ptr<bool> alive_;

  // Declared last: destroyed first.
  std::unique_ptr<Timer> timer_;
  std::unique_ptr<Timer> discovery_timer_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_HEALTH_HEALTH_JUDGE_H_
