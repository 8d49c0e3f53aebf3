// SPDX-License-Identifier: Apache-2.0
//
// Folds what is known of a deployment's objects into what is said of them.

#ifndef FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_FOLD_H_
#define FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_FOLD_H_

#include <map>
#include <string>
#include <vector>

#include "agent/reconcile/deployment_machine.h"
#include "agent/reconcile/object_state.h"
#include "common/kube/object.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

using ObjectStates = std::map<ObjectIdentity, ObjectState>;

// Thread-compatible.
struct DeploymentFold {
  ObjectsView view;
  core::v1::ResourceCounts counts;
  std::vector<core::v1::Problem> problems;  // Worst first, at most 10.
};

DeploymentFold FoldObjects(const ObjectStates& objects);

// The status to report. `since` is left to the caller.
core::v1::ResourceStatus StatusOf(const std::string& bundle_id,
                                  const ObjectState& object);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_RECONCILE_DEPLOYMENT_FOLD_H_
