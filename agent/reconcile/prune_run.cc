// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/prune_run.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/apply/inventory.h"
#include "agent/apply/leftovers.h"
#include "agent/apply/prune_rules.h"
#include "agent/apply/refusal.h"
#include "common/kube/kube_error.h"
#include "common/log/log.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

using core::v1::ResourceKey;
using nlohmann::json;

json Parse(const KubeObject& object) {
  absl::StatusOr<json> parsed = ParseKubeJson(object.json);
  return parsed.ok() ? *std::move(parsed) : json();
}

// Gone when its pods are: what they need goes after them.
DeleteOptions::Propagation PropagationOf(const ResourceKey& key) {
  return key.group() == "apps" || key.group() == "batch"
             ? DeleteOptions::Propagation::kForeground
             : DeleteOptions::Propagation::kBackground;
}

}  // namespace

PruneRun::PruneRun(const RunTools& tools, std::weak_ptr<Deployment> deployment,
                   std::vector<std::vector<PlannedPrune>> groups,
                   absl::AnyInvocable<void(RunResult)> done)
    : tools_(tools),
      deployment_(std::move(deployment)),
      groups_(std::move(groups)),
      done_(std::move(done)) {}

void PruneRun::Start() {
  timer_ = tools_.loop.CreateTimer([this] {
    std::vector<ObjectIdentity> going;
    for (const auto& [id, item] : items_) {
      if (item.stage == Stage::kGoing) going.push_back(id);
    }
    for (const ObjectIdentity& id : going) Check(id);
    pause_ = std::min(absl::Seconds(10), pause_ * 2);
    timer_->Arm(pause_);
    Advance();
  });
  pause_ = absl::Seconds(1);
  timer_->Arm(pause_);
  for (const std::vector<PlannedPrune>& group : groups_) {
    for (const PlannedPrune& prune : group) {
      items_[IdentityOf(prune.key)].prune = prune;
    }
  }
  for (const auto& [id, entry] : tools_.cache.inventory().entries()) {
    if (!entry.uid().empty() && items_.count(id) == 0) {
      stays_.insert(entry.uid());
    }
  }
  Advance();
}

void PruneRun::Advance() {
  if (done_ == nullptr || deployment_.expired()) return;
  // The open group has its time.
  if (going_ > 0 && tools_.loop.MonotonicNow() - last_begun_ < kPatience) {
    return;
  }
  while (!BeginSome()) {
    if (open_ == groups_.size() || result_.end == RunEnd::kBlocked) {
      End();
      return;
    }
    ++open_;
  }
}

bool PruneRun::BeginSome() {
  if (result_.end == RunEnd::kBlocked) return false;
  std::vector<const ResourceKey*> before;
  std::vector<ObjectIdentity> begin;
  for (size_t i = 0; i < open_; ++i) {
    const size_t earlier = before.size();
    for (const PlannedPrune& prune : groups_[i]) {
      const ObjectIdentity id = IdentityOf(prune.key);
      const Item& item = items_.at(id);
      if (item.stage == Stage::kOver) continue;
      const bool waits = std::any_of(
          before.begin(), before.begin() + static_cast<ptrdiff_t>(earlier),
          [&](const ResourceKey* stuck) {
            return WaitsFor(prune.key, *stuck);
          });
      if (item.stage == Stage::kWaiting && !waits) begin.push_back(id);
      before.push_back(&prune.key);
    }
  }
  for (const ObjectIdentity& id : begin) Begin(id, items_.at(id));
  return !begin.empty();
}

void PruneRun::Begin(const ObjectIdentity& id, Item& item) {
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  item.stage = Stage::kGoing;
  item.uid = item.prune.uid;
  ++going_;
  last_begun_ = tools_.loop.MonotonicNow();
  ObjectState& object = deployment->objects[id];
  *object.want.mutable_key() = item.prune.key;
  object.sync = core::v1::SYNC_STATE_PRUNING;
  object.uid = item.uid;
  object.reason = "Pruning";
  tools_.changed(*deployment, id);
  if (!item.uid.empty() && object.proven) {
    Delete(id);
  } else {
    Look(id);
  }
}

void PruneRun::Look(const ObjectIdentity& id) {
  // The agent looks itself: an account that could not make it need not be able
  // to see it.
  tools_.applier.Get(
      Lane::kBulk, ActingUser(""), items_.at(id).prune.key,
      /*metadata_only=*/true,
      [weak = weak_from_this(), id](absl::StatusOr<KubeObject> live) {
        if (auto self = weak.lock()) self->OnLooked(id, live);
      });
}

void PruneRun::OnLooked(const ObjectIdentity& id,
                        const absl::StatusOr<KubeObject>& live) {
  Item* const item = Going(id);
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (item == nullptr || deployment == nullptr) return;
  if (!live.ok()) {
    if (absl::IsNotFound(live.status())) {
      Gone(id);
    } else {
      Failed(id, live.status());
    }
    return;
  }
  if (!item->uid.empty() && item->uid != live->head.uid) {
    Replaced(id);
    return;
  }
  const bool known = !item->uid.empty();
  item->uid = live->head.uid;
  if (item->prune.unmarked) {
    Delete(id);
    return;
  }
  const PruneVerdict verdict = JudgePrune(
      item->prune.key, deployment->bundle_id, known, Parse(*live));
  switch (verdict.word) {
    case PruneVerdict::Word::kDelete:
      Delete(id);
      return;
    case PruneVerdict::Word::kDeleteIfEmpty:
      LookWithin(id);
      return;
    case PruneVerdict::Word::kLeave:
      // Named before its first apply, and somebody else's: nothing is left.
      Leave(id, known ? verdict.why : "");
      return;
  }
}

void PruneRun::LookWithin(const ObjectIdentity& id) {
  FindLeftovers(
      tools_.client, items_.at(id).prune.key,
      [weak = weak_from_this(), id](absl::StatusOr<std::string> found) {
        const auto self = weak.lock();
        if (self == nullptr || self->Going(id) == nullptr) return;
        if (!found.ok()) {
          self->Failed(id, found.status());
        } else if (found->empty()) {
          self->Delete(id);
        } else {
          self->Leave(id, absl::StrCat("with it would go ", *found,
                                       ". Delete it yourself, or give it the "
                                       "annotation ",
                                       kOnRemove,
                                       ": delete before it is removed from "
                                       "Git"));
        }
      });
}

void PruneRun::Delete(const ObjectIdentity& id) {
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  const Item& item = items_.at(id);
  if (stays_.count(item.uid) > 0) {
    Leave(id, "it is wanted under another name of its kind");
    return;
  }
  tools_.applier.Delete(
      Lane::kBulk, deployment->user, item.prune.key, item.uid,
      PropagationOf(item.prune.key),
      [weak = weak_from_this(), id](absl::StatusOr<DeleteResult> result) {
        const auto self = weak.lock();
        if (self == nullptr || self->Going(id) == nullptr) return;
        if (result.ok() && result->pending) {
          self->Check(id);
        } else if (absl::IsAborted(result.status())) {
          // A 409 of the precondition: our object is gone, this is another.
          self->Replaced(id);
        } else if (result.ok() || absl::IsNotFound(result.status())) {
          self->Gone(id);
        } else {
          self->Failed(id, result.status());
        }
      });
}

void PruneRun::OnLeft(const ObjectIdentity& id) {
  if (Going(id) != nullptr) Check(id);
}

void PruneRun::Check(const ObjectIdentity& id) {
  Item& item = items_.at(id);
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (item.checking || item.uid.empty() || deployment == nullptr) return;
  item.checking = true;
  tools_.applier.Get(
      Lane::kUrgent, deployment->user, item.prune.key, /*metadata_only=*/true,
      [weak = weak_from_this(), id](absl::StatusOr<KubeObject> live) {
        if (auto self = weak.lock()) self->OnChecked(id, live);
      });
}

void PruneRun::OnChecked(const ObjectIdentity& id,
                         const absl::StatusOr<KubeObject>& live) {
  Item* const item = Going(id);
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (item == nullptr || deployment == nullptr) return;
  item->checking = false;
  if (!live.ok()) {
    if (absl::IsNotFound(live.status())) Gone(id);
    return;
  }
  if (live->head.uid != item->uid) {
    Replaced(id);
    return;
  }
  // Deleted while our request was on its way, or not yet: ask again later.
  if (!live->head.deleting) return;
  const std::string finalizers = FinalizersText(Parse(*live));
  ObjectState& object = deployment->objects[id];
  object.reason = "Deleting";
  object.message =
      finalizers.empty()
          ? "is being deleted"
          : absl::StrCat("is being deleted; waits for finalizers: ",
                         finalizers);
  deployment->trouble =
      absl::StrCat(KeyText(item->prune.key), " ", object.message);
  tools_.changed(*deployment, id);
}

void PruneRun::Replaced(const ObjectIdentity& id) {
  // A correction that was on its way when this run was planned made it again.
  Item& item = items_.at(id);
  const Inventory::Entry* entry = tools_.cache.inventory().Find(id);
  if (entry == nullptr || entry->uid().empty() || entry->uid() == item.uid) {
    Gone(id);
    return;
  }
  item.uid = entry->uid();
  Look(id);
}

void PruneRun::Leave(const ObjectIdentity& id, const std::string& why) {
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  if (!why.empty()) {
    const std::string note =
        absl::StrCat(KeyText(items_.at(id).prune.key), " stays: ", why);
    FLOTILLA_LOG(WARNING) << note;
    deployment->left.push_back(note);
  }
  Gone(id);
}

void PruneRun::Gone(const ObjectIdentity& id) {
  Item* const item = Going(id);
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (item == nullptr || deployment == nullptr) return;
  item->stage = Stage::kOver;
  --going_;
  const ResourceKey& key = item->prune.key;
  tools_.cache.RemoveInventory({id}, [](absl::Status) {});
  if (key.group().empty() && key.kind() == "Namespace") {
    tools_.sender.ForgetNamespace(key.name());
  }
  tools_.gone(*deployment, key);
  Advance();
}

void PruneRun::Failed(const ObjectIdentity& id, const absl::Status& status) {
  Item* const item = Going(id);
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (item == nullptr || deployment == nullptr) return;
  item->stage = Stage::kFailed;
  --going_;
  const ResourceKey& key = item->prune.key;
  const Refusal refusal = JudgeRefusal(key, status, false);
  ObjectState& object = deployment->objects[id];
  object.reason = refusal.reason;
  object.message = absl::StrCat("cannot be deleted: ", refusal.message);
  tools_.changed(*deployment, id);
  result_.Note(refusal.kind == Refusal::Kind::kTransient ? RunEnd::kBlocked
                                                         : RunEnd::kFailed,
               absl::StrCat(KeyText(key), " ", object.message));
  result_.retry_after = std::max(result_.retry_after, RetryAfter(status));
  Advance();
}

PruneRun::Item* PruneRun::Going(const ObjectIdentity& id) {
  const auto found = items_.find(id);
  return found == items_.end() || found->second.stage != Stage::kGoing
             ? nullptr
             : &found->second;
}

void PruneRun::End() {
  timer_->Disarm();
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (done_ == nullptr || deployment == nullptr) return;
  for (const auto& [id, item] : items_) {
    if (item.stage != Stage::kGoing) continue;
    const ObjectState& object = deployment->objects[id];
    result_.Note(RunEnd::kWaiting,
                 absl::StrCat(KeyText(item.prune.key), " ",
                              object.message.empty() ? "is not gone yet"
                                                     : object.message));
  }
  auto done = std::move(done_);
  done_ = nullptr;
  done(std::move(result_));
}

}  // namespace flotilla::agent
