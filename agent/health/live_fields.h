// SPDX-License-Identifier: Apache-2.0
//
// LiveFields reads the fields of a live object for a health rule and remembers
// whether one of them had a shape that its kind does not allow: what was read
// then says nothing, and no rule may call the object healthy for it. A field
// that is absent or null is not malformed.

#ifndef FLOTILLA_AGENT_HEALTH_LIVE_FIELDS_H_
#define FLOTILLA_AGENT_HEALTH_LIVE_FIELDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "agent/health/health_verdict.h"
#include "flotilla/core/v1/core.pb.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

// Paths are names with dots between them, such as "status.replicas".
//
// Thread-compatible.
class LiveFields {
 public:
  // Not owned; must outlive the reader.
  explicit LiveFields(const nlohmann::json& object) : object_(object) {}

  // Null when it is absent.
  const nlohmann::json& Value(absl::string_view path);
  absl::optional<int64_t> Number(absl::string_view path);
  int64_t NumberOr(absl::string_view path, int64_t otherwise);
  // false when it is absent.
  bool Flag(absl::string_view path);
  // Empty when it is absent.
  std::string Text(absl::string_view path);
  // The condition of a type in `status.conditions`; null: none.
  const nlohmann::json& Condition(absl::string_view type);
  bool ConditionIs(absl::string_view type, absl::string_view status);
  // The items of a list that are maps.
  std::vector<const nlohmann::json*> Items(absl::string_view path);

  // A verdict in the words of a condition; `fallback` where it has none.
  HealthVerdict Say(core::v1::Health health, const nlohmann::json& condition,
                    const std::string& fallback);

  // The first field of a wrong shape, such as "status.replicas"; empty: none.
  const std::string& malformed() const { return malformed_; }

 private:
  void Blame(absl::string_view path);

  // Constant after construction.
  const nlohmann::json& object_;
  std::string malformed_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_HEALTH_LIVE_FIELDS_H_
