// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/prune_run.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/apply/inventory.h"
#include "agent/apply/refusal.h"
#include "agent/drift/drift_diff.h"
#include "common/kube/kube_error.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

using core::v1::ResourceKey;
using nlohmann::json;

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
    std::vector<ObjectIdentity> waiting;
    for (const auto& [id, pruning] : pruning_) waiting.push_back(id);
    for (const ObjectIdentity& id : waiting) Check(id);
    pause_ = std::min(absl::Seconds(10), pause_ * 2);
    timer_->Arm(pause_);
  });
  NextGroup();
}

void PruneRun::NextGroup() {
  if (next_ == groups_.size() || result_.end != RunEnd::kClean) {
    End();
    return;
  }
  const std::vector<PlannedPrune>& group = groups_[next_++];
  outstanding_ = static_cast<int>(group.size());
  pause_ = absl::Seconds(1);
  timer_->Arm(pause_);
  for (const PlannedPrune& prune : group) Prune(prune);
}

void PruneRun::Prune(const PlannedPrune& prune) {
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
            self->Failed(id, live.status());
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

void PruneRun::Delete(const ResourceKey& key, const std::string& uid) {
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
          self->Failed(id, result.status());
        }
      });
}

void PruneRun::OnLeft(const ObjectIdentity& id) {
  if (pruning_.count(id) > 0) Check(id);
}

void PruneRun::Check(const ObjectIdentity& id) {
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

void PruneRun::OnChecked(const ObjectIdentity& id,
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
    finalizers = FinalizersText(*parsed);
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

void PruneRun::Replaced(const ObjectIdentity& id, const std::string& uid) {
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

void PruneRun::Gone(const ObjectIdentity& id) {
  const auto found = pruning_.find(id);
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (found == pruning_.end() || deployment == nullptr) return;
  const ResourceKey key = found->second.key;
  pruning_.erase(found);
  tools_.cache.RemoveInventory({id}, [](absl::Status) {});
  if (key.group().empty() && key.kind() == "Namespace") {
    tools_.sender.ForgetNamespace(key.name());
  }
  tools_.gone(*deployment, key);
  OneDone();
}

void PruneRun::Failed(const ObjectIdentity& id,
                                const absl::Status& status) {
  const auto found = pruning_.find(id);
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (found == pruning_.end() || deployment == nullptr) return;
  const Refusal refusal = JudgeRefusal(found->second.key, status, false);
  ObjectState& object = deployment->objects[id];
  object.reason = refusal.reason;
  object.message = absl::StrCat("cannot be deleted: ", refusal.message);
  tools_.changed(*deployment, id);
  result_.Note(refusal.kind == Refusal::Kind::kTransient ? RunEnd::kBlocked
                                                 : RunEnd::kFailed,
       absl::StrCat(KeyText(found->second.key), " ", object.message));
  result_.retry_after = std::max(result_.retry_after, RetryAfter(status));
  pruning_.erase(found);
  OneDone();
}

void PruneRun::OneDone() {
  if (--outstanding_ > 0) return;
  timer_->Disarm();
  NextGroup();
}

void PruneRun::End() {
  timer_->Disarm();
  if (done_ == nullptr) return;
  auto done = std::move(done_);
  done_ = nullptr;
  done(std::move(result_));
}

}  // namespace flotilla::agent
