// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/object_keeper.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "agent/apply/doubled_names.h"
#include "agent/apply/inventory.h"
#include "agent/drift/contest.h"
#include "agent/drift/drift_diff.h"
#include "agent/drift/ignore_rules.h"
#include "agent/health/health_rules.h"
#include "common/crypto/sha256.h"
#include "agent/health/health_verdict.h"
#include "common/kube/kube_error.h"
#include "common/log/log.h"

namespace flotilla::agent {
namespace {

using core::v1::DriftRecord;
using nlohmann::json;

// True when `version` is not newer than `applied`.
bool NotNewer(const std::string& version, const std::string& applied) {
  if (version == applied) return true;
  uint64_t a = 0;
  uint64_t b = 0;
  return absl::SimpleAtoi(version, &a) && absl::SimpleAtoi(applied, &b) &&
         a < b;
}

// The first one, for people; empty: there are none.
std::string Summary(const std::vector<DriftRecord>& records) {
  if (records.empty()) return "";
  std::string text = DriftText(records[0]);
  if (records.size() > 1) {
    absl::StrAppend(&text, " (and ", records.size() - 1, " more)");
  }
  return text;
}

// As we left it, or as it was found to be no drift.
bool IsAsJudged(const std::string& fields, const Inventory::Entry& entry) {
  return fields == entry.applied_fields() ||
         (!entry.tolerated_digest().empty() &&
          Sha256(fields) == entry.tolerated_digest());
}

IgnoreRules RulesOf(const Deployment& deployment,
                    const core::v1::ResourceKey& key) {
  return deployment.running == nullptr
             ? IgnoreRules()
             : IgnoreRules(deployment.running->policy(), key);
}

bool Corrects(const Deployment& deployment) {
  return deployment.running != nullptr &&
         deployment.running->policy().correct_drift();
}

}  // namespace

ObjectKeeper::ObjectKeeper(ObjectSender& sender, Applier& applier,
                           AssignmentCache& cache, Loop& loop,
                           const Clock& clock, KeeperEvents& events)
    : sender_(sender),
      applier_(applier),
      cache_(cache),
      loop_(loop),
      clock_(clock),
      events_(events),
      alive_(std::make_shared<bool>(true)) {}

ObjectKeeper::~ObjectKeeper() { *alive_ = false; }

// --- Judging.

void ObjectKeeper::OnIdle(const Ptr& deployment, const ObjectIdentity& id) {
  ObjectState* object = StateOf(*deployment, id);
  if (object == nullptr || !object->held.has_value()) return;
  ObjectState::Held held = *std::move(object->held);
  object->held.reset();
  if (held.left) {
    OnLeft(deployment, id, held.object);
  } else {
    OnObject(deployment, id, std::move(held.object));
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
  const bool full =
      HasHealthRule(object->want.key().group(), object->want.key().kind());
  json parsed = ParseLive(live, object->want.key());
  sender_.ReadLive(*deployment, id, *object, live, parsed);
  if (live.head.deleting) {
    sender_.Changed(*deployment, id, object->sync, object->reason,
                    object->message);
    return;
  }
  const bool ours = live.head.uid == entry->uid() &&
                    IsAsJudged(OwnedFieldsText(parsed), *entry);
  const bool foreign_same =
      ForeignFieldsDigest(parsed) == entry->foreign_digest();
  if (ours) {
    if (!object->needs_apply) {
      object->reported.clear();
      sender_.Changed(*deployment, id, core::v1::SYNC_STATE_SYNCED, "", "");
    } else {
      sender_.Changed(*deployment, id, object->sync, object->reason,
                    object->message);
    }
    if (foreign_same) return;
  }
  Examine(deployment, id, full ? std::move(parsed) : json());
}

void ObjectKeeper::OnLeft(const Ptr& deployment, const ObjectIdentity& id,
                          const KubeObject& last) {
  const std::string& version = last.head.resource_version;
  ObjectState* object = StateOf(*deployment, id);
  if (object == nullptr || object->want.ensure_namespace() ||
      object->sync == core::v1::SYNC_STATE_PRUNING) {
    return;
  }
  object->proven = false;
  if (object->busy > 0) {
    // What is in flight will tell; but a deletion may come after it.
    if (version.empty()) return;
    object->held = ObjectState::Held{last, true};
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
  // What was seen to be deleted before its end is made again.
  const bool gone_too_soon =
      !last.json.empty() &&
      !sender_.NoteJob(id, ParseLive(last, object->want.key()));
  entry = cache_.inventory().Find(id);
  if (entry->finished() && !gone_too_soon) {
    object->health =
        entry->failure().empty()
            ? Healthy()
            : Degraded("Failed", absl::StrCat(entry->failure(),
                                              "; its TTL has removed it"));
    sender_.Changed(*deployment, id, core::v1::SYNC_STATE_SYNCED, "", "");
    return;
  }
  if (RulesOf(*deployment, object->want.key()).ignores_absence()) {
    AcceptAbsence(*deployment, id);
  } else if (Corrects(*deployment)) {
    RecreateUnlessContested(deployment, id);
  } else {
    Examine(deployment, id, json());
  }
}

void ObjectKeeper::LookAgain(const Ptr& deployment, const ObjectIdentity& id) {
  const ObjectState* object = StateOf(*deployment, id);
  // A request that is in flight looks, too.
  if (IsLeft(object) || object->busy > 0) return;
  const core::v1::ResourceKey key = object->want.key();
  const ActingUser looks =
      deployment->user.ok() ? deployment->user : ActingUser("");
  applier_.Get(Lane::kUrgent, looks, key, /*metadata_only=*/false,
               [this, alive = alive_, deployment, id,
                key](absl::StatusOr<KubeObject> live) {
                 if (!*alive || !live.ok()) return;
                 ObjectState* state = StateOf(*deployment, id);
                 const Inventory::Entry* entry = cache_.inventory().Find(id);
                 if (IsLeft(state) || state->busy > 0 || entry == nullptr ||
                     entry->uid() != live->head.uid) {
                   return;
                 }
                 sender_.ReadLive(*deployment, id, *state, *live,
                                  ParseLive(*live, key));
                 sender_.Changed(*deployment, id, state->sync, state->reason,
                                 state->message);
               });
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
          sender_.Release(deployment, id);
          return;
        }
        if (got.ok()) {
          Compare(deployment, id, ParseLive(*got, key));
          return;
        }
        if (MissingWhat(got.status()) != KubeError::Missing::kNothing &&
            RulesOf(*deployment, key).ignores_absence()) {
          AcceptAbsence(*deployment, id);
        } else if (MissingWhat(got.status()) == KubeError::Missing::kNothing) {
          state->needs_apply = Corrects(*deployment);
          events_.OnNotCorrected(*deployment,
                                 JudgeRefusal(key, got.status(), false));
        } else if (Corrects(*deployment)) {
          RecreateUnlessContested(deployment, id);
        } else if (state->sync != core::v1::SYNC_STATE_MISSING) {
          state->uid.clear();
          state->health = {core::v1::HEALTH_MISSING, "Missing",
                           "the object was deleted"};
          sender_.Changed(*deployment, id, core::v1::SYNC_STATE_MISSING,
                          "Deleted",
                          "the object was deleted; correctDrift is off");
          DriftRecord record;
          record.set_operation(core::v1::DRIFT_OPERATION_OBJECT_DELETED);
          Say(*deployment, id, {record}, core::v1::DRIFT_ACTION_REPORTED);
        }
        sender_.Release(deployment, id);
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
                     sender_.Release(deployment, id);
                     return;
                   }
                   json wanted;
                   if (blob.ok()) {
                     absl::StatusOr<json> parsed = ParseKubeJson(*blob);
                     if (parsed.ok()) wanted = *std::move(parsed);
                     DropDoubledNames(&wanted);
                   }
                   Judge(deployment, id, wanted, live);
                   sender_.Release(deployment, id);
                 });
}

void ObjectKeeper::Judge(const Ptr& deployment, const ObjectIdentity& id,
                         const json& wanted, const json& live) {
  ObjectState& object = deployment->objects.at(id);
  const Inventory::Entry* entry = cache_.inventory().Find(id);
  if (entry == nullptr) return;
  DriftDiff diff =
      DiffDrift(wanted, live, entry->applied_fields(),
                {IsSecret(object.want),
                 RulesOf(*deployment, object.want.key()),
                 {entry->held_pointers().begin(),
                  entry->held_pointers().end()}});
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
  if (!diff.owned_lost) {
    if (diff.tolerated) Tolerate(deployment, id, OwnedFieldsText(live));
    return;
  }
  if (Corrects(*deployment)) {
    const std::string manager =
        diff.records.empty() ? "" : diff.records[0].field_manager();
    const std::string what = Summary(diff.records);
    const bool was_contested = !object.contested.empty();
    if (what.empty() || !IsContested(deployment, id,
                                     core::v1::SYNC_STATE_DRIFTED, manager,
                                     what)) {
      Correct(deployment, id, std::move(diff.records));
    } else if (!was_contested) {
      Say(*deployment, id, std::move(diff.records),
          core::v1::DRIFT_ACTION_REPORTED);
    }
    return;
  }
  if (diff.records.empty()) {
    sender_.Changed(*deployment, id, core::v1::SYNC_STATE_SYNCED, "", "");
    return;
  }
  sender_.Changed(*deployment, id, core::v1::SYNC_STATE_DRIFTED, "Modified",
                  Summary(diff.records));
  std::string said;
  for (const DriftRecord& record : diff.records) {
    absl::StrAppend(&said, DriftText(record), "\n");
  }
  if (said == object.reported) return;
  object.reported = std::move(said);
  Say(*deployment, id, std::move(diff.records),
      core::v1::DRIFT_ACTION_REPORTED);
}

void ObjectKeeper::Tolerate(const Ptr& deployment, const ObjectIdentity& id,
                            const std::string& fields) {
  Inventory::Entry seen = *cache_.inventory().Find(id);
  if (fields != seen.applied_fields()) {
    seen.set_tolerated_digest(Sha256(fields));
    cache_.PutInventory({std::move(seen)}, [](absl::Status) {});
  }
  ObjectState& object = deployment->objects.at(id);
  if (object.needs_apply) return;
  object.reported.clear();
  sender_.Changed(*deployment, id, core::v1::SYNC_STATE_SYNCED, "", "");
}

void ObjectKeeper::AcceptAbsence(Deployment& deployment,
                                 const ObjectIdentity& id) {
  ObjectState& object = deployment.objects.at(id);
  object.uid.clear();
  object.health = {core::v1::HEALTH_HEALTHY, "", ""};
  sender_.Changed(deployment, id, core::v1::SYNC_STATE_SYNCED, "", "");
}

void ObjectKeeper::OnRulesChanged(const Ptr& deployment,
                                  const ObjectIdentity& id) {
  const ObjectState* object = StateOf(*deployment, id);
  const Inventory::Entry* entry = cache_.inventory().Find(id);
  if (IsLeft(object) || object->busy > 0 || object->needs_apply ||
      entry == nullptr || entry->uid().empty() ||
      entry->applied_digest() != object->want.blob_digest()) {
    return;
  }
  const bool deviates = !entry->tolerated_digest().empty() ||
                        entry->held_pointers_size() > 0 ||
                        object->uid.empty();
  if (deviates || object->sync == core::v1::SYNC_STATE_DRIFTED ||
      object->sync == core::v1::SYNC_STATE_MISSING) {
    Examine(deployment, id, json());
  }
}

// --- Correcting.

bool ObjectKeeper::IsContested(const Ptr& deployment, const ObjectIdentity& id,
                               core::v1::SyncState sync,
                               const std::string& manager,
                               const std::string& what) {
  ObjectState& object = deployment->objects.at(id);
  const Inventory::Entry* known = cache_.inventory().Find(id);
  if (known == nullptr) return false;
  const absl::Time now = clock_.Now();
  Inventory::Entry entry = *known;
  // The same change is looked at again and again while it is left.
  const bool seen = object.contested == what;
  if (!seen) NoteChange(manager, now, &entry);
  const absl::Time until = ContestedUntil(manager, now, entry);
  const bool contested = until > now;
  if (!contested && seen) NoteChange(manager, now, &entry);
  if (!seen || !contested) {
    cache_.PutInventory({std::move(entry)}, [](absl::Status) {});
  }
  if (!contested) {
    object.contested.clear();
    object.contest_timer.reset();
    return false;
  }
  object.contested = what;
  object.contest_timer = loop_.CreateTimer(
      [this, weak = std::weak_ptr<Deployment>(deployment), id] {
        const Ptr still = weak.lock();
        if (still == nullptr) return;
        const ObjectState* state = StateOf(*still, id);
        if (!IsLeft(state) && state->busy == 0) Examine(still, id, json());
      });
  object.contest_timer->Arm(until - now);
  const std::string who = manager.empty() ? "somebody" : manager;
  if (object.reason != "Contested") {
    FLOTILLA_LOG(WARNING) << KeyText(object.want.key()) << " is contested: "
                          << who << " changed it more than "
                          << kMaxCorrections << " times in "
                          << kContestWindow;
  }
  sender_.Changed(
      *deployment, id, sync, "Contested",
      absl::StrCat(what, "; left so, for ", who, " did such a thing more than ",
                   kMaxCorrections,
                   " times in 10 minutes. It is put right with the next "
                   "revision, or within 10 minutes after the last change"));
  return true;
}

void ObjectKeeper::Correct(const Ptr& deployment, const ObjectIdentity& id,
                           std::vector<DriftRecord> records) {
  ++deployment->objects.at(id).busy;
  sender_.SendNow(deployment, id, Lane::kUrgent, /*force=*/true,
          [this, deployment, id, records = std::move(records)](
              const std::string& digest,
              absl::StatusOr<ApplyResult> result) mutable {
            const absl::optional<Refusal> refusal =
                sender_.Took(deployment, id, digest, result);
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
            sender_.Release(deployment, id);
          });
}

void ObjectKeeper::RecreateUnlessContested(const Ptr& deployment,
                                           const ObjectIdentity& id) {
  if (!IsContested(deployment, id, core::v1::SYNC_STATE_MISSING, "",
                   "the object was deleted")) {
    Recreate(deployment, id);
  }
}

void ObjectKeeper::Recreate(const Ptr& deployment, const ObjectIdentity& id) {
  ++deployment->objects.at(id).busy;
  sender_.SendNow(
      deployment, id, Lane::kUrgent, /*force=*/true,
      [this, deployment, id](const std::string& digest,
                             absl::StatusOr<ApplyResult> result) {
        const absl::optional<Refusal> refusal =
            sender_.Took(deployment, id, digest, result);
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
          sender_.Changed(*deployment, id, core::v1::SYNC_STATE_MISSING,
                  refusal->reason, refusal->message);
        } else if (object != nullptr && !refusal.has_value()) {
          ++object->corrections;
        }
        Say(*deployment, id, std::move(records),
            refusal.has_value() ? core::v1::DRIFT_ACTION_FAILED
                                : core::v1::DRIFT_ACTION_CORRECTED);
        if (refusal.has_value()) events_.OnNotCorrected(*deployment, *refusal);
        sender_.Release(deployment, id);
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

}  // namespace flotilla::agent
