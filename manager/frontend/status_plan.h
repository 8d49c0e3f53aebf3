// SPDX-License-Identifier: Apache-2.0
//
// What is written into an object's `status`, and whether that is urgent: what
// is known of the document (StatusSource), what the front end itself has to
// say, and what is there already. The same inputs give the same bytes.

#ifndef FLOTILLA_MANAGER_FRONTEND_STATUS_PLAN_H_
#define FLOTILLA_MANAGER_FRONTEND_STATUS_PLAN_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// The front end's own word on an object.
//
// Thread-compatible.
struct Verdict {
  // Not empty: the object was not taken as it is; a sentence.
  std::string refusal;
  // One word: "Invalid", "Conflict".
  std::string reason;
  // metadata.generation that was judged; 0: none.
  int64_t generation = 0;
};

// `known` is what StatusSource says, null when there is no such document;
// `live` is the object's status, null when it has none. Keys of `live` that
// nobody speaks of any more are gone. Each condition has its times: those of
// `live` while it says the same. The size stays below kMaxStatusBytes, since
// StatusSource leaves room for what is added here.
nlohmann::json PlanStatus(const nlohmann::json& known, const Verdict& verdict,
                          const nlohmann::json& live, absl::Time now);

// Whether a reader waits for this change: a state, the status of a condition,
// or the commit differs.
bool IsUrgent(const nlohmann::json& before, const nlohmann::json& after);

// The condition of that type; null when there is none.
const nlohmann::json& ConditionOf(const nlohmann::json& status,
                                  absl::string_view type);

// Allows a burst of five, then one a second (decisions.md 15).
//
// Thread-compatible.
class StatusRate {
 public:
  // How long to wait before the next write; zero: now, and it is counted.
  absl::Duration Take(absl::Duration now, bool urgent);

 private:
  static constexpr double kBurst = 5;

  double tokens_ = kBurst;
  absl::Duration last_ = -absl::InfiniteDuration();
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_FRONTEND_STATUS_PLAN_H_
