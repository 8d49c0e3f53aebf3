// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/values.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;

json ObjectOf(const std::string& text) {
  if (text.empty()) return json::object();
  json value = json::parse(text, nullptr, false);
  return value.is_object() ? value : json::object();
}

}  // namespace

std::string CanonicalValues(const json& values) {
  if (!values.is_object() || values.empty()) return "";
  return values.dump(-1, ' ', false, json::error_handler_t::replace);
}

void MergeValues(json& base, const json& custom) {
  if (!base.is_object() || !custom.is_object()) {
    base = custom;
    return;
  }
  for (const auto& item : custom.items()) {
    MergeValues(base[item.key()], item.value());
  }
}

std::string MergeValuesText(const std::string& base,
                            const std::string& custom) {
  json merged = ObjectOf(base);
  MergeValues(merged, ObjectOf(custom));
  return CanonicalValues(merged);
}

}  // namespace flotilla::manager
