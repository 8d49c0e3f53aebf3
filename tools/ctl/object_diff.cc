// SPDX-License-Identifier: Apache-2.0

#include "tools/ctl/object_diff.h"

#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "tools/ctl/printer.h"

namespace flotilla::ctl {
namespace {

using nlohmann::json;

constexpr size_t kMaxShownValue = 200;
constexpr char kRedacted[] = "<redacted>";

// Namespace, kind, group, name.
using Key = std::tuple<std::string, std::string, std::string, std::string>;

std::string Text(const json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  return found == object.end() || !found->is_string()
             ? ""
             : found->get<std::string>();
}

const json& Metadata(const json& object) {
  static const json* const kNone = new json(json::object());
  const auto found = object.find("metadata");
  return found == object.end() || !found->is_object() ? *kNone : *found;
}

Key KeyOf(const json& object) {
  const std::string version = Text(object, "apiVersion");
  const size_t slash = version.find('/');
  return {Text(Metadata(object), "namespace"), Text(object, "kind"),
          slash == std::string::npos ? "" : version.substr(0, slash),
          Text(Metadata(object), "name")};
}

bool IsSecret(const Key& key) {
  return std::get<1>(key) == "Secret" && std::get<2>(key).empty();
}

bool HidesValue(absl::string_view path) {
  return path == "/data" || path == "/stringData" || path.empty() ||
         absl::StartsWith(path, "/data/") ||
         absl::StartsWith(path, "/stringData/") ||
         absl::StartsWith(path, "/metadata/annotations");
}

std::map<Key, const json*> Index(const std::vector<json>& objects) {
  std::map<Key, const json*> out;
  for (const json& object : objects) {
    if (object.is_object()) out[KeyOf(object)] = &object;
  }
  return out;
}

ObjectChange Change(ObjectChange::Kind kind, const Key& key,
                    const json& object) {
  ObjectChange change;
  change.kind = kind;
  change.api_version = Text(object, "apiVersion");
  change.object_namespace = std::get<0>(key);
  change.object_kind = std::get<1>(key);
  change.name = std::get<3>(key);
  return change;
}

json Operations(const Key& key, const json& before, const json& after) {
  json operations = json::diff(before, after);
  for (json& operation : operations) {
    const std::string path = Text(operation, "path");
    if (operation["op"] != "add") {
      const json::json_pointer pointer(path);
      if (before.contains(pointer)) operation["old"] = before.at(pointer);
    }
    if (IsSecret(key) && HidesValue(path)) {
      for (const char* member : {"old", "value"}) {
        if (operation.contains(member)) operation[member] = kRedacted;
      }
    }
  }
  return operations;
}

std::string Shown(const json& value) {
  std::string text =
      value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > kMaxShownValue) {
    text.resize(kMaxShownValue);
    text += "...";
  }
  return Safe(text);
}

std::string OperationText(const json& operation) {
  const std::string op = Text(operation, "op");
  const std::string path = Safe(Text(operation, "path"));
  const auto value = [&operation](const char* key) {
    return operation.contains(key) ? Shown(operation.at(key)) : "?";
  };
  if (op == "add") return absl::StrCat("    + ", path, ": ", value("value"));
  if (op == "remove") return absl::StrCat("    - ", path, ": ", value("old"));
  return absl::StrCat("    ~ ", path, ": ", value("old"), " -> ",
                      value("value"));
}

}  // namespace

std::vector<ObjectChange> DiffObjects(const std::vector<json>& before,
                                      const std::vector<json>& after) {
  const std::map<Key, const json*> old = Index(before);
  const std::map<Key, const json*> now = Index(after);
  std::map<Key, ObjectChange> changes;
  for (const auto& [key, object] : old) {
    if (now.count(key) == 0) {
      changes[key] = Change(ObjectChange::Kind::kRemoved, key, *object);
    }
  }
  for (const auto& [key, object] : now) {
    const auto found = old.find(key);
    if (found == old.end()) {
      changes[key] = Change(ObjectChange::Kind::kAdded, key, *object);
    } else if (*found->second != *object) {
      ObjectChange change =
          Change(ObjectChange::Kind::kChanged, key, *object);
      change.operations = Operations(key, *found->second, *object);
      changes[key] = std::move(change);
    }
  }
  std::vector<ObjectChange> out;
  out.reserve(changes.size());
  for (auto& [key, change] : changes) out.push_back(std::move(change));
  return out;
}

std::string DiffText(const std::vector<ObjectChange>& changes) {
  std::string out;
  for (const ObjectChange& change : changes) {
    const char* mark = change.kind == ObjectChange::Kind::kAdded     ? "+"
                       : change.kind == ObjectChange::Kind::kRemoved ? "-"
                                                                     : "~";
    absl::StrAppend(
        &out, mark, " ", Safe(change.object_kind), " ",
        change.object_namespace.empty()
            ? ""
            : absl::StrCat(Safe(change.object_namespace), "/"),
        Safe(change.name), "\n");
    for (const json& operation : change.operations) {
      absl::StrAppend(&out, OperationText(operation), "\n");
    }
  }
  return out;
}

json DiffJson(const std::vector<ObjectChange>& changes) {
  json out = json::array();
  for (const ObjectChange& change : changes) {
    json entry = {{"apiVersion", change.api_version},
                  {"kind", change.object_kind},
                  {"name", change.name}};
    if (!change.object_namespace.empty()) {
      entry["namespace"] = change.object_namespace;
    }
    switch (change.kind) {
      case ObjectChange::Kind::kAdded:
        entry["change"] = "added";
        break;
      case ObjectChange::Kind::kRemoved:
        entry["change"] = "removed";
        break;
      case ObjectChange::Kind::kChanged:
        entry["change"] = "changed";
        entry["operations"] = change.operations;
        break;
    }
    out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace flotilla::ctl
