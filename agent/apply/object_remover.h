// SPDX-License-Identifier: Apache-2.0
//
// ObjectRemover takes objects out of the cluster so that they can be made anew
// in their place: helm.force and correctDrift.force, where the API server
// refuses to change a field. It looks first, deletes exactly the object that it
// saw (UID precondition), and waits until that is gone.

#ifndef FLOTILLA_AGENT_APPLY_OBJECT_REMOVER_H_
#define FLOTILLA_AGENT_APPLY_OBJECT_REMOVER_H_

#include <memory>
#include <set>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/apply/applier.h"
#include "agent/apply/request_lanes.h"
#include "agent/apply/service_accounts.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// Loop-affine.
class ObjectRemover {
 public:
  // Thread-compatible.
  struct Target {
    core::v1::ResourceKey key;
    std::string bundle_id;
    // It must bear the bundle's mark; false: its name is the bundle's already.
    bool marked = true;
  };
  // OK: there is no such object. ALREADY_EXISTS: it is not ours, or waits for
  // finalizers, which are named. Else what the API server said.
  using Done = absl::AnyInvocable<void(absl::Status)>;

  // Both must outlive the remover.
  ObjectRemover(Applier& applier, Loop& loop);
  ObjectRemover(const ObjectRemover&) = delete;
  ObjectRemover& operator=(const ObjectRemover&) = delete;
  ~ObjectRemover();

  // `done` never runs inside the call, nor once the remover is destroyed.
  void Remove(Lane lane, const ActingUser& user, Target target, Done done);

 private:
  struct Removal;
  using Ptr = std::shared_ptr<Removal>;

  void Look(const Ptr& removal);
  void OnLive(const Ptr& removal, const absl::StatusOr<KubeObject>& live);
  void End(const Ptr& removal, const absl::Status& status);

  // Collaborators. Not owned.
  Applier& applier_;
  Loop& loop_;

  // Loop state.
  std::set<Ptr> removals_;
  const std::shared_ptr<bool> alive_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_APPLY_OBJECT_REMOVER_H_
