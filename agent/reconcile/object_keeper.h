// SPDX-License-Identifier: Apache-2.0
//
// ObjectKeeper keeps single objects as their manifest wants them: it sends
// them, reads the answers into the inventory, and judges what the watches tell.
// A lost field or a lost object is put right at once in the urgent lane, after
// the live value was fetched for the report (decisions.md 10); or only reported
// where the deployment says so.
//
// An event of our own write is no news: events of an object with a request in
// flight wait for the answer, and what is not newer than the answer is dropped.

#ifndef FLOTILLA_AGENT_RECONCILE_OBJECT_KEEPER_H_
#define FLOTILLA_AGENT_RECONCILE_OBJECT_KEEPER_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "agent/apply/applier.h"
#include "agent/apply/refusal.h"
#include "agent/apply/request_lanes.h"
#include "agent/cache/assignment_cache.h"
#include "agent/reconcile/deployment.h"
#include "common/env/clock.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "common/kube/object.h"
#include "flotilla/core/v1/core.pb.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

// Loop-affine.
class KeeperEvents {
 public:
  virtual ~KeeperEvents() = default;
  virtual void OnObjectChanged(Deployment& deployment,
                               const ObjectIdentity& id) = 0;
  virtual void OnDrift(core::v1::DriftRecord record) = 0;
  // A correction could not be made now: plan again, after a while.
  virtual void OnNotCorrected(Deployment& deployment,
                              const Refusal& refusal) = 0;
  // The live object of a workload, for looking at its pods.
  virtual void OnWorkload(Deployment& deployment, const ObjectIdentity& id,
                          const nlohmann::json& live) = 0;
};

// Loop-affine.
class ObjectKeeper {
 public:
  // How one object was sent; no refusal: it is applied.
  using Sent =
      absl::AnyInvocable<void(absl::optional<Refusal>, absl::Duration)>;

  // All must outlive the keeper.
  ObjectKeeper(Applier& applier, AssignmentCache& cache, Loop& loop,
               const Clock& clock, KeeperEvents& events);
  ObjectKeeper(const ObjectKeeper&) = delete;
  ObjectKeeper& operator=(const ObjectKeeper&) = delete;
  ~ObjectKeeper();

  // Sends one object of `deployment`. `sent` gets how long the server asked to
  // wait, too.
  // REQUIRES: it is in the inventory, durably (but namespaces to ensure).
  void Send(const std::shared_ptr<Deployment>& deployment,
            const ObjectIdentity& id, Sent sent);

  // What the watch tells of an object of `deployment`.
  void OnObject(const std::shared_ptr<Deployment>& deployment,
                const ObjectIdentity& id, KubeObject object);
  // It left the watch in `version`; empty: it is in no list.
  void OnLeft(const std::shared_ptr<Deployment>& deployment,
              const ObjectIdentity& id, const std::string& version);

  bool NamespaceExists(const std::string& name) const {
    return namespaces_.count(name) > 0;
  }
  void ForgetNamespace(const std::string& name) { namespaces_.erase(name); }

 private:
  using Ptr = std::shared_ptr<Deployment>;
  // Gets the digest of what was sent: the manifest may have changed meanwhile.
  using Answer = absl::AnyInvocable<void(const std::string& digest,
                                         absl::StatusOr<ApplyResult>)>;

  void SendNow(const Ptr& deployment, const ObjectIdentity& id, Lane lane,
               bool force, Answer done);
  void EnsureNamespace(const Ptr& deployment, const ObjectIdentity& id,
                       Sent sent);
  void SendIfAbsent(const Ptr& deployment, const ObjectIdentity& id, Sent sent);
  // After `refused`, a conflict: sends it by force when it bears our mark.
  void SendIfMarked(const Ptr& deployment, const ObjectIdentity& id,
                    absl::StatusOr<ApplyResult> refused, Sent sent);
  void Finish(const Ptr& deployment, const ObjectIdentity& id,
              const std::string& digest,
              const absl::StatusOr<ApplyResult>& result, Sent& sent);
  absl::optional<Refusal> Took(const Ptr& deployment, const ObjectIdentity& id,
                               const std::string& digest,
                               const absl::StatusOr<ApplyResult>& result);
  void Refused(Deployment& deployment, const ObjectIdentity& id,
               const Refusal& refusal);
  void ReadLive(Deployment& deployment, const ObjectIdentity& id,
                ObjectState& object, const KubeObject& live,
                const nlohmann::json& json);
  void Release(const Ptr& deployment, const ObjectIdentity& id);
  // `live` is null when it must be fetched.
  void Examine(const Ptr& deployment, const ObjectIdentity& id,
               nlohmann::json live);
  void Compare(const Ptr& deployment, const ObjectIdentity& id,
               const nlohmann::json& live);
  void Judge(const Ptr& deployment, const ObjectIdentity& id,
             const nlohmann::json& wanted, const nlohmann::json& live);
  void Correct(const Ptr& deployment, const ObjectIdentity& id,
               std::vector<core::v1::DriftRecord> records);
  bool SlowDown(const Ptr& deployment, const ObjectIdentity& id);
  void Recreate(const Ptr& deployment, const ObjectIdentity& id);
  void Say(const Deployment& deployment, const ObjectIdentity& id,
           std::vector<core::v1::DriftRecord> records,
           core::v1::DriftAction action);
  void Changed(Deployment& deployment, const ObjectIdentity& id,
               core::v1::SyncState sync, std::string reason,
               std::string message);

  // Collaborators. Not owned.
  Applier& applier_;
  AssignmentCache& cache_;
  Loop& loop_;
  const Clock& clock_;
  KeeperEvents& events_;

  // Loop state.
  std::set<std::string> namespaces_;
  // Who waits for a namespace to be made sure of, by its name.
  std::map<std::string,
           std::vector<absl::AnyInvocable<void(const absl::Status&)>>>
      ensuring_;
  const std::shared_ptr<bool> alive_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_RECONCILE_OBJECT_KEEPER_H_
