// SPDX-License-Identifier: Apache-2.0
//
// JudgeHealth says whether a live object works, by the rules of its kind. The
// generic rules of kstatus come first (apply.md 2.5, steps 1 to 3): deletion,
// generation not observed, conditions Reconciling and Stalled; then the rule of
// the kind; then condition Ready. An object of which nothing is known is
// NOT_TRACKABLE. An unknown or malformed status is never HEALTHY.
//
// Objects come from an API server and may have any shape: a value of the wrong
// type counts as absent.

#ifndef FLOTILLA_AGENT_HEALTH_HEALTH_RULES_H_
#define FLOTILLA_AGENT_HEALTH_HEALTH_RULES_H_

#include <string>

#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

struct HealthVerdict {
  core::v1::Health health = core::v1::HEALTH_UNKNOWN;
  // One word; empty when healthy.
  std::string reason;
  // For people; empty when healthy.
  std::string message;
};

// REQUIRES: nothing of `object`.
HealthVerdict JudgeHealth(const nlohmann::json& object);

// Takes the conditions out of `object` that match every field of a pattern.
void DropConditions(
    const google::protobuf::RepeatedPtrField<core::v1::ConditionPattern>&
        patterns,
    nlohmann::json* object);

// Whether JudgeHealth() has a rule for the kind that reads its status: such
// objects are watched in full, others by their metadata.
bool HasHealthRule(absl::string_view group, absl::string_view kind);

// Whether an object of the kind is healthy because it exists (ConfigMap, RBAC,
// ...).
bool IsDataKind(absl::string_view group, absl::string_view kind);

// What is wrong with a pod, such as "pod web-1: container app:
// CrashLoopBackOff: back-off restarting"; empty when nothing is. Lifted to the
// workload that owns the pod.
std::string PodTrouble(const nlohmann::json& pod);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_HEALTH_HEALTH_RULES_H_
