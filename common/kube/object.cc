// SPDX-License-Identifier: Apache-2.0

#include "common/kube/object.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "nlohmann/json.hpp"

#include "flotilla/core/v1/core.pb.h"

namespace flotilla {
namespace {

using nlohmann::json;

// Levels of nesting in `text`, which need not be valid JSON. Before parsing,
// so that a deep document costs nothing.
int NestingOf(absl::string_view text) {
  int depth = 0;
  int deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
      continue;
    }
    if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

bool IsPlainName(absl::string_view name) {
  if (name.empty()) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' ||
           c == '-';
  });
}

// A scalar as people read it: text without quotes.
std::string ScalarText(const json& value) {
  return value.is_string() ? value.get<std::string>() : CanonicalJson(value);
}

json ParseSmall(const std::string& text) {
  absl::StatusOr<json> value = ParseKubeJson(text);
  return value.ok() ? *std::move(value) : json();
}

// Whether `item` has the members of `key`. With `lenient`, members that `item`
// lacks may have been defaulted by the server; one must be there and agree.
bool HasKey(const json& item, const json& key, bool lenient) {
  if (!item.is_object() || !key.is_object()) return false;
  bool agreed = false;
  for (const auto& [name, value] : key.items()) {
    const auto found = item.find(name);
    if (found == item.end()) {
      if (!lenient) return false;
      continue;
    }
    if (*found != value) return false;
    agreed = true;
  }
  return agreed;
}

const json* FindStep(const json& value, const PathStep& step) {
  switch (step.kind) {
    case PathStep::Kind::kField: {
      if (!value.is_object()) return nullptr;
      const auto found = value.find(step.text);
      return found == value.end() ? nullptr : &*found;
    }
    case PathStep::Kind::kKey: {
      if (!value.is_array()) return nullptr;
      const json key = ParseSmall(step.text);
      for (const bool lenient : {false, true}) {
        for (const json& item : value) {
          if (HasKey(item, key, lenient)) return &item;
        }
      }
      return nullptr;
    }
    case PathStep::Kind::kValue: {
      if (!value.is_array()) return nullptr;
      const json wanted = ParseSmall(step.text);
      for (const json& item : value) {
        if (item == wanted) return &item;
      }
      return nullptr;
    }
    case PathStep::Kind::kIndex: {
      uint64_t index = 0;
      if (!value.is_array() || !absl::SimpleAtoi(step.text, &index) ||
          index >= value.size()) {
        return nullptr;
      }
      return &value[index];
    }
  }
  return nullptr;
}

// False when `name` is none of fieldsV1's forms.
bool ParseStep(absl::string_view name, PathStep* step) {
  if (absl::ConsumePrefix(&name, "f:")) {
    step->kind = PathStep::Kind::kField;
    step->text = std::string(name);
    return true;
  }
  if (absl::ConsumePrefix(&name, "i:")) {
    uint64_t index = 0;
    if (!absl::SimpleAtoi(name, &index)) return false;
    step->kind = PathStep::Kind::kIndex;
    step->text = absl::StrCat(index);
    return true;
  }
  const bool is_key = absl::ConsumePrefix(&name, "k:");
  if (!is_key && !absl::ConsumePrefix(&name, "v:")) return false;
  absl::StatusOr<json> value = ParseKubeJson(name);
  if (!value.ok() || (is_key && !value->is_object())) return false;
  step->kind = is_key ? PathStep::Kind::kKey : PathStep::Kind::kValue;
  step->text = CanonicalJson(*value);
  return true;
}

void CollectFieldsV1(const json& node, int depth, FieldPath* path,
                     FieldSet* set) {
  if (!node.is_object() || depth > kMaxJsonDepth) return;
  bool has_children = false;
  for (const auto& [name, child] : node.items()) {
    if (name == ".") continue;
    PathStep step;
    if (!ParseStep(name, &step)) continue;
    has_children = true;
    path->push_back(std::move(step));
    CollectFieldsV1(child, depth + 1, path, set);
    path->pop_back();
  }
  if (!has_children && !path->empty() && set->size() < kMaxFieldPaths) {
    set->insert(*path);
  }
}

// What server-side apply never owns.
bool IsIdentityField(const FieldPath& path, const std::string& name) {
  if (path.empty()) return name == "apiVersion" || name == "kind";
  if (path.size() != 1 || path[0].text != "metadata") return false;
  return name == "name" || name == "namespace" || name == "uid" ||
         name == "resourceVersion" || name == "generation" ||
         name == "creationTimestamp" || name == "managedFields" ||
         name == "selfLink";
}

void CollectLeaves(const json& value, int depth, FieldPath* path,
                   FieldSet* set) {
  if (value.is_null() || depth > kMaxJsonDepth ||
      set->size() >= kMaxFieldPaths) {
    return;
  }
  if (!value.is_object() || value.empty()) {
    if (!path->empty()) set->insert(*path);
    return;
  }
  for (const auto& [name, child] : value.items()) {
    if (IsIdentityField(*path, name)) continue;
    path->push_back({PathStep::Kind::kField, name});
    CollectLeaves(child, depth + 1, path, set);
    path->pop_back();
  }
}

}  // namespace

ObjectIdentity IdentityOf(const core::v1::ResourceKey& key) {
  return {key.group(), key.kind(), key.namespace_(), key.name()};
}

bool SameObject(const core::v1::ResourceKey& a,
                const core::v1::ResourceKey& b) {
  return a.name() == b.name() && a.namespace_() == b.namespace_() &&
         a.kind() == b.kind() && a.group() == b.group();
}

bool KeyLess(const core::v1::ResourceKey& a, const core::v1::ResourceKey& b) {
  return std::tie(a.group(), a.kind(), a.namespace_(), a.name()) <
         std::tie(b.group(), b.kind(), b.namespace_(), b.name());
}

std::string KeyText(const core::v1::ResourceKey& key) {
  std::string text = absl::AsciiStrToLower(key.kind());
  if (!key.group().empty()) absl::StrAppend(&text, ".", key.group());
  absl::StrAppend(&text, " ");
  if (!key.namespace_().empty()) absl::StrAppend(&text, key.namespace_(), "/");
  absl::StrAppend(&text, key.name());
  return text;
}

void SplitApiVersion(absl::string_view api_version, std::string* group,
                     std::string* version) {
  const size_t slash = api_version.find('/');
  if (slash == absl::string_view::npos) {
    group->clear();
    *version = std::string(api_version);
  } else {
    *group = std::string(api_version.substr(0, slash));
    *version = std::string(api_version.substr(slash + 1));
  }
}

std::string JoinApiVersion(absl::string_view group, absl::string_view version) {
  return group.empty() ? std::string(version)
                       : absl::StrCat(group, "/", version);
}

absl::StatusOr<core::v1::ResourceKey> KeyOf(const json& object) {
  if (!object.is_object()) {
    return absl::InvalidArgumentError("a Kubernetes object must be a map");
  }
  const std::string api_version = TextOr(Member(object, "apiVersion"));
  const std::string kind = TextOr(Member(object, "kind"));
  if (api_version.empty()) {
    return absl::InvalidArgumentError(
        "the object has no apiVersion (a text such as \"v1\")");
  }
  if (kind.empty()) {
    return absl::InvalidArgumentError("the object has no kind");
  }
  const json& metadata = Member(object, "metadata");
  const std::string name = TextOr(Member(metadata, "name"));
  if (name.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the ", kind, " has no metadata.name"));
  }
  core::v1::ResourceKey key;
  SplitApiVersion(api_version, key.mutable_group(), key.mutable_version());
  key.set_kind(kind);
  key.set_namespace_(TextOr(Member(metadata, "namespace")));
  key.set_name(name);
  return key;
}

absl::StatusOr<json> ParseKubeJson(absl::string_view text) {
  if (NestingOf(text) > kMaxJsonDepth) {
    return absl::InvalidArgumentError(absl::StrCat(
        "JSON is nested more than ", kMaxJsonDepth, " levels deep"));
  }
  json value = json::parse(text.begin(), text.end(), nullptr,
                           /*allow_exceptions=*/false);
  if (value.is_discarded()) {
    return absl::InvalidArgumentError("broken JSON");
  }
  return value;
}

std::string CanonicalJson(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

const json& Member(const json& object, absl::string_view name) {
  static const json* const kNull = new json();
  if (!object.is_object()) return *kNull;
  const auto found = object.find(std::string(name));
  return found == object.end() ? *kNull : *found;
}

std::string TextOr(const json& value, absl::string_view otherwise) {
  return value.is_string() ? value.get<std::string>() : std::string(otherwise);
}

int64_t IntegerOr(const json& value, int64_t otherwise) {
  if (value.is_number_unsigned()) {
    const uint64_t number = value.get<uint64_t>();
    return number <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
               ? static_cast<int64_t>(number)
               : otherwise;
  }
  return value.is_number_integer() ? value.get<int64_t>() : otherwise;
}

std::string FinalizersText(const json& object) {
  std::vector<std::string> names;
  const json& list = Member(Member(object, "metadata"), "finalizers");
  if (list.is_array()) {
    for (const json& name : list) {
      if (name.is_string() && names.size() < 5) {
        names.push_back(name.get<std::string>());
      }
    }
  }
  return absl::StrJoin(names, ", ");
}

bool BoolOr(const json& value, bool otherwise) {
  return value.is_boolean() ? value.get<bool>() : otherwise;
}

std::string PathText(const FieldPath& path) {
  std::string text;
  for (const PathStep& step : path) {
    switch (step.kind) {
      case PathStep::Kind::kField:
        if (IsPlainName(step.text)) {
          absl::StrAppend(&text, text.empty() ? "" : ".", step.text);
        } else {
          absl::StrAppend(&text, "[", step.text, "]");
        }
        break;
      case PathStep::Kind::kKey: {
        const json key = ParseSmall(step.text);
        absl::string_view comma = "";
        absl::StrAppend(&text, "[");
        if (key.is_object()) {
          for (const auto& [name, value] : key.items()) {
            absl::StrAppend(&text, comma, name, "=", ScalarText(value));
            comma = ",";
          }
        }
        absl::StrAppend(&text, "]");
        break;
      }
      case PathStep::Kind::kValue:
        absl::StrAppend(&text, "[=", ScalarText(ParseSmall(step.text)), "]");
        break;
      case PathStep::Kind::kIndex:
        absl::StrAppend(&text, "[", step.text, "]");
        break;
    }
  }
  return text;
}

const json* FindPath(const json& object, const FieldPath& path) {
  const json* value = &object;
  for (const PathStep& step : path) {
    value = FindStep(*value, step);
    if (value == nullptr) return nullptr;
  }
  return value;
}

bool IsPrefix(const FieldPath& prefix, const FieldPath& path) {
  return prefix.size() <= path.size() &&
         std::equal(prefix.begin(), prefix.end(), path.begin());
}

FieldSet ParseFieldsV1(const json& fields) {
  FieldSet set;
  FieldPath path;
  CollectFieldsV1(fields, 0, &path, &set);
  return set;
}

std::vector<ManagedFieldsEntry> ParseManagedFields(const json& object) {
  std::vector<ManagedFieldsEntry> entries;
  const json& list = Member(Member(object, "metadata"), "managedFields");
  if (!list.is_array()) return entries;
  for (const json& item : list) {
    ManagedFieldsEntry entry;
    entry.manager = TextOr(Member(item, "manager"));
    entry.operation = TextOr(Member(item, "operation"));
    if (entry.manager.empty() || entry.operation.empty()) continue;
    entry.api_version = TextOr(Member(item, "apiVersion"));
    entry.subresource = TextOr(Member(item, "subresource"));
    entry.time = TextOr(Member(item, "time"));
    entry.fields = ParseFieldsV1(Member(item, "fieldsV1"));
    entries.push_back(std::move(entry));
  }
  return entries;
}

FieldSet AppliedFields(const std::vector<ManagedFieldsEntry>& entries,
                       absl::string_view manager) {
  FieldSet fields;
  for (const ManagedFieldsEntry& entry : entries) {
    if (entry.manager == manager && entry.operation == "Apply" &&
        entry.subresource.empty()) {
      fields.insert(entry.fields.begin(), entry.fields.end());
    }
  }
  return fields;
}

FieldSet Minus(const FieldSet& a, const FieldSet& b) {
  FieldSet rest;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(),
                      std::inserter(rest, rest.end()));
  return rest;
}

FieldSet LeavesOf(const json& manifest) {
  FieldSet leaves;
  FieldPath path;
  if (manifest.is_object()) CollectLeaves(manifest, 0, &path, &leaves);
  return leaves;
}

}  // namespace flotilla
