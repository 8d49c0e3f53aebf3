// SPDX-License-Identifier: Apache-2.0
//
// Health by a rule that a user wrote: a Lua script that looks at `obj` and
// returns a table with `status` (Healthy, Progressing, Degraded, Suspended,
// Missing or Unknown) and `message`, as Argo CD's health checks do. It runs in
// a LuaSandbox. A script that fails gives UNKNOWN, with its line.

#ifndef FLOTILLA_AGENT_HEALTH_HEALTH_SCRIPT_H_
#define FLOTILLA_AGENT_HEALTH_HEALTH_SCRIPT_H_

#include "agent/health/health_verdict.h"
#include "flotilla/core/v1/core.pb.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

HealthVerdict RunHealthScript(const core::v1::HealthRule& rule,
                              const nlohmann::json& object);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_HEALTH_HEALTH_SCRIPT_H_
