// SPDX-License-Identifier: Apache-2.0
//
// TargetingView is what targeting knows: every record that it reads, folded
// into one slot for each cluster and each bundle, and what has changed since it
// was last asked, with the cause. Work is proportional to change: nothing is
// folded again that did not change. It reads only and decides nothing.

#ifndef FLOTILLA_MANAGER_TARGETING_TARGETING_VIEW_H_
#define FLOTILLA_MANAGER_TARGETING_TARGETING_VIEW_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"
#include "manager/targeting/bundle_reach.h"
#include "manager/targeting/fast_selector.h"
#include "manager/targeting/target_resolver.h"
#include "manager/targeting/targeting_slots.h"

namespace flotilla::manager {

// Cluster id, then bundle id.
using TargetingPair = std::pair<std::string, std::string>;

// What changed, and why, for Desired.removed_by; an empty cause of a bundle
// stands for its commit or document.
struct TargetingDirt {
  std::map<std::string, std::string> clusters;
  std::map<std::string, std::string> bundles;
  std::map<TargetingPair, std::string> pairs;
  // By workspace. SpreadDirt() turns these two into the others.
  std::map<std::string, std::string> reach;
  std::set<std::string> groups;
};

// Loop-affine.
class TargetingView {
 public:
  using OnBatch = absl::AnyInvocable<void()>;

  // `store` must outlive it. `on_batch` runs when something has changed; it
  // must not destroy the view.
  TargetingView(Store& store, OnBatch on_batch);
  TargetingView(const TargetingView&) = delete;
  TargetingView& operator=(const TargetingView&) = delete;

  // Whether everything stored is known.
  bool loaded() const;

  // The caller takes out what it has dealt with.
  TargetingDirt& dirt() { return dirt_; }
  const TargetingDirt& dirt() const { return dirt_; }
  // Turns changed groups and mappings into changed clusters and bundles.
  void SpreadDirt();
  // Of bundles whose head went, those without a record.
  void ForgetGoneBundles();

  // Made when it is not known. A cluster's must be refreshed before it is read.
  ClusterSlot& ClusterOf(const std::string& id);
  BundleSlot& BundleOf(const std::string& id);
  // Folds again what changed of the cluster.
  void RefreshCluster(ClusterSlot& slot);

  // By id: clusters of a workspace, bundles of a workspace, and bundles that
  // may go to clusters of a workspace.
  const std::map<std::string, ClusterSlot*>& ClustersIn(
      const std::string& workspace) const;
  const std::map<std::string, BundleSlot*>& BundlesOf(
      const std::string& workspace) const;
  const std::map<std::string, BundleSlot*>& BundlesFor(
      const std::string& workspace) const;

  // Whether the GitRepo, HelmOp or Bundle document that it came from pauses.
  bool SourcePaused(const BundleSlot& bundle) const;

  const TypedMirror<storage::v1::Desired>& desired() const { return desired_; }
  const TypedMirror<storage::v1::Released>& released() const {
    return released_;
  }

 private:
  // The ClusterGroups of a workspace.
  struct Groups {
    std::vector<std::shared_ptr<const GroupSubject>> subjects;
    std::vector<FastSelector> selectors;  // In step with `subjects`.
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

  void SpreadGroups(const std::string& workspace);
  void SpreadReach(const std::string& workspace, const std::string& cause);
  void RefreshRevision(BundleSlot& slot);
  // True when it reaches other workspaces than before.
  bool RefreshReach(BundleSlot& slot);
  const Groups& GroupsIn(const std::string& workspace);

  // Constant after construction.
  OnBatch on_batch_;

  // Loop state.
  TargetingDirt dirt_;
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

  // Declared last: destroyed first.
  TypedMirror<storage::v1::Document> documents_;
  TypedMirror<storage::v1::ClusterIdentity> identities_;
  TypedMirror<storage::v1::BundleHead> heads_;
  TypedMirror<storage::v1::BundleRevision> revisions_;
  TypedMirror<storage::v1::Desired> desired_;
  TypedMirror<storage::v1::Released> released_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_TARGETING_TARGETING_VIEW_H_
