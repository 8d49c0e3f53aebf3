// SPDX-License-Identifier: Apache-2.0
//
// TargetingController keeps /desired/ in step with bundles, Cluster,
// ClusterGroup, BundleNamespaceMapping and Namespace documents and enrolled
// clusters: one record for each cluster that gets a bundle, with the options
// that are merged for it. Work is proportional to change: a changed bundle
// touches the clusters it may go to, a changed cluster its own row of bundles,
// and only records whose content changes are written. It is the only writer of
// /desired/.
//
// A cluster that is to lose a bundle keeps its record, with a removal, until
// /released/ says that the agent has let go. Nothing is removed because
// something is merely absent: a bundle goes when its head has a removal, a
// cluster when its identity is revoked. The records of a revoked cluster are
// dropped without a removal: it keeps its workloads (decisions.md 27).
//
// Desired.options_digest covers the template context too where there is one, so
// that equal digests mean equal renders.

#ifndef FLOTILLA_MANAGER_TARGETING_TARGETING_CONTROLLER_H_
#define FLOTILLA_MANAGER_TARGETING_TARGETING_CONTROLLER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/event/loop.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"
#include "manager/targeting/bundle_reach.h"
#include "manager/targeting/target_resolver.h"

namespace flotilla::manager {

// Loop-affine.
class TargetingController {
 public:
  // `loop` and `store` must outlive it. `writer` writes kDesiredFamily.
  TargetingController(Loop& loop, Store& store, FamilyWriter writer);
  ~TargetingController();
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
  // What is known of a cluster and of a bundle, folded from the mirrors so
  // that a pair of them needs no look-up.
  struct ClusterSlot;
  struct BundleSlot;
  struct Groups;
  // Cluster id, then bundle id.
  using Pair = std::pair<std::string, std::string>;
  struct Plan {
    std::map<std::string, int64_t> compares;
    std::vector<Op> ops;
    // What the ops are about, and why.
    std::map<Pair, std::string> pairs;
  };
  // One changed bundle against its clusters, or one changed cluster against
  // its bundles, in the middle of it.
  struct Work {
    // Clang cannot see the end of the class when it looks for this one.
    Work() : next(0) {}

    std::string cause;
    // The one that changed is in all of them.
    std::vector<std::pair<ClusterSlot*, BundleSlot*>> pairs;
    size_t next;
  };

  void OnDocument(const std::string& key,
                  const storage::v1::Document* document);
  void OnCluster(const std::string& workspace, const std::string& name);
  void OnSource(const std::string& kind, const std::string& workspace,
                const std::string& name);
  void OnIdentity(const std::string& key,
                  const storage::v1::ClusterIdentity* identity);
  void OnHead(const std::string& key, const storage::v1::BundleHead* head);
  void OnRevision(const std::string& key);
  void OnDesired(const std::string& key, const storage::v1::Desired* desired);
  void OnReleased(const std::string& key);

  bool Loaded() const;
  void Wake();
  void Run();
  // Leaves each pair to its bundle when everything is new.
  void StartOnce();
  void ForgetGoneBundles();
  // Turns changed groups and mappings into changed clusters and bundles.
  void SpreadDirt();
  void SpreadGroups(const std::string& workspace);
  void SpreadReach(const std::string& workspace, const std::string& cause);
  // Takes up the next changed bundle or cluster; false when there is none.
  bool NextWork();
  void ResolvePair(BundleSlot& bundle, ClusterSlot& cluster,
                   const std::string& cause, Plan& plan);
  void PlanRemoval(BundleSlot& bundle, ClusterSlot& cluster,
                   const storage::v1::Desired& row, const std::string& cause,
                   Plan& plan);
  void DropRow(BundleSlot& bundle, ClusterSlot& cluster, Plan& plan);
  void Guard(BundleSlot& bundle, ClusterSlot& cluster, Plan& plan);
  void OnWritten(absl::StatusOr<int64_t> revision,
                 std::map<Pair, std::string> pairs);

  ClusterSlot& ClusterOf(const std::string& id);
  BundleSlot& BundleOf(const std::string& id);
  // Reads what `slot` folds again.
  void RefreshCluster(ClusterSlot& slot);
  void RefreshRevision(BundleSlot& slot);
  // True when it reaches other workspaces than before.
  bool RefreshReach(BundleSlot& slot);
  const Groups& GroupsIn(const std::string& workspace);
  // Whether the GitRepo, HelmOp or Bundle document that it came from pauses.
  bool SourcePaused(const BundleSlot& slot) const;

  // Collaborators. Not owned.
  Loop& loop_;

  // Loop state.
  FamilyWriter writer_;
  bool awake_ = false;
  // Invariant: at most one transaction at a time.
  bool writing_ = false;
  // Everything was looked at once.
  bool started_ = false;
  absl::Status last_error_;
  uint64_t resolved_count_ = 0;
  // What changed, and why, for Desired.removed_by; an empty cause of a bundle
  // stands for its commit or document.
  std::map<std::string, std::string> dirty_clusters_;
  std::map<std::string, std::string> dirty_bundles_;
  std::map<std::string, std::string> dirty_reach_;  // By workspace.
  std::set<std::string> dirty_groups_;              // Workspaces.
  std::map<Pair, std::string> dirty_pairs_;
  std::optional<Work> work_;
  // Bundles whose head went, to be forgotten with their last record.
  std::set<std::string> gone_bundles_;

  // By id. Clusters stay for ever: identities do.
  absl::flat_hash_map<std::string, std::unique_ptr<ClusterSlot>> clusters_;
  absl::flat_hash_map<std::string, std::unique_ptr<BundleSlot>> bundles_;
  // By workspace, then id.
  absl::flat_hash_map<std::string, std::map<std::string, ClusterSlot*>>
      clusters_in_;
  absl::flat_hash_map<std::string, std::map<std::string, BundleSlot*>>
      bundles_of_;
  // Bundles that may go to the clusters of a workspace.
  absl::flat_hash_map<std::string, std::map<std::string, BundleSlot*>>
      bundles_for_;
  // "workspace/name" of a cluster -> ids that were enrolled under it.
  absl::flat_hash_map<std::string, std::set<std::string>> ids_of_name_;
  // By workspace; forgotten when one of them changes.
  absl::flat_hash_map<std::string, std::unique_ptr<Groups>> groups_;
  BundleReach reach_;
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
