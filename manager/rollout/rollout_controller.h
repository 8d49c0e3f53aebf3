// SPDX-License-Identifier: Apache-2.0
//
// RolloutController keeps /released in step with /desired, /rendered and
// /observed: it watches them, asks PlanRelease() about the pairs that changed,
// and commits what it says in one transaction, guarded by the revisions that
// it read. It is the only writer of /released.
//
// On a failed commit the pairs stay dirty and are tried again: at once when
// somebody else was faster, after a second when the disk refused.
//
// Loop-affine.

#ifndef FLOTILLA_MANAGER_ROLLOUT_ROLLOUT_CONTROLLER_H_
#define FLOTILLA_MANAGER_ROLLOUT_ROLLOUT_CONTROLLER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/event/loop.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/rollout/rollout_planner.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"

namespace flotilla::manager {

class RolloutController {
 public:
  // `loop` and `store` must outlive it. `released` writes kReleasedFamily.
  RolloutController(Loop& loop, Store& store, FamilyWriter released);
  RolloutController(const RolloutController&) = delete;
  RolloutController& operator=(const RolloutController&) = delete;

 private:
  // "<cluster_id>/<bundle_id>", the end of a key in all four families.
  using Pair = std::string;

  void OnChange(absl::string_view family, const std::string& key);
  void UpdateDebt(const Pair& pair);
  void UpdateRendering(const Pair& pair);
  void Wake();
  void Run();
  void OnCommitted(absl::StatusOr<int64_t> revision,
                   absl::btree_set<Pair> pairs);

  // Collaborators. Not owned.
  Loop& loop_;

  // Loop state.
  FamilyWriter writer_;
  absl::btree_set<Pair> dirty_;
  // What each pair owes: the commit that is not rendered yet.
  absl::flat_hash_map<Pair, std::string> owed_commit_;
  // For each cluster, how many pairs owe which commit.
  absl::flat_hash_map<std::string, absl::flat_hash_map<std::string, int>>
      debt_;
  // The same for what is not rendered at all yet; a failed render is over.
  absl::flat_hash_map<Pair, std::string> rendering_commit_;
  absl::flat_hash_map<std::string, absl::flat_hash_map<std::string, int>>
      rendering_;
  // Pairs that got nothing new, by cluster, while something was rendered:
  // planned again when that is over.
  absl::flat_hash_map<std::string, absl::btree_set<Pair>> held_;
  // Pairs with a removal, by cluster: planned again when a debt is paid.
  absl::flat_hash_map<std::string, absl::btree_set<Pair>> removals_;
  // Highest assignment version of each cluster.
  absl::flat_hash_map<std::string, uint64_t> av_;
  bool committing_ = false;
  bool posted_ = false;

  std::unique_ptr<Timer> retry_;
  // Guards tasks on the loop: expires with this object.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  // Declared last: destroyed first.
  TypedMirror<storage::v1::Desired> desired_;
  TypedMirror<storage::v1::Rendered> rendered_;
  TypedMirror<storage::v1::Released> released_;
  TypedMirror<storage::v1::Observed> observed_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_ROLLOUT_ROLLOUT_CONTROLLER_H_
