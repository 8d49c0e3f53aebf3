// SPDX-License-Identifier: Apache-2.0
//
// RunTools is what a run over a deployment's objects works with; RunResult is
// how it ended.

#ifndef FLOTILLA_AGENT_RECONCILE_RUN_TOOLS_H_
#define FLOTILLA_AGENT_RECONCILE_RUN_TOOLS_H_

#include <functional>
#include <string>

#include "absl/time/time.h"
#include "agent/apply/applier.h"
#include "agent/cache/assignment_cache.h"
#include "agent/reconcile/deployment.h"
#include "agent/reconcile/deployment_machine.h"
#include "agent/reconcile/object_sender.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "common/kube/object.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// Not owned; all must outlive the runs.
//
// Loop-affine.
struct RunTools {
  AssignmentCache& cache;
  Applier& applier;
  ObjectSender& sender;
  KubeClient& client;
  Loop& loop;
  // An object of the deployment changed, or is gone and no longer its.
  std::function<void(Deployment&, const ObjectIdentity&)> changed;
  std::function<void(Deployment&, const core::v1::ResourceKey&)> gone;
};

// Thread-compatible.
struct RunResult {
  RunEnd end = RunEnd::kClean;
  std::string trouble;  // For people; empty when clean.
  absl::Duration retry_after = absl::ZeroDuration();

  // Keeps the worse of two ends, with its trouble.
  void Note(RunEnd other, const std::string& why);
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_RECONCILE_RUN_TOOLS_H_
