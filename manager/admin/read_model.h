// SPDX-License-Identifier: Apache-2.0
//
// ReadModel answers what people ask: it mirrors the store's records and folds
// them into admin.v1 messages when it is asked. It decides nothing and writes
// nothing. Per-resource states and drift are in the status database and are not
// its business.
//
// Loop-affine.

#ifndef FLOTILLA_MANAGER_ADMIN_READ_MODEL_H_
#define FLOTILLA_MANAGER_ADMIN_READ_MODEL_H_

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "common/env/clock.h"
#include "flotilla/admin/v1/admin.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/status/status_fold.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"

namespace flotilla::manager {

// What the stream knows of a cluster's agent right now.
struct AgentPresence {
  bool online = false;
  // Last word; absent when there never was one.
  std::optional<absl::Time> last_seen;
  std::string agent_version;
  // Of the open session.
  std::optional<admin::v1::SessionFrames> frames;
};

// What the read model asks other parts; each is called on the loop. All are
// required.
struct ReadModelSources {
  std::function<AgentPresence(const std::string& cluster_id)> presence;
  // When a GitRepo was last polled.
  std::function<std::optional<absl::Time>(const std::string& workspace,
                                          const std::string& name)>
      last_poll;
  // What an agent refused for good.
  std::function<std::optional<core::v1::Problem>(
      const std::string& cluster_id, const std::string& bundle_id)>
      rejection;
  // Told, within a store's batch, that answers may be others now; may be null.
  std::function<void()> changed;
};

// Which deployments; empty fields match all.
struct DeploymentFilter {
  std::string workspace;
  std::string cluster;
  std::string bundle;
  std::string git_repo;
};

// One deployment by ids and names, for reading the status database.
struct DeploymentName {
  std::string cluster_id;
  std::string bundle_id;
  std::string workspace;
  std::string cluster;
  std::string bundle;
  bool online = false;
};

class ReadModel {
 public:
  // `store` and `clock` must outlive it.
  ReadModel(Store& store, const Clock& clock, ReadModelSources sources);
  ReadModel(const ReadModel&) = delete;
  ReadModel& operator=(const ReadModel&) = delete;

  // Whether all records have been read. Until then every answer would be a
  // wrong "nothing": ask for nothing.
  bool loaded() const;

  // Lists, sorted as admin.proto says; empty filters match all.
  std::vector<admin::v1::GitRepo> GitRepos(const std::string& workspace,
                                           const std::string& name) const;
  std::vector<admin::v1::Bundle> Bundles(const std::string& workspace,
                                         const std::string& name,
                                         const std::string& git_repo) const;
  std::vector<admin::v1::Cluster> Clusters(const std::string& workspace,
                                           const std::string& name) const;
  std::vector<admin::v1::HelmOp> HelmOps(const std::string& workspace,
                                         const std::string& name) const;
  std::vector<admin::v1::ClusterGroup> ClusterGroups(
      const std::string& workspace, const std::string& name) const;
  // Null when there is none. Valid until the loop's next task.
  const storage::v1::Document* Document(const std::string& kind,
                                        const std::string& workspace,
                                        const std::string& name) const;
  // Null when the agent of that cluster has not said yet.
  const core::v1::ClusterFacts* Facts(const std::string& workspace,
                                      const std::string& cluster) const;
  std::vector<admin::v1::Deployment> Deployments(
      const DeploymentFilter& filter) const;

  // Sorted by workspace, cluster and bundle.
  std::vector<DeploymentName> Names(const DeploymentFilter& filter) const;

 private:
  struct Row;

  void Changed() {
    if (sources_.changed != nullptr) sources_.changed();
  }
  // Everything about each deployment that matches, sorted as Names().
  std::vector<Row> Rows(const DeploymentFilter& filter) const;
  // Folds `rows` and what the repository itself says into `out`.
  void FoldGitRepo(const storage::v1::Document& document,
                   const std::vector<const Row*>& rows,
                   admin::v1::GitRepo& out) const;
  void FoldHelmOp(const storage::v1::Document& document,
                  const std::vector<const Row*>& rows,
                  admin::v1::HelmOp& out) const;
  // What follows "0 clusters match" when some have no agent yet; else "".
  std::string NoAgentNote(const std::string& workspace) const;
  std::vector<std::string> GroupsOf(
      const storage::v1::Document& cluster) const;

  // Constant after construction.
  const ReadModelSources sources_;

  // Collaborators. Not owned.
  const Clock& clock_;

  // Declared last: destroyed first.
  TypedMirror<storage::v1::Document> documents_;
  TypedMirror<storage::v1::Source> source_;
  TypedMirror<storage::v1::ChartSource> charts_;
  TypedMirror<storage::v1::SessionRecord> sessions_;
  TypedMirror<storage::v1::BundleBuild> builds_;
  TypedMirror<storage::v1::BundleHead> heads_;
  TypedMirror<storage::v1::BundleRevision> revisions_;
  TypedMirror<storage::v1::ClusterIdentity> identities_;
  TypedMirror<storage::v1::Facts> facts_;
  TypedMirror<storage::v1::Desired> desired_;
  TypedMirror<storage::v1::Rendered> rendered_;
  TypedMirror<storage::v1::Released> released_;
  TypedMirror<storage::v1::Observed> observed_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_ADMIN_READ_MODEL_H_
