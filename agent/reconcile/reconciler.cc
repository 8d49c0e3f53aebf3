// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/reconciler.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "agent/apply/inventory.h"
#include "agent/apply/namespace_rules.h"
#include "agent/apply/refusal.h"
#include "agent/health/health_rules.h"
#include "agent/health/health_verdict.h"
#include "common/kube/kube_error.h"
#include "common/kube/object.h"
#include "common/log/log.h"

namespace flotilla::agent {
namespace {

using agentstate::v1::StoredAssignment;
using core::v1::ManifestEntry;
using core::v1::ResourceKey;

Backoff::Options RetryOptions() {
  Backoff::Options options;
  options.minimum = absl::Milliseconds(100);
  options.initial = absl::Milliseconds(400);
  options.maximum = absl::Seconds(30);
  return options;
}

template <typename Protos>
bool SameProtos(const Protos& a, const Protos& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& one, const auto& other) {
                      return one.SerializeAsString() ==
                             other.SerializeAsString();
                    });
}

// Whether both judge health alike.
bool SameJudgement(const core::v1::DeployPolicy& a,
                   const core::v1::DeployPolicy& b) {
  return SameProtos(a.ignore_conditions(), b.ignore_conditions()) &&
         SameProtos(a.health_rules(), b.health_rules());
}

bool SamePatches(const core::v1::DeployPolicy& a,
                 const core::v1::DeployPolicy& b) {
  return SameProtos(a.compare_patches(), b.compare_patches());
}

// Why what others depend on does not stand yet; empty: it does.
std::string UnreadyText(const Deployment& deployment,
                        const ObjectIdentity& id) {
  const auto found = deployment.objects.find(id);
  if (found == deployment.objects.end()) return "is not there";
  const ObjectState& object = found->second;
  if (object.sync == core::v1::SYNC_STATE_ERROR ||
      object.sync == core::v1::SYNC_STATE_CONFLICT) {
    return "could not be applied";
  }
  if (object.sync != core::v1::SYNC_STATE_SYNCED) return "is not applied yet";
  switch (object.health.health) {
    case core::v1::HEALTH_HEALTHY:
    case core::v1::HEALTH_NOT_TRACKABLE:
      return "";
    default:
      return absl::StrCat("is not healthy yet", object.health.message.empty()
                                                    ? ""
                                                    : ": ",
                          object.health.message);
  }
}

}  // namespace

Reconciler::Reconciler(const Parts& parts)
    : parts_(parts),
      alive_(std::make_shared<bool>(true)),
      accounts_(parts.client, parts.loop, parts.random, parts.agent_namespace,
                [this] { OnAccountsChanged(); }),
      values_(parts.client, parts.loop, parts.random, accounts_,
              [this](agent::v1::ValuesReport report) {
                return parts_.link.SendValues(std::move(report));
              }),
      namespace_watch_(parts.client, parts.loop,
                       [this](const std::set<std::string>& names) {
                         ReviewSoon();
                         for (const std::string& name : names) {
                           SettleNamespace(name);
                         }
                       }),
      applier_(parts.client, parts.cache, parts.loop),
      reporter_(parts.link, parts.loop,
                [this](const std::string& bundle_id, uint64_t generation) {
                  Forget(bundle_id, generation);
                }),
      judge_(parts.client, parts.loop, parts.clock, parts.health,
             [this](const ObjectIdentity& id) {
               const Ptr owner = OwnerOf(id);
               if (owner != nullptr && !owner->machine.tombstone()) {
                 keeper_.LookAgain(owner, id);
               }
             }),
      sender_(applier_, parts.cache, parts.loop, parts.clock, judge_, *this),
      keeper_(sender_, applier_, parts.cache, parts.loop, parts.clock, *this),
      watcher_(parts.client, parts.loop, parts.random, *this),
      pods_(parts.client, parts.loop, parts.clock,
            parts.health.unschedulable_after,
            [this](const ObjectIdentity& id, const HealthVerdict& trouble) {
              const Ptr owner = OwnerOf(id);
              if (owner == nullptr || owner->objects.count(id) == 0) return;
              owner->objects[id].pods = trouble;
              OnObjectChanged(*owner, id);
            }),
      tools_{parts.cache,
             applier_,
             sender_,
             parts.client,
             parts.loop,
             [this](Deployment& deployment, const ObjectIdentity& id) {
               OnObjectChanged(deployment, id);
             },
             [this](Deployment& deployment, const ResourceKey& key) {
               Gone(deployment, key);
             }},
      publish_timer_(parts.loop.CreateTimer([this] { PublishAll(); })),
      passing_timer_(parts.loop.CreateTimer([this] {
        for (auto& [id, deployment] : deployments_) {
          if (deployment->passing_since != absl::InfiniteDuration()) {
            Touch(*deployment);
          }
        }
      })),
      api_timer_(parts.loop.CreateTimer([this] {
        for (auto& [id, deployment] : deployments_) Touch(*deployment);
        // And again when what failed since then is old enough to be told.
        const absl::Duration now = parts_.loop.MonotonicNow();
        for (const auto& [kind, trouble] : unwatched_) {
          const absl::Duration left = trouble.since + kWatchGrace - now;
          if (left > absl::ZeroDuration() && !api_timer_->armed()) {
            api_timer_->Arm(left);
          }
        }
      })),
      sweep_timer_(parts.loop.CreateTimer([this] { Sweep(); })),
      hold_timer_(parts.loop.CreateTimer([this] { ReviewHolds(); })) {}

Reconciler::~Reconciler() {
  *alive_ = false;
  for (auto& [bundle_id, deployment] : deployments_) deployment->run.reset();
}

// --- Life.

void Reconciler::Start() {
  judge_.Start();
  for (const auto& [bundle_id, record] : parts_.cache.assignments()) {
    const Ptr deployment = Make(bundle_id);
    deployment->record = record;
    if (!record.active_digest().empty()) {
      ++loading_;
      LoadManifest(deployment);
    }
  }
  if (loading_ == 0) {
    parts_.loop.Post([this, alive = alive_] {
      if (*alive && !loaded_) OnLoaded();
    });
  }
}

void Reconciler::OnLoaded() {
  loaded_ = true;
  for (auto& [bundle_id, deployment] : deployments_) {
    claims_stale_.insert(bundle_id);
  }
  for (auto& [bundle_id, deployment] : deployments_) {
    const StoredAssignment& record = deployment->record;
    const bool runs = deployment->manifest != nullptr &&
                      deployment->manifest_generation == record.generation();
    if (deployment->manifest != nullptr && !record.tombstone()) {
      Adopt(*deployment);
    }
    if (record.tombstone()) {
      // How it is to go is in what ran.
      deployment->running = deployment->manifest;
      deployment->running_generation = deployment->manifest_generation;
      Act(*deployment);
      Bury(*deployment);
    }
    WatchKinds(*deployment);
    Perform(deployment,
            deployment->machine.Assigned(record.generation(),
                                         record.tombstone(), record.deleted(),
                                         runs));
    Touch(*deployment);
  }
  UpdateReady();
  sweep_timer_->Arm(absl::Minutes(1));
}

Reconciler::Ptr Reconciler::Make(const std::string& bundle_id) {
  Ptr& deployment = deployments_[bundle_id];
  if (deployment == nullptr) {
    deployment = std::make_shared<Deployment>(RetryOptions());
    deployment->bundle_id = bundle_id;
    deployment->retry_timer = parts_.loop.CreateTimer(
        [this, weak = std::weak_ptr<Deployment>(deployment)] {
          if (const Ptr still = weak.lock()) {
            Perform(still, still->machine.Replan());
          }
        });
  }
  return deployment;
}

Reconciler::Ptr Reconciler::Find(const std::string& bundle_id) const {
  const auto found = deployments_.find(bundle_id);
  return found == deployments_.end() ? nullptr : found->second;
}

Reconciler::Ptr Reconciler::OwnerOf(const ObjectIdentity& id) const {
  const Inventory::Entry* entry = parts_.cache.inventory().Find(id);
  return entry == nullptr ? nullptr : Find(entry->bundle_id());
}

std::string Reconciler::NameOf(const std::string& bundle_id) const {
  const Ptr deployment = Find(bundle_id);
  if (deployment == nullptr || deployment->record.bundle_name().empty()) {
    return bundle_id;
  }
  return absl::StrCat(deployment->record.workspace(), "/",
                      deployment->record.bundle_name());
}

void Reconciler::OnStored(const std::string& bundle_id) {
  const StoredAssignment* record = parts_.cache.Find(bundle_id);
  if (record == nullptr) return;
  const Ptr deployment = Make(bundle_id);
  deployment->record = *record;
  deployment->stored_at = parts_.loop.MonotonicNow();
  deployment->apply_duration = absl::ZeroDuration();
  claims_stale_.insert(bundle_id);
  if (!loaded_) return;
  const bool runs = !record->tombstone() && deployment->running != nullptr &&
                    record->active_digest() == record->manifest_digest();
  if (runs) {
    // Another generation of the same manifest: nothing has to be fetched. But
    // meanwhile it may have been on its way out, or another manifest coming.
    deployment->manifest = deployment->running;
    deployment->manifest_generation = record->generation();
    Adopt(*deployment);
    parts_.cache.SetActive(bundle_id, record->generation(),
                           [](absl::Status) {});
  }
  if (record->tombstone()) {
    FLOTILLA_LOG(INFO) << "bundle " << NameOf(bundle_id) << " is to go: "
                       << core::v1::DeleteCause_Name(record->cause());
    Bury(*deployment);
  }
  Perform(deployment,
          deployment->machine.Assigned(record->generation(),
                                       record->tombstone(), record->deleted(),
                                       runs));
  ClaimsChanged(*deployment);
  UpdateReady(deployment);
  Touch(*deployment);
}

void Reconciler::Perform(const Ptr& deployment,
                         const DeploymentMachine::Actions& actions) {
  for (const DeploymentMachine::Action action : actions) {
    switch (action) {
      case DeploymentMachine::Action::kFetchManifest:
        FetchManifest(deployment);
        break;
      case DeploymentMachine::Action::kFetchBlobs:
        FetchBlobs(deployment);
        break;
      case DeploymentMachine::Action::kRun:
        StartRun(deployment);
        break;
      case DeploymentMachine::Action::kCancelRun:
        deployment->run.reset();
        break;
      case DeploymentMachine::Action::kMarkDeleted:
        MarkDeleted(deployment);
        break;
    }
  }
  if (!actions.empty()) Touch(*deployment);
}

// `manifest`, complete, becomes what runs.
void Reconciler::Adopt(Deployment& deployment) {
  const bool judges_anew = deployment.running != nullptr &&
                           !SameJudgement(deployment.running->policy(),
                                        deployment.manifest->policy());
  const bool other_rules = deployment.running != nullptr &&
                           !SamePatches(deployment.running->policy(),
                                        deployment.manifest->policy());
  deployment.running = deployment.manifest;
  deployment.running_generation = deployment.manifest_generation;
  deployment.holds.clear();
  deployment.left.clear();
  Act(deployment);
  ObjectStates before = std::move(deployment.objects);
  deployment.objects.clear();
  for (const ManifestEntry& want : deployment.running->entries()) {
    const ObjectIdentity id = IdentityOf(want.key());
    ObjectState& object = deployment.objects[id];
    const auto known = before.find(id);
    if (known != before.end()) {
      object = std::move(known->second);
      before.erase(known);
      if (object.sync == core::v1::SYNC_STATE_PRUNING ||
          object.want.blob_digest() != want.blob_digest()) {
        object.sync = core::v1::SYNC_STATE_UNSPECIFIED;
        object.reason.clear();
        object.message.clear();
      }
    }
    // The answer is judged; what is sent changes nothing.
    object.needs_apply = object.needs_apply ||
                         (judges_anew && HasHealthRule(want.key().group(),
                                                       want.key().kind()) &&
                          object.sync == core::v1::SYNC_STATE_SYNCED);
    object.want = want;
  }
  for (auto& [id, object] : before) {
    ForgetHealth(id);
    const ResourceKey key = object.want.key();
    if (OwnerOf(id).get() == &deployment) {
      object.sync = core::v1::SYNC_STATE_PRUNING;
      deployment.objects[id] = std::move(object);
    } else {
      Gone(deployment, key);
    }
  }
  WatchKinds(deployment);
  if (!other_rules) return;
  parts_.loop.Post([this, alive = alive_, bundle_id = deployment.bundle_id] {
    const Ptr still = *alive ? Find(bundle_id) : nullptr;
    if (still == nullptr || still->machine.tombstone()) return;
    std::vector<ObjectIdentity> ids;
    for (const auto& [id, object] : still->objects) ids.push_back(id);
    for (const ObjectIdentity& id : ids) keeper_.OnRulesChanged(still, id);
  });
}

void Reconciler::ForgetHealth(const ObjectIdentity& id) {
  pods_.Forget(id);
  judge_.Forget(id);
}

// Nothing of it is kept any more: what is its own is to be deleted.
void Reconciler::Bury(Deployment& deployment) {
  std::vector<ResourceKey> gone;
  for (auto& [id, object] : deployment.objects) {
    ForgetHealth(id);
    if (OwnerOf(id).get() == &deployment) {
      object.sync = core::v1::SYNC_STATE_PRUNING;
      object.reason = "Pruning";
      object.message.clear();
    } else {
      gone.push_back(object.want.key());
    }
  }
  for (const ResourceKey& key : gone) Gone(deployment, key);
}

void Reconciler::WatchKinds(const Deployment& deployment) {
  const auto watch = [&](const ResourceKey& key) {
    watcher_.Watch(key.group(), key.version(), key.kind(),
                   HasHealthRule(key.group(), key.kind()));
  };
  if (deployment.running != nullptr) {
    for (const ManifestEntry& entry : deployment.running->entries()) {
      if (!entry.ensure_namespace()) watch(entry.key());
    }
  }
  for (const Inventory::Entry* entry :
       parts_.cache.inventory().OfBundle(deployment.bundle_id)) {
    watch(entry->key());
  }
}

void Reconciler::UpdateReady() {
  if (!loaded_) return;
  // Perform() may change the map.
  std::vector<Ptr> waiting;
  for (const auto& [bundle_id, deployment] : deployments_) {
    if (!deployment->machine.ready()) waiting.push_back(deployment);
  }
  for (const Ptr& deployment : waiting) UpdateReady(deployment);
}

void Reconciler::UpdateReady(const Ptr& deployment) {
  // Once known it stays so: a watch that is down is told by its requests.
  if (!loaded_ || deployment->machine.ready() || !accounts_.settled()) return;
  for (const Inventory::Entry* entry :
       parts_.cache.inventory().OfBundle(deployment->bundle_id)) {
    if (!entry->uid().empty() &&
        !watcher_.Listed(entry->key().group(), entry->key().kind())) {
      return;
    }
  }
  Perform(deployment, deployment->machine.Ready(true));
}

bool Reconciler::AllManifestsKnown() const {
  return std::all_of(
      deployments_.begin(), deployments_.end(), [](const auto& item) {
        const Deployment& deployment = *item.second;
        return deployment.record.tombstone() ||
               (deployment.manifest != nullptr &&
                deployment.manifest_generation ==
                    deployment.record.generation());
      });
}

const Claims& Reconciler::CurrentClaims() {
  for (const std::string& bundle_id : claims_stale_) {
    if (const auto old = claimed_.find(bundle_id); old != claimed_.end()) {
      claims_.Remove(bundle_id, *old->second);
      claimed_.erase(old);
    }
    const Ptr deployment = Find(bundle_id);
    if (deployment == nullptr || deployment->record.tombstone() ||
        deployment->manifest == nullptr) {
      continue;
    }
    claims_.Add(bundle_id, deployment->record.order(), *deployment->manifest);
    claimed_[bundle_id] = deployment->manifest;
  }
  claims_stale_.clear();
  return claims_;
}

void Reconciler::ClaimsChanged(const Deployment& deployment) {
  claims_stale_.insert(deployment.bundle_id);
  ReviewSoon();
  std::vector<Ptr> others;
  for (const auto& [bundle_id, other] : deployments_) {
    if (other.get() != &deployment && other->looks_at_others) {
      others.push_back(other);
    }
  }
  for (const Ptr& other : others) Perform(other, other->machine.Replan());
}

void Reconciler::StartRun(const Ptr& deployment) {
  const bool tombstone = deployment->machine.tombstone();
  if (!tombstone && deployment->running == nullptr) return;
  const core::v1::Manifest* running = deployment->running.get();
  PlanRequest request;
  request.bundle_id = deployment->bundle_id;
  request.manifest = tombstone ? nullptr : running;
  request.keep_resources =
      tombstone && (deployment->record.keep_resources() ||
                    (running != nullptr && running->policy().keep_resources()));
  if (tombstone && running != nullptr && running->policy().delete_namespace()) {
    const std::string& ns = running->policy().release_namespace();
    const bool others = std::any_of(
        deployments_.begin(), deployments_.end(), [&](const auto& item) {
          const Deployment& other = *item.second;
          return &other != deployment.get() && !other.record.tombstone() &&
                 other.manifest != nullptr &&
                 other.manifest->policy().release_namespace() == ns;
        });
    if (!others && !IsProtectedNamespace(ns, parts_.agent_namespace)) {
      request.delete_namespace = ns;
    }
  }
  request.unready = [&](const ObjectIdentity& id) {
    return UnreadyText(*deployment, id);
  };
  deployment->waited_for.clear();
  if (!tombstone) {
    for (const ManifestEntry& entry : running->entries()) {
      for (const ResourceKey& other : entry.depends_on()) {
        deployment->waited_for.insert(IdentityOf(other));
      }
    }
  }
  const bool corrects = running != nullptr && running->policy().correct_drift();
  ApplyPlan plan = PlanApply(
      request, parts_.cache.inventory(), CurrentClaims(),
      [&](const Inventory::Entry& entry) {
        const auto object = deployment->objects.find(IdentityOf(entry.key()));
        return object != deployment->objects.end() &&
               !object->second.needs_apply &&
               (object->second.busy > 0 ||
                (!object->second.contested.empty() &&
                 entry.generation() == deployment->running_generation) ||
                object->second.sync == core::v1::SYNC_STATE_SYNCED ||
                // Drift that is only reported.
                (!corrects &&
                 (object->second.sync == core::v1::SYNC_STATE_DRIFTED ||
                  object->second.sync == core::v1::SYNC_STATE_MISSING)));
      },
      [this](const std::string& ns) { return sender_.NamespaceExists(ns); });
  deployment->notes = plan.notes;
  if (tombstone && running != nullptr) {
    for (const ManifestEntry& entry : running->entries()) {
      if (entry.ensure_namespace()) {
        deployment->notes.push_back(absl::StrCat(
            KeyText(entry.key()), " stays: namespaces are shared"));
      }
    }
  }
  ShowRivals(*deployment, plan);
  const bool may_prune = AllManifestsKnown();
  deployment->looks_at_others = !plan.taken.empty() ||
                                !deployment->rivals.empty() ||
                                (!plan.prunes.empty() && !may_prune);
  if (!tombstone) deployment->trouble.clear();
  const uint64_t number = ++deployment->run_number;
  deployment->run = std::make_shared<DeploymentRun>(
      tools_, deployment, std::move(plan), may_prune,
      /*deletes=*/tombstone && !request.keep_resources,
      [this, alive = alive_, weak = std::weak_ptr<Deployment>(deployment),
       number](RunResult result) {
        // The run still stands on the stack.
        parts_.loop.Post([this, alive, weak, number,
                          result = std::move(result)]() mutable {
          const Ptr still = weak.lock();
          if (!*alive || still == nullptr) return;
          OnRunEnded(still, number, std::move(result));
        });
      });
  const std::shared_ptr<DeploymentRun> run = deployment->run;
  run->Start();
}

void Reconciler::ShowRivals(Deployment& deployment, const ApplyPlan& plan) {
  deployment.rivals.clear();
  for (const auto& [index, owner] : plan.taken) {
    const ObjectIdentity id =
        IdentityOf(deployment.running->entries(index).key());
    ObjectState& object = deployment.objects[id];
    if (object.sync != core::v1::SYNC_STATE_CONFLICT) {
      object.since = parts_.clock.Now();
    }
    object.sync = core::v1::SYNC_STATE_CONFLICT;
    object.reason = "ClaimedTwice";
    object.message = absl::StrCat(
        "bundle ", NameOf(owner),
        " has this object already and keeps it; remove it from one of them");
    OnObjectChanged(deployment, id);
    // It says so, too; once it does, it looks at others by itself.
    parts_.loop.Post([this, alive = alive_, owner = owner] {
      if (!*alive) return;
      const Ptr holder = Find(owner);
      if (holder == nullptr || holder->looks_at_others) return;
      Perform(holder, holder->machine.Replan());
    });
  }
  if (deployment.machine.tombstone()) return;
  for (const ManifestEntry& entry : deployment.running->entries()) {
    if (entry.ensure_namespace() || deployment.rivals.size() >= 5) continue;
    const ObjectIdentity id = IdentityOf(entry.key());
    const std::string rival =
        CurrentClaims().RivalOf(id, deployment.bundle_id);
    if (rival.empty() ||
        deployment.objects[id].sync == core::v1::SYNC_STATE_CONFLICT) {
      continue;
    }
    core::v1::Problem problem;
    problem.set_code("ALREADY_EXISTS");
    problem.set_subject(KeyText(entry.key()));
    problem.set_file(entry.source_file());
    problem.set_message(absl::StrCat(
        "bundle ", NameOf(rival),
        " claims this object too; this bundle keeps it; remove it from one of "
        "them"));
    deployment.rivals.push_back(std::move(problem));
  }
}

void Reconciler::OnRunEnded(const Ptr& deployment, uint64_t number,
                            RunResult result) {
  if (deployment->run == nullptr || deployment->run_number != number) return;
  deployment->run.reset();
  deployment->trouble = result.trouble;
  if (deployment->running != nullptr) {
    if (!WishOf(deployment->running->policy()).empty()) {
      namespace_watch_.Start();
    }
    SettleNamespace(deployment->running->policy().release_namespace());
  }
  const bool current = deployment->machine.current();
  const DeploymentMachine::Actions actions =
      deployment->machine.RunEnded(result.end);
  if (result.end == RunEnd::kClean) {
    deployment->retry.Reset();
    deployment->retry_timer->Disarm();
    if (current && deployment->apply_duration == absl::ZeroDuration()) {
      deployment->apply_duration =
          parts_.loop.MonotonicNow() - deployment->stored_at;
    }
  } else {
    FLOTILLA_LOG_EVERY(WARNING, absl::Seconds(5))
        << "bundle " << NameOf(deployment->bundle_id) << ": "
        << result.trouble;
    Retry(*deployment, result.end, result.retry_after);
    if (result.end == RunEnd::kFailed) FetchLost(deployment);
  }
  Perform(deployment, actions);
  Touch(*deployment);
}

void Reconciler::Retry(Deployment& deployment, RunEnd end,
                       absl::Duration at_least) {
  absl::Duration wait = deployment.retry.Next(
      parts_.random.Uniform(Backoff::kRandomBound));
  if (end == RunEnd::kFailed) wait = std::max(wait, absl::Seconds(30));
  if (end == RunEnd::kWaiting && namespaces_ == nullptr) {
    namespaces_ = std::make_unique<ArrivalWatch>(
        parts_.client, parts_.loop, KindName{"", "v1", "Namespace"},
        [this] { PlanAgain(RunEnd::kWaiting); });
  }
  deployment.retry_timer->Arm(std::max(wait, at_least));
}

void Reconciler::PlanAgain(RunEnd end) {
  std::vector<Ptr> waiting;
  for (const auto& [bundle_id, deployment] : deployments_) {
    if (deployment->machine.last_end() == end) {
      waiting.push_back(deployment);
    }
  }
  for (const Ptr& deployment : waiting) {
    Perform(deployment, deployment->machine.Replan());
  }
}

void Reconciler::OnKindsChanged() {
  judge_.OnKindsChanged();
  watcher_.RetryNow();
  PlanAgain(RunEnd::kWaiting);
}

void Reconciler::MarkDeleted(const Ptr& deployment) {
  const uint64_t generation = deployment->machine.generation();
  parts_.cache.MarkDeleted(
      deployment->bundle_id, generation,
      [this, deployment, generation](absl::Status status) {
        if (!status.ok()) {
          Retry(*deployment, RunEnd::kBlocked, absl::Seconds(1));
          return;
        }
        if (const StoredAssignment* record =
                parts_.cache.Find(deployment->bundle_id)) {
          deployment->record = *record;
        }
        deployment->machine.DeletionStored(generation);
        // It may have been assigned again meanwhile.
        if (deployment->machine.generation() != generation) return;
        deployment->trouble.clear();
        deployment->manifest.reset();
        deployment->running.reset();
        FLOTILLA_LOG(INFO) << "bundle " << NameOf(deployment->bundle_id)
                           << " is gone";
        Touch(*deployment);
        sweep_timer_->Arm(absl::Minutes(1));
      });
}

void Reconciler::Forget(const std::string& bundle_id, uint64_t generation) {
  const Ptr deployment = Find(bundle_id);
  if (deployment == nullptr ||
      deployment->machine.generation() != generation ||
      !deployment->record.deleted()) {
    return;
  }
  parts_.cache.DropTombstone(bundle_id, generation);
  // Never inside a call of the reporter.
  parts_.loop.Post([this, alive = alive_, bundle_id, generation] {
    if (!*alive) return;
    const Ptr still = Find(bundle_id);
    if (still == nullptr || still->machine.generation() != generation) return;
    reporter_.RemoveBundle(bundle_id);
    held_.erase(bundle_id);
    deployments_.erase(bundle_id);
  });
}

void Reconciler::Gone(Deployment& deployment, const ResourceKey& key) {
  const ObjectIdentity id = IdentityOf(key);
  ForgetHealth(id);
  const auto found = deployment.objects.find(id);
  // A Namespace that is no longer its own may be one to ensure.
  if (found != deployment.objects.end() &&
      !found->second.want.ensure_namespace()) {
    deployment.objects.erase(found);
  }
  deployment.dirty.erase(id);
  reporter_.RemoveResource(deployment.bundle_id, key);
  Touch(deployment);
}

// --- Events.

void Reconciler::OnObject(const ObjectIdentity& id, KubeObject object) {
  const Ptr owner = OwnerOf(id);
  if (owner == nullptr || owner->machine.tombstone()) return;
  keeper_.OnObject(owner, id, std::move(object));
}

void Reconciler::OnLeft(const ObjectIdentity& id, KubeObject object) {
  const Ptr owner = OwnerOf(id);
  if (owner == nullptr) return;
  if (const std::shared_ptr<DeploymentRun> run = owner->run) {
    run->OnLeft(id);
  } else if (IsLeft(StateOf(*owner, id))) {
    // What its deletion waited for has let go.
    Perform(owner, owner->machine.Replan());
  }
  if (owner->machine.tombstone()) return;
  keeper_.OnLeft(owner, id, object);
}

void Reconciler::OnListed(const std::string& group, const std::string& kind,
                          const std::set<ObjectIdentity>& present) {
  std::vector<ObjectIdentity> absent;
  for (const auto& [id, entry] : parts_.cache.inventory().entries()) {
    if (entry.key().group() == group && entry.key().kind() == kind &&
        !entry.uid().empty() && present.count(id) == 0) {
      absent.push_back(id);
    }
  }
  for (const ObjectIdentity& id : absent) {
    const Ptr owner = OwnerOf(id);
    if (owner == nullptr) continue;
    if (const std::shared_ptr<DeploymentRun> run = owner->run) run->OnLeft(id);
    if (!owner->machine.tombstone()) keeper_.OnLeft(owner, id, KubeObject());
  }
  UpdateReady();
}

void Reconciler::OnWatchUp(const std::string& group, const std::string& kind) {
  if (unwatched_.erase({group, kind}) == 0) return;
  api_timer_->Arm(absl::ZeroDuration());
  // Who waits for the API server need not wait any longer.
  PlanAgain(RunEnd::kBlocked);
}

void Reconciler::OnWatchFailed(const std::string& group,
                               const std::string& kind,
                               const absl::Status& status) {
  ResourceKey key;
  key.set_kind(kind);
  const Refusal refusal = JudgeRefusal(key, status, false);
  const auto [trouble, fresh] = unwatched_.try_emplace(
      {group, kind}, WatchTrouble{parts_.loop.MonotonicNow(), ""});
  trouble->second.message =
      refusal.kind == Refusal::Kind::kTransient && !GetKubeError(status)
          ? refusal.message
          : absl::StrCat("API server does not let us watch ", kind, ": ",
                         kind == "Secret"
                             ? absl::StatusCodeToString(status.code())
                             : std::string(status.message()));
  if (fresh && !api_timer_->armed()) api_timer_->Arm(kWatchGrace);
}

void Reconciler::OnObjectChanged(Deployment& deployment,
                                 const ObjectIdentity& id) {
  deployment.dirty.insert(id);
  Touch(deployment);
  if (deployment.waited_for.count(id) == 0 ||
      !UnreadyText(deployment, id).empty()) {
    return;
  }
  deployment.waited_for.erase(id);
  parts_.loop.Post([this, alive = alive_, bundle_id = deployment.bundle_id] {
    if (!*alive) return;
    if (const Ptr still = Find(bundle_id)) {
      Perform(still, still->machine.Replan());
    }
  });
}

void Reconciler::OnIdle(const Ptr& deployment, const ObjectIdentity& id) {
  keeper_.OnIdle(deployment, id);
}

void Reconciler::OnDrift(core::v1::DriftRecord record) {
  reporter_.AddDrift(std::move(record));
}

void Reconciler::OnNotCorrected(Deployment& deployment,
                                const Refusal& refusal) {
  deployment.trouble = refusal.message;
  if (!deployment.retry_timer->armed()) {
    Retry(deployment,
          refusal.kind == Refusal::Kind::kTransient ? RunEnd::kBlocked
                                                    : RunEnd::kWaiting,
          absl::ZeroDuration());
  }
  Touch(deployment);
}

void Reconciler::OnWorkload(Deployment& deployment, const ObjectIdentity& id,
                            const nlohmann::json& live) {
  if (!PodWatcher::HasPods(id)) return;
  ObjectState& object = deployment.objects.at(id);
  if (object.health.health == core::v1::HEALTH_PROGRESSING ||
      object.health.health == core::v1::HEALTH_DEGRADED) {
    pods_.Look(id, live);
  } else {
    pods_.Forget(id);
    object.pods = Healthy();
  }
}

// --- The link.

HeldSummary Reconciler::Held() {
  HeldSummary held;
  const std::vector<AssignedItem> items = parts_.cache.Items();
  held.last_store_id = parts_.cache.store_id();
  held.last_epoch = parts_.cache.epoch();
  held.last_av = parts_.cache.av();
  held.set_digest = SetDigest(items);
  held.have_count = items.size();
  return held;
}

std::vector<AssignedItem> Reconciler::Have() { return parts_.cache.Items(); }

void Reconciler::OnWelcome(const SessionOpened& opened) {
  FLOTILLA_LOG(INFO) << "connected to the manager, epoch " << opened.epoch
                     << (opened.in_sync ? ", in sync" : "");
  parts_.cache.SetSession(opened.store_id, opened.epoch);
  values_.OnSessionEnded();
  reporter_.OnWelcome(opened);
}

void Reconciler::OnAssign(uint64_t epoch, const agent::v1::Assign& assign) {
  parts_.cache.Store(
      assign, [this, epoch,
               nonce = assign.nonce()](AssignmentCache::Stored stored) {
        parts_.link.AckAssign(epoch, nonce, std::move(stored.refused),
                              stored.av, std::move(stored.set_digest));
        for (const std::string& bundle_id : stored.changed) {
          OnStored(bundle_id);
        }
      });
}

void Reconciler::OnValuesRequest(const agent::v1::ValuesRequest& request) {
  values_.OnRequest(request);
}

void Reconciler::OnReportAck(uint64_t seq) { reporter_.OnReportAck(seq); }

void Reconciler::OnReportable() { reporter_.OnReportable(); }

void Reconciler::OnDisconnected(const absl::Status& why, bool refused) {
  if (refused) {
    FLOTILLA_LOG_EVERY(ERROR, absl::Seconds(60))
        << "the manager refuses this agent: " << why;
  } else {
    FLOTILLA_LOG_EVERY(WARNING, absl::Seconds(10))
        << "not connected to the manager: " << why;
  }
  reporter_.OnDisconnected();
  values_.OnSessionEnded();
}

std::string Reconciler::DebugString() const {
  std::string text = absl::StrCat(
      "deployments ", deployments_.size(), ", objects ",
      parts_.cache.inventory().size(), ", kinds ", watcher_.size());
  for (const auto& [bundle_id, deployment] : deployments_) {
    absl::StrAppend(&text, "\n  ", NameOf(bundle_id), " generation ",
                    deployment->machine.generation(), " ",
                    core::v1::Phase_Name(deployment->phase), " ",
                    deployment->trouble);
  }
  return text;
}

}  // namespace flotilla::agent
