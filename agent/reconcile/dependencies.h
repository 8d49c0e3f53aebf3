// SPDX-License-Identifier: Apache-2.0
//
// Dependencies judges dependsOn (spec 6.11): whether a deployment may be
// applied, given the states of the others in its cluster. Only deployments of
// the same workspace count (decisions.md 13). It is asked before a new
// generation is applied, and never of what is applied already.

#ifndef FLOTILLA_AGENT_RECONCILE_DEPENDENCIES_H_
#define FLOTILLA_AGENT_RECONCILE_DEPENDENCIES_H_

#include <map>
#include <string>
#include <vector>

#include "common/labels/label_selector.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// One deployment of the cluster; none that is to go.
//
// Thread-compatible.
struct DependencyNode {
  std::string bundle_id;
  std::string workspace;
  std::string name;
  // Of the bundle. Not known until its manifest is here.
  LabelMap labels;
  bool labels_known = false;
  std::vector<core::v1::Dependency> depends_on;
  // Fleet's word (spec 7.1): "Ready", "NotReady", ...
  std::string state;
  // Its newest generation waits to be applied.
  bool waiting = false;
};

// Immutable once all are added.
//
// Thread-compatible.
class Dependencies {
 public:
  void Add(DependencyNode node);

  // What `bundle_id` waits for, at most one problem for each dependency; empty:
  // nothing. A bundle that a selector of its own matches does not wait for
  // itself.
  std::vector<core::v1::Problem> Judge(const std::string& bundle_id) const;

 private:
  // Others that `dependency` of `node` names.
  std::vector<const DependencyNode*> Matches(
      const DependencyNode& node, const core::v1::Dependency& dependency) const;
  // Those that `node` waits for.
  std::vector<const DependencyNode*> Unready(const DependencyNode& node) const;
  // "a -> b -> a" when `node` waits for itself; else empty.
  std::string CycleOf(const DependencyNode& node) const;

  std::map<std::string, DependencyNode> nodes_;
};

// Fleet's word for the state of a deployment (spec 7.1). `applied`: a run of
// its newest generation came to its end.
std::string FleetStateOf(core::v1::Phase phase,
                         const core::v1::ResourceCounts& counts, bool applied);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_RECONCILE_DEPENDENCIES_H_
