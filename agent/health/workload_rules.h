// SPDX-License-Identifier: Apache-2.0
//
// Health of what runs pods: those of the kinds of apps/, Jobs and CronJobs
// (apply.md 2.5).

#ifndef FLOTILLA_AGENT_HEALTH_WORKLOAD_RULES_H_
#define FLOTILLA_AGENT_HEALTH_WORKLOAD_RULES_H_

#include "absl/types/optional.h"
#include "agent/health/health_verdict.h"
#include "agent/health/live_fields.h"

namespace flotilla::agent {

// A verdict when the controller has not seen this generation. These kinds
// always write observedGeneration: without it nothing is known.
absl::optional<HealthVerdict> NotObserved(LiveFields& live);

HealthVerdict JudgeDeployment(LiveFields& live);
HealthVerdict JudgeStatefulSet(LiveFields& live);
HealthVerdict JudgeDaemonSet(LiveFields& live);
// ReplicationControllers, too.
HealthVerdict JudgeReplicaSet(LiveFields& live);
HealthVerdict JudgeJob(LiveFields& live);
HealthVerdict JudgeCronJob(LiveFields& live);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_HEALTH_WORKLOAD_RULES_H_
