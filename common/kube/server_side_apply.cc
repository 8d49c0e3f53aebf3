// SPDX-License-Identifier: Apache-2.0

#include "common/kube/server_side_apply.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace flotilla {
namespace {

using nlohmann::json;

using Managers = std::vector<ManagedFieldsEntry>;

// The members by which items of the list `field` are told apart; empty: the
// list is atomic.
std::vector<std::string> MergeKeysOf(absl::string_view field,
                                     const json& list) {
  const auto all_have = [&list](const std::string& name) {
    return std::all_of(list.begin(), list.end(), [&name](const json& item) {
      return item.is_object() && item.contains(name);
    });
  };
  std::vector<std::string> keys;
  if (field == "containers" || field == "initContainers" ||
      field == "volumes" || field == "env") {
    keys = {"name"};
  } else if (field == "ports") {
    keys = {all_have("containerPort") ? "containerPort" : "port"};
  } else if (field == "volumeMounts") {
    keys = {"mountPath"};
  } else if (field == "conditions") {
    keys = {"type"};
  } else if (field == "ownerReferences") {
    keys = {"uid"};
  }
  if (keys.empty() || list.empty() || !all_have(keys[0])) return {};
  if (field == "ports") keys.push_back("protocol");
  return keys;
}

PathStep KeyStep(const std::vector<std::string>& keys, const json& item) {
  json key = json::object();
  for (const std::string& name : keys) {
    key[name] = item.contains(name) ? item[name] : json("TCP");
  }
  return {PathStep::Kind::kKey, CanonicalJson(key)};
}

bool IsIdentity(const FieldPath& path, const std::string& name) {
  if (path.empty()) return name == "apiVersion" || name == "kind";
  if (path.size() != 1 || path[0].text != "metadata") return false;
  return name == "name" || name == "namespace" || name == "uid" ||
         name == "resourceVersion" || name == "generation" ||
         name == "creationTimestamp" || name == "managedFields" ||
         name == "deletionTimestamp";
}

void Collect(const json& value, FieldPath* path, FieldSet* set) {
  if (value.is_null()) return;
  if (value.is_object() && !value.empty()) {
    for (const auto& [name, child] : value.items()) {
      if (IsIdentity(*path, name)) continue;
      path->push_back({PathStep::Kind::kField, name});
      Collect(child, path, set);
      path->pop_back();
    }
    return;
  }
  if (value.is_array() && !path->empty()) {
    const std::string field = path->back().text;
    if (field == "finalizers") {
      for (const json& item : value) {
        path->push_back({PathStep::Kind::kValue, CanonicalJson(item)});
        set->insert(*path);
        path->pop_back();
      }
      return;
    }
    const std::vector<std::string> keys = MergeKeysOf(field, value);
    if (!keys.empty()) {
      for (const json& item : value) {
        path->push_back(KeyStep(keys, item));
        Collect(item, path, set);
        path->pop_back();
      }
      return;
    }
  }
  if (!path->empty()) set->insert(*path);
}

json* StepInto(json* value, const PathStep& step) {
  if (value == nullptr) return nullptr;
  return const_cast<json*>(FindPath(*value, {step}));
}

// Makes what is missing on the way.
void SetAt(json* object, const FieldPath& path, const json& wanted) {
  json* at = object;
  for (const PathStep& step : path) {
    json* next = StepInto(at, step);
    if (next == nullptr) {
      switch (step.kind) {
        case PathStep::Kind::kField:
          if (!at->is_object()) *at = json::object();
          next = &(*at)[step.text];
          break;
        case PathStep::Kind::kKey:
        case PathStep::Kind::kValue: {
          if (!at->is_array()) *at = json::array();
          absl::StatusOr<json> item = ParseKubeJson(step.text);
          at->push_back(item.ok() ? *std::move(item) : json());
          next = &at->back();
          break;
        }
        case PathStep::Kind::kIndex:
          return;
      }
    }
    at = next;
  }
  *at = wanted;
}

bool IsKeyField(const FieldPath& path) {
  if (path.size() < 2 || path[path.size() - 2].kind != PathStep::Kind::kKey) {
    return false;
  }
  const absl::StatusOr<json> key = ParseKubeJson(path[path.size() - 2].text);
  return key.ok() && key->contains(path.back().text);
}

// Takes the value at `path` out, then the maps and items that it leaves empty.
void RemoveAt(json* object, FieldPath path) {
  while (!path.empty()) {
    const PathStep last = path.back();
    path.pop_back();
    json* const parent = const_cast<json*>(FindPath(*object, path));
    if (parent == nullptr) return;
    if (last.kind == PathStep::Kind::kField) {
      if (parent->is_object()) parent->erase(last.text);
    } else if (parent->is_array()) {
      json* const item = StepInto(parent, last);
      if (item != nullptr) {
        parent->erase(parent->begin() + (item - &*parent->begin()));
      }
    }
    if (path.empty() || path.size() == 1) return;
    if (!parent->empty()) {
      // An item with nothing but its key goes, too.
      if (path.back().kind != PathStep::Kind::kKey) return;
      const absl::StatusOr<json> key = ParseKubeJson(path.back().text);
      if (!key.ok()) return;
      for (const auto& [name, value] : parent->items()) {
        if (!key->contains(name)) return;
      }
    }
  }
}

json FieldsV1Of(const FieldSet& fields) {
  json root = json::object();
  for (const FieldPath& path : fields) {
    json* at = &root;
    for (const PathStep& step : path) {
      switch (step.kind) {
        case PathStep::Kind::kField:
          at = &(*at)["f:" + step.text];
          break;
        case PathStep::Kind::kKey:
          at = &(*at)["k:" + step.text];
          break;
        case PathStep::Kind::kValue:
          at = &(*at)["v:" + step.text];
          break;
        case PathStep::Kind::kIndex:
          at = &(*at)["i:" + step.text];
          break;
      }
      if (!at->is_object()) *at = json::object();
      if (step.kind == PathStep::Kind::kKey) (*at)["."] = json::object();
    }
  }
  return root;
}

ManagedFieldsEntry* EntryOf(Managers* managers, absl::string_view manager,
                            absl::string_view operation,
                            absl::string_view subresource) {
  for (ManagedFieldsEntry& entry : *managers) {
    if (entry.manager == manager && entry.operation == operation &&
        entry.subresource == subresource) {
      return &entry;
    }
  }
  return nullptr;
}

ManagedFieldsEntry& EnsureEntry(Managers* managers, absl::string_view manager,
                                absl::string_view operation,
                                absl::string_view subresource,
                                const std::string& api_version) {
  ManagedFieldsEntry* entry =
      EntryOf(managers, manager, operation, subresource);
  if (entry == nullptr) {
    ManagedFieldsEntry made;
    made.manager = std::string(manager);
    made.operation = std::string(operation);
    made.subresource = std::string(subresource);
    managers->push_back(std::move(made));
    entry = &managers->back();
  }
  entry->api_version = api_version;
  return *entry;
}

void DropEmpty(Managers* managers) {
  managers->erase(std::remove_if(managers->begin(), managers->end(),
                                 [](const ManagedFieldsEntry& entry) {
                                   return entry.fields.empty();
                                 }),
                  managers->end());
}

bool Overlaps(const FieldPath& a, const FieldPath& b) {
  return IsPrefix(a, b) || IsPrefix(b, a);
}

std::string ApiVersionOf(const json& object) {
  return TextOr(Member(object, "apiVersion"));
}

bool IsOwned(const FieldPath& path, const Managers& managers) {
  return std::any_of(
      managers.begin(), managers.end(),
      [&path](const ManagedFieldsEntry& entry) {
        return std::any_of(
            entry.fields.begin(), entry.fields.end(),
            [&path](const FieldPath& other) { return IsPrefix(path, other); });
      });
}

// Whether it is the key of an item that has more than its key.
bool IsKeyOfUsedItem(const FieldPath& path, const json& object) {
  if (!IsKeyField(path)) return false;
  FieldPath item = path;
  item.pop_back();
  const json* const value = FindPath(object, item);
  const absl::StatusOr<json> item_key = ParseKubeJson(item.back().text);
  return value == nullptr || !item_key.ok() || value->size() > item_key->size();
}

}  // namespace

FieldSet FieldsOf(const json& object) {
  FieldSet set;
  FieldPath path;
  Collect(object, &path, &set);
  return set;
}

json ManagedFieldsOf(const Managers& managers) {
  json list = json::array();
  for (const ManagedFieldsEntry& entry : managers) {
    json item = {{"manager", entry.manager},
                 {"operation", entry.operation},
                 {"apiVersion", entry.api_version},
                 {"time", entry.time},
                 {"fieldsType", "FieldsV1"},
                 {"fieldsV1", FieldsV1Of(entry.fields)}};
    if (!entry.subresource.empty()) item["subresource"] = entry.subresource;
    list.push_back(std::move(item));
  }
  return list;
}

std::vector<KubeErrorCause> TakeFromOthers(const json& wanted,
                                           absl::string_view manager,
                                           OwnedObject* next) {
  const FieldSet fields = FieldsOf(wanted);
  std::vector<KubeErrorCause> conflicts;
  for (ManagedFieldsEntry& entry : next->managers) {
    if (entry.manager == manager && entry.operation == "Apply") continue;
    for (auto owned = entry.fields.begin(); owned != entry.fields.end();) {
      bool taken = false;
      for (const FieldPath& path : fields) {
        if (!Overlaps(path, *owned)) continue;
        const json* const live = FindPath(next->object, path);
        const json* const want = FindPath(wanted, path);
        if (want == nullptr || (live != nullptr && *live == *want)) continue;
        taken = true;
        conflicts.push_back({"FieldManagerConflict",
                             absl::StrCat(".", PathText(path)),
                             absl::StrCat("conflict with \"", entry.manager,
                                          "\" using ", entry.api_version)});
      }
      owned = taken ? entry.fields.erase(owned) : std::next(owned);
    }
  }
  return conflicts;
}

void MergeApplied(const json& wanted, absl::string_view manager,
                  OwnedObject* next) {
  const FieldSet fields = FieldsOf(wanted);
  for (const FieldPath& path : fields) {
    const json* const value = FindPath(wanted, path);
    if (value != nullptr) SetAt(&next->object, path, *value);
  }
  FieldSet dropped;
  if (const ManagedFieldsEntry* const old =
          EntryOf(&next->managers, manager, "Apply", "")) {
    dropped = Minus(old->fields, fields);
  }
  EnsureEntry(&next->managers, manager, "Apply", "", ApiVersionOf(wanted))
      .fields = fields;
  for (const FieldPath& path : dropped) {
    if (IsOwned(path, next->managers)) continue;
    // A key goes with the rest of its item.
    if (IsKeyOfUsedItem(path, next->object)) continue;
    RemoveAt(&next->object, path);
  }
  DropEmpty(&next->managers);
}

void OwnChanges(const json& before, absl::string_view manager,
                OwnedObject* next) {
  const FieldSet old_fields = FieldsOf(before);
  const FieldSet new_fields = FieldsOf(next->object);
  FieldSet touched;
  for (const FieldPath& path : new_fields) {
    const json* const old_value = FindPath(before, path);
    const json* const new_value = FindPath(next->object, path);
    if (old_value == nullptr || *old_value != *new_value) touched.insert(path);
  }
  const FieldSet gone = Minus(old_fields, new_fields);
  for (ManagedFieldsEntry& entry : next->managers) {
    for (auto owned = entry.fields.begin(); owned != entry.fields.end();) {
      const bool lost = gone.count(*owned) > 0 || touched.count(*owned) > 0 ||
                        std::any_of(touched.begin(), touched.end(),
                                    [&owned](const FieldPath& path) {
                                      return Overlaps(path, *owned);
                                    });
      owned = lost ? entry.fields.erase(owned) : std::next(owned);
    }
  }
  if (!touched.empty()) {
    EnsureEntry(&next->managers, manager, "Update", "",
                ApiVersionOf(next->object))
        .fields.insert(touched.begin(), touched.end());
  }
  DropEmpty(&next->managers);
}

void OwnFields(FieldSet fields, absl::string_view manager,
               absl::string_view subresource, OwnedObject* next) {
  EnsureEntry(&next->managers, manager, "Update", subresource,
              ApiVersionOf(next->object))
      .fields = std::move(fields);
  DropEmpty(&next->managers);
}

void StampChanged(const Managers& before, const std::string& now,
                  Managers* after) {
  for (ManagedFieldsEntry& entry : *after) {
    const ManagedFieldsEntry* const old =
        EntryOf(const_cast<Managers*>(&before), entry.manager, entry.operation,
                entry.subresource);
    if (old == nullptr || old->fields != entry.fields || entry.time.empty()) {
      entry.time = now;
    }
  }
}

bool SameManagers(const Managers& a, const Managers& b) {
  return std::equal(
      a.begin(), a.end(), b.begin(), b.end(),
      [](const ManagedFieldsEntry& x, const ManagedFieldsEntry& y) {
        return x.manager == y.manager && x.operation == y.operation &&
               x.subresource == y.subresource && x.fields == y.fields;
      });
}

}  // namespace flotilla
