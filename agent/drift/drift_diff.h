// SPDX-License-Identifier: Apache-2.0
//
// Finds out how a live object differs from its manifest. What is ours is told
// by managedFields: a field that somebody changes, removes or takes by force
// leaves our entry there (limits-apply.md 4), so that defaults and normal forms
// of the server are never taken for drift. Live objects may have any shape.

#ifndef FLOTILLA_AGENT_DRIFT_DRIFT_DIFF_H_
#define FLOTILLA_AGENT_DRIFT_DRIFT_DIFF_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "agent/drift/ignore_rules.h"
#include "flotilla/core/v1/core.pb.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

// Our entry of the object's managedFields as canonical JSON; empty when there
// is none. Equal texts: nobody touched what is ours.
std::string OwnedFieldsText(const nlohmann::json& object);

// Whether the object is ours and bears the mark of that bundle.
bool BearsMark(const nlohmann::json& object, absl::string_view bundle_id);

// A digest over what others than us and Kubernetes' own controllers own of the
// main resource and its scale. Empty when that is nothing.
std::string ForeignFieldsDigest(const nlohmann::json& object);

// Thread-compatible.
struct DriftDiff {
  // What is ours has changed hands: apply again, even when `records` is empty
  // (the same value is there, but somebody else's).
  bool owned_lost = false;
  // path, operation, wanted, live, field_manager, manager_operation and
  // managed_time are set; at most 100. Additions come last.
  std::vector<core::v1::DriftRecord> records;
  int additions = 0;
  // Something of ours has changed hands that the rules ignore.
  bool tolerated = false;
};

// Thread-compatible.
struct DriftRules {
  // Values are shown as "<redacted>".
  bool secret = false;
  IgnoreRules ignore;
  // JSON pointers of what the last apply left as it was in the cluster: we do
  // not own them, so that their values tell.
  std::vector<std::string> held;
};

// `expected_fields` is OwnedFieldsText() after the last apply.
DriftDiff DiffDrift(const nlohmann::json& wanted, const nlohmann::json& live,
                    absl::string_view expected_fields,
                    const DriftRules& rules);

// "spec.replicas is 5, should be 2 (kubectl)": one line for people.
std::string DriftText(const core::v1::DriftRecord& record);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_DRIFT_DRIFT_DIFF_H_
