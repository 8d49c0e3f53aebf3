// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/object_keeper.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "agent/drift/drift_diff.h"
#include "agent/health/health_rules.h"
#include "common/kube/kube_error.h"
#include "common/log/log.h"

namespace flotilla::agent {
namespace {

using core::v1::DriftRecord;
using nlohmann::json;

// Corrections of one object within a minute that are made at once. Far above
// what people and their scripts do; it bounds what two machines can do to an
// API server.
constexpr size_t kFight = 300;

// True when `version` is not newer than `applied`.
bool NotNewer(const std::string& version, const std::string& applied) {
  if (version == applied) return true;
  uint64_t a = 0;
  uint64_t b = 0;
  return absl::SimpleAtoi(version, &a) && absl::SimpleAtoi(applied, &b) &&
         a < b;
}

json ParseObject(const KubeObject& object, const core::v1::ResourceKey& key) {
  absl::StatusOr<json> parsed = ParseKubeJson(object.json);
  json value = parsed.ok() && parsed->is_object() ? *std::move(parsed)
                                                  : json::object();
  value["apiVersion"] = JoinApiVersion(key.group(), key.version());
  value["kind"] = key.kind();
  return value;
}

bool WatchedInFull(const core::v1::ResourceKey& key) {
  return HasHealthRule(key.group(), key.kind());
}

bool IsSecret(const core::v1::ManifestEntry& want) {
  return want.secret() ||
         (want.key().group().empty() && want.key().kind() == "Secret");
}

bool VanishesByItself(const json& live) {
  return TextOr(Member(live, "kind")) == "Job" &&
         Member(Member(live, "spec"), "ttlSecondsAfterFinished").is_number();
}

ObjectState* StateOf(Deployment& deployment, const ObjectIdentity& id) {
  const auto found = deployment.objects.find(id);
  return found == deployment.objects.end() ? nullptr : &found->second;
}

// Nothing of it is kept: it is being deleted, or was.
bool IsLeft(const ObjectState* object) {
  return object == nullptr || object->sync == core::v1::SYNC_STATE_PRUNING;
}

bool Corrects(const Deployment& deployment) {
  return deployment.running != nullptr &&
         deployment.running->policy().correct_drift();
}

}  // namespace

ObjectKeeper::ObjectKeeper(Applier& applier, AssignmentCache& cache,
                           Loop& loop, const Clock& clock,
                           KeeperEvents& events)
    : applier_(applier),
      cache_(cache),
      loop_(loop),
      clock_(clock),
      events_(events),
      alive_(std::make_shared<bool>(true)) {}

ObjectKeeper::~ObjectKeeper() { *alive_ = false; }

// --- Sending.

void ObjectKeeper::SendNow(const Ptr& deployment, const ObjectIdentity& id,
                           Lane lane, bool force, Answer done) {
  const ObjectState& object = deployment->objects.at(id);
  ApplyOptions options;
  options.force = force;
  options.full_answer = WatchedInFull(object.want.key());
  options.known_resource_version = object.applied_version;
  applier_.Apply(
      lane, deployment->user, object.want.key(), object.want.blob_digest(),
      std::move(options),
      [alive = alive_, digest = object.want.blob_digest(),
       done = std::move(done)](absl::StatusOr<ApplyResult> result) mutable {
        if (*alive) done(digest, std::move(result));
      });
}

void ObjectKeeper::Send(const Ptr& deployment, const ObjectIdentity& id,
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

void ObjectKeeper::Finish(const Ptr& deployment, const ObjectIdentity& id,
                          const std::string& digest,
                          const absl::StatusOr<ApplyResult>& result,
                          Sent& sent) {
  absl::optional<Refusal> refusal = Took(deployment, id, digest, result);
  Release(deployment, id);
  sent(std::move(refusal), RetryAfter(result.status()));
}

// An agent that lost its disk has first contact with objects of its own: that
// others have changed fields of them is drift, and no reason to give up.
void ObjectKeeper::SendIfMarked(const Ptr& deployment, const ObjectIdentity& id,
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
            live.ok() && BearsMark(ParseObject(*live, want.key()),
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

void ObjectKeeper::SendIfAbsent(const Ptr& deployment,
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
            live.ok() && !OwnedFieldsText(ParseObject(*live, key)).empty();
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

void ObjectKeeper::EnsureNamespace(const Ptr& deployment,
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

absl::optional<Refusal> ObjectKeeper::Took(
    const Ptr& deployment, const ObjectIdentity& id, const std::string& digest,
    const absl::StatusOr<ApplyResult>& result) {
  ObjectState* object = StateOf(*deployment, id);
  // What was sent may be what a newer generation no longer wants.
  const bool wanted =
      !IsLeft(object) && object->want.blob_digest() == digest;
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
  const json live = ParseObject(result->object, entry.key());
  entry.set_uid(result->object.head.uid);
  entry.set_applied_digest(digest);
  if (wanted) entry.set_generation(deployment->running_generation);
  entry.set_applied_fields(OwnedFieldsText(live));
  entry.set_foreign_digest(ForeignFieldsDigest(live));
  entry.set_finished(false);
  cache_.PutInventory({std::move(entry)}, [](absl::Status) {});
  if (object == nullptr) return absl::nullopt;
  object->applied_version = result->object.head.resource_version;
  if (!wanted) return absl::nullopt;
  object->needs_apply = false;
  object->reported.clear();
  ReadLive(*deployment, id, *object, result->object, live);
  Changed(*deployment, id, core::v1::SYNC_STATE_SYNCED, "", "");
  return absl::nullopt;
}

void ObjectKeeper::Refused(Deployment& deployment, const ObjectIdentity& id,
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

void ObjectKeeper::Release(const Ptr& deployment, const ObjectIdentity& id) {
  ObjectState* object = StateOf(*deployment, id);
  // An object that was dropped and came back is not held by the old request.
  if (object == nullptr || object->busy == 0 || --object->busy > 0 ||
      !object->held.has_value()) {
    return;
  }
  ObjectState::Held held = *std::move(object->held);
  object->held.reset();
  if (held.left) {
    OnLeft(deployment, id, held.object.head.resource_version);
  } else {
    OnObject(deployment, id, std::move(held.object));
  }
}

// --- Judging.

void ObjectKeeper::ReadLive(Deployment& deployment, const ObjectIdentity& id,
                            ObjectState& object, const KubeObject& live,
                            const json& json_object) {
  object.uid = live.head.uid;
  const core::v1::ResourceKey& key = object.want.key();
  if (live.head.deleting) {
    object.health = {core::v1::HEALTH_PROGRESSING, "Deleting",
                     "somebody is deleting it"};
  } else if (!WatchedInFull(key)) {
    object.health = {core::v1::HEALTH_HEALTHY, "", ""};
  } else {
    const auto& ignored =
        deployment.running == nullptr
            ? core::v1::DeployPolicy::default_instance().ignore_conditions()
            : deployment.running->policy().ignore_conditions();
    if (ignored.empty()) {
      object.health = JudgeHealth(json_object);
    } else {
      json judged = json_object;
      DropConditions(ignored, &judged);
      object.health = JudgeHealth(judged);
    }
    events_.OnWorkload(deployment, id, json_object);
    if (object.health.health == core::v1::HEALTH_HEALTHY &&
        VanishesByItself(json_object)) {
      const Inventory::Entry* entry = cache_.inventory().Find(id);
      if (entry != nullptr && !entry->finished()) {
        Inventory::Entry finished = *entry;
        finished.set_finished(true);
        cache_.PutInventory({std::move(finished)}, [](absl::Status) {});
      }
    }
  }
}

void ObjectKeeper::OnObject(const Ptr& deployment, const ObjectIdentity& id,
                            KubeObject live) {
  ObjectState* object = StateOf(*deployment, id);
  if (object == nullptr || object->want.ensure_namespace() ||
      object->sync == core::v1::SYNC_STATE_PRUNING) {
    return;
  }
  if (object->busy > 0) {
    object->held = ObjectState::Held{std::move(live), false};
    return;
  }
  if (!object->applied_version.empty() &&
      NotNewer(live.head.resource_version, object->applied_version)) {
    return;
  }
  const Inventory::Entry* entry = cache_.inventory().Find(id);
  // What is not applied yet is the run's business.
  if (entry == nullptr || entry->uid().empty() ||
      entry->applied_digest() != object->want.blob_digest()) {
    return;
  }
  const bool full = WatchedInFull(object->want.key());
  json parsed = ParseObject(live, object->want.key());
  ReadLive(*deployment, id, *object, live, parsed);
  if (live.head.deleting) {
    events_.OnObjectChanged(*deployment, id);
    return;
  }
  const bool ours = live.head.uid == entry->uid() &&
                    OwnedFieldsText(parsed) == entry->applied_fields();
  const bool foreign_same =
      ForeignFieldsDigest(parsed) == entry->foreign_digest();
  if (ours) {
    if (!object->needs_apply) {
      object->reported.clear();
      Changed(*deployment, id, core::v1::SYNC_STATE_SYNCED, "", "");
    } else {
      events_.OnObjectChanged(*deployment, id);
    }
    if (foreign_same) return;
  }
  Examine(deployment, id, full ? std::move(parsed) : json());
}

void ObjectKeeper::OnLeft(const Ptr& deployment, const ObjectIdentity& id,
                          const std::string& version) {
  ObjectState* object = StateOf(*deployment, id);
  if (object == nullptr || object->want.ensure_namespace() ||
      object->sync == core::v1::SYNC_STATE_PRUNING) {
    return;
  }
  if (object->busy > 0) {
    // What is in flight will tell; but a deletion may come after it.
    if (version.empty()) return;
    object->held = ObjectState::Held{KubeObject(), true};
    object->held->object.head.resource_version = version;
    return;
  }
  if (!version.empty() && !object->applied_version.empty() &&
      NotNewer(version, object->applied_version)) {
    return;
  }
  const Inventory::Entry* entry = cache_.inventory().Find(id);
  if (entry == nullptr || entry->uid().empty() ||
      entry->applied_digest() != object->want.blob_digest()) {
    return;
  }
  if (entry->finished()) {
    object->health = {core::v1::HEALTH_HEALTHY, "", ""};
    Changed(*deployment, id, core::v1::SYNC_STATE_SYNCED, "", "");
    return;
  }
  if (Corrects(*deployment)) {
    if (!SlowDown(deployment, id)) Recreate(deployment, id);
  } else {
    Examine(deployment, id, json());
  }
}

void ObjectKeeper::Examine(const Ptr& deployment, const ObjectIdentity& id,
                           json live) {
  ObjectState& object = deployment->objects.at(id);
  ++object.busy;
  if (!live.is_null()) {
    Compare(deployment, id, live);
    return;
  }
  const core::v1::ResourceKey key = object.want.key();
  // While the deployment's account is not known the agent looks itself, as its
  // watches do: after a start, what was seen must still be told.
  const ActingUser looks =
      deployment->user.ok() ? deployment->user : ActingUser("");
  applier_.Get(
      Lane::kUrgent, looks, key, /*metadata_only=*/false,
      [this, alive = alive_, deployment, id,
       key](absl::StatusOr<KubeObject> got) {
        if (!*alive) return;
        ObjectState* state = StateOf(*deployment, id);
        if (IsLeft(state)) {
          Release(deployment, id);
          return;
        }
        if (got.ok()) {
          Compare(deployment, id, ParseObject(*got, key));
          return;
        }
        if (MissingWhat(got.status()) == KubeError::Missing::kNothing) {
          state->needs_apply = Corrects(*deployment);
          events_.OnNotCorrected(*deployment,
                                 JudgeRefusal(key, got.status(), false));
        } else if (Corrects(*deployment)) {
          Recreate(deployment, id);
        } else if (state->sync != core::v1::SYNC_STATE_MISSING) {
          state->uid.clear();
          state->health = {core::v1::HEALTH_MISSING, "Missing",
                           "the object was deleted"};
          Changed(*deployment, id, core::v1::SYNC_STATE_MISSING, "Deleted",
                  "the object was deleted; correctDrift is off");
          DriftRecord record;
          record.set_operation(core::v1::DRIFT_OPERATION_OBJECT_DELETED);
          Say(*deployment, id, {record}, core::v1::DRIFT_ACTION_REPORTED);
        }
        Release(deployment, id);
      });
}

void ObjectKeeper::Compare(const Ptr& deployment, const ObjectIdentity& id,
                           const json& live) {
  const ObjectState& object = deployment->objects.at(id);
  cache_.GetBlob(object.want.blob_digest(),
                 [this, alive = alive_, deployment, id,
                  live](absl::StatusOr<std::string> blob) {
                   if (!*alive) return;
                   // It must not be made again after its deletion.
                   if (IsLeft(StateOf(*deployment, id))) {
                     Release(deployment, id);
                     return;
                   }
                   json wanted;
                   if (blob.ok()) {
                     absl::StatusOr<json> parsed = ParseKubeJson(*blob);
                     if (parsed.ok()) wanted = *std::move(parsed);
                   }
                   Judge(deployment, id, wanted, live);
                   Release(deployment, id);
                 });
}

void ObjectKeeper::Judge(const Ptr& deployment, const ObjectIdentity& id,
                         const json& wanted, const json& live) {
  ObjectState& object = deployment->objects.at(id);
  const Inventory::Entry* entry = cache_.inventory().Find(id);
  if (entry == nullptr) return;
  DriftDiff diff = DiffDrift(wanted, live, entry->applied_fields(),
                             IsSecret(object.want));
  const std::string foreign = ForeignFieldsDigest(live);
  std::vector<DriftRecord> added(diff.records.end() - diff.additions,
                                 diff.records.end());
  diff.records.resize(diff.records.size() - diff.additions);
  if (foreign != entry->foreign_digest()) {
    Inventory::Entry seen = *entry;
    seen.set_foreign_digest(foreign);
    cache_.PutInventory({std::move(seen)}, [](absl::Status) {});
    std::set<std::string> now;
    std::vector<DriftRecord> fresh;
    for (DriftRecord& record : added) {
      const std::string text = DriftText(record);
      if (object.additions.count(text) == 0) fresh.push_back(std::move(record));
      now.insert(text);
    }
    object.additions = std::move(now);
    Say(*deployment, id, std::move(fresh), core::v1::DRIFT_ACTION_REPORTED);
  }
  if (!diff.owned_lost) return;
  if (Corrects(*deployment)) {
    if (!SlowDown(deployment, id)) {
      Correct(deployment, id, std::move(diff.records));
    }
    return;
  }
  if (diff.records.empty()) {
    Changed(*deployment, id, core::v1::SYNC_STATE_SYNCED, "", "");
    return;
  }
  std::string message = DriftText(diff.records[0]);
  if (diff.records.size() > 1) {
    absl::StrAppend(&message, " (and ", diff.records.size() - 1, " more)");
  }
  Changed(*deployment, id, core::v1::SYNC_STATE_DRIFTED, "Modified",
          std::move(message));
  std::string said;
  for (const DriftRecord& record : diff.records) {
    absl::StrAppend(&said, DriftText(record), "\n");
  }
  if (said == object.reported) return;
  object.reported = std::move(said);
  Say(*deployment, id, std::move(diff.records),
      core::v1::DRIFT_ACTION_REPORTED);
}

// --- Correcting.

bool ObjectKeeper::SlowDown(const Ptr& deployment, const ObjectIdentity& id) {
  ObjectState& object = deployment->objects.at(id);
  const absl::Duration now = loop_.MonotonicNow();
  std::deque<absl::Duration>& times = object.corrected_at;
  while (!times.empty() && now - times.front() > absl::Minutes(1)) {
    times.pop_front();
  }
  if (object.fight_timer != nullptr && object.fight_timer->armed()) return true;
  if (times.size() < kFight || object.fight_timer != nullptr) {
    object.fight_timer.reset();
    times.push_back(now);
    return false;
  }
  const absl::Duration wait = std::min(
      absl::Seconds(30), absl::Seconds(1 << std::min<size_t>(
                                           times.size() - kFight, 5)));
  object.fight_timer = loop_.CreateTimer(
      [this, weak = std::weak_ptr<Deployment>(deployment), id] {
        const Ptr still = weak.lock();
        if (still == nullptr) return;
        const ObjectState* state = StateOf(*still, id);
        if (state != nullptr && state->busy == 0) Examine(still, id, json());
      });
  object.fight_timer->Arm(wait);
  FLOTILLA_LOG(WARNING) << KeyText(object.want.key())
                        << " is changed by somebody again and again; waiting "
                        << wait << " before it is put right";
  Changed(*deployment, id, core::v1::SYNC_STATE_DRIFTED, "Contested",
          "somebody changes it again and again; corrections are slowed down");
  return true;
}

void ObjectKeeper::Correct(const Ptr& deployment, const ObjectIdentity& id,
                           std::vector<DriftRecord> records) {
  ++deployment->objects.at(id).busy;
  SendNow(deployment, id, Lane::kUrgent, /*force=*/true,
          [this, deployment, id, records = std::move(records)](
              const std::string& digest,
              absl::StatusOr<ApplyResult> result) mutable {
            const absl::optional<Refusal> refusal =
                Took(deployment, id, digest, result);
            ObjectState* object = StateOf(*deployment, id);
            if (object != nullptr && !refusal.has_value() &&
                !records.empty()) {
              ++object->corrections;
            }
            Say(*deployment, id, std::move(records),
                refusal.has_value() ? core::v1::DRIFT_ACTION_FAILED
                                    : core::v1::DRIFT_ACTION_CORRECTED);
            if (refusal.has_value()) {
              events_.OnNotCorrected(*deployment, *refusal);
            }
            Release(deployment, id);
          });
}

void ObjectKeeper::Recreate(const Ptr& deployment, const ObjectIdentity& id) {
  ++deployment->objects.at(id).busy;
  SendNow(
      deployment, id, Lane::kUrgent, /*force=*/true,
      [this, deployment, id](const std::string& digest,
                             absl::StatusOr<ApplyResult> result) {
        const absl::optional<Refusal> refusal =
            Took(deployment, id, digest, result);
        std::vector<DriftRecord> records(1);
        DriftRecord& record = records[0];
        record.set_operation(core::v1::DRIFT_OPERATION_OBJECT_DELETED);
        if (result.ok() &&
            result->outcome == ApplyResult::Outcome::kUnchanged) {
          records.clear();
        } else if (result.ok() &&
                   result->outcome == ApplyResult::Outcome::kChanged) {
          // It was there all the time, without our label.
          record.set_operation(core::v1::DRIFT_OPERATION_REMOVED);
          record.set_path("metadata.labels[flotilla.dev/managed]");
          record.set_wanted("\"true\"");
        }
        ObjectState* object = StateOf(*deployment, id);
        if (!IsLeft(object) && refusal.has_value() &&
            object->sync != core::v1::SYNC_STATE_ERROR &&
            object->sync != core::v1::SYNC_STATE_CONFLICT) {
          object->uid.clear();
          object->health = {core::v1::HEALTH_MISSING, "Missing",
                            "the object was deleted"};
          Changed(*deployment, id, core::v1::SYNC_STATE_MISSING,
                  refusal->reason, refusal->message);
        } else if (object != nullptr && !refusal.has_value()) {
          ++object->corrections;
        }
        Say(*deployment, id, std::move(records),
            refusal.has_value() ? core::v1::DRIFT_ACTION_FAILED
                                : core::v1::DRIFT_ACTION_CORRECTED);
        if (refusal.has_value()) events_.OnNotCorrected(*deployment, *refusal);
        Release(deployment, id);
      });
}

void ObjectKeeper::Say(const Deployment& deployment, const ObjectIdentity& id,
                       std::vector<DriftRecord> records,
                       core::v1::DriftAction action) {
  const auto found = deployment.objects.find(id);
  if (found == deployment.objects.end()) return;
  const int64_t now = absl::ToUnixMillis(clock_.Now());
  for (DriftRecord& record : records) {
    record.set_bundle_id(deployment.bundle_id);
    *record.mutable_key() = found->second.want.key();
    record.set_action(action);
    for (auto* time : {record.mutable_first_seen_time(),
                       record.mutable_last_seen_time()}) {
      time->set_seconds(now / 1000);
      time->set_nanos(static_cast<int32_t>(now % 1000) * 1000000);
    }
    FLOTILLA_LOG(INFO) << "drift of " << KeyText(record.key()) << ": "
                       << DriftText(record) << ": "
                       << core::v1::DriftAction_Name(action);
    events_.OnDrift(std::move(record));
  }
}

void ObjectKeeper::Changed(Deployment& deployment, const ObjectIdentity& id,
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
