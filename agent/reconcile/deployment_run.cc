// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/deployment_run.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/apply/inventory.h"
#include "agent/drift/drift_diff.h"
#include "common/kube/kube_error.h"

namespace flotilla::agent {
namespace {

using core::v1::ManifestEntry;
using core::v1::ResourceKey;
using nlohmann::json;

// The worse of two.
RunEnd Worse(RunEnd a, RunEnd b) {
  const auto rank = [](RunEnd end) {
    switch (end) {
      case RunEnd::kClean:
        return 0;
      case RunEnd::kWaiting:
        return 1;
      case RunEnd::kFailed:
        return 2;
      case RunEnd::kBlocked:
        return 3;
    }
    return 0;
  };
  return rank(a) >= rank(b) ? a : b;
}

std::string FinalizersOf(const json& object) {
  std::vector<std::string> names;
  const json& list = Member(Member(object, "metadata"), "finalizers");
  if (list.is_array()) {
    for (const json& name : list) {
      if (name.is_string() && names.size() < 5) {
        names.push_back(name.get<std::string>());
      }
    }
  }
  return absl::StrJoin(names, ", ");
}

}  // namespace

DeploymentRun::DeploymentRun(const Tools& tools,
                             std::weak_ptr<Deployment> deployment,
                             ApplyPlan plan, bool may_prune,
                             absl::AnyInvocable<void(Result)> done)
    : tools_(tools),
      deployment_(std::move(deployment)),
      plan_(std::move(plan)),
      may_prune_(may_prune),
      done_(std::move(done)) {}

void DeploymentRun::Start() {
  timer_ = tools_.loop.CreateTimer([this] {
    if (awaiting_crds_) {
      AwaitCrds();
      return;
    }
    std::vector<ObjectIdentity> waiting;
    for (const auto& [id, pruning] : pruning_) waiting.push_back(id);
    for (const ObjectIdentity& id : waiting) Check(id);
    pause_ = std::min(absl::Seconds(10), pause_ * 2);
    timer_->Arm(pause_);
  });
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  std::vector<const ManifestEntry*> wanted;
  for (const std::vector<int>& wave : plan_.waves) {
    for (const int index : wave) {
      const ManifestEntry& entry = deployment->running->entries(index);
      if (!entry.ensure_namespace()) wanted.push_back(&entry);
    }
  }
  std::vector<Inventory::Entry> entries =
      EntriesToClaim(tools_.cache.inventory(), deployment->bundle_id,
                     deployment->running_generation, wanted);
  for (const auto& [key, bundle_id] : plan_.transfers) {
    const Inventory::Entry* entry = tools_.cache.inventory().Find(key);
    if (entry == nullptr) continue;
    entries.push_back(*entry);
    entries.back().set_bundle_id(bundle_id);
    tools_.gone(*deployment, key);
  }
  std::vector<ObjectIdentity> forget;
  for (const ResourceKey& key : plan_.forget) {
    forget.push_back(IdentityOf(key));
    tools_.gone(*deployment, key);
  }
  if (!forget.empty()) {
    tools_.cache.RemoveInventory(std::move(forget), [](absl::Status) {});
  }
  if (entries.empty()) {
    // Never inside the call.
    tools_.loop.Post([weak = weak_from_this()] {
      if (auto self = weak.lock()) self->NextWave();
    });
    return;
  }
  tools_.cache.PutInventory(
      std::move(entries), [weak = weak_from_this()](absl::Status status) {
        auto self = weak.lock();
        if (self == nullptr) return;
        if (!status.ok()) {
          self->Note(RunEnd::kBlocked,
                     absl::StrCat("the agent cannot write its data: ",
                                  status.message()));
          self->End();
          return;
        }
        self->NextWave();
      });
}

void DeploymentRun::NextWave() {
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  if (result_.end == RunEnd::kBlocked) {
    End();
    return;
  }
  if (wave_ == plan_.waves.size()) {
    NextPrunes();
    return;
  }
  const std::vector<int>& wave = plan_.waves[wave_];
  outstanding_ = static_cast<int>(wave.size());
  for (const int index : wave) {
    const ObjectIdentity id =
        IdentityOf(deployment->running->entries(index).key());
    tools_.keeper.Send(
        deployment, id,
        [weak = weak_from_this()](absl::optional<Refusal> refusal,
                                  absl::Duration retry_after) {
          auto self = weak.lock();
          if (self == nullptr) return;
          // A namespace that is there is told inside the call.
          self->tools_.loop.Post([weak, refusal = std::move(refusal),
                                  retry_after] {
            if (auto run = weak.lock()) run->OnSent(refusal, retry_after);
          });
        });
  }
}

void DeploymentRun::OnSent(const absl::optional<Refusal>& refusal,
                           absl::Duration retry_after) {
  if (refusal.has_value()) {
    switch (refusal->kind) {
      case Refusal::Kind::kTransient:
        Note(RunEnd::kBlocked, refusal->message);
        result_.retry_after = std::max(result_.retry_after, retry_after);
        break;
      case Refusal::Kind::kKindMissing:
      case Refusal::Kind::kNamespaceMissing:
        Note(RunEnd::kWaiting, refusal->message);
        break;
      case Refusal::Kind::kConflict:
      case Refusal::Kind::kRefused:
        Note(RunEnd::kFailed, refusal->message);
        break;
    }
  }
  if (--outstanding_ == 0) AfterWave();
}

void DeploymentRun::AfterWave() {
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  const ResourceKey& first =
      deployment->running->entries(plan_.waves[wave_].front()).key();
  if (ApplyRank(first.group(), first.kind()) == kCrdRank) {
    awaiting_crds_ = true;
    crd_deadline_ = tools_.loop.MonotonicNow() + absl::Seconds(30);
    pause_ = absl::Milliseconds(5);
    AwaitCrds();
    return;
  }
  ++wave_;
  NextWave();
}

void DeploymentRun::AwaitCrds() {
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  bool established = true;
  for (const int index : plan_.waves[wave_]) {
    const auto object = deployment->objects.find(
        IdentityOf(deployment->running->entries(index).key()));
    if (object == deployment->objects.end() ||
        object->second.sync != core::v1::SYNC_STATE_SYNCED) {
      continue;
    }
    established = established && object->second.health.health ==
                                     core::v1::HEALTH_HEALTHY;
  }
  if (!established && tools_.loop.MonotonicNow() < crd_deadline_) {
    timer_->Arm(pause_);
    pause_ = std::min(absl::Milliseconds(250), pause_ * 2);
    return;
  }
  awaiting_crds_ = false;
  tools_.client.Discover(
      [weak = weak_from_this()](
          absl::StatusOr<std::shared_ptr<const Discovery>>) {
        auto self = weak.lock();
        if (self == nullptr) return;
        ++self->wave_;
        self->NextWave();
      });
}

void DeploymentRun::NextPrunes() {
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  if (prunes_ == plan_.prunes.size() || result_.end != RunEnd::kClean) {
    End();
    return;
  }
  if (!may_prune_) {
    Note(RunEnd::kWaiting,
         "objects are deleted once the manifests of all bundles are here, so "
         "that none is deleted that another bundle wants");
    End();
    return;
  }
  const std::vector<PlannedPrune>& group = plan_.prunes[prunes_++];
  outstanding_ = static_cast<int>(group.size());
  pause_ = absl::Seconds(1);
  timer_->Arm(pause_);
  for (const PlannedPrune& prune : group) Prune(prune);
}

void DeploymentRun::Prune(const PlannedPrune& prune) {
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  const ObjectIdentity id = IdentityOf(prune.key);
  pruning_[id] = {prune.key, prune.uid, false};
  ObjectState& object = deployment->objects[id];
  *object.want.mutable_key() = prune.key;
  object.sync = core::v1::SYNC_STATE_PRUNING;
  object.uid = prune.uid;
  object.reason = "Pruning";
  tools_.changed(*deployment, id);
  if (!prune.uid.empty()) {
    Delete(prune.key, prune.uid);
    return;
  }
  // Named before its first apply: is it there, and is it ours? The agent looks
  // itself: an account that could not make it need not be able to see it.
  tools_.applier.Get(
      Lane::kBulk, ActingUser(""), prune.key, /*metadata_only=*/true,
      [weak = weak_from_this(), id, unmarked = prune.unmarked,
       bundle_id = deployment->bundle_id](absl::StatusOr<KubeObject> live) {
        auto self = weak.lock();
        if (self == nullptr || self->pruning_.count(id) == 0) return;
        if (!live.ok()) {
          if (absl::IsNotFound(live.status())) {
            self->Gone(id);
          } else {
            self->PruneFailed(id, live.status());
          }
          return;
        }
        const absl::StatusOr<json> parsed = ParseKubeJson(live->json);
        const bool ours =
            unmarked || (parsed.ok() && BearsMark(*parsed, bundle_id));
        if (!ours) {
          self->Gone(id);
          return;
        }
        self->pruning_[id].uid = live->head.uid;
        self->Delete(self->pruning_[id].key, live->head.uid);
      });
}

void DeploymentRun::Delete(const ResourceKey& key, const std::string& uid) {
  const ObjectIdentity id = IdentityOf(key);
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  tools_.applier.Delete(
      Lane::kBulk, deployment->user, key, uid,
      [weak = weak_from_this(), id, uid](absl::StatusOr<DeleteResult> result) {
        auto self = weak.lock();
        if (self == nullptr || self->pruning_.count(id) == 0) return;
        if (result.ok() && result->pending) {
          self->Check(id);
        } else if (absl::IsAborted(result.status())) {
          // A 409 of the precondition: our object is gone, this is another.
          self->Replaced(id, uid);
        } else if (result.ok() || absl::IsNotFound(result.status())) {
          self->Gone(id);
        } else {
          self->PruneFailed(id, result.status());
        }
      });
}

void DeploymentRun::OnLeft(const ObjectIdentity& id) {
  if (pruning_.count(id) > 0) Check(id);
}

void DeploymentRun::Check(const ObjectIdentity& id) {
  Pruning& pruning = pruning_[id];
  if (pruning.checking || pruning.uid.empty()) return;
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  pruning.checking = true;
  tools_.applier.Get(
      Lane::kUrgent, deployment->user, pruning.key, /*metadata_only=*/true,
      [weak = weak_from_this(), id](absl::StatusOr<KubeObject> live) {
        if (auto self = weak.lock()) self->OnChecked(id, live);
      });
}

void DeploymentRun::OnChecked(const ObjectIdentity& id,
                              const absl::StatusOr<KubeObject>& live) {
  const auto found = pruning_.find(id);
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (found == pruning_.end() || deployment == nullptr) return;
  found->second.checking = false;
  if (!live.ok()) {
    if (absl::IsNotFound(live.status())) Gone(id);
    return;
  }
  if (live->head.uid != found->second.uid) {
    Replaced(id, found->second.uid);
    return;
  }
  // Deleted while our request was on its way, or not yet: ask again later.
  if (!live->head.deleting) return;
  std::string finalizers;
  if (absl::StatusOr<json> parsed = ParseKubeJson(live->json); parsed.ok()) {
    finalizers = FinalizersOf(*parsed);
  }
  ObjectState& object = deployment->objects[id];
  object.reason = "Deleting";
  object.message =
      finalizers.empty()
          ? "is being deleted"
          : absl::StrCat("is being deleted; waits for finalizers: ",
                         finalizers);
  deployment->trouble =
      absl::StrCat(KeyText(found->second.key), " ", object.message);
  tools_.changed(*deployment, id);
}

void DeploymentRun::Replaced(const ObjectIdentity& id, const std::string& uid) {
  // A correction that was on its way when this run was planned made it again.
  const Inventory::Entry* entry = tools_.cache.inventory().Find(id);
  if (entry == nullptr || entry->uid().empty() || entry->uid() == uid) {
    Gone(id);
    return;
  }
  Pruning& pruning = pruning_[id];
  pruning.uid = entry->uid();
  Delete(pruning.key, pruning.uid);
}

void DeploymentRun::Gone(const ObjectIdentity& id) {
  const auto found = pruning_.find(id);
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (found == pruning_.end() || deployment == nullptr) return;
  const ResourceKey key = found->second.key;
  pruning_.erase(found);
  tools_.cache.RemoveInventory({id}, [](absl::Status) {});
  if (key.group().empty() && key.kind() == "Namespace") {
    tools_.keeper.ForgetNamespace(key.name());
  }
  tools_.gone(*deployment, key);
  PruneDone();
}

void DeploymentRun::PruneFailed(const ObjectIdentity& id,
                                const absl::Status& status) {
  const auto found = pruning_.find(id);
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (found == pruning_.end() || deployment == nullptr) return;
  const Refusal refusal = JudgeRefusal(found->second.key, status, false);
  ObjectState& object = deployment->objects[id];
  object.reason = refusal.reason;
  object.message = absl::StrCat("cannot be deleted: ", refusal.message);
  tools_.changed(*deployment, id);
  Note(refusal.kind == Refusal::Kind::kTransient ? RunEnd::kBlocked
                                                 : RunEnd::kFailed,
       absl::StrCat(KeyText(found->second.key), " ", object.message));
  result_.retry_after = std::max(result_.retry_after, RetryAfter(status));
  pruning_.erase(found);
  PruneDone();
}

void DeploymentRun::PruneDone() {
  if (--outstanding_ > 0) return;
  timer_->Disarm();
  NextPrunes();
}

void DeploymentRun::Note(RunEnd end, const std::string& trouble) {
  if (Worse(end, result_.end) != result_.end || result_.trouble.empty()) {
    result_.trouble = trouble;
  }
  result_.end = Worse(end, result_.end);
}

void DeploymentRun::End() {
  timer_->Disarm();
  if (done_ == nullptr) return;
  auto done = std::move(done_);
  done_ = nullptr;
  done(std::move(result_));
}

}  // namespace flotilla::agent
