// SPDX-License-Identifier: Apache-2.0
//
// DeploymentTally sums a changing set of deployments, such as those of a
// bundle, a GitRepo or a cluster: one comes or goes in the logarithm of their
// number, and nothing is ever counted again. It decides nothing.

#ifndef FLOTILLA_MANAGER_ADMIN_DEPLOYMENT_TALLY_H_
#define FLOTILLA_MANAGER_ADMIN_DEPLOYMENT_TALLY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/strings/string_view.h"
#include "flotilla/admin/v1/admin.pb.h"
#include "flotilla/core/v1/core.pb.h"
#include "manager/status/status_fold.h"

namespace flotilla::manager {

// One deployment by ids and names.
struct DeploymentName {
  std::string cluster_id;
  std::string bundle_id;
  // Of the bundle.
  std::string workspace;
  std::string cluster_workspace;
  std::string cluster;
  std::string bundle;
  bool online = false;
};

// By workspace, cluster and bundle; ids tell namesakes apart.
bool operator<(const DeploymentName& a, const DeploymentName& b);

// "workspace/name" of its cluster.
std::string ClusterText(const DeploymentName& name);

// One deployment, folded. What is in a tally must not change.
struct DeploymentEntry {
  DeploymentName name;
  // Where the bundle comes from; both empty for a Bundle document.
  std::string git_repo;
  std::string helm_op;
  FoldedState state = FoldedState::kPending;
  core::v1::ResourceCounts counts;
};

// One of those that a status names.
struct NotReadyOne {
  const DeploymentEntry* entry = nullptr;
  // Lasting.
  std::string message;
};

// Sources with deployments on one cluster.
struct SourceCounts {
  uint32_t ready = 0;
  uint32_t all = 0;
};

// Thread-compatible.
class DeploymentTally {
 public:
  struct InOrder {
    bool operator()(const DeploymentEntry* a, const DeploymentEntry* b) const {
      return a->name < b->name;
    }
  };
  using Entries = absl::btree_set<const DeploymentEntry*, InOrder>;
  using States = std::array<uint32_t, kFoldedStates>;

  // What is on one cluster.
  struct Share {
    States states = {};
    core::v1::ResourceCounts resources;
  };

  // `shares`: whether clusters are counted one by one as well.
  explicit DeploymentTally(bool shares = false) : with_shares_(shares) {}

  // `entry` must stay as it is, where it is, until it is removed.
  void Add(const DeploymentEntry& entry);
  void Remove(const DeploymentEntry& entry);

  bool empty() const { return size_ == 0; }
  // kReady when it is empty.
  FoldedState worst() const { return WorstOf(states_); }
  admin::v1::StateCounts counts() const;
  const core::v1::ResourceCounts& resources() const { return resources_; }
  // Those of a state, in order; none for kReady.
  const Entries& In(FoldedState state) const;
  // By ClusterText() and cluster id.
  using Shares = absl::btree_map<std::pair<std::string, std::string>, Share>;
  const Shares& shares() const { return shares_; }

  // Fleet's form (spec.md 7.4): the first of each state, worst first, as
  // "NotReady(2) [Cluster dev: 1 of 3 pods are ready]". Empty when everything
  // is ready.
  using WordOf = std::function<absl::string_view(FoldedState)>;
  using TextOf = std::function<std::string(const DeploymentEntry&)>;
  std::string Message(absl::string_view kind_word, const WordOf& word_of,
                      const TextOf& text_of) const;

  static FoldedState WorstOf(const States& states);

 private:
  // Constant after construction.
  const bool with_shares_;

  size_t size_ = 0;
  States states_ = {};
  core::v1::ResourceCounts resources_;
  std::array<Entries, kFoldedStates> entries_;
  Shares shares_;
};

// Adds `from` to `to`, field by field.
void AddCounts(const admin::v1::StateCounts& from, admin::v1::StateCounts& to);
// Takes `from`, which must have been added, off `to`.
void SubtractCounts(const admin::v1::StateCounts& from,
                    admin::v1::StateCounts& to);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_ADMIN_DEPLOYMENT_TALLY_H_
