// SPDX-License-Identifier: Apache-2.0
//
// ObjectState is what the agent knows of one object of one deployment.

#ifndef FLOTILLA_AGENT_RECONCILE_OBJECT_STATE_H_
#define FLOTILLA_AGENT_RECONCILE_OBJECT_STATE_H_

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "agent/health/health_verdict.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// Thread-compatible.
struct ObjectState {
  // An event that came while a request was in flight.
  struct Held {
    KubeObject object;
    bool left = false;
  };

  core::v1::ManifestEntry want;

  core::v1::SyncState sync = core::v1::SYNC_STATE_UNSPECIFIED;
  // Why `sync` is what it is; empty when synced.
  std::string reason;
  std::string message;

  // UNSPECIFIED until it is judged.
  HealthVerdict health{core::v1::HEALTH_UNSPECIFIED, "", ""};
  // What is wrong with its pods; HEALTHY: nothing known.
  HealthVerdict pods{core::v1::HEALTH_HEALTHY, "", ""};

  std::string uid;
  // It was last seen with our mark, and nothing speaks against deleting it when
  // it is no longer wanted (prune_rules.h).
  bool proven = false;
  absl::Time since = absl::InfinitePast();
  uint32_t corrections = 0;

  // Requests about it that are in flight, or about to be: events wait.
  int busy = 0;
  // It must be applied again although nothing says that it changed.
  bool needs_apply = false;
  // resourceVersion in the answer to our last write.
  std::string applied_version;
  absl::optional<Held> held;
  // JSON pointers of what the last request left as it is in the cluster.
  std::vector<std::string> held_pointers;
  // What was last reported of a drift that is not put right.
  std::string reported;
  // What others have added, as it was reported.
  std::set<std::string> additions;
  // What somebody does to it again and again, so that it is left for now;
  // empty: nothing.
  std::string contested;
  std::shared_ptr<Timer> contest_timer;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_RECONCILE_OBJECT_STATE_H_
