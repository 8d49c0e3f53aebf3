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
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "common/event/loop.h"
#include "manager/store/store.h"
#include "manager/targeting/target_resolver.h"
#include "manager/targeting/targeting_slots.h"
#include "manager/targeting/targeting_view.h"

namespace flotilla::manager {

// Loop-affine.
class TargetingController {
 public:
  // `loop` and `store` must outlive it. `writer` writes kDesiredFamily.
  TargetingController(Loop& loop, Store& store, FamilyWriter writer);
  TargetingController(const TargetingController&) = delete;
  TargetingController& operator=(const TargetingController&) = delete;

  // Whether everything stored is known.
  bool ready() const { return view_.loaded(); }
  // How many enrolled clusters have a live record of a bundle of this GitRepo.
  size_t CountDesired(absl::string_view workspace,
                      absl::string_view git_repo) const;
  std::string DebugString() const;
  // Pairs of bundle and cluster that were resolved since the start.
  uint64_t resolved_count() const { return resolved_count_; }

 private:
  struct Plan {
    std::map<std::string, int64_t> compares;
    std::vector<Op> ops;
    // What the ops are about, and why.
    std::map<TargetingPair, std::string> pairs;
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

  void Wake();
  void Run();
  // Leaves each pair to its bundle when everything is new.
  void StartOnce();
  // Takes up the next changed bundle or cluster; false when there is none.
  bool NextWork();
  void AddBundlesOf(ClusterSlot& cluster, Work& work);
  void AddClustersOf(BundleSlot& bundle, Work& work);
  void ResolvePair(BundleSlot& bundle, ClusterSlot& cluster,
                   const std::string& cause, Plan& plan);
  void PlanRemoval(BundleSlot& bundle, ClusterSlot& cluster,
                   const storage::v1::Desired& row, const std::string& cause,
                   Plan& plan);
  void PutRow(const BundleSlot& bundle, const ClusterSlot& cluster,
              std::string bytes, Plan& plan);
  void DropRow(BundleSlot& bundle, ClusterSlot& cluster, Plan& plan);
  void Guard(BundleSlot& bundle, ClusterSlot& cluster, Plan& plan);
  void OnWritten(absl::StatusOr<int64_t> revision,
                 std::map<TargetingPair, std::string> pairs);

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
  std::optional<Work> work_;
  std::unique_ptr<Timer> retry_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  // Declared last: destroyed first.
  TargetingView view_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_TARGETING_TARGETING_CONTROLLER_H_
