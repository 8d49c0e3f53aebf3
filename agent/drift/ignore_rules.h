// SPDX-License-Identifier: Apache-2.0
//
// IgnoreRules are the diff.comparePatches of a deployment that apply to one
// object (spec.md 8.3), and what well-known controllers may do to it (8.2):
// which differences are no drift, and which fields of it are left as they are
// in the cluster when it is sent (apply.md 2.3).
//
// Patterns come from users: they match in linear time, and an operation can
// make nothing deeper than kMaxJsonDepth.

#ifndef FLOTILLA_AGENT_DRIFT_IGNORE_RULES_H_
#define FLOTILLA_AGENT_DRIFT_IGNORE_RULES_H_

#include <string>
#include <vector>

#include "flotilla/core/v1/core.pb.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

// Immutable.
class IgnoreRules {
 public:
  // None.
  IgnoreRules() = default;
  IgnoreRules(const core::v1::DeployPolicy& policy,
              const core::v1::ResourceKey& key);

  bool empty() const { return pointers_.empty() && operations_.empty(); }
  // Nothing is done about an object that is missing, or no longer marked as
  // ours (operation "ignore").
  bool ignores_absence() const { return ignores_absence_; }

  // These, and those for what well-known controllers own of `live`: replicas
  // that an autoscaler sets, caBundles that the manifest leaves to others.
  IgnoreRules WithWellKnown(const nlohmann::json& wanted,
                            const nlohmann::json& live) const;

  // What counts of an object, wanted or live. One operation that fails drops
  // all of them.
  nlohmann::json Relevant(nlohmann::json object) const;

  // `wanted` with the fields that the rules name as they are in `live`: left
  // out where another manager owns them or where they are missing, else with
  // the live value, so that to send it changes none of them. `held` gets the
  // JSON pointers of the fields that differ from `wanted`.
  nlohmann::json Adapted(nlohmann::json wanted, const nlohmann::json& live,
                         std::vector<std::string>* held) const;

 private:
  std::vector<std::string> pointers_;
  std::vector<core::v1::JsonPatchOperation> operations_;
  bool ignores_absence_ = false;
};

// The value at a JSON pointer; nullptr when it is not there.
const nlohmann::json* AtPointer(const nlohmann::json& object,
                                const std::string& pointer);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_DRIFT_IGNORE_RULES_H_
