// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/deployment_run.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/apply/inventory.h"
#include "agent/health/health_verdict.h"

namespace flotilla::agent {
namespace {

using core::v1::Hook;
using core::v1::ManifestEntry;
using core::v1::ResourceKey;

}  // namespace

DeploymentRun::DeploymentRun(const RunTools& tools,
                             std::weak_ptr<Deployment> deployment,
                             ApplyPlan plan, bool may_prune, bool deletes,
                             absl::AnyInvocable<void(RunResult)> done)
    : tools_(tools),
      deployment_(std::move(deployment)),
      may_prune_(may_prune),
      deletes_(deletes),
      done_(std::move(done)),
      plan_(std::move(plan)) {}

void DeploymentRun::Start() {
  timer_ = tools_.loop.CreateTimer([this] { AwaitCrds(); });
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  ReadProgress(*deployment);
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
          self->result_.Note(RunEnd::kBlocked,
                     absl::StrCat("the agent cannot write its data: ",
                                  status.message()));
          self->End();
          return;
        }
        self->NextWave();
      });
}

void DeploymentRun::ReadProgress(const Deployment& deployment) {
  const auto* record = tools_.cache.Find(deployment.bundle_id);
  if (record == nullptr || deployment.running == nullptr ||
      deployment.running->hooks().empty()) {
    return;
  }
  const auto entries =
      tools_.cache.inventory().OfBundle(deployment.bundle_id);
  const bool has_objects =
      std::any_of(entries.begin(), entries.end(),
                  [](const auto* entry) { return !entry->uid().empty(); });
  progress_ = ProgressOf(record->hooks(), *deployment.running, has_objects);
  // Before the first object of the release is there, or a restart would take
  // the install for an upgrade.
  if (progress_.release() != record->hooks().release()) {
    tools_.cache.SetHooks(deployment.bundle_id, progress_,
                          [](absl::Status) {});
  }
}

void DeploymentRun::NextWave() {
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  if (result_.end == RunEnd::kBlocked) {
    End();
    return;
  }
  if (!hooks_before_ran_ && !deletes_ && wave_ >= plan_.waves_before_hooks) {
    hooks_before_ran_ = true;
    RunHooks(progress_.upgrade() ? Hook::EVENT_PRE_UPGRADE
                                 : Hook::EVENT_PRE_INSTALL,
             &DeploymentRun::NextWave);
    return;
  }
  if (wave_ == plan_.waves.size()) {
    for (const auto& [index, why] : plan_.waiting) {
      const ManifestEntry& entry = deployment->running->entries(index);
      const ObjectIdentity id = IdentityOf(entry.key());
      ObjectState& object = deployment->objects[id];
      object.sync = core::v1::SYNC_STATE_WAIT_APPLIED;
      object.reason = "DependsOn";
      object.message = why;
      tools_.changed(*deployment, id);
      result_.Note(RunEnd::kWaiting,
                   absl::StrCat(KeyText(entry.key()), " ", why));
    }
    plan_.waiting.clear();
    StartPrunes();
    return;
  }
  const std::vector<int>& wave = plan_.waves[wave_];
  outstanding_ = static_cast<int>(wave.size());
  for (const int index : wave) {
    const ObjectIdentity id =
        IdentityOf(deployment->running->entries(index).key());
    tools_.sender.Send(
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
        result_.Note(RunEnd::kBlocked, refusal->message);
        result_.retry_after = std::max(result_.retry_after, retry_after);
        break;
      case Refusal::Kind::kKindMissing:
      case Refusal::Kind::kNamespaceMissing:
        result_.Note(RunEnd::kWaiting, refusal->message);
        break;
      case Refusal::Kind::kConflict:
      case Refusal::Kind::kRefused:
        result_.Note(RunEnd::kFailed, refusal->message);
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
    established = established && LetsOthersGoOn(object->second.health);
  }
  if (!established && tools_.loop.MonotonicNow() < crd_deadline_) {
    timer_->Arm(pause_);
    pause_ = std::min(absl::Milliseconds(250), pause_ * 2);
    return;
  }
  tools_.client.Discover(
      [weak = weak_from_this()](
          absl::StatusOr<std::shared_ptr<const Discovery>>) {
        auto self = weak.lock();
        if (self == nullptr) return;
        ++self->wave_;
        self->NextWave();
      });
}

void DeploymentRun::RunHooks(HookEvent event, void (DeploymentRun::*then)()) {
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  if (deployment->running == nullptr ||
      HooksOf(*deployment->running, event).empty() ||
      HookEventIsOver(progress_, event)) {
    (this->*then)();
    return;
  }
  if (result_.end != RunEnd::kClean) {
    End();
    return;
  }
  hooks_ = std::make_shared<HookRun>(
      tools_, deployment_, event, progress_,
      [this, then](RunResult result) {
        result_ = std::move(result);
        if (const auto still = deployment_.lock()) still->trouble.clear();
        if (result_.end != RunEnd::kClean) {
          End();
          return;
        }
        progress_ = hooks_->progress();
        (this->*then)();
      });
  hooks_->Start();
}

void DeploymentRun::StartPrunes() {
  if (result_.end != RunEnd::kClean) {
    End();
    return;
  }
  if (!plan_.prunes.empty() && !may_prune_) {
    result_.Note(
        RunEnd::kWaiting,
        "objects are deleted once the manifests of all bundles are here, so "
        "that none is deleted that another bundle wants");
    End();
    return;
  }
  if (deletes_) {
    RunHooks(Hook::EVENT_PRE_DELETE, &DeploymentRun::PruneNow);
  } else {
    PruneNow();
  }
}

void DeploymentRun::PruneNow() {
  std::vector<std::vector<PlannedPrune>> groups = std::move(plan_.prunes);
  plan_.prunes.clear();
  // The namespace of the release goes after the hooks that run in it.
  if (deletes_ && !groups.empty() && groups.back().front().unmarked) {
    plan_.prunes.push_back(std::move(groups.back()));
    groups.pop_back();
  }
  Prune(std::move(groups), &DeploymentRun::AfterPrunes);
}

void DeploymentRun::AfterPrunes() {
  if (deletes_) {
    RunHooks(Hook::EVENT_POST_DELETE, &DeploymentRun::PruneLast);
    return;
  }
  RunHooks(progress_.upgrade() ? Hook::EVENT_POST_UPGRADE
                               : Hook::EVENT_POST_INSTALL,
           &DeploymentRun::End);
}

void DeploymentRun::PruneLast() {
  Prune(std::move(plan_.prunes), &DeploymentRun::End);
}

void DeploymentRun::Prune(std::vector<std::vector<PlannedPrune>> groups,
                          void (DeploymentRun::*then)()) {
  if (groups.empty()) {
    (this->*then)();
    return;
  }
  prunes_ = std::make_shared<PruneRun>(
      tools_, deployment_, std::move(groups), [this, then](RunResult result) {
        result_ = std::move(result);
        if (result_.end != RunEnd::kClean) {
          End();
        } else {
          // The one that is over still stands on the stack.
          tools_.loop.Post([weak = weak_from_this(), then] {
            if (auto self = weak.lock()) (self.get()->*then)();
          });
        }
      });
  prunes_->Start();
}

void DeploymentRun::OnLeft(const ObjectIdentity& id) {
  if (prunes_ != nullptr) prunes_->OnLeft(id);
}

void DeploymentRun::End() {
  timer_->Disarm();
  if (done_ == nullptr) return;
  auto done = std::move(done_);
  done_ = nullptr;
  done(std::move(result_));
}

}  // namespace flotilla::agent
