// SPDX-License-Identifier: Apache-2.0
//
// Decides what the record of a (cluster, bundle) pair in /desired/ becomes: as
// the bundle's target says, or on its way out. A record goes only when the
// agent has let go.

#ifndef FLOTILLA_MANAGER_TARGETING_DESIRED_ROWS_H_
#define FLOTILLA_MANAGER_TARGETING_DESIRED_ROWS_H_

#include <optional>
#include <string>

#include "flotilla/storage/v1/storage.pb.h"
#include "manager/targeting/target_resolver.h"
#include "manager/targeting/targeting_slots.h"

namespace flotilla::manager {

// Whether a record says that the cluster is to lose the bundle.
bool IsRemoval(const storage::v1::Desired& row);

// The record's bytes when the cluster gets `target`; nothing when `row`, which
// may be null, says so already.
std::optional<std::string> WantedRow(const BundleSlot& bundle,
                                     const ClusterSlot& cluster,
                                     const SharedTarget& target,
                                     const storage::v1::Desired* row);

struct RowRemoval {
  enum class Step {
    kNothing,
    kPut,   // `row` is the record from now on.
    kDrop,  // The agent has let go, or never had it.
  };
  Step step = Step::kNothing;
  storage::v1::Desired row;
};

// What becomes of `row` when the cluster gets the bundle no more, because of
// `cause` unless the bundle itself goes. `released` may be null.
// `source_paused`: the document that the bundle comes from is paused.
RowRemoval RemoveRow(const BundleSlot& bundle, const ClusterSlot& cluster,
                     const storage::v1::Desired& row,
                     const storage::v1::Released* released, bool source_paused,
                     const std::string& cause);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_TARGETING_DESIRED_ROWS_H_
