// SPDX-License-Identifier: Apache-2.0
//
// KindTable is what is known of kinds whose health can be read off a condition
// or a field: a table of rows, in kind_table.cc.

#ifndef FLOTILLA_AGENT_HEALTH_KIND_TABLE_H_
#define FLOTILLA_AGENT_HEALTH_KIND_TABLE_H_

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "agent/health/health_verdict.h"
#include "agent/health/live_fields.h"

namespace flotilla::agent {

// The verdict of the first row that fits; nothing: the table has no such kind.
absl::optional<HealthVerdict> JudgeByKindTable(absl::string_view group,
                                               absl::string_view kind,
                                               LiveFields& live);

// Whether an object of the kind is healthy because it exists (ConfigMap, RBAC,
// ...): its metadata is all that has to be watched.
bool IsDataKind(absl::string_view group, absl::string_view kind);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_HEALTH_KIND_TABLE_H_
