// SPDX-License-Identifier: Apache-2.0
//
// FactsWatcher asks the API server what it serves, who it is and in which
// version, until it answers; and again when a CustomResourceDefinition comes or
// goes, and now and then.

#ifndef FLOTILLA_AGENT_FACTS_FACTS_WATCHER_H_
#define FLOTILLA_AGENT_FACTS_FACTS_WATCHER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "agent/facts/arrival_watch.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "common/retry/backoff.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// Loop-affine.
class FactsWatcher {
 public:
  struct Told {
    std::function<void(std::string)> cluster_uid;  // Of kube-system; once.
    std::function<void(core::v1::ClusterFacts)> facts;
    // What is served has changed since the last time.
    std::function<void()> kinds_changed;
  };

  // All must outlive the watcher.
  FactsWatcher(KubeClient& client, Loop& loop, Random& random, Told told);
  FactsWatcher(const FactsWatcher&) = delete;
  FactsWatcher& operator=(const FactsWatcher&) = delete;
  ~FactsWatcher();

 private:
  void AskUid();
  void AskVersion();
  void AskKinds();
  void Failed(const absl::Status& status);
  void Ask();

  // Collaborators. Not owned.
  KubeClient& client_;
  Random& random_;

  // Loop state.
  const Told told_;
  bool uid_known_ = false;
  ServerVersion version_;
  std::shared_ptr<const Discovery> kinds_;
  bool asking_ = false;
  bool again_ = false;
  Backoff backoff_;
  std::unique_ptr<Timer> timer_;
  std::unique_ptr<ArrivalWatch> crds_;
  const std::shared_ptr<bool> alive_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_FACTS_FACTS_WATCHER_H_
