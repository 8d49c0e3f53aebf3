// SPDX-License-Identifier: Apache-2.0

#include "agent/drift/drift_diff.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "agent/drift/ignore_rules.h"
#include "common/crypto/sha256.h"
#include "common/kube/kube_client.h"
#include "common/kube/object.h"
#include "flotilla/core/v1/core.pb.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

using core::v1::DriftRecord;
using nlohmann::json;

constexpr size_t kMaxRecords = 100;
constexpr size_t kMaxValue = 1024;
constexpr char kRedacted[] = "<redacted>";
constexpr char kBundleMark[] = "flotilla.dev/bundle-id";

// Kubernetes' own hands: what they add is their work, not drift.
bool IsController(absl::string_view manager) {
  return absl::StartsWith(manager, "kube-") || manager == "kubelet" ||
         manager == "cloud-controller-manager" || manager == "k3s" ||
         manager == "rke2" || manager == "endpoint-controller";
}

bool MainOrScale(const std::string& subresource) {
  return subresource.empty() || subresource == "scale";
}

bool IsOurs(const json& entry) {
  return TextOr(Member(entry, "manager")) == kFieldManager &&
         TextOr(Member(entry, "operation")) == "Apply" &&
         TextOr(Member(entry, "subresource")).empty();
}

std::string ValueText(const json* value, bool secret) {
  if (value == nullptr) return "";
  if (secret) return kRedacted;
  std::string text = CanonicalJson(*value);
  if (text.size() > kMaxValue) {
    const size_t size = text.size();
    text.resize(kMaxValue - 40);
    while (!text.empty() && (text.back() & 0xC0) == 0x80) text.pop_back();
    if (!text.empty() && (text.back() & 0x80) != 0) text.pop_back();
    absl::StrAppend(&text, "... (", size, " bytes)");
  }
  return text;
}

void SetManager(const ManagedFieldsEntry& entry, DriftRecord* record) {
  record->set_field_manager(entry.manager);
  record->set_manager_operation(entry.operation);
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, entry.time, &time, &error)) {
    record->mutable_managed_time()->set_seconds(absl::ToUnixSeconds(time));
  }
}

// The one that owns `path` or a part of it and wrote last.
const ManagedFieldsEntry* FindManager(
    const std::vector<ManagedFieldsEntry>& entries, const FieldPath& path) {
  const ManagedFieldsEntry* found = nullptr;
  for (const ManagedFieldsEntry& entry : entries) {
    if (entry.manager == kFieldManager && entry.operation == "Apply") continue;
    const bool owns = std::any_of(
        entry.fields.begin(), entry.fields.end(), [&](const FieldPath& field) {
          return IsPrefix(path, field) || IsPrefix(field, path);
        });
    if (owns && (found == nullptr || entry.time >= found->time)) {
      found = &entry;
    }
  }
  return found;
}

// A JSON pointer as a path: good for what is in no list.
FieldPath FieldsOf(const std::string& pointer) {
  FieldPath path;
  for (const absl::string_view token :
       absl::StrSplit(absl::StripPrefix(pointer, "/"), '/')) {
    path.push_back({PathStep::Kind::kField,
                    absl::StrReplaceAll(token, {{"~1", "/"}, {"~0", "~"}})});
  }
  return path;
}

// The shortest beginning of `path` that `object` lacks; all of it when it is
// there.
FieldPath Missing(const json& object, const FieldPath& path) {
  for (size_t length = 1; length < path.size(); ++length) {
    FieldPath beginning(path.begin(), path.begin() + length);
    if (FindPath(object, beginning) == nullptr) return beginning;
  }
  return path;
}

// Whether `path` is inside a map (or a list by key) of the manifest, though
// not set by it.
bool IsAddition(const json& wanted, const FieldPath& path, FieldPath* where) {
  if (path.empty() || path[0].text == "metadata" ||
      path[0].text == "status" || path[0].text == "apiVersion" ||
      path[0].text == "kind") {
    return false;
  }
  if (FindPath(wanted, path) != nullptr) return false;
  *where = Missing(wanted, path);
  FieldPath parent = *where;
  parent.pop_back();
  const json* map = FindPath(wanted, parent);
  if (map == nullptr) return false;
  return where->back().kind == PathStep::Kind::kField ? map->is_object()
                                                      : map->is_array();
}

// Both sides, and what counts of them.
struct Sides {
  const json& wanted;
  const json& live;
  const json relevant_wanted;
  const json relevant_live;
  const std::vector<ManagedFieldsEntry> entries;
  const bool secret;
};

bool Same(const json* a, const json* b) {
  return a == nullptr || b == nullptr ? a == b : *a == *b;
}

DriftRecord Difference(const Sides& sides, const std::string& path,
                       const json* want, const json* have,
                       const ManagedFieldsEntry* manager) {
  DriftRecord record;
  record.set_path(path);
  record.set_operation(want == nullptr   ? core::v1::DRIFT_OPERATION_ADDED
                       : have == nullptr ? core::v1::DRIFT_OPERATION_REMOVED
                                         : core::v1::DRIFT_OPERATION_CHANGED);
  record.set_wanted(ValueText(want, sides.secret));
  record.set_live(ValueText(have, sides.secret));
  if (have != nullptr && manager != nullptr) SetManager(*manager, &record);
  return record;
}

void FindLost(const Sides& sides, const FieldSet& expected, bool ignores,
              DriftDiff* diff) {
  std::set<FieldPath> seen;
  for (const FieldPath& leaf :
       Minus(expected, AppliedFields(sides.entries, kFieldManager))) {
    // Equal only because the rules took it out, or because nobody wants it.
    if (ignores && Same(FindPath(sides.relevant_wanted, leaf),
                        FindPath(sides.relevant_live, leaf)) &&
        !Same(FindPath(sides.wanted, leaf), FindPath(sides.live, leaf))) {
      diff->tolerated = true;
      continue;
    }
    diff->owned_lost = true;
    if (diff->records.size() >= kMaxRecords) return;
    const bool removed = FindPath(sides.live, leaf) == nullptr;
    const FieldPath path = removed ? Missing(sides.live, leaf) : leaf;
    if (!seen.insert(path).second) continue;
    const json* want = FindPath(sides.wanted, path);
    const json* have = FindPath(sides.live, path);
    if (want == nullptr || Same(want, have)) continue;
    diff->records.push_back(Difference(sides, PathText(path), want, have,
                                       FindManager(sides.entries, path)));
  }
}

// What the last apply left to others, and what nothing ignores now.
void FindUnheld(const Sides& sides, const std::vector<std::string>& held,
                DriftDiff* diff) {
  for (const std::string& pointer : held) {
    const json* want = AtPointer(sides.relevant_wanted, pointer);
    const json* have = AtPointer(sides.relevant_live, pointer);
    if (want == nullptr || Same(want, have)) {
      diff->tolerated = true;
      continue;
    }
    diff->owned_lost = true;
    if (diff->records.size() >= kMaxRecords) return;
    const FieldPath path = FieldsOf(pointer);
    diff->records.push_back(Difference(sides, PathText(path), want, have,
                                       FindManager(sides.entries, path)));
  }
}

void FindAdditions(const Sides& sides, DriftDiff* diff) {
  std::set<FieldPath> seen;
  for (const ManagedFieldsEntry& entry : sides.entries) {
    if (entry.manager == kFieldManager || !entry.subresource.empty() ||
        IsController(entry.manager)) {
      continue;
    }
    for (const FieldPath& field : entry.fields) {
      if (diff->records.size() >= kMaxRecords) return;
      FieldPath where;
      if (!IsAddition(sides.wanted, field, &where)) continue;
      const json* have = FindPath(sides.relevant_live, where);
      if (have == nullptr || !seen.insert(where).second) continue;
      diff->records.push_back(
          Difference(sides, PathText(where), nullptr, have, &entry));
      ++diff->additions;
    }
  }
}

}  // namespace

std::string OwnedFieldsText(const json& object) {
  const json& list = Member(Member(object, "metadata"), "managedFields");
  if (!list.is_array()) return "";
  for (const json& entry : list) {
    if (IsOurs(entry)) return CanonicalJson(Member(entry, "fieldsV1"));
  }
  return "";
}

bool BearsMark(const json& object, absl::string_view bundle_id) {
  const json& annotations = Member(Member(object, "metadata"), "annotations");
  return !OwnedFieldsText(object).empty() && !bundle_id.empty() &&
         TextOr(Member(annotations, kBundleMark)) == bundle_id;
}

std::string ForeignFieldsDigest(const json& object) {
  const json& list = Member(Member(object, "metadata"), "managedFields");
  if (!list.is_array()) return "";
  std::string all;
  for (const json& entry : list) {
    const std::string manager = TextOr(Member(entry, "manager"));
    if (manager == kFieldManager || IsController(manager) ||
        !MainOrScale(TextOr(Member(entry, "subresource")))) {
      continue;
    }
    absl::StrAppend(&all, manager, "\n", TextOr(Member(entry, "operation")),
                    "\n", CanonicalJson(Member(entry, "fieldsV1")), "\n");
  }
  return all.empty() ? "" : Sha256(all);
}

DriftDiff DiffDrift(const json& wanted, const json& live,
                    absl::string_view expected_fields,
                    const DriftRules& rules) {
  DriftDiff diff;
  const IgnoreRules ignore = rules.ignore.WithWellKnown(wanted, live);
  const Sides sides{wanted,
                    live,
                    ignore.Relevant(wanted),
                    ignore.Relevant(live),
                    ParseManagedFields(live),
                    rules.secret};
  FieldSet expected;
  if (auto fields = ParseKubeJson(expected_fields); fields.ok()) {
    expected = ParseFieldsV1(*fields);
  }
  FindLost(sides, expected, !ignore.empty(), &diff);
  FindUnheld(sides, rules.held, &diff);
  FindAdditions(sides, &diff);
  return diff;
}

std::string DriftText(const DriftRecord& record) {
  const std::string who =
      record.field_manager().empty()
          ? ""
          : absl::StrCat(" (by ", record.field_manager(), ")");
  switch (record.operation()) {
    case core::v1::DRIFT_OPERATION_CHANGED:
      return absl::StrCat(record.path(), " is ", record.live(), ", should be ",
                          record.wanted(), who);
    case core::v1::DRIFT_OPERATION_REMOVED:
      return absl::StrCat(record.path(), " was removed, should be ",
                          record.wanted(), who);
    case core::v1::DRIFT_OPERATION_ADDED:
      return absl::StrCat(record.path(), " was added: ", record.live(), who);
    case core::v1::DRIFT_OPERATION_OBJECT_DELETED:
      return "the object was deleted";
    default:
      return "";
  }
}

}  // namespace flotilla::agent
