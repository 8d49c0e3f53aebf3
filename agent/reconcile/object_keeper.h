// SPDX-License-Identifier: Apache-2.0
//
// ObjectKeeper judges what the watches tell of single objects. A lost field or
// a lost object is put right at once in the urgent lane, after the live value
// was fetched for the report (decisions.md 10); or only reported where the
// deployment says so.
//
// An event of our own write is no news: events of an object with a request in
// flight wait for the answer, and what is not newer than the answer is dropped.

#ifndef FLOTILLA_AGENT_RECONCILE_OBJECT_KEEPER_H_
#define FLOTILLA_AGENT_RECONCILE_OBJECT_KEEPER_H_

#include <memory>
#include <string>
#include <vector>

#include "agent/apply/applier.h"
#include "agent/apply/refusal.h"
#include "agent/cache/assignment_cache.h"
#include "agent/reconcile/deployment.h"
#include "agent/reconcile/object_sender.h"
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
  virtual void OnDrift(core::v1::DriftRecord record) = 0;
  // A correction could not be made now: plan again, after a while.
  virtual void OnNotCorrected(Deployment& deployment,
                              const Refusal& refusal) = 0;
};

// Loop-affine.
class ObjectKeeper {
 public:
  // All must outlive the keeper.
  ObjectKeeper(ObjectSender& sender, Applier& applier, AssignmentCache& cache,
               Loop& loop, const Clock& clock, KeeperEvents& events);
  ObjectKeeper(const ObjectKeeper&) = delete;
  ObjectKeeper& operator=(const ObjectKeeper&) = delete;
  ~ObjectKeeper();

  // What the watch tells of an object of `deployment`.
  void OnObject(const std::shared_ptr<Deployment>& deployment,
                const ObjectIdentity& id, KubeObject object);
  // It left the watch; `last` is how it was last, with the version in which it
  // left. Empty: it is in no list.
  void OnLeft(const std::shared_ptr<Deployment>& deployment,
              const ObjectIdentity& id, const KubeObject& last);
  // The rules of its deployment have changed: what was tolerated may be drift
  // now, and the other way round.
  void OnRulesChanged(const std::shared_ptr<Deployment>& deployment,
                      const ObjectIdentity& id);
  // Fetches it and judges its health again.
  void LookAgain(const std::shared_ptr<Deployment>& deployment,
                 const ObjectIdentity& id);
  // No request about it is in flight any more: what came meanwhile is judged.
  void OnIdle(const std::shared_ptr<Deployment>& deployment,
              const ObjectIdentity& id);

 private:
  using Ptr = std::shared_ptr<Deployment>;

  // `live` is null when it must be fetched.
  void Examine(const Ptr& deployment, const ObjectIdentity& id,
               nlohmann::json live);
  void Compare(const Ptr& deployment, const ObjectIdentity& id,
               const nlohmann::json& live);
  void Judge(const Ptr& deployment, const ObjectIdentity& id,
             const nlohmann::json& wanted, const nlohmann::json& live);
  void Correct(const Ptr& deployment, const ObjectIdentity& id,
               std::vector<core::v1::DriftRecord> records);
  // Whether `what`, done by `manager`, is a round of a fight and left as it is,
  // which is then shown as `sync`.
  bool IsContested(const Ptr& deployment, const ObjectIdentity& id,
                   core::v1::SyncState sync, const std::string& manager,
                   const std::string& what);
  void RecreateUnlessContested(const Ptr& deployment,
                               const ObjectIdentity& id);
  void Recreate(const Ptr& deployment, const ObjectIdentity& id);
  // What it has lost is ignored.
  void Tolerate(const Ptr& deployment, const ObjectIdentity& id,
                const std::string& fields);
  // It is not there, and the rules ignore that.
  void AcceptAbsence(Deployment& deployment, const ObjectIdentity& id);
  void Say(const Deployment& deployment, const ObjectIdentity& id,
           std::vector<core::v1::DriftRecord> records,
           core::v1::DriftAction action);

  // Collaborators. Not owned.
  ObjectSender& sender_;
  Applier& applier_;
  AssignmentCache& cache_;
  Loop& loop_;
  const Clock& clock_;
  KeeperEvents& events_;

  // Loop state.
  const std::shared_ptr<bool> alive_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_RECONCILE_OBJECT_KEEPER_H_
