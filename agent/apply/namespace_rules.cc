// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/namespace_rules.h"

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/kube/object.h"

namespace flotilla::agent {
namespace {

using core::v1::DriftRecord;
using nlohmann::json;

LabelMap ReadMap(const json& object) {
  LabelMap map;
  if (!object.is_object()) return map;
  for (const auto& [key, value] : object.items()) {
    if (value.is_string()) map[key] = value.get<std::string>();
  }
  return map;
}

bool IsExempt(absl::string_view key) {
  return key == "kubernetes.io/metadata.name" ||
         absl::StartsWith(key, "pod-security.kubernetes.io/") ||
         absl::StartsWith(key, "flotilla.dev/");
}

// metadata.<field>[key] of `fields`.
std::set<std::string> KeysUnder(const FieldSet& fields,
                                absl::string_view field) {
  std::set<std::string> keys;
  for (const FieldPath& path : fields) {
    if (path.size() == 3 && path[0].text == "metadata" &&
        path[1].text == field) {
      keys.insert(path[2].text);
    }
  }
  return keys;
}

void CompareMap(absl::string_view field, const LabelMap& wish,
                const LabelMap& live, const std::set<std::string>& applied,
                NamespaceChange* change) {
  if (wish.empty()) return;
  const auto record = [&](const std::string& key,
                          core::v1::DriftOperation operation,
                          const std::string* wanted, const std::string* found) {
    DriftRecord& one = change->records.emplace_back();
    one.set_path(absl::StrCat("metadata.", field, "[", key, "]"));
    one.set_operation(operation);
    if (wanted != nullptr) one.set_wanted(json(*wanted).dump());
    if (found != nullptr) one.set_live(json(*found).dump());
  };
  for (const auto& [key, value] : wish) {
    if (IsExempt(key)) continue;
    const auto found = live.find(key);
    if (found != live.end() && found->second == value) continue;
    if (applied.count(key) > 0) {
      change->contested.push_back(absl::StrCat("metadata.", field, "[", key,
                                               "]"));
      continue;
    }
    change->patch["metadata"][std::string(field)][key] = value;
    if (found == live.end()) {
      record(key, core::v1::DRIFT_OPERATION_REMOVED, &value, nullptr);
    } else {
      record(key, core::v1::DRIFT_OPERATION_CHANGED, &value, &found->second);
    }
  }
  for (const auto& [key, value] : live) {
    if (IsExempt(key) || wish.count(key) > 0 || applied.count(key) > 0) {
      continue;
    }
    change->patch["metadata"][std::string(field)][key] = nullptr;
    record(key, core::v1::DRIFT_OPERATION_ADDED, nullptr, &value);
  }
}

}  // namespace

bool LiveNamespace::SameAs(const LiveNamespace& other) const {
  return uid == other.uid && deleting == other.deleting &&
         labels == other.labels && annotations == other.annotations &&
         applied_labels == other.applied_labels &&
         applied_annotations == other.applied_annotations;
}

LiveNamespace ReadNamespace(const KubeObject& object) {
  LiveNamespace live;
  live.uid = object.head.uid;
  live.resource_version = object.head.resource_version;
  live.deleting = object.head.deleting;
  const absl::StatusOr<json> parsed = ParseKubeJson(object.json);
  if (!parsed.ok()) return live;
  const json& metadata = Member(*parsed, "metadata");
  live.labels = ReadMap(Member(metadata, "labels"));
  live.annotations = ReadMap(Member(metadata, "annotations"));
  const FieldSet applied =
      AppliedFields(ParseManagedFields(*parsed), kFieldManager);
  live.applied_labels = KeysUnder(applied, "labels");
  live.applied_annotations = KeysUnder(applied, "annotations");
  return live;
}

NamespaceWish WishOf(const core::v1::DeployPolicy& policy) {
  NamespaceWish wish;
  wish.labels = ToLabelMap(policy.namespace_labels());
  wish.annotations = ToLabelMap(policy.namespace_annotations());
  return wish;
}

bool Agree(const NamespaceWish& a, const NamespaceWish& b) {
  const auto agree = [](const LabelMap& one, const LabelMap& other) {
    return one.empty() || other.empty() || one == other;
  };
  return agree(a.labels, b.labels) && agree(a.annotations, b.annotations);
}

NamespaceChange CompareNamespace(const NamespaceWish& wish,
                                 const LiveNamespace& live, bool has_owner) {
  static const std::set<std::string> kNone;
  NamespaceChange change;
  CompareMap("labels", wish.labels, live.labels,
             has_owner ? live.applied_labels : kNone, &change);
  CompareMap("annotations", wish.annotations, live.annotations,
             has_owner ? live.applied_annotations : kNone, &change);
  // Of this very namespace, and not of one made anew under its name.
  if (!change.patch.is_null() && !live.uid.empty()) {
    change.patch["metadata"]["uid"] = live.uid;
  }
  return change;
}

bool IsProtectedNamespace(absl::string_view name,
                          absl::string_view agent_namespace) {
  return name.empty() || name == "default" || name == agent_namespace ||
         absl::StartsWith(name, "kube-") || absl::StartsWith(name, "cattle-") ||
         absl::StartsWith(name, "fleet-");
}

}  // namespace flotilla::agent
