// SPDX-License-Identifier: Apache-2.0
//
// What is known about Kubernetes objects without a server: identity, canonical
// JSON, field paths and who owns them. Nothing here throws or trusts a shape:
// odd JSON gives an empty answer or an error. Depth is limited to
// kMaxJsonDepth everywhere.

#ifndef FLOTILLA_COMMON_KUBE_OBJECT_H_
#define FLOTILLA_COMMON_KUBE_OBJECT_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

#include "flotilla/core/v1/core.pb.h"

namespace flotilla {

inline constexpr int kMaxJsonDepth = 64;

// --- Identity.

// A key's identity: group, kind, namespace, name. The version is no part.
// For maps and sets.
using ObjectIdentity =
    std::tuple<std::string, std::string, std::string, std::string>;

ObjectIdentity IdentityOf(const core::v1::ResourceKey& key);
bool SameObject(const core::v1::ResourceKey& a, const core::v1::ResourceKey& b);

// Orders by (group, kind, namespace, name): a manifest's order.
bool KeyLess(const core::v1::ResourceKey& a, const core::v1::ResourceKey& b);

// "deployment.apps ns/name", "namespace name": for people.
std::string KeyText(const core::v1::ResourceKey& key);

// "apps/v1" -> ("apps", "v1"); "v1" -> ("", "v1").
void SplitApiVersion(absl::string_view api_version, std::string* group,
                     std::string* version);
std::string JoinApiVersion(absl::string_view group, absl::string_view version);

// The key of an object with apiVersion, kind and metadata.name.
absl::StatusOr<core::v1::ResourceKey> KeyOf(const nlohmann::json& object);

// --- JSON.

// Parses one JSON document. INVALID_ARGUMENT for broken JSON and for more than
// kMaxJsonDepth levels; of duplicate keys the last one holds.
absl::StatusOr<nlohmann::json> ParseKubeJson(absl::string_view text);

// Sorted keys, no white space, UTF-8 as it is (invalid bytes replaced).
std::string CanonicalJson(const nlohmann::json& value);

// The member `name` of `object`, or a null value when there is none or
// `object` is no object. Chain it for paths.
const nlohmann::json& Member(const nlohmann::json& object,
                             absl::string_view name);
// The text, or "" when it is no string.
std::string TextOr(const nlohmann::json& value,
                   absl::string_view otherwise = "");
// The whole number, or `otherwise`; out-of-range numbers count as none.
int64_t IntegerOr(const nlohmann::json& value, int64_t otherwise);
bool BoolOr(const nlohmann::json& value, bool otherwise);

// What the object's deletion waits for, for people: the first of its
// finalizers, or empty.
std::string FinalizersText(const nlohmann::json& object);

// --- Field paths.

// One step from a value to a part of it, as fieldsV1 writes it.
//
// Thread-compatible.
struct PathStep {
  enum class Kind {
    kField,  // f:name   member of an object
    kKey,    // k:{...}  item of a list that has these key members
    kValue,  // v:"x"    item of a set
    kIndex,  // i:3      item by position
  };
  Kind kind = Kind::kField;
  // kField: the name. kKey, kValue: canonical JSON. kIndex: decimal.
  std::string text;

  bool operator==(const PathStep& other) const {
    return kind == other.kind && text == other.text;
  }
  bool operator<(const PathStep& other) const {
    return std::tie(kind, text) < std::tie(other.kind, other.text);
  }
};

using FieldPath = std::vector<PathStep>;
using FieldSet = std::set<FieldPath>;

// "spec.template.spec.containers[name=web].image",
// "metadata.annotations[example.com/x]", "metadata.finalizers[=x]".
std::string PathText(const FieldPath& path);

// The value at `path` in `object`; nullptr when it is not there.
const nlohmann::json* FindPath(const nlohmann::json& object,
                               const FieldPath& path);

// True when `prefix` is `path` or leads to it.
bool IsPrefix(const FieldPath& prefix, const FieldPath& path);

// --- Managed fields.

// The leaf paths of one fieldsV1 tree: a node with no children, or with only
// "." in it. A node with "." and children gives the children alone, so that
// sets compare by what holds values. Odd nodes are skipped; at most
// `kMaxFieldPaths` paths.
inline constexpr size_t kMaxFieldPaths = 100000;
FieldSet ParseFieldsV1(const nlohmann::json& fields);

// One entry of metadata.managedFields.
//
// Thread-compatible.
struct ManagedFieldsEntry {
  std::string manager;
  std::string operation;    // "Apply" or "Update"
  std::string api_version;  // "apps/v1"
  std::string subresource;  // "status", "scale" or empty
  std::string time;         // RFC 3339, as the server wrote it
  FieldSet fields;
};

// Entries of `object` (whole or metadata-only). Odd entries are skipped.
std::vector<ManagedFieldsEntry> ParseManagedFields(
    const nlohmann::json& object);

// The fields that `manager` owns by Apply on the main resource.
FieldSet AppliedFields(const std::vector<ManagedFieldsEntry>& entries,
                       absl::string_view manager);

// What is in `a` and not in `b`.
FieldSet Minus(const FieldSet& a, const FieldSet& b);

// The paths that server-side apply of `manifest` would own, as far as it can
// be told without the kind's schema: lists are taken as one leaf.
FieldSet LeavesOf(const nlohmann::json& manifest);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_OBJECT_H_
