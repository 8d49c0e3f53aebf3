// SPDX-License-Identifier: Apache-2.0

#include "manager/frontend/status_plan.h"

#include <algorithm>

#include "common/kube/object.h"
#include "common/text/cut_text.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;

constexpr char kAccepted[] = "Accepted";
constexpr size_t kMaxMessage = 1500;

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

// The times of `live` when it says the same.
json Condition(absl::string_view type, absl::string_view status,
               absl::string_view reason, absl::string_view message,
               const json& live, absl::Time now) {
  json condition = {{"type", type}, {"status", status}};
  if (!reason.empty()) condition["reason"] = reason;
  if (!message.empty()) condition["message"] = CutText(message, kMaxMessage);
  const json& old = ConditionOf(live, type);
  const bool same_status = TextOr(Member(old, "status")) == status;
  const bool same = same_status && TextOr(Member(old, "reason")) == reason &&
                    TextOr(Member(old, "message")) ==
                        TextOr(Member(condition, "message"));
  const std::string changed = TextOr(Member(old, "lastTransitionTime"));
  const std::string updated = TextOr(Member(old, "lastUpdateTime"));
  condition["lastTransitionTime"] =
      same_status && !changed.empty() ? changed : TimeText(now);
  condition["lastUpdateTime"] =
      same && !updated.empty() ? updated : TimeText(now);
  return condition;
}

void SetCondition(json condition, json& status) {
  json& conditions = status["conditions"];
  if (!conditions.is_array()) conditions = json::array();
  for (json& present : conditions) {
    if (Member(present, "type") == condition["type"]) {
      present = std::move(condition);
      return;
    }
  }
  conditions.push_back(std::move(condition));
}

}  // namespace

const json& ConditionOf(const json& status, absl::string_view type) {
  static const json& none = *new json();
  const json& conditions = Member(status, "conditions");
  if (!conditions.is_array()) return none;
  for (const json& condition : conditions) {
    if (TextOr(Member(condition, "type")) == type) return condition;
  }
  return none;
}

json PlanStatus(const json& known, const Verdict& verdict, const json& live,
                absl::Time now) {
  json status = known.is_object() ? known : json::object();
  const auto conditions = status.find("conditions");
  if (conditions != status.end() && conditions->is_array()) {
    for (json& condition : *conditions) {
      condition = Condition(TextOr(Member(condition, "type")),
                            TextOr(Member(condition, "status")),
                            TextOr(Member(condition, "reason")),
                            TextOr(Member(condition, "message")), live, now);
    }
  }
  if (!verdict.refusal.empty()) {
    SetCondition(Condition(kAccepted, "False", verdict.reason, verdict.refusal,
                           live, now),
                 status);
    if (!known.is_object()) {
      // People look at this one.
      SetCondition(Condition("Ready", "False", verdict.reason, verdict.refusal,
                             live, now),
                   status);
    }
  } else if (ConditionOf(status, kAccepted).is_null()) {
    SetCondition(Condition(kAccepted, "True", "", "", live, now), status);
  }
  if (verdict.generation > 0) {
    status["observedGeneration"] = verdict.generation;
  }
  return status;
}

bool IsUrgent(const json& before, const json& after) {
  if (TextOr(Member(Member(before, "display"), "state")) !=
          TextOr(Member(Member(after, "display"), "state")) ||
      TextOr(Member(before, "commit")) != TextOr(Member(after, "commit"))) {
    return true;
  }
  const json& conditions = Member(after, "conditions");
  if (!conditions.is_array()) return false;
  return std::any_of(
      conditions.begin(), conditions.end(), [&before](const json& condition) {
        const json& old =
            ConditionOf(before, TextOr(Member(condition, "type")));
        return TextOr(Member(old, "status")) !=
               TextOr(Member(condition, "status"));
      });
}

absl::Duration StatusRate::Take(absl::Duration now, bool urgent) {
  if (last_ == -absl::InfiniteDuration()) {
    last_ = now;
  } else {
    tokens_ =
        std::min(kBurst, tokens_ + absl::ToDoubleSeconds(now - last_));
    last_ = now;
  }
  if (urgent || tokens_ >= 1) {
    tokens_ = std::max(0.0, tokens_ - 1);
    return absl::ZeroDuration();
  }
  return absl::Seconds(1 - tokens_);
}

}  // namespace flotilla::manager
