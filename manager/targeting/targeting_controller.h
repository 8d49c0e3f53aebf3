// SPDX-License-Identifier: Apache-2.0
//
// TargetingController keeps /desired/ in step with bundles, Cluster and
// ClusterGroup documents and enrolled clusters: one record for each cluster
// that gets a bundle, with the options that are merged for it. Work is
// proportional to change: a changed bundle touches its workspace's clusters, a
// changed cluster its own row of bundles. It is the only writer of /desired/.
//
// A cluster that is to lose a bundle keeps its record, with a removal, until
// /released/ says that the agent has let go. Nothing is removed because
// something is merely absent: a bundle goes when its head has a removal, a
// cluster when its identity is revoked. The records of a revoked cluster are
// dropped without a removal: it keeps its workloads (decisions.md 27).

#ifndef FLOTILLA_MANAGER_TARGETING_TARGETING_CONTROLLER_H_
#define FLOTILLA_MANAGER_TARGETING_TARGETING_CONTROLLER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/event/loop.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"
#include "manager/targeting/cluster_matcher.h"

namespace flotilla::manager {

// Loop-affine.
class TargetingController {
 public:
  // `loop` and `store` must outlive it. `writer` writes kDesiredFamily.
  TargetingController(Loop& loop, Store& store, FamilyWriter writer);
  TargetingController(const TargetingController&) = delete;
  TargetingController& operator=(const TargetingController&) = delete;

  // Whether everything stored is known.
  bool ready() const { return Loaded(); }
  // How many enrolled clusters have a live record of a bundle of this GitRepo.
  size_t CountDesired(absl::string_view workspace,
                      absl::string_view git_repo) const;
  std::string DebugString() const;
  // Pairs of bundle and cluster that were resolved since the start.
  uint64_t resolved_count() const { return resolved_count_; }

 private:
  // Cluster id, then bundle id.
  using Pair = std::pair<std::string, std::string>;
  struct Plan {
    std::map<std::string, int64_t> compares;
    std::vector<Op> ops;
  };

  void OnDocument(const std::string& key,
                  const storage::v1::Document* document);
  void OnIdentity(const std::string& key,
                  const storage::v1::ClusterIdentity* identity);
  void OnHead(const std::string& key, const storage::v1::BundleHead* head);
  void OnRevision(const std::string& key);
  void OnDesired(const std::string& key, const storage::v1::Desired* desired);

  bool Loaded() const;
  void Wake();
  void Run();
  // Turns changed clusters, groups and bundles into pairs.
  void SpreadDirt();
  void SpreadCluster(const std::string& cluster_id, const std::string& cause);
  void ResolvePair(const Pair& pair, const std::string& cause, Plan& plan);
  void PlanRemoval(const Pair& pair, const storage::v1::Desired& row,
                   const storage::v1::BundleHead& head,
                   const std::string& cause, Plan& plan);
  void DropRow(const Pair& pair, Plan& plan);
  void Guard(const std::string& key, int64_t revision, Plan& plan);
  void OnWritten(absl::StatusOr<int64_t> revision,
                 std::map<Pair, std::string> pairs);

  const storage::v1::Document* ClusterDocument(
      const storage::v1::ClusterIdentity& identity) const;
  const TargetCluster& TargetOf(const storage::v1::ClusterIdentity& identity,
                                const storage::v1::Document& document);

  // Collaborators. Not owned.
  Loop& loop_;

  // Loop state.
  FamilyWriter writer_;
  bool awake_ = false;
  // Invariant: at most one transaction at a time.
  bool writing_ = false;
  absl::Status last_error_;
  uint64_t resolved_count_ = 0;
  // What changed, and why, for Desired.removed_by.
  std::map<std::string, std::string> dirty_clusters_;
  std::set<std::string> dirty_groups_;  // Workspaces.
  std::set<std::string> dirty_bundles_;
  std::map<Pair, std::string> dirty_pairs_;
  // Workspace -> ids.
  absl::flat_hash_map<std::string, std::set<std::string>> clusters_of_;
  absl::flat_hash_map<std::string, std::set<std::string>> bundles_of_;
  // Rows that are stored, by bundle and by cluster.
  absl::flat_hash_map<std::string, std::set<std::string>> rows_of_bundle_;
  absl::flat_hash_map<std::string, std::set<std::string>> rows_of_cluster_;
  // "workspace/name" of a cluster -> ids that were enrolled under it.
  absl::flat_hash_map<std::string, std::set<std::string>> ids_of_name_;
  // By cluster id; forgotten when the cluster or a group changes.
  absl::flat_hash_map<std::string, TargetCluster> targets_;
  std::unique_ptr<Timer> retry_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  // Declared last: destroyed first.
  TypedMirror<storage::v1::Document> documents_;
  TypedMirror<storage::v1::ClusterIdentity> identities_;
  TypedMirror<storage::v1::BundleHead> heads_;
  TypedMirror<storage::v1::BundleRevision> revisions_;
  TypedMirror<storage::v1::Desired> desired_;
  TypedMirror<storage::v1::Released> released_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_TARGETING_TARGETING_CONTROLLER_H_
