// SPDX-License-Identifier: Apache-2.0
//
// PodWatcher looks at the pods of workloads that are not ready, so that the
// workload can say why: a deployment that waits for a minute because of a typo
// in an image should name the pod and the image. Nothing is asked in the first
// second, for most workloads need no more.

#ifndef FLOTILLA_AGENT_HEALTH_POD_WATCHER_H_
#define FLOTILLA_AGENT_HEALTH_POD_WATCHER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "common/kube/object.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

// Loop-affine.
class PodWatcher {
 public:
  // Told what is wrong with a workload's pods; empty: nothing (any more).
  using OnTrouble =
      std::function<void(const ObjectIdentity& workload, std::string trouble)>;

  // Both must outlive the watcher.
  PodWatcher(KubeClient& client, Loop& loop, OnTrouble on_trouble);
  PodWatcher(const PodWatcher&) = delete;
  PodWatcher& operator=(const PodWatcher&) = delete;
  ~PodWatcher();

  // `live` is the workload; nothing when it has no spec.selector.matchLabels.
  void Look(const ObjectIdentity& workload, const nlohmann::json& live);
  void Forget(const ObjectIdentity& workload);

  static bool HasPods(const ObjectIdentity& id);

 private:
  class Workload;

  // Collaborators. Not owned.
  KubeClient& client_;
  Loop& loop_;

  // Loop state.
  const OnTrouble on_trouble_;
  std::map<ObjectIdentity, std::unique_ptr<Workload>> workloads_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_HEALTH_POD_WATCHER_H_
