// SPDX-License-Identifier: Apache-2.0
//
// JudgeHealth says whether a live object works, by the rules of its kind. The
// generic rules of kstatus come first (apply.md 2.5, steps 1 to 3): deletion,
// generation not observed, conditions Reconciling and Stalled; then the user's
// rule (health_script.h) or the one of the kind; then condition Ready. An
// object of which nothing is known is NOT_TRACKABLE, after its controller had
// time to write a first status. An unknown or malformed status is never
// HEALTHY.
//
// Objects come from an API server and may have any shape.

#ifndef FLOTILLA_AGENT_HEALTH_HEALTH_RULES_H_
#define FLOTILLA_AGENT_HEALTH_HEALTH_RULES_H_

#include "absl/strings/string_view.h"
#include "agent/health/health_verdict.h"
#include "flotilla/core/v1/core.pb.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

// REQUIRES: nothing of `object`.
HealthVerdict JudgeHealth(const nlohmann::json& object,
                          const HealthContext& context);

// Takes the conditions out of `object` that match every field of a pattern.
void DropConditions(
    const google::protobuf::RepeatedPtrField<core::v1::ConditionPattern>&
        patterns,
    nlohmann::json* object);

// Whether JudgeHealth() reads the status of the kind: such objects are watched
// in full, others by their metadata. A kind that is not known may have the
// conditions of the generic rules.
bool HasHealthRule(absl::string_view group, absl::string_view kind);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_HEALTH_HEALTH_RULES_H_
