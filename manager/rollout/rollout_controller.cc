// SPDX-License-Identifier: Apache-2.0

#include "manager/rollout/rollout_controller.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/log/log.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

// Bounds the size of one commit; the rest follows in the next.
constexpr size_t kPairsPerCommit = 2000;

std::string ClusterOf(absl::string_view pair) {
  return std::string(pair.substr(0, pair.find('/')));
}

}  // namespace

RolloutController::RolloutController(Loop& loop, Store& store,
                                     FamilyWriter released)
    : loop_(loop),
      writer_(std::move(released)),
      retry_(loop.CreateTimer([this] { Wake(); })),
      desired_(
          store, kDesiredFamily,
          [this](const std::string& key, const storage::v1::Desired*) {
            OnChange(kDesiredFamily, key);
          },
          [this] { Wake(); }),
      rendered_(
          store, kRenderedFamily,
          [this](const std::string& key, const storage::v1::Rendered*) {
            OnChange(kRenderedFamily, key);
          },
          [this] { Wake(); }),
      released_(
          store, kReleasedFamily,
          [this](const std::string& key, const storage::v1::Released* record) {
            if (record != nullptr) {
              uint64_t& av = av_[ClusterOf(
                  absl::string_view(key).substr(sizeof(kReleasedFamily) - 1))];
              av = std::max(av, record->av());
            }
            OnChange(kReleasedFamily, key);
          },
          [this] { Wake(); }),
      observed_(
          store, kObservedFamily,
          [this](const std::string& key, const storage::v1::Observed* record) {
            if (record != nullptr &&
                record->state().phase() == core::v1::PHASE_DELETED) {
              OnChange(kObservedFamily, key);
            }
          },
          [this] { Wake(); }) {}

void RolloutController::OnChange(absl::string_view family,
                                 const std::string& key) {
  Pair pair = key.substr(family.size());
  if (family == kDesiredFamily || family == kRenderedFamily) {
    UpdateDebt(pair);
    UpdateRendering(pair);
  } else if (family == kReleasedFamily) {
    UpdateDebt(pair);
  }
  dirty_.insert(std::move(pair));
}

void RolloutController::UpdateDebt(const Pair& pair) {
  const std::string cluster = ClusterOf(pair);
  const storage::v1::Desired* desired =
      desired_.Find(absl::StrCat(kDesiredFamily, pair));
  const bool owes =
      desired != nullptr &&
      OwesDeployment(*desired,
                     rendered_.Find(absl::StrCat(kRenderedFamily, pair)),
                     released_.Find(absl::StrCat(kReleasedFamily, pair)));
  const auto known = owed_commit_.find(pair);
  if (known != owed_commit_.end() &&
      (!owes || known->second != desired->commit().id())) {
    auto& commits = debt_[cluster];
    if (--commits[known->second] == 0) {
      commits.erase(known->second);
      const auto waiting = removals_.find(cluster);
      if (waiting != removals_.end()) {
        dirty_.insert(waiting->second.begin(), waiting->second.end());
      }
    }
    owed_commit_.erase(known);
  }
  if (owes && !owed_commit_.contains(pair)) {
    owed_commit_[pair] = desired->commit().id();
    ++debt_[cluster][desired->commit().id()];
  }
  if (desired != nullptr &&
      desired->removal() != core::v1::DELETE_CAUSE_UNSPECIFIED) {
    removals_[cluster].insert(pair);
  } else if (const auto it = removals_.find(cluster); it != removals_.end()) {
    it->second.erase(pair);
  }
}

void RolloutController::UpdateRendering(const Pair& pair) {
  const std::string cluster = ClusterOf(pair);
  const storage::v1::Desired* desired =
      desired_.Find(absl::StrCat(kDesiredFamily, pair));
  const bool rendering =
      desired != nullptr &&
      desired->removal() == core::v1::DELETE_CAUSE_UNSPECIFIED &&
      !IsRendered(*desired,
                  rendered_.Find(absl::StrCat(kRenderedFamily, pair)));
  const auto known = rendering_commit_.find(pair);
  if (known != rendering_commit_.end() &&
      (!rendering || known->second != desired->commit().id())) {
    auto& commits = rendering_[cluster];
    if (--commits[known->second] == 0) {
      commits.erase(known->second);
      const auto held = held_.find(cluster);
      if (held != held_.end()) {
        dirty_.merge(held->second);
        held_.erase(held);
      }
    }
    rendering_commit_.erase(known);
  }
  if (rendering && !rendering_commit_.contains(pair)) {
    rendering_commit_[pair] = desired->commit().id();
    ++rendering_[cluster][desired->commit().id()];
  }
}

void RolloutController::Wake() {
  if (posted_ || committing_ || dirty_.empty()) return;
  if (!desired_.loaded() || !rendered_.loaded() || !released_.loaded() ||
      !observed_.loaded()) {
    return;
  }
  posted_ = true;
  loop_.Post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    posted_ = false;
    Run();
  });
}

void RolloutController::Run() {
  std::vector<Compare> compares;
  std::vector<Op> ops;
  absl::btree_set<Pair> pairs;
  while (!dirty_.empty() && ops.size() < kPairsPerCommit) {
    const Pair pair = *dirty_.begin();
    dirty_.erase(dirty_.begin());
    const storage::v1::Desired* desired =
        desired_.Find(absl::StrCat(kDesiredFamily, pair));
    if (desired == nullptr) continue;
    const std::string cluster = ClusterOf(pair);
    ClusterDebt debt;
    if (desired->removal() != core::v1::DELETE_CAUSE_UNSPECIFIED) {
      for (const auto& [commit, n] : debt_[cluster]) {
        debt.commits.insert(commit);
      }
    }
    const std::string& commit_id = desired->commit().id();
    if (rendering_[cluster].contains(commit_id)) {
      debt.rendering.insert(commit_id);
    }
    const std::string key = absl::StrCat(kReleasedFamily, pair);
    const storage::v1::Observed* observed =
        observed_.Find(absl::StrCat(kObservedFamily, pair));
    std::optional<storage::v1::Released> next = PlanRelease(
        *desired, rendered_.Find(absl::StrCat(kRenderedFamily, pair)),
        released_.Find(key), observed == nullptr ? nullptr : &observed->state(),
        debt);
    if (!next.has_value()) {
      if (!debt.rendering.empty()) held_[cluster].insert(pair);
      continue;
    }
    next->set_av(++av_[cluster]);
    compares.push_back({key, released_.ModRevision(key)});
    ops.push_back(Op::Put(key, SerializeRecord(*next)));
    pairs.insert(pair);
  }
  if (ops.empty()) return;
  committing_ = true;
  writer_.Txn(std::move(compares), std::move(ops),
              [this, alive = std::weak_ptr<bool>(alive_),
               pairs = std::move(pairs)](
                  absl::StatusOr<int64_t> revision) mutable {
                if (alive.expired()) return;
                OnCommitted(std::move(revision), std::move(pairs));
              });
}

void RolloutController::OnCommitted(absl::StatusOr<int64_t> revision,
                                    absl::btree_set<Pair> pairs) {
  committing_ = false;
  if (!revision.ok()) {
    dirty_.merge(pairs);
    if (!absl::IsFailedPrecondition(revision.status())) {
      FLOTILLA_LOG(ERROR) << "releasing: " << revision.status().message()
                          << "; trying again in a second";
      retry_->Arm(absl::Seconds(1));
      return;
    }
  }
  Wake();
}

}  // namespace flotilla::manager
