// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/object_sender.h"

#include <string>
#include <utility>
#include <vector>

#include "agent/apply/doubled_names.h"
#include "agent/apply/inventory.h"
#include "agent/apply/prune_rules.h"
#include "agent/drift/drift_diff.h"
#include "agent/drift/ignore_rules.h"
#include "agent/health/health_rules.h"
#include "agent/health/health_verdict.h"
#include "agent/health/live_fields.h"
#include "agent/health/workload_rules.h"
#include "common/kube/kube_error.h"
#include "common/log/log.h"

namespace flotilla::agent {
namespace {

using nlohmann::json;

bool WatchedInFull(const core::v1::ResourceKey& key) {
  return HasHealthRule(key.group(), key.kind());
}

// What was sent may be what a newer generation no longer wants.
bool IsWanted(Deployment& deployment, const ObjectIdentity& id,
              const std::string& digest) {
  const ObjectState* object = StateOf(deployment, id);
  return !IsLeft(object) && object->want.blob_digest() == digest;
}

bool VanishesByItself(const json& live) {
  return TextOr(Member(live, "kind")) == "Job" &&
         Member(Member(live, "spec"), "ttlSecondsAfterFinished").is_number();
}

}  // namespace

json ParseLive(const KubeObject& object, const core::v1::ResourceKey& key) {
  absl::StatusOr<json> parsed = ParseKubeJson(object.json);
  json value = parsed.ok() && parsed->is_object() ? *std::move(parsed)
                                                  : json::object();
  value["apiVersion"] = JoinApiVersion(key.group(), key.version());
  value["kind"] = key.kind();
  return value;
}

bool IsSecret(const core::v1::ManifestEntry& want) {
  return want.secret() ||
         (want.key().group().empty() && want.key().kind() == "Secret");
}

ObjectSender::ObjectSender(Applier& applier, AssignmentCache& cache,
                           Loop& loop, const Clock& clock, HealthJudge& judge,
                           SenderEvents& events)
    : applier_(applier),
      cache_(cache),
      clock_(clock),
      judge_(judge),
      events_(events),
      remover_(applier, loop),
      alive_(std::make_shared<bool>(true)) {}

ObjectSender::~ObjectSender() { *alive_ = false; }

void ObjectSender::SendOnce(const Ptr& deployment, const ObjectIdentity& id,
                            Lane lane, bool force, Answer done) {
  ObjectState& object = deployment->objects.at(id);
  const core::v1::ResourceKey key = object.want.key();
  ApplyOptions options;
  options.force = force;
  options.full_answer = WatchedInFull(key);
  options.known_resource_version = object.applied_version;
  const Inventory::Entry* entry = cache_.inventory().Find(id);
  const bool deviates =
      entry != nullptr && (!entry->tolerated_digest().empty() ||
                           entry->held_pointers_size() > 0);
  if (!deviates && IgnoreRules(deployment->running->policy(), key).empty()) {
    object.held_pointers.clear();
    Request(deployment, id, lane, std::move(options), "", std::move(done));
    return;
  }
  applier_.Get(lane, deployment->user, key, /*metadata_only=*/false,
               [this, alive = alive_, deployment, id, lane, key,
                options = std::move(options), done = std::move(done),
                digest = object.want.blob_digest()](
                   absl::StatusOr<KubeObject> live) mutable {
                 if (!*alive) return;
                 ObjectState* state = StateOf(*deployment, id);
                 if (IsLeft(state)) {
                   done(digest, absl::CancelledError("is wanted no longer"));
                 } else if (live.ok()) {
                   SendAdapted(deployment, id, lane, std::move(options),
                               ParseLive(*live, key), std::move(done));
                 } else if (MissingWhat(live.status()) !=
                            KubeError::Missing::kNothing) {
                   state->held_pointers.clear();
                   Request(deployment, id, lane, std::move(options), "",
                           std::move(done));
                 } else {
                   done(digest, live.status());
                 }
               });
}

void ObjectSender::SendAdapted(const Ptr& deployment, const ObjectIdentity& id,
                               Lane lane, ApplyOptions options,
                               const json& live, Answer done) {
  cache_.GetBlob(
      deployment->objects.at(id).want.blob_digest(),
      [this, alive = alive_, deployment, id, lane, live,
       options = std::move(options), done = std::move(done),
       digest = deployment->objects.at(id).want.blob_digest()](
          absl::StatusOr<std::string> blob) mutable {
        if (!*alive) return;
        ObjectState* state = StateOf(*deployment, id);
        if (IsLeft(state)) {
          done(digest, absl::CancelledError("is wanted no longer"));
          return;
        }
        std::string body;
        state->held_pointers.clear();
        // What cannot be read is refused by the request.
        if (blob.ok() && digest == state->want.blob_digest()) {
          if (const auto wanted = ParseKubeJson(*blob); wanted.ok()) {
            json adapted =
                IgnoreRules(deployment->running->policy(), state->want.key())
                    .WithWellKnown(*wanted, live)
                    .Adapted(*wanted, live, &state->held_pointers);
            const bool dropped = DropDoubledNames(&adapted);
            if (dropped || !state->held_pointers.empty()) {
              body = CanonicalJson(adapted);
            }
          }
        }
        Request(deployment, id, lane, std::move(options), std::move(body),
                std::move(done));
      });
}

void ObjectSender::Request(const Ptr& deployment, const ObjectIdentity& id,
                           Lane lane, ApplyOptions options, std::string body,
                           Answer done) {
  const core::v1::ManifestEntry& want = deployment->objects.at(id).want;
  const bool as_it_is = body.empty();
  auto answered = [this, alive = alive_, deployment, id, lane, options,
                   as_it_is, digest = want.blob_digest(),
                   done = std::move(done)](
                      absl::StatusOr<ApplyResult> result) mutable {
    if (!*alive) return;
    if (as_it_is && IsForDoubledNames(result.status()) &&
        IsWanted(*deployment, id, digest)) {
      SendWithoutDoubles(deployment, id, lane, std::move(options),
                         result.status(), std::move(done));
    } else {
      done(digest, std::move(result));
    }
  };
  if (body.empty()) {
    applier_.Apply(lane, deployment->user, want.key(), want.blob_digest(),
                   std::move(options), std::move(answered));
  } else {
    applier_.ApplyBody(lane, deployment->user, want.key(), std::move(body),
                       std::move(options), std::move(answered));
  }
}

void ObjectSender::SendWithoutDoubles(const Ptr& deployment,
                                      const ObjectIdentity& id, Lane lane,
                                      ApplyOptions options,
                                      const absl::Status& refused,
                                      Answer done) {
  const std::string digest = deployment->objects.at(id).want.blob_digest();
  cache_.GetBlob(digest, [this, alive = alive_, deployment, id, lane, digest,
                          refused, options = std::move(options),
                          done = std::move(done)](
                             absl::StatusOr<std::string> blob) mutable {
    if (!*alive) return;
    absl::StatusOr<json> object = ParseKubeJson(blob.ok() ? *blob : "");
    if (!object.ok() || !DropDoubledNames(&*object) ||
        !IsWanted(*deployment, id, digest)) {
      done(digest, refused);
      return;
    }
    Request(deployment, id, lane, std::move(options), CanonicalJson(*object),
            std::move(done));
  });
}

void ObjectSender::SendNow(const Ptr& deployment, const ObjectIdentity& id,
                           Lane lane, bool force, Answer done) {
  SendOnce(deployment, id, lane, force,
           [this, deployment, id, lane, force, done = std::move(done)](
               const std::string& digest,
               absl::StatusOr<ApplyResult> result) mutable {
             if (IsImmutableField(result.status()) &&
                 IsWanted(*deployment, id, digest) &&
                 deployment->running->policy().force() &&
                 LostWith(deployment->objects.at(id).want.key()).empty()) {
               Replace(deployment, id, lane, force, std::move(done));
             } else {
               done(digest, std::move(result));
             }
           });
}

void ObjectSender::Replace(const Ptr& deployment, const ObjectIdentity& id,
                           Lane lane, bool force, Answer done) {
  const core::v1::ManifestEntry want = deployment->objects.at(id).want;
  const Inventory::Entry* entry = cache_.inventory().Find(id);
  const bool had = entry != nullptr && !entry->uid().empty() &&
                   entry->bundle_id() == deployment->bundle_id;
  FLOTILLA_LOG(INFO) << KeyText(want.key())
                     << " is deleted to be made anew: a field that changes is "
                        "immutable, and force is set";
  remover_.Remove(
      lane, deployment->user, {want.key(), deployment->bundle_id, !had},
      [this, deployment, id, lane, force, digest = want.blob_digest(),
       done = std::move(done)](const absl::Status& status) mutable {
        if (!status.ok()) {
          done(digest, status);
        } else if (!IsWanted(*deployment, id, digest)) {
          done(digest, absl::AbortedError("a newer generation replaces it"));
        } else {
          SendOnce(deployment, id, lane, force, std::move(done));
        }
      });
}

void ObjectSender::Send(const Ptr& deployment, const ObjectIdentity& id,
                        Sent sent) {
  ObjectState& object = deployment->objects.at(id);
  if (object.want.ensure_namespace()) {
    EnsureNamespace(deployment, id, std::move(sent));
    return;
  }
  const Inventory::Entry* entry = cache_.inventory().Find(id);
  const bool first = entry == nullptr || entry->uid().empty();
  const core::v1::Takeover takeover = deployment->running->policy().takeover();
  ++object.busy;
  if (first && takeover == core::v1::TAKEOVER_NEVER) {
    SendIfAbsent(deployment, id, std::move(sent));
    return;
  }
  // First contact without force: the server creates what is absent, and
  // refuses with the names of those who own what we would change.
  const bool force = !first || takeover == core::v1::TAKEOVER_ALWAYS;
  SendNow(deployment, id, Lane::kBulk, force,
          [this, deployment, id, force, sent = std::move(sent)](
              const std::string& digest,
              absl::StatusOr<ApplyResult> result) mutable {
            if (!force && IsFieldConflict(result.status()) &&
                !IsLeft(StateOf(*deployment, id))) {
              SendIfMarked(deployment, id, std::move(result), std::move(sent));
            } else {
              Finish(deployment, id, digest, result, sent);
            }
          });
}

void ObjectSender::Finish(const Ptr& deployment, const ObjectIdentity& id,
                          const std::string& digest,
                          const absl::StatusOr<ApplyResult>& result,
                          Sent& sent) {
  absl::optional<Refusal> refusal = Took(deployment, id, digest, result);
  Release(deployment, id);
  sent(std::move(refusal), RetryAfter(result.status()));
}

// An agent that lost its disk has first contact with objects of its own: that
// others have changed fields of them is drift, and no reason to give up.
void ObjectSender::SendIfMarked(const Ptr& deployment, const ObjectIdentity& id,
                                absl::StatusOr<ApplyResult> refused,
                                Sent sent) {
  const core::v1::ManifestEntry want = deployment->objects.at(id).want;
  applier_.Get(
      Lane::kBulk, deployment->user, want.key(), /*metadata_only=*/true,
      [this, alive = alive_, deployment, id, want,
       refused = std::move(refused),
       sent = std::move(sent)](absl::StatusOr<KubeObject> live) mutable {
        if (!*alive) return;
        const bool marked =
            live.ok() && BearsMark(ParseLive(*live, want.key()),
                                   deployment->bundle_id);
        if (!marked || IsLeft(StateOf(*deployment, id))) {
          Finish(deployment, id, want.blob_digest(), refused, sent);
          return;
        }
        SendNow(deployment, id, Lane::kBulk, /*force=*/true,
                [this, deployment, id, sent = std::move(sent)](
                    const std::string& digest,
                    absl::StatusOr<ApplyResult> result) mutable {
                  Finish(deployment, id, digest, result, sent);
                });
      });
}

void ObjectSender::SendIfAbsent(const Ptr& deployment,
                                const ObjectIdentity& id, Sent sent) {
  const core::v1::ResourceKey key = deployment->objects.at(id).want.key();
  applier_.Get(
      Lane::kBulk, deployment->user, key, /*metadata_only=*/true,
      [this, alive = alive_, deployment, id, key,
       sent = std::move(sent)](absl::StatusOr<KubeObject> live) mutable {
        if (!*alive) return;
        const bool absent =
            MissingWhat(live.status()) == KubeError::Missing::kObject;
        const bool ours =
            live.ok() && !OwnedFieldsText(ParseLive(*live, key)).empty();
        if (StateOf(*deployment, id) == nullptr) {
          sent(absl::nullopt, absl::ZeroDuration());
          return;
        }
        if (!absent && !ours) {
          Refusal refusal;
          if (live.ok()) {
            refusal.kind = Refusal::Kind::kConflict;
            refusal.reason = "ForeignObject";
            refusal.message =
                "the object exists, is not Flotilla's, and may not be taken "
                "over. Remove it, or set helm.takeOwnership: true";
          } else {
            refusal = JudgeRefusal(key, live.status(), false);
          }
          Refused(*deployment, id, refusal);
          Release(deployment, id);
          sent(refusal, RetryAfter(live.status()));
          return;
        }
        SendNow(deployment, id, Lane::kBulk, /*force=*/false,
                [this, deployment, id, sent = std::move(sent)](
                    const std::string& digest,
                    absl::StatusOr<ApplyResult> result) mutable {
                  Finish(deployment, id, digest, result, sent);
                });
      });
}

void ObjectSender::EnsureNamespace(const Ptr& deployment,
                                   const ObjectIdentity& id, Sent sent) {
  const core::v1::ResourceKey key = deployment->objects.at(id).want.key();
  if (NamespaceExists(key.name())) {
    sent(absl::nullopt, absl::ZeroDuration());
    return;
  }
  const auto finish = [this, deployment, id, key](const absl::Status& status,
                                                  Sent& done) {
    if (status.ok() || IsFieldConflict(status)) {
      namespaces_.insert(key.name());
      if (StateOf(*deployment, id) != nullptr) {
        Changed(*deployment, id, core::v1::SYNC_STATE_SYNCED, "", "");
      }
      done(absl::nullopt, absl::ZeroDuration());
      return;
    }
    const Refusal refusal = JudgeRefusal(key, status, false);
    Refused(*deployment, id, refusal);
    done(refusal, RetryAfter(status));
  };
  // Many bundles live in one namespace: only the first of them asks.
  const std::string name = key.name();
  auto& waiting = ensuring_[name];
  waiting.push_back([finish, sent = std::move(sent)](
                        const absl::Status& status) mutable {
    finish(status, sent);
  });
  if (waiting.size() > 1) return;
  const auto settle = [this, name](const absl::Status& status) {
    auto settled = ensuring_.extract(name);
    for (auto& done : settled.mapped()) done(status);
  };
  // Whether it is there the agent sees itself; an account that has rights in
  // one namespace only need not have any on namespaces.
  applier_.Get(Lane::kBulk, ActingUser(""), key, /*metadata_only=*/true,
               [this, alive = alive_, deployment, id,
                settle](absl::StatusOr<KubeObject> live) {
                 if (!*alive) return;
                 if (MissingWhat(live.status()) !=
                     KubeError::Missing::kObject) {
                   settle(live.status());
                   return;
                 }
                 if (StateOf(*deployment, id) == nullptr) {
                   // This bundle no longer needs it, but others may.
                   settle(absl::UnavailableError("is asked for again"));
                   return;
                 }
                 SendNow(deployment, id, Lane::kBulk, /*force=*/false,
                         [settle](const std::string&,
                                  absl::StatusOr<ApplyResult> result) {
                           settle(result.status());
                         });
               });
}

absl::optional<Refusal> ObjectSender::Took(
    const Ptr& deployment, const ObjectIdentity& id, const std::string& digest,
    const absl::StatusOr<ApplyResult>& result) {
  ObjectState* object = StateOf(*deployment, id);
  const bool wanted = IsWanted(*deployment, id, digest);
  if (!result.ok()) {
    if (object == nullptr) return absl::nullopt;
    const Refusal refusal = JudgeRefusal(
        object->want.key(), result.status(), IsSecret(object->want));
    if (wanted) Refused(*deployment, id, refusal);
    return refusal;
  }
  const Inventory::Entry* known = cache_.inventory().Find(id);
  if (known == nullptr) return absl::nullopt;
  Inventory::Entry entry = *known;
  const json live = ParseLive(result->object, entry.key());
  entry.set_uid(result->object.head.uid);
  entry.set_applied_digest(digest);
  if (wanted && entry.generation() != deployment->running_generation) {
    entry.clear_changes();
    entry.set_generation(deployment->running_generation);
  }
  entry.set_applied_fields(OwnedFieldsText(live));
  entry.set_foreign_digest(ForeignFieldsDigest(live));
  entry.set_finished(false);
  entry.clear_tolerated_digest();
  entry.clear_held_pointers();
  if (object != nullptr) {
    entry.mutable_held_pointers()->Add(object->held_pointers.begin(),
                                       object->held_pointers.end());
  }
  entry.clear_failure();
  cache_.PutInventory({std::move(entry)}, [](absl::Status) {});
  if (object == nullptr) return absl::nullopt;
  object->applied_version = result->object.head.resource_version;
  if (!wanted) return absl::nullopt;
  object->needs_apply = false;
  object->contested.clear();
  object->contest_timer.reset();
  object->reported.clear();
  ReadLive(*deployment, id, *object, result->object, live);
  Changed(*deployment, id, core::v1::SYNC_STATE_SYNCED, "", "");
  return absl::nullopt;
}

void ObjectSender::Refused(Deployment& deployment, const ObjectIdentity& id,
                           const Refusal& refusal) {
  ObjectState* object = StateOf(deployment, id);
  if (object == nullptr) return;
  object->needs_apply = true;
  switch (refusal.kind) {
    case Refusal::Kind::kTransient:
      events_.OnObjectChanged(deployment, id);
      return;
    case Refusal::Kind::kNamespaceMissing:
      ForgetNamespace(object->want.key().namespace_());
      [[fallthrough]];
    case Refusal::Kind::kKindMissing:
      Changed(deployment, id, core::v1::SYNC_STATE_WAIT_APPLIED,
              refusal.reason, refusal.message);
      return;
    case Refusal::Kind::kConflict:
      Changed(deployment, id, core::v1::SYNC_STATE_CONFLICT, refusal.reason,
              refusal.message);
      return;
    case Refusal::Kind::kRefused:
      Changed(deployment, id, core::v1::SYNC_STATE_ERROR, refusal.reason,
              refusal.message);
      return;
  }
}
void ObjectSender::Release(const Ptr& deployment, const ObjectIdentity& id) {
  ObjectState* object = StateOf(*deployment, id);
  // An object that was dropped and came back is not held by the old request.
  if (object == nullptr || object->busy == 0 || --object->busy > 0) return;
  events_.OnIdle(deployment, id);
}

void ObjectSender::ReadLive(Deployment& deployment, const ObjectIdentity& id,
                            ObjectState& object, const KubeObject& live,
                            const json& json_object) {
  object.uid = live.head.uid;
  const core::v1::ResourceKey& key = object.want.key();
  object.proven = JudgePrune(key, deployment.bundle_id, /*known=*/true,
                             json_object)
                      .word == PruneVerdict::Word::kDelete;
  if (live.head.deleting) {
    object.health = {core::v1::HEALTH_PROGRESSING, "Deleting",
                     "somebody is deleting it"};
  } else {
    object.health = judge_.Judge(id,
                                 deployment.running == nullptr
                                     ? core::v1::DeployPolicy()
                                     : deployment.running->policy(),
                                 json_object);
    events_.OnWorkload(deployment, id, json_object);
    NoteJob(id, json_object);
  }
}

bool ObjectSender::NoteJob(const ObjectIdentity& id, const json& live) {
  if (!VanishesByItself(live)) return false;
  LiveFields fields(live);
  const HealthVerdict verdict = JudgeJob(fields);
  const bool failed = verdict.health == core::v1::HEALTH_DEGRADED;
  const bool ended = failed || verdict.health == core::v1::HEALTH_HEALTHY;
  const bool started =
      !Member(Member(live, "status"), "startTime").is_null();
  const Inventory::Entry* entry = cache_.inventory().Find(id);
  const std::string failure = failed ? verdict.message : std::string();
  if (entry != nullptr && (ended || started) &&
      (!entry->finished() || entry->failure() != failure)) {
    Inventory::Entry seen = *entry;
    seen.set_finished(true);
    seen.set_failure(failure);
    cache_.PutInventory({std::move(seen)}, [](absl::Status) {});
  }
  return ended;
}

void ObjectSender::Changed(Deployment& deployment, const ObjectIdentity& id,
                           core::v1::SyncState sync, std::string reason,
                           std::string message) {
  ObjectState& object = deployment.objects.at(id);
  if (object.sync != sync) object.since = clock_.Now();
  object.sync = sync;
  object.reason = std::move(reason);
  object.message = std::move(message);
  events_.OnObjectChanged(deployment, id);
}

}  // namespace flotilla::agent
