// SPDX-License-Identifier: Apache-2.0
//
// NamespaceWatch knows the namespaces of the cluster with their labels and
// annotations, whoever made them. It watches once somebody needs it, under the
// agent's own identity.

#ifndef FLOTILLA_AGENT_APPLY_NAMESPACE_WATCH_H_
#define FLOTILLA_AGENT_APPLY_NAMESPACE_WATCH_H_

#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "agent/apply/namespace_rules.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"

namespace flotilla::agent {

// Loop-affine.
class NamespaceWatch : private WatchListener {
 public:
  // `on_change` runs on the loop, never inside a call, with the names of those
  // that came, changed or went.
  NamespaceWatch(
      KubeClient& client, Loop& loop,
      absl::AnyInvocable<void(const std::set<std::string>&)> on_change);
  NamespaceWatch(const NamespaceWatch&) = delete;
  NamespaceWatch& operator=(const NamespaceWatch&) = delete;

  // Begins to watch; nothing when it does already.
  void Start();
  // Every namespace is known.
  bool listed() const { return listed_; }
  // Why it is not listed yet; OK: it is on its way.
  const absl::Status& trouble() const { return trouble_; }
  // nullptr: there is none, or it is not known yet.
  const LiveNamespace* Find(const std::string& name) const;
  // What an answer of the API server said of it, before the watch does.
  void Learn(const KubeObject& object);

 private:
  void OnSync(Sync sync) override;
  void OnEvent(WatchEvent event) override;
  void OnClosed(absl::Status status) override;
  void Open();
  void Changed(const std::string& name);

  // Collaborators. Not owned.
  KubeClient& client_;

  // Loop state.
  absl::AnyInvocable<void(const std::set<std::string>&)> on_change_;
  std::map<std::string, LiveNamespace> namespaces_;
  std::set<std::string> present_;  // While listing.
  std::set<std::string> changed_;
  bool started_ = false;
  bool listing_ = false;
  bool listed_ = false;
  absl::Status trouble_;
  std::string resume_from_;
  std::unique_ptr<Timer> open_timer_;
  std::unique_ptr<Timer> change_timer_;
  std::unique_ptr<KubeWatch> watch_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_APPLY_NAMESPACE_WATCH_H_
