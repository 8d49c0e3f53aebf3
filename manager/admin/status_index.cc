// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/status_index.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "flotilla/admin/v1/admin.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/admin/status_text.h"

namespace flotilla::manager {

using nlohmann::json;

StatusIndex::StatusIndex(Loop& loop, const Clock& clock, ReadModel& model)
    : clock_(clock),
      model_(model),
      timer_(loop.CreateTimer([this] { Fold(); })),
      check_in_(loop.CreateTimer([this] { CheckIn(); })) {}

void StatusIndex::OnChange(const StatusSubject& subject) {
  if (on_change_ == nullptr || !ready()) return;
  touched_.insert(subject);
  if (!timer_->armed()) timer_->Arm(kDelay);
}

void StatusIndex::OnResourcesLoaded() {
  resources_loaded_ = true;
  if (on_change_ != nullptr) Listen(std::move(on_change_));
}

void StatusIndex::Listen(StatusSource::OnChange on_change) {
  on_change_ = std::move(on_change);
  statuses_.clear();
  touched_.clear();
  if (on_change_ == nullptr) {
    timer_->Disarm();
    check_in_->Disarm();
    return;
  }
  ArmCheckIn();
  if (!ready()) return;
  for (StatusSubject& subject : model_.Subjects()) {
    touched_.insert(std::move(subject));
  }
  timer_->Arm(absl::ZeroDuration());
}

void StatusIndex::ArmCheckIn() {
  const absl::Duration since =
      (clock_.Now() - absl::UnixEpoch()) % kCheckIn;
  check_in_->Arm(kCheckIn - since);
}

void StatusIndex::CheckIn() {
  model_.OnCheckIn();
  ArmCheckIn();
}

json StatusIndex::StatusOf(const StatusSubject& subject) const {
  if (!ready()) return json();
  const auto found = statuses_.find(subject);
  return found == statuses_.end() ? Compute(subject)
                                  : json::parse(found->second);
}

StatusParts StatusIndex::PartsOf(const DeploymentTally& tally) const {
  return {tally, model_.NotReady(tally, kMaxNonReady)};
}

int64_t StatusIndex::GenerationOf(const StatusSubject& subject) const {
  const storage::v1::Document* document =
      model_.Document(subject.kind, subject.workspace, subject.name);
  return document == nullptr ? 0 : document->generation();
}

json StatusIndex::Compute(const StatusSubject& subject) const {
  const auto& [kind, workspace, name] = subject;
  const ResourcesWithin resources = [this, &subject](size_t budget) {
    return model_.Resources(subject, budget);
  };
  if (kind == "GitRepo") {
    const auto repo = model_.FindGitRepo(workspace, name, Wording::kLasting);
    if (!repo.has_value()) return json();
    return GitRepoStatus(*repo, PartsOf(model_.SourceTally(subject)),
                         resources, GenerationOf(subject),
                         model_.Document(kind, workspace, name)
                             ->git_repo()
                             .force_sync_generation());
  }
  if (kind == "HelmOp") {
    const auto op = model_.FindHelmOp(workspace, name, Wording::kLasting);
    if (!op.has_value()) return json();
    return HelmOpStatus(*op, PartsOf(model_.SourceTally(subject)), resources,
                        GenerationOf(subject));
  }
  if (kind == "Bundle") {
    const auto bundle = model_.FindBundle(workspace, name, Wording::kLasting);
    if (!bundle.has_value()) return json();
    return BundleStatus(*bundle,
                        PartsOf(model_.BundleTally(bundle->bundle_id())),
                        GenerationOf(subject));
  }
  if (kind == "Cluster") {
    const auto cluster = model_.FindCluster(workspace, name, Wording::kLasting);
    if (!cluster.has_value()) return json();
    const std::string& id = cluster->cluster_id();
    return ClusterStatus(*cluster, PartsOf(model_.ClusterTally(id)),
                         model_.SourcesOn(id, "GitRepo"),
                         model_.SourcesOn(id, "HelmOp"), clock_.Now());
  }
  if (kind == "ClusterGroup") {
    const auto group =
        model_.FindClusterGroup(workspace, name, Wording::kLasting);
    if (group.has_value()) return ClusterGroupStatus(*group);
  }
  return json();
}

void StatusIndex::Fold() {
  std::set<StatusSubject> touched;
  touched.swap(touched_);
  std::vector<const StatusSubject*> changed;
  for (const StatusSubject& subject : touched) {
    const json now = Compute(subject);
    const auto before = statuses_.find(subject);
    if (now.is_null()) {
      if (before == statuses_.end()) continue;
      statuses_.erase(before);
    } else {
      std::string text = StatusText(now);
      if (before != statuses_.end() && before->second == text) continue;
      statuses_[subject] = std::move(text);
    }
    changed.push_back(&subject);
  }
  for (const StatusSubject* subject : changed) on_change_(*subject);
}

}  // namespace flotilla::manager
