// SPDX-License-Identifier: Apache-2.0
//
// ReadModel answers what people ask: it mirrors the store's records and folds
// them into admin.v1 messages. Each deployment is folded when one of its
// records changes, and counted where it belongs; so an answer costs what it
// holds, and a change what it touches. It tells whose status may be another
// now. It decides nothing and writes nothing. Drift is in the status database
// and is not its business.
//
// Loop-affine.

#ifndef FLOTILLA_MANAGER_ADMIN_READ_MODEL_H_
#define FLOTILLA_MANAGER_ADMIN_READ_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "common/env/clock.h"
#include "flotilla/admin/v1/admin.pb.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/admin/deployment_tally.h"
#include "manager/admin/group_tally.h"
#include "manager/admin/resource_index.h"
#include "manager/status/status_fold.h"
#include "manager/status/status_source.h"
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
  // Told of each subject whose status may be another now, often more than
  // once, and of each one when everything has been read; may be null.
  std::function<void(const StatusSubject&)> changed;
};

// How a message says what goes on.
enum class Wording {
  // With the age of what is known; another text each time.
  kLive,
  // In Fleet's words, and the same until something changes.
  kLasting,
};

// Which deployments; empty fields match all.
struct DeploymentFilter {
  std::string workspace;
  std::string cluster;
  std::string bundle;
  std::string git_repo;
};

class ReadModel {
 public:
  // `store` and `clock` must outlive it.
  ReadModel(Store& store, const Clock& clock, ReadModelSources sources);
  ReadModel(const ReadModel&) = delete;
  ReadModel& operator=(const ReadModel&) = delete;

  // Whether all records have been read. Until then every answer would be a
  // wrong "nothing": ask for nothing.
  bool loaded() const { return loaded_; }

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
  // One of them; absent when there is none. `document_generation` of a status
  // is that of Document().
  std::optional<admin::v1::GitRepo> FindGitRepo(const std::string& workspace,
                                                const std::string& name,
                                                Wording wording) const;
  std::optional<admin::v1::HelmOp> FindHelmOp(const std::string& workspace,
                                              const std::string& name,
                                              Wording wording) const;
  std::optional<admin::v1::Bundle> FindBundle(const std::string& workspace,
                                              const std::string& name,
                                              Wording wording) const;
  std::optional<admin::v1::Cluster> FindCluster(const std::string& workspace,
                                                const std::string& name,
                                                Wording wording) const;
  std::optional<admin::v1::ClusterGroup> FindClusterGroup(
      const std::string& workspace, const std::string& name,
      Wording wording) const;

  // All that have a status.
  std::vector<StatusSubject> Subjects() const;

  // Deployments of a GitRepo or HelmOp, with shares; of a bundle; of a cluster.
  // Empty when there are none. Valid until the loop's next task.
  const DeploymentTally& SourceTally(const StatusSubject& source) const;
  const DeploymentTally& BundleTally(const std::string& bundle_id) const;
  const DeploymentTally& ClusterTally(const std::string& cluster_id) const;
  // The first `limit` of those that are not ready, worst first.
  std::vector<NotReadyOne> NotReady(const DeploymentTally& tally,
                                    size_t limit) const;
  // Those that exist as documents of `kind` and deploy to the cluster. One
  // counts as ready when everything of it is.
  SourceCounts SourcesOn(const std::string& cluster_id,
                         const std::string& kind) const;
  // Objects of a GitRepo or HelmOp.
  ResourceList Resources(const StatusSubject& source, size_t budget) const;

  // Null when there is none. Valid until the loop's next task.
  const storage::v1::Document* Document(const std::string& kind,
                                        const std::string& workspace,
                                        const std::string& name) const;
  // Null when the agent of that cluster has not said yet.
  const core::v1::ClusterFacts* Facts(const std::string& workspace,
                                      const std::string& cluster) const;
  std::vector<admin::v1::Deployment> Deployments(
      const DeploymentFilter& filter) const;

  // In order.
  std::vector<DeploymentName> Names(const DeploymentFilter& filter) const;

  // What is not in the store. The agent came or went.
  void OnPresence(const std::string& cluster_id);
  // The agent refused a generation, or does no more.
  void OnRejection(const std::string& cluster_id,
                   const std::string& bundle_id);
  // What agents said of single objects.
  void OnResource(const std::string& cluster_id,
                  const core::v1::ResourceStatus& status);
  void OnForgotten(const std::string& cluster_id,
                   const std::string& bundle_id);
  // Time has passed: what says when an agent was seen may say more.
  void OnCheckIn();

 private:
  // Workspace and name.
  using Name = std::pair<std::string, std::string>;
  // What the indices know of a head.
  struct HeadPlace {
    Name name;
    StatusSubject source;
    std::string revision;
    core::v1::DeleteCause removal = core::v1::DELETE_CAUSE_UNSPECIFIED;
    bool has_problems = false;
  };
  struct ClusterState {
    // Empty without an enrolled agent.
    std::string cluster_id;
    bool online = false;
    std::string word;
    // The worse, the lower.
    int rank = 0;
  };

  struct Group {
    GroupTally tally;
    // Of which it has not been counted yet what is so now.
    std::set<std::string> changed;
  };

  // Reads a mirror's changes once everything is known.
  template <typename F>
  auto OnChange(F f) {
    return [this, f](const std::string& key, const auto* record) {
      if (loaded_) f(key, record);
    };
  }
  void OnBatch();
  // Everything from nothing.
  void Build();

  void Touch(const StatusSubject& subject) const;
  // The cluster and its groups.
  void TouchCluster(const Name& cluster) const;
  void TouchClusterOf(const std::string& cluster_id) const;
  // What `entry` is counted in.
  void TouchDeployment(const DeploymentEntry& entry) const;
  // What says how many clusters are not counted.
  void TouchUnmatched(const std::string& workspace) const;

  void OnDocument(const std::string& key, const storage::v1::Document* record);
  void OnHead(const std::string& bundle_id,
              const storage::v1::BundleHead* head);
  void OnIdentity(const std::string& cluster_id,
                  const storage::v1::ClusterIdentity* identity);
  void SetGroups(const Name& cluster, std::set<std::string> groups);
  void SetMembers(const Name& group, const storage::v1::Document* document);
  std::set<std::string> GroupsMatching(
      const storage::v1::Document& cluster) const;

  void Refold(const std::string& cluster_id, const std::string& bundle_id);
  void RefoldCluster(const std::string& cluster_id);
  // Null when there is nothing to tell of.
  std::unique_ptr<DeploymentEntry> Fold(const std::string& cluster_id,
                                        const std::string& bundle_id);
  void Place(const DeploymentEntry& entry);
  void Displace(const DeploymentEntry& entry);
  DeploymentVerdict Judge(const storage::v1::Desired& desired, bool online,
                          std::optional<absl::Duration> silent_for) const;
  DeploymentVerdict VerdictOf(const DeploymentEntry& entry) const;
  std::string TextOf(const DeploymentEntry& entry, Wording wording) const;
  bool Online(const std::string& cluster_id) const;

  // Everything that matches, in order.
  std::vector<const DeploymentEntry*> Find(
      const DeploymentFilter& filter) const;
  admin::v1::GitRepo FoldGitRepo(const storage::v1::Document& document,
                                 Wording wording) const;
  admin::v1::HelmOp FoldHelmOp(const storage::v1::Document& document,
                               Wording wording) const;
  // What GitRepo and HelmOp have in common.
  template <typename T>
  void FoldSource(const StatusSubject& source, Wording wording, T& out) const;
  // Null when there is none.
  const storage::v1::BundleBuild* BuildOf(const StatusSubject& document) const;
  template <typename T>
  void AddBuild(const StatusSubject& source, T& out) const;
  std::string SourceMessage(const DeploymentTally& tally,
                            Wording wording) const;
  admin::v1::Bundle FoldBundle(const storage::v1::BundleHead& head,
                               Wording wording) const;
  admin::v1::Cluster FoldCluster(const storage::v1::Document& document,
                                 Wording wording) const;
  admin::v1::ClusterGroup FoldClusterGroup(
      const storage::v1::Document& document, Wording wording) const;
  ClusterState StateOf(const Name& cluster) const;
  // Valid until the loop's next task.
  const GroupTally& MembersOf(const Name& group) const;
  std::string ClusterMessage(const Name& name, const ClusterState& state,
                             Wording wording) const;
  // What follows "0 clusters match" when some have no agent yet; else "".
  std::string NoAgentNote(const std::string& workspace) const;

  // Constant after construction.
  const ReadModelSources sources_;

  // Collaborators. Not owned.
  const Clock& clock_;

  // Loop state.
  bool loaded_ = false;
  // By key of /desired.
  absl::btree_map<std::string, std::unique_ptr<DeploymentEntry>> entries_;
  std::map<std::string, DeploymentTally> of_bundle_;
  std::map<std::string, DeploymentTally> of_cluster_;
  std::map<StatusSubject, DeploymentTally> of_source_;
  // Clusters that bundles are on, for what concerns all of a bundle.
  absl::flat_hash_map<std::string, std::set<std::string>> clusters_of_bundle_;
  ResourceIndex resources_;
  absl::flat_hash_map<std::string, HeadPlace> head_places_;
  std::map<Name, std::set<std::string>> heads_by_name_;
  std::map<StatusSubject, std::set<std::string>> problem_heads_;
  // Not revoked; the last one of a name counts.
  std::map<Name, std::set<std::string>> identities_by_name_;
  absl::flat_hash_map<std::string, Name> name_of_identity_;
  std::map<Name, std::set<std::string>> groups_of_;
  // Asking for a group counts those of its clusters that changed.
  mutable std::map<Name, Group> members_of_;
  // What presence said last.
  mutable absl::flat_hash_map<std::string, bool> online_;

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
