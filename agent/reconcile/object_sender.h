// SPDX-License-Identifier: Apache-2.0
//
// ObjectSender sends single objects as their manifest wants them and reads the
// answers into the inventory and into what is known of the object: first
// contact with what may be somebody else's, takeover, namespaces that only have
// to be there. When and whether to send is its callers' business.

#ifndef FLOTILLA_AGENT_RECONCILE_OBJECT_SENDER_H_
#define FLOTILLA_AGENT_RECONCILE_OBJECT_SENDER_H_

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
#include "agent/apply/object_remover.h"
#include "agent/apply/refusal.h"
#include "agent/apply/request_lanes.h"
#include "agent/cache/assignment_cache.h"
#include "agent/health/health_judge.h"
#include "agent/reconcile/deployment.h"
#include "common/env/clock.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "common/kube/object.h"
#include "flotilla/core/v1/core.pb.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

// Loop-affine.
class SenderEvents {
 public:
  virtual ~SenderEvents() = default;
  virtual void OnObjectChanged(Deployment& deployment,
                               const ObjectIdentity& id) = 0;
  // The live object of a workload, for looking at its pods.
  virtual void OnWorkload(Deployment& deployment, const ObjectIdentity& id,
                          const nlohmann::json& live) = 0;
  // No request about the object is in flight any more.
  virtual void OnIdle(const std::shared_ptr<Deployment>& deployment,
                      const ObjectIdentity& id) = 0;
};

// The object as JSON, with the names of its kind; `{}` besides them when it
// cannot be read.
nlohmann::json ParseLive(const KubeObject& object,
                         const core::v1::ResourceKey& key);

// Its values may be shown to nobody.
bool IsSecret(const core::v1::ManifestEntry& want);

// Loop-affine.
class ObjectSender {
 public:
  using Ptr = std::shared_ptr<Deployment>;
  // How one object was sent; no refusal: it is applied.
  using Sent =
      absl::AnyInvocable<void(absl::optional<Refusal>, absl::Duration)>;
  // Gets the digest of what was sent: the manifest may have changed meanwhile.
  using Answer = absl::AnyInvocable<void(const std::string& digest,
                                         absl::StatusOr<ApplyResult>)>;

  // All must outlive the sender.
  ObjectSender(Applier& applier, AssignmentCache& cache, Loop& loop,
               const Clock& clock, HealthJudge& judge, SenderEvents& events);
  ObjectSender(const ObjectSender&) = delete;
  ObjectSender& operator=(const ObjectSender&) = delete;
  ~ObjectSender();

  // Sends one object of `deployment`. `sent` gets how long the server asked to
  // wait, too.
  // REQUIRES: it is in the inventory, durably (but namespaces to ensure).
  void Send(const Ptr& deployment, const ObjectIdentity& id, Sent sent);

  // One request, after a look where fields may have to be left as they are
  // (IgnoreRules); and where a field is immutable and the policy says force,
  // the object is made anew. What the answer means is for Took().
  void SendNow(const Ptr& deployment, const ObjectIdentity& id, Lane lane,
               bool force, Answer done);
  // Records an answer: in the inventory, and in the object's state.
  absl::optional<Refusal> Took(const Ptr& deployment, const ObjectIdentity& id,
                               const std::string& digest,
                               const absl::StatusOr<ApplyResult>& result);
  // What a live object tells of itself: UID and health.
  void ReadLive(Deployment& deployment, const ObjectIdentity& id,
                ObjectState& object, const KubeObject& live,
                const nlohmann::json& json);
  // Remembers of a Job that Kubernetes removes by itself how far it came.
  // Returns whether it has ended.
  bool NoteJob(const ObjectIdentity& id, const nlohmann::json& live);
  void Changed(Deployment& deployment, const ObjectIdentity& id,
               core::v1::SyncState sync, std::string reason,
               std::string message);
  // One request less is in flight (ObjectState::busy).
  void Release(const Ptr& deployment, const ObjectIdentity& id);

  bool NamespaceExists(const std::string& name) const {
    return namespaces_.count(name) > 0;
  }
  void ForgetNamespace(const std::string& name) { namespaces_.erase(name); }

 private:
  void SendOnce(const Ptr& deployment, const ObjectIdentity& id, Lane lane,
                bool force, Answer done);
  void Replace(const Ptr& deployment, const ObjectIdentity& id, Lane lane,
               bool force, Answer done);
  // `body` is empty when the blob is sent as it is.
  void Request(const Ptr& deployment, const ObjectIdentity& id, Lane lane,
               ApplyOptions options, std::string body, Answer done);
  // After `refused`: of what is there twice, the last one is sent.
  void SendWithoutDoubles(const Ptr& deployment, const ObjectIdentity& id,
                          Lane lane, ApplyOptions options,
                          const absl::Status& refused, Answer done);
  // Sends it with the fields of `live` that the rules name.
  void SendAdapted(const Ptr& deployment, const ObjectIdentity& id, Lane lane,
                   ApplyOptions options, const nlohmann::json& live,
                   Answer done);
  void EnsureNamespace(const Ptr& deployment, const ObjectIdentity& id,
                       Sent sent);
  void SendIfAbsent(const Ptr& deployment, const ObjectIdentity& id, Sent sent);
  // After `refused`, a conflict: sends it by force when it bears our mark.
  void SendIfMarked(const Ptr& deployment, const ObjectIdentity& id,
                    absl::StatusOr<ApplyResult> refused, Sent sent);
  void Finish(const Ptr& deployment, const ObjectIdentity& id,
              const std::string& digest,
              const absl::StatusOr<ApplyResult>& result, Sent& sent);
  void Refused(Deployment& deployment, const ObjectIdentity& id,
               const Refusal& refusal);

  // Collaborators. Not owned.
  Applier& applier_;
  AssignmentCache& cache_;
  const Clock& clock_;
  HealthJudge& judge_;
  SenderEvents& events_;

  // Loop state.
  ObjectRemover remover_;
  std::set<std::string> namespaces_;
  // Who waits for a namespace to be made sure of, by its name.
  std::map<std::string,
           std::vector<absl::AnyInvocable<void(const absl::Status&)>>>
      ensuring_;
  const std::shared_ptr<bool> alive_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_RECONCILE_OBJECT_SENDER_H_
