// SPDX-License-Identifier: Apache-2.0
//
// PodWatcher looks at the pods of workloads that are not ready, so that the
// workload can say why: a deployment that waits for a minute because of a typo
// in an image should name the pod and the image. Nothing is asked in the first
// second, for most workloads need no more.
//
// A few workloads are watched at a time. When more are not ready they take
// turns: what was seen of one stays told while another one is looked at.
//
// Why the containers of a pod are not made for long (a volume that cannot be
// mounted) stands in events alone: the last warning is read once for each pod.

#ifndef FLOTILLA_AGENT_HEALTH_POD_WATCHER_H_
#define FLOTILLA_AGENT_HEALTH_POD_WATCHER_H_

#include <deque>
#include <functional>
#include <map>
#include <memory>

#include "absl/time/time.h"
#include "agent/health/health_verdict.h"
#include "common/env/clock.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "common/kube/object.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

// Loop-affine.
class PodWatcher {
 public:
  // Workloads with a watch; the others wait for their turn.
  static constexpr size_t kMaxWatched = 16;
  // How long a turn takes at least when others wait.
  static constexpr absl::Duration kTurn = absl::Seconds(10);
  // How long a node may take for containers before events are asked.
  static constexpr absl::Duration kContainersWithin = absl::Seconds(20);

  // Told what is wrong with a workload's pods; HEALTHY: nothing (any more).
  using OnTrouble = std::function<void(const ObjectIdentity& workload,
                                       const HealthVerdict& trouble)>;

  // All must outlive the watcher.
  PodWatcher(KubeClient& client, Loop& loop, const Clock& clock,
             absl::Duration unschedulable_after, OnTrouble on_trouble);
  PodWatcher(const PodWatcher&) = delete;
  PodWatcher& operator=(const PodWatcher&) = delete;
  ~PodWatcher();

  // `live` is the workload; nothing when it has no selector.
  void Look(const ObjectIdentity& workload, const nlohmann::json& live);
  void Forget(const ObjectIdentity& workload);

  static bool HasPods(const ObjectIdentity& id);

 private:
  class Workload;

  // Starts watches while there is room; the one that was watched for longest
  // makes room when its turn is over.
  void GiveTurns();

  // Collaborators. Not owned.
  KubeClient& client_;
  Loop& loop_;
  const Clock& clock_;

  // Constant after construction.
  const absl::Duration unschedulable_after_;
  const OnTrouble on_trouble_;

  // Loop state.
  std::map<ObjectIdentity, std::unique_ptr<Workload>> workloads_;
  std::deque<ObjectIdentity> waiting_;
  // In the order in which their turns began.
  std::deque<ObjectIdentity> watched_;

  // Declared last: destroyed first.
  std::unique_ptr<Timer> turns_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_HEALTH_POD_WATCHER_H_
