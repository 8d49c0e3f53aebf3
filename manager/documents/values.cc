// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/values.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;

constexpr absl::string_view kClusterLabels = "global.fleet.clusterLabels.";

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

bool FindTemplate(const json& values, bool labels_only, std::string& pointer) {
  if (values.is_string()) {
    const auto& text = values.get_ref<const std::string&>();
    return absl::StartsWith(text, kClusterLabels) ||
           (!labels_only && absl::StrContains(text, "${"));
  }
  if (values.is_object()) {
    for (const auto& item : values.items()) {
      std::string inner;
      if ((!labels_only && absl::StrContains(item.key(), "${")) ||
          FindTemplate(item.value(), labels_only, inner)) {
        pointer = absl::StrCat(
            "/",
            absl::StrReplaceAll(item.key(), {{"~", "~0"}, {"/", "~1"}}),
            inner);
        return true;
      }
    }
  }
  if (values.is_array()) {
    for (size_t i = 0; i < values.size(); ++i) {
      std::string inner;
      if (FindTemplate(values[i], labels_only, inner)) {
        pointer = absl::StrCat("/", i, inner);
        return true;
      }
    }
  }
  return false;
}

}  // namespace flotilla::manager
