// SPDX-License-Identifier: Apache-2.0

#include "agent/health/workload_rules.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_format.h"
#include "common/kube/object.h"

namespace flotilla::agent {
namespace {

using core::v1::HEALTH_DEGRADED;
using core::v1::HEALTH_PROGRESSING;
using nlohmann::json;

HealthVerdict Updated(int64_t updated, int64_t wanted) {
  return Progressing("RollingOut", absl::StrFormat("%d of %d replicas are "
                                                   "updated",
                                                   updated, wanted));
}

HealthVerdict TooMany(int64_t replicas, int64_t wanted) {
  return Progressing("ScalingDown",
                     absl::StrFormat("%d replicas are still there, %d wanted",
                                     replicas, wanted));
}

HealthVerdict NotAvailable(int64_t available, int64_t wanted) {
  return Progressing("NotAvailable",
                     absl::StrFormat("%d of %d replicas are available",
                                     available, wanted));
}

// Such as a quota that is used up.
absl::optional<HealthVerdict> ReplicaFailure(LiveFields& live) {
  if (!live.ConditionIs("ReplicaFailure", "True")) return absl::nullopt;
  return live.Say(HEALTH_DEGRADED, live.Condition("ReplicaFailure"),
                  "ReplicaFailure");
}

}  // namespace

absl::optional<HealthVerdict> NotObserved(LiveFields& live) {
  const auto generation = live.Number("metadata.generation");
  const auto observed = live.Number("status.observedGeneration");
  if (generation.has_value() && observed == generation) return absl::nullopt;
  return Progressing("LatestGenerationNotObserved",
                     "its controller has not seen this generation yet");
}

HealthVerdict JudgeDeployment(LiveFields& live) {
  if (auto verdict = NotObserved(live)) return *verdict;
  if (live.Flag("spec.paused")) {
    return Suspended("Paused", "spec.paused is set");
  }
  if (auto verdict = ReplicaFailure(live)) return *verdict;
  const json& progressing = live.Condition("Progressing");
  const std::string reason = TextOr(Member(progressing, "reason"));
  if (reason == "ProgressDeadlineExceeded") {
    return live.Say(HEALTH_DEGRADED, progressing, reason);
  }
  const int64_t wanted = live.NumberOr("spec.replicas", 1);
  const int64_t replicas = live.NumberOr("status.replicas", 0);
  const int64_t updated = live.NumberOr("status.updatedReplicas", 0);
  const int64_t ready = live.NumberOr("status.readyReplicas", 0);
  const int64_t available = live.NumberOr("status.availableReplicas", 0);
  if (wanted > updated) return Updated(updated, wanted);
  if (replicas > updated) {
    return Progressing("RollingOut",
                       absl::StrFormat("%d old replicas are still there",
                                       replicas - updated));
  }
  if (replicas > wanted) return TooMany(replicas, wanted);
  if (updated > available || wanted > ready || wanted > available) {
    return NotAvailable(available, wanted);
  }
  if (progressing.is_object() && reason != "NewReplicaSetAvailable") {
    return live.Say(HEALTH_PROGRESSING, progressing, "RollingOut");
  }
  if (!live.ConditionIs("Available", "True")) {
    return live.Say(HEALTH_PROGRESSING, live.Condition("Available"),
                    "NotAvailable");
  }
  return Healthy();
}

HealthVerdict JudgeStatefulSet(LiveFields& live) {
  if (auto verdict = NotObserved(live)) return *verdict;
  const int64_t wanted = live.NumberOr("spec.replicas", 1);
  const int64_t replicas = live.NumberOr("status.replicas", 0);
  const int64_t ready = live.NumberOr("status.readyReplicas", 0);
  if (wanted > replicas || wanted > ready) {
    return Progressing("NotReady", absl::StrFormat("%d of %d replicas are "
                                                   "ready",
                                                   ready, wanted));
  }
  if (replicas > wanted) return TooMany(replicas, wanted);
  if (live.NumberOr("spec.minReadySeconds", 0) > 0) {
    const int64_t available = live.NumberOr("status.availableReplicas", 0);
    if (wanted > available) return NotAvailable(available, wanted);
  }
  // Whoever deletes the pods updates them.
  if (live.Text("spec.updateStrategy.type") == "OnDelete") return Healthy();
  const int64_t updated = live.NumberOr("status.updatedReplicas", 0);
  const int64_t partition =
      live.NumberOr("spec.updateStrategy.rollingUpdate.partition", 0);
  if (partition > 0) {
    return updated < wanted - partition ? Updated(updated, wanted - partition)
                                        : Healthy();
  }
  if (live.Text("status.currentRevision") !=
      live.Text("status.updateRevision")) {
    return Updated(updated, wanted);
  }
  return Healthy();
}

HealthVerdict JudgeDaemonSet(LiveFields& live) {
  if (auto verdict = NotObserved(live)) return *verdict;
  const auto wanted = live.Number("status.desiredNumberScheduled");
  if (!wanted.has_value()) {
    return Progressing("NotScheduled", "not scheduled yet");
  }
  const int64_t current = live.NumberOr("status.currentNumberScheduled", 0);
  const int64_t updated = live.NumberOr("status.updatedNumberScheduled", 0);
  const int64_t available = live.NumberOr("status.numberAvailable", 0);
  const int64_t ready = live.NumberOr("status.numberReady", 0);
  if (live.Text("spec.updateStrategy.type") != "OnDelete" &&
      updated < *wanted) {
    return Progressing("RollingOut", absl::StrFormat("%d of %d pods are "
                                                     "updated",
                                                     updated, *wanted));
  }
  if (current < *wanted || available < *wanted || ready < *wanted) {
    return Progressing("NotAvailable",
                       absl::StrFormat("%d of %d pods are available", available,
                                       *wanted));
  }
  return Healthy();
}

HealthVerdict JudgeReplicaSet(LiveFields& live) {
  if (auto verdict = NotObserved(live)) return *verdict;
  if (auto verdict = ReplicaFailure(live)) return *verdict;
  const int64_t wanted = live.NumberOr("spec.replicas", 1);
  const int64_t labelled = live.NumberOr("status.fullyLabeledReplicas", 0);
  const int64_t ready = live.NumberOr("status.readyReplicas", 0);
  const int64_t available = live.NumberOr("status.availableReplicas", 0);
  const int64_t replicas = live.NumberOr("status.replicas", 0);
  if (labelled < wanted || ready < wanted || available < wanted) {
    return NotAvailable(available, wanted);
  }
  if (replicas > wanted) return TooMany(replicas, wanted);
  return Healthy();
}

HealthVerdict JudgeJob(LiveFields& live) {
  if (live.ConditionIs("Failed", "True")) {
    return live.Say(HEALTH_DEGRADED, live.Condition("Failed"), "Failed");
  }
  if (live.ConditionIs("Complete", "True")) return Healthy();
  if (live.Flag("spec.suspend")) {
    return Suspended("Suspended", "spec.suspend is set");
  }
  return Progressing(
      "Running", absl::StrFormat("%d active, %d succeeded, %d failed",
                                 live.NumberOr("status.active", 0),
                                 live.NumberOr("status.succeeded", 0),
                                 live.NumberOr("status.failed", 0)));
}

HealthVerdict JudgeCronJob(LiveFields& live) {
  if (live.Flag("spec.suspend")) {
    return Suspended("Suspended", "spec.suspend is set");
  }
  return Healthy();
}

}  // namespace flotilla::agent
