// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/targeting_controller.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "manager/store/records.h"
#include "manager/targeting/desired_rows.h"

namespace flotilla::manager {
namespace {

using storage::v1::Desired;

constexpr absl::Duration kRetry = absl::Seconds(1);
// Pairs of one transaction.
constexpr size_t kMaxPairs = 1000;

}  // namespace

TargetingController::TargetingController(Loop& loop, Store& store,
                                         FamilyWriter writer)
    : loop_(loop),
      writer_(std::move(writer)),
      retry_(loop.CreateTimer([this] { Wake(); })),
      view_(store, [this] { Wake(); }) {}

bool TargetingController::NextWork() {
  TargetingDirt& dirt = view_.dirt();
  if (!dirt.clusters.empty()) {
    auto node = dirt.clusters.extract(dirt.clusters.begin());
    work_.emplace();
    work_->cause = std::move(node.mapped());
    AddBundlesOf(view_.ClusterOf(node.key()), *work_);
    return true;
  }
  if (dirt.bundles.empty()) return false;
  auto node = dirt.bundles.extract(dirt.bundles.begin());
  BundleSlot& bundle = view_.BundleOf(node.key());
  work_.emplace();
  if (!bundle.has_head) return true;
  work_->cause = std::move(node.mapped());
  if (work_->cause.empty()) work_->cause = bundle.commit.id();
  if (work_->cause.empty()) {
    const BundleSource source = SourceOf(bundle);
    work_->cause =
        absl::StrCat(source.kind, " ", bundle.workspace, "/", source.name);
  }
  AddClustersOf(bundle, *work_);
  return true;
}

void TargetingController::AddBundlesOf(ClusterSlot& cluster, Work& work) {
  for (const auto& [id, bundle] : view_.BundlesFor(cluster.workspace)) {
    work.pairs.emplace_back(&cluster, bundle);
  }
  for (BundleSlot* bundle : cluster.rows) {
    if (bundle->reach.count(cluster.workspace) == 0) {
      work.pairs.emplace_back(&cluster, bundle);
    }
  }
}

void TargetingController::AddClustersOf(BundleSlot& bundle, Work& work) {
  // A bundle on its way out touches those who have it, no others.
  const bool removed = bundle.removal != core::v1::DELETE_CAUSE_UNSPECIFIED;
  if (!removed) {
    for (const std::string& workspace : bundle.reach) {
      for (const auto& [id, cluster] : view_.ClustersIn(workspace)) {
        work.pairs.emplace_back(cluster, &bundle);
      }
    }
  }
  std::map<std::string, ClusterSlot*> others;
  for (ClusterSlot* cluster : bundle.rows) {
    if (removed || bundle.reach.count(cluster->workspace) == 0) {
      others.emplace(cluster->id, cluster);
    }
  }
  for (const auto& [id, cluster] : others) {
    work.pairs.emplace_back(cluster, &bundle);
  }
}

void TargetingController::Wake() {
  if (awake_) return;
  awake_ = true;
  loop_.Post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    awake_ = false;
    Run();
  });
}

void TargetingController::Run() {
  if (!view_.loaded() || writing_ || retry_->armed()) return;
  view_.SpreadDirt();
  StartOnce();
  TargetingDirt& dirt = view_.dirt();
  Plan plan;
  while (plan.ops.size() < kMaxPairs) {
    if (!dirt.pairs.empty()) {
      auto node = dirt.pairs.extract(dirt.pairs.begin());
      ResolvePair(view_.BundleOf(node.key().second),
                  view_.ClusterOf(node.key().first), node.mapped(), plan);
    } else if (work_.has_value() && work_->next < work_->pairs.size()) {
      const auto& [cluster, bundle] = work_->pairs[work_->next++];
      ResolvePair(*bundle, *cluster, work_->cause, plan);
    } else {
      work_.reset();
      if (!NextWork()) break;
    }
  }
  if (plan.ops.empty()) {
    view_.ForgetGoneBundles();
    return;
  }
  writing_ = true;
  std::vector<Compare> compares;
  compares.reserve(plan.compares.size());
  for (auto& [key, revision] : plan.compares) {
    compares.push_back({key, revision});
  }
  writer_.Txn(std::move(compares), std::move(plan.ops),
              [this, alive = std::weak_ptr<bool>(alive_),
               pairs = std::move(plan.pairs)](
                  absl::StatusOr<int64_t> revision) mutable {
                if (alive.expired()) return;
                OnWritten(std::move(revision), std::move(pairs));
              });
}

void TargetingController::StartOnce() {
  if (started_) return;
  started_ = true;
  TargetingDirt& dirt = view_.dirt();
  for (auto it = dirt.clusters.begin(); it != dirt.clusters.end();) {
    ClusterSlot& cluster = view_.ClusterOf(it->first);
    view_.RefreshCluster(cluster);
    // What a revoked one drops does not depend on bundles.
    it = cluster.revoked ? std::next(it) : dirt.clusters.erase(it);
  }
}

void TargetingController::OnWritten(
    absl::StatusOr<int64_t> revision,
    std::map<TargetingPair, std::string> pairs) {
  writing_ = false;
  last_error_ = revision.status();
  if (!revision.ok()) view_.dirt().pairs.merge(pairs);
  if (!revision.ok() && !absl::IsFailedPrecondition(revision.status())) {
    retry_->Arm(kRetry);
    return;
  }
  Wake();
}

void TargetingController::Guard(BundleSlot& bundle, ClusterSlot& cluster,
                                Plan& plan) {
  plan.compares[bundle.head_key] = bundle.head_revision;
  plan.compares[cluster.identity_key] = cluster.identity_revision;
  plan.compares[cluster.document_key] = cluster.document_revision;
}

void TargetingController::PutRow(const BundleSlot& bundle,
                                 const ClusterSlot& cluster, std::string bytes,
                                 Plan& plan) {
  const std::string key = DesiredKey(cluster.id, bundle.id);
  plan.compares[key] = view_.desired().ModRevision(key);
  plan.ops.push_back(Op::Put(key, std::move(bytes)));
}

void TargetingController::DropRow(BundleSlot& bundle, ClusterSlot& cluster,
                                  Plan& plan) {
  const std::string key = DesiredKey(cluster.id, bundle.id);
  plan.compares[key] = view_.desired().ModRevision(key);
  plan.ops.push_back(Op::Delete(key));
}

void TargetingController::PlanRemoval(BundleSlot& bundle, ClusterSlot& cluster,
                                      const Desired& row,
                                      const std::string& cause, Plan& plan) {
  const std::string released_key = ReleasedKey(cluster.id, bundle.id);
  const bool source_paused =
      bundle.removal != core::v1::DELETE_CAUSE_UNSPECIFIED &&
      view_.SourcePaused(bundle);
  const RowRemoval removal =
      RemoveRow(bundle, cluster, row, view_.released().Find(released_key),
                source_paused, cause);
  switch (removal.step) {
    case RowRemoval::Step::kNothing:
      return;
    case RowRemoval::Step::kDrop:
      plan.compares[released_key] = view_.released().ModRevision(released_key);
      DropRow(bundle, cluster, plan);
      return;
    case RowRemoval::Step::kPut:
      PutRow(bundle, cluster, SerializeRecord(removal.row), plan);
      return;
  }
}

void TargetingController::ResolvePair(BundleSlot& bundle, ClusterSlot& cluster,
                                      const std::string& cause, Plan& plan) {
  const bool has_row = bundle.rows.contains(&cluster);
  if (!cluster.enrolled) return;
  // Several things may have changed about it; one write says it all.
  const TargetingPair pair(cluster.id, bundle.id);
  if (plan.pairs.count(pair) > 0) return;
  view_.RefreshCluster(cluster);
  if (cluster.revoked) {
    // The cluster has left, with all that runs in it.
    if (!has_row) return;
    plan.compares[cluster.identity_key] = cluster.identity_revision;
    DropRow(bundle, cluster, plan);
    plan.pairs.emplace(pair, cause);
    return;
  }
  // Not there yet, or on its way out: nothing changes.
  if (!bundle.has_head || !cluster.has_document) return;

  std::shared_ptr<const SharedTarget> target;
  if (bundle.removal == core::v1::DELETE_CAUSE_UNSPECIFIED) {
    if (cluster.deleting || bundle.resolver == nullptr) return;
    if (bundle.reach.count(cluster.workspace) > 0) {
      ++resolved_count_;
      target = bundle.resolver->Resolve(cluster.subject);
    }
  }
  if (target == nullptr && !has_row) return;

  const size_t before = plan.ops.size();
  const Desired* row = view_.desired().Find(DesiredKey(cluster.id, bundle.id));
  if (target != nullptr) {
    std::optional<std::string> wanted =
        WantedRow(bundle, cluster, *target, row);
    if (wanted.has_value()) {
      PutRow(bundle, cluster, *std::move(wanted), plan);
    }
  } else if (row != nullptr) {
    PlanRemoval(bundle, cluster, *row, cause, plan);
  }
  if (plan.ops.size() == before) return;
  Guard(bundle, cluster, plan);
  plan.pairs.emplace(pair, cause);
}

size_t TargetingController::CountDesired(absl::string_view workspace,
                                         absl::string_view git_repo) const {
  std::set<std::string> clusters;
  for (const auto& [id, bundle] : view_.BundlesOf(std::string(workspace))) {
    if (bundle->git_repo != git_repo) continue;
    for (const ClusterSlot* cluster : bundle->rows) {
      const Desired* row = view_.desired().Find(DesiredKey(cluster->id, id));
      if (row != nullptr && !IsRemoval(*row)) clusters.insert(cluster->id);
    }
  }
  return clusters.size();
}

std::string TargetingController::DebugString() const {
  const TargetingDirt& dirt = view_.dirt();
  return absl::StrCat("loaded=", view_.loaded(), " writing=", writing_,
                      " rows=", view_.desired().map().size(),
                      " dirty=", dirt.pairs.size(), "/", dirt.clusters.size(),
                      "/", dirt.bundles.size(), " resolved=", resolved_count_,
                      " last_error=", last_error_.ToString());
}

}  // namespace flotilla::manager
