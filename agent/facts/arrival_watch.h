// SPDX-License-Identifier: Apache-2.0
//
// ArrivalWatch tells when objects of one cluster-scoped kind come, change or
// go, whoever made them; after the first listing, and gathered for a moment.
// For what waits for a namespace or a CustomResourceDefinition.

#ifndef FLOTILLA_AGENT_FACTS_ARRIVAL_WATCH_H_
#define FLOTILLA_AGENT_FACTS_ARRIVAL_WATCH_H_

#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"

namespace flotilla::agent {

// Loop-affine.
class ArrivalWatch : private WatchListener {
 public:
  // Both must outlive the watch.
  ArrivalWatch(KubeClient& client, Loop& loop, KindName kind,
               absl::AnyInvocable<void()> on_change);
  ArrivalWatch(const ArrivalWatch&) = delete;
  ArrivalWatch& operator=(const ArrivalWatch&) = delete;

 private:
  void OnSync(Sync sync) override;
  void OnEvent(WatchEvent event) override;
  void OnClosed(absl::Status status) override;
  void Open();

  // Constant after construction.
  const KindName kind_;

  // Collaborators. Not owned.
  KubeClient& client_;

  // Loop state.
  absl::AnyInvocable<void()> on_change_;
  std::string resume_from_;
  bool synced_ = false;
  std::unique_ptr<Timer> open_timer_;
  std::unique_ptr<Timer> change_timer_;
  std::unique_ptr<KubeWatch> watch_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_FACTS_ARRIVAL_WATCH_H_
