// SPDX-License-Identifier: Apache-2.0
//
// Health of a pod, and what of it is worth telling at the workload that owns
// it: an image that cannot be pulled, containers that crash or cannot be made,
// a pod for which there is no node.

#ifndef FLOTILLA_AGENT_HEALTH_POD_RULES_H_
#define FLOTILLA_AGENT_HEALTH_POD_RULES_H_

#include "agent/health/health_verdict.h"
#include "agent/health/live_fields.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

HealthVerdict JudgePod(LiveFields& live, const HealthContext& context);

// Such as "pod web-1: container app: CrashLoopBackOff: back-off restarting";
// DEGRADED, or PROGRESSING while it may come by itself. HEALTHY: nothing is
// worth telling.
HealthVerdict PodTrouble(const nlohmann::json& pod,
                         const HealthContext& context);

// The pod waits for its node to make its containers, or for its volumes: only
// its events can say why that takes so long.
bool WaitsForContainers(const nlohmann::json& pod);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_HEALTH_POD_RULES_H_
