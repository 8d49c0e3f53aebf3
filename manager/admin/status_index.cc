// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/status_index.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "flotilla/admin/v1/admin.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/admin/fleet_status.h"

namespace flotilla::manager {

using nlohmann::json;

StatusIndex::StatusIndex(Loop& loop, const ReadModel& model)
    : model_(model),
      timer_(loop.CreateTimer([this] { Fold(); })) {}

void StatusIndex::OnChange() {
  if (on_change_ == nullptr || dirty_) return;
  dirty_ = true;
  timer_->Arm(kDelay);
}

void StatusIndex::Listen(StatusSource::OnChange on_change) {
  on_change_ = std::move(on_change);
  statuses_.clear();
  dirty_ = true;
  timer_->Arm(absl::ZeroDuration());
}

json StatusIndex::StatusOf(const StatusSubject& subject) const {
  if (!model_.loaded()) return json();
  // Without a listener nothing is kept.
  std::map<Key, json> fresh;
  if (on_change_ == nullptr) fresh = Compute();
  const std::map<Key, json>& statuses =
      on_change_ == nullptr ? fresh : statuses_;
  const auto found =
      statuses.find({subject.kind, subject.workspace, subject.name});
  return found == statuses.end() ? json() : found->second;
}

std::map<StatusIndex::Key, json> StatusIndex::Compute() const {
  const std::vector<admin::v1::Deployment> deployments =
      model_.Deployments(DeploymentFilter());
  const std::vector<admin::v1::Bundle> bundles = model_.Bundles("", "", "");
  const std::vector<admin::v1::Cluster> clusters = model_.Clusters("", "");
  std::map<std::string, const admin::v1::Bundle*> bundle_of;
  for (const admin::v1::Bundle& bundle : bundles) {
    bundle_of[bundle.bundle_id()] = &bundle;
  }
  // "workspace/name" -> deployments.
  std::map<std::string, DeploymentPtrs> by_repo;
  std::map<std::string, DeploymentPtrs> by_helm_op;
  std::map<std::string, DeploymentPtrs> by_bundle;
  std::map<std::string, DeploymentPtrs> by_cluster;
  for (const admin::v1::Deployment& deployment : deployments) {
    const auto bundle = bundle_of.find(deployment.bundle_id());
    by_bundle[deployment.bundle_id()].push_back(&deployment);
    by_cluster[deployment.cluster_id()].push_back(&deployment);
    if (bundle == bundle_of.end()) continue;
    const std::string& workspace = deployment.workspace();
    by_repo[absl::StrCat(workspace, "/", bundle->second->git_repo())].push_back(
        &deployment);
    by_helm_op[absl::StrCat(workspace, "/", bundle->second->helm_op())]
        .push_back(&deployment);
  }

  std::map<Key, json> now;
  const auto generation = [this](const char* kind, const std::string& workspace,
                                 const std::string& name) {
    const storage::v1::Document* document =
        model_.Document(kind, workspace, name);
    return document == nullptr ? 0 : document->generation();
  };
  for (const admin::v1::GitRepo& repo : model_.GitRepos("", "")) {
    const storage::v1::Document* document =
        model_.Document("GitRepo", repo.workspace(), repo.name());
    now[{"GitRepo", repo.workspace(), repo.name()}] = GitRepoStatus(
        repo, by_repo[absl::StrCat(repo.workspace(), "/", repo.name())],
        document == nullptr ? 0 : document->generation(),
        document == nullptr ? 0
                            : document->git_repo().force_sync_generation());
  }
  for (const admin::v1::HelmOp& op : model_.HelmOps("", "")) {
    now[{"HelmOp", op.workspace(), op.name()}] = HelmOpStatus(
        op, by_helm_op[absl::StrCat(op.workspace(), "/", op.name())],
        generation("HelmOp", op.workspace(), op.name()));
  }
  for (const admin::v1::Bundle& bundle : bundles) {
    now[{"Bundle", bundle.workspace(), bundle.name()}] =
        BundleStatus(bundle, by_bundle[bundle.bundle_id()],
                     generation("Bundle", bundle.workspace(), bundle.name()));
  }
  for (const admin::v1::Cluster& cluster : clusters) {
    now[{"Cluster", cluster.workspace(), cluster.name()}] = ClusterStatus(
        cluster, cluster.cluster_id().empty()
                     ? DeploymentPtrs()
                     : by_cluster[cluster.cluster_id()]);
  }
  for (const admin::v1::ClusterGroup& group : model_.ClusterGroups("", "")) {
    std::vector<const admin::v1::Cluster*> members;
    for (const admin::v1::Cluster& cluster : clusters) {
      if (cluster.workspace() == group.workspace() &&
          std::find(cluster.groups().begin(), cluster.groups().end(),
                    group.name()) != cluster.groups().end()) {
        members.push_back(&cluster);
      }
    }
    now[{"ClusterGroup", group.workspace(), group.name()}] =
        ClusterGroupStatus(group, members);
  }
  return now;
}

void StatusIndex::Fold() {
  dirty_ = false;
  timer_->Arm(kGlance);
  if (!model_.loaded() || on_change_ == nullptr) return;
  std::map<Key, json> now = Compute();
  std::vector<Key> changed;
  for (const auto& [key, status] : now) {
    const auto before = statuses_.find(key);
    if (before == statuses_.end() || before->second != status) {
      changed.push_back(key);
    }
  }
  for (const auto& [key, status] : statuses_) {
    if (now.count(key) == 0) changed.push_back(key);
  }
  statuses_ = std::move(now);
  for (const auto& [kind, workspace, name] : changed) {
    on_change_({kind, workspace, name});
  }
}

}  // namespace flotilla::manager
