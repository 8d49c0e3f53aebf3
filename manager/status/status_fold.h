// SPDX-License-Identifier: Apache-2.0
//
// Folds what is wanted, rendered, released and observed into the states that
// people read (spec.md section 7): one verdict for each deployment.
// Nothing unknown is ever Ready: an offline cluster is Offline with the age of
// what is known.

#ifndef FLOTILLA_MANAGER_STATUS_STATUS_FOLD_H_
#define FLOTILLA_MANAGER_STATUS_STATUS_FOLD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"

namespace flotilla::manager {

// Worst first: spec.md 7.1 with Offline and Deleting put in.
enum class FoldedState {
  kErrApplied = 0,
  kOffline,
  kWaitApplied,
  kModified,
  kOutOfSync,
  kPending,
  kDeleting,
  kNotReady,
  kReady,
};
inline constexpr int kFoldedStates = 9;

// The word shown to people, such as "WaitApplied".
absl::string_view StateWord(FoldedState state);

// The same in Fleet's words, which has none for Offline and Deleting.
absl::string_view FleetWord(FoldedState state);

// "deploy/web.yaml:7: the message", or without what there is not.
std::string ProblemText(const core::v1::Problem& problem);

// "3m5s", rounded for reading: seconds below ten minutes, then minutes, hours,
// days.
std::string AgeText(absl::Duration age);

// Everything known of one (bundle, cluster) pair; null where there is nothing.
struct DeploymentFacts {
  const storage::v1::Desired* desired = nullptr;
  const storage::v1::Rendered* rendered = nullptr;
  const storage::v1::Released* released = nullptr;
  const storage::v1::Observed* observed = nullptr;
  // The agent is connected.
  bool online = false;
  // Time since its last word; absent when there never was one.
  std::optional<absl::Duration> silent_for;
  // The cluster has said which kinds it serves.
  bool has_facts = false;
  // Its bundle has a revision that `desired` does not know yet.
  bool outdated = false;
};

struct DeploymentVerdict {
  FoldedState state = FoldedState::kPending;
  // First cause; empty when Ready.
  std::string message;
  // All causes, those of rendering first.
  std::vector<core::v1::Problem> problems;
  // Of its objects. Nothing unknown is ready here either: what an offline agent
  // said last is unknown now, and what was said of another generation waits.
  core::v1::ResourceCounts counts;
};

// The state of one deployment. REQUIRES: facts.desired is not null.
DeploymentVerdict FoldDeployment(const DeploymentFacts& facts);

// Adds `from` to `to`, field by field.
void AddCounts(const core::v1::ResourceCounts& from,
               core::v1::ResourceCounts& to);
// Takes `from` away from `to`. REQUIRES: it was added before.
void SubtractCounts(const core::v1::ResourceCounts& from,
                    core::v1::ResourceCounts& to);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STATUS_STATUS_FOLD_H_
