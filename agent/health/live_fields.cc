// SPDX-License-Identifier: Apache-2.0

#include "agent/health/live_fields.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/kube/object.h"

namespace flotilla::agent {
namespace {

using nlohmann::json;

const json& Null() {
  static const json* const kNull = new json();
  return *kNull;
}

}  // namespace

void LiveFields::Blame(absl::string_view path) {
  if (malformed_.empty()) malformed_ = std::string(path);
}

const json& LiveFields::Value(absl::string_view path) {
  const json* value = &object_;
  for (const absl::string_view name : absl::StrSplit(path, '.')) {
    if (value->is_null()) return Null();
    if (!value->is_object()) {
      Blame(path);
      return Null();
    }
    const auto found = value->find(std::string(name));
    if (found == value->end()) return Null();
    value = &*found;
  }
  return *value;
}

absl::optional<int64_t> LiveFields::Number(absl::string_view path) {
  const json& value = Value(path);
  if (value.is_null()) return absl::nullopt;
  if (!value.is_number_integer() ||
      (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX)) {
    Blame(path);
    return absl::nullopt;
  }
  return value.get<int64_t>();
}

int64_t LiveFields::NumberOr(absl::string_view path, int64_t otherwise) {
  return Number(path).value_or(otherwise);
}

bool LiveFields::Flag(absl::string_view path) {
  const json& value = Value(path);
  if (!value.is_null() && !value.is_boolean()) Blame(path);
  return value.is_boolean() && value.get<bool>();
}

std::string LiveFields::Text(absl::string_view path) {
  const json& value = Value(path);
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_null()) Blame(path);
  return "";
}

std::vector<const json*> LiveFields::Items(absl::string_view path) {
  const json& list = Value(path);
  std::vector<const json*> items;
  if (!list.is_null() && !list.is_array()) Blame(path);
  if (!list.is_array()) return items;
  for (const json& item : list) {
    if (item.is_object()) {
      items.push_back(&item);
    } else {
      Blame(path);
    }
  }
  return items;
}

const json& LiveFields::Condition(absl::string_view type) {
  for (const json* condition : Items("status.conditions")) {
    const json& its_type = Member(*condition, "type");
    const json& status = Member(*condition, "status");
    if (!its_type.is_string() || !status.is_string()) {
      Blame("status.conditions");
    } else if (its_type.get_ref<const std::string&>() == type) {
      return *condition;
    }
  }
  return Null();
}

bool LiveFields::ConditionIs(absl::string_view type, absl::string_view status) {
  return TextOr(Member(Condition(type), "status")) == status;
}

HealthVerdict LiveFields::Say(core::v1::Health health, const json& condition,
                              const std::string& fallback) {
  std::string reason = TextOr(Member(condition, "reason"));
  std::string message = TextOr(Member(condition, "message"));
  if (reason.empty()) reason = fallback;
  if (message.empty()) message = reason;
  HealthVerdict verdict = Progressing(std::move(reason), std::move(message));
  verdict.health = health;
  return verdict;
}

}  // namespace flotilla::agent
