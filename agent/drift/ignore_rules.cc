// SPDX-License-Identifier: Apache-2.0

#include "agent/drift/ignore_rules.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/kube/kube_client.h"
#include "common/kube/object.h"
#include "flotilla/core/v1/core.pb.h"
#include "nlohmann/json.hpp"
#include "re2/re2.h"

namespace flotilla::agent {
namespace {

using core::v1::ComparePatch;
using core::v1::JsonPatchOperation;
using core::v1::ResourceKey;
using nlohmann::json;

constexpr size_t kMaxOperations = 1000;
constexpr char kMarkPrefix[] = "flotilla.dev/";
// Writes the scale of what a HorizontalPodAutoscaler targets.
constexpr char kAutoscaler[] = "kube-controller-manager";

bool MatchesPattern(const std::string& pattern, const std::string& text) {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(1 << 20);
  const RE2 compiled(pattern, options);
  return compiled.ok() && RE2::FullMatch(text, compiled);
}

// "*" and "?" within one word, and "[ab]", "{a,b}".
bool MatchesGlob(absl::string_view glob, const std::string& text) {
  if (glob == text) return true;
  if (glob.find_first_of("*?[{") == absl::string_view::npos) return false;
  std::string pattern;
  bool choice = false;
  bool range = false;
  for (const char c : glob) {
    if (range) {
      range = c != ']';
      absl::StrAppend(&pattern, c == '!' && pattern.back() == '['
                                    ? "^"
                                    : absl::string_view(&c, 1));
    } else if (c == '*') {
      absl::StrAppend(&pattern, ".*");
    } else if (c == '?') {
      absl::StrAppend(&pattern, ".");
    } else if (c == '[') {
      range = true;
      absl::StrAppend(&pattern, "[");
    } else if (c == '{') {
      choice = true;
      absl::StrAppend(&pattern, "(?:");
    } else if (choice && c == ',') {
      absl::StrAppend(&pattern, "|");
    } else if (choice && c == '}') {
      choice = false;
      absl::StrAppend(&pattern, ")");
    } else {
      absl::StrAppend(&pattern,
                      RE2::QuoteMeta(re2::StringPiece(&c, 1)));
    }
  }
  return MatchesPattern(pattern, text);
}

bool PointersApply(const ComparePatch& patch, const ResourceKey& key) {
  if (!patch.name().empty() && patch.name() != key.name()) return false;
  if (!patch.namespace_().empty() && patch.namespace_() != key.namespace_()) {
    return false;
  }
  std::string group;
  std::string version;
  SplitApiVersion(patch.api_version(), &group, &version);
  return (MatchesGlob(group, key.group()) || patch.api_version() == "*") &&
         MatchesGlob(patch.kind(), key.kind());
}

bool KindIs(const ComparePatch& patch, const ResourceKey& key) {
  return patch.kind() == key.kind() &&
         patch.api_version() == JoinApiVersion(key.group(), key.version()) &&
         patch.namespace_() == key.namespace_();
}

// --- JSON pointers.

using Tokens = std::vector<std::string>;

Tokens TokensOf(absl::string_view pointer) {
  if (!absl::StartsWith(pointer, "/")) return {};
  Tokens tokens = absl::StrSplit(pointer.substr(1), '/');
  for (std::string& token : tokens) {
    token = absl::StrReplaceAll(token, {{"~1", "/"}, {"~0", "~"}});
  }
  return tokens;
}

std::string Escaped(absl::string_view name) {
  return absl::StrReplaceAll(name, {{"~", "~0"}, {"/", "~1"}});
}

// nullptr when it is not there.
const json* Child(const json& value, const std::string& token) {
  if (value.is_object()) {
    const auto found = value.find(token);
    return found == value.end() ? nullptr : &*found;
  }
  size_t index = 0;
  return value.is_array() && absl::SimpleAtoi(token, &index) &&
                 index < value.size()
             ? &value[index]
             : nullptr;
}

const json* Resolve(const json& root, const Tokens& tokens, size_t count) {
  const json* value = &root;
  for (size_t i = 0; value != nullptr && i < count; ++i) {
    value = Child(*value, tokens[i]);
  }
  return value;
}

json* Resolve(json& root, const Tokens& tokens, size_t count) {
  return const_cast<json*>(
      Resolve(static_cast<const json&>(root), tokens, count));
}

bool Remove(json& root, const Tokens& tokens) {
  if (tokens.empty() || Resolve(root, tokens, tokens.size()) == nullptr) {
    return false;
  }
  json& parent = *Resolve(root, tokens, tokens.size() - 1);
  if (parent.is_object()) {
    parent.erase(tokens.back());
  } else {
    size_t index = 0;
    if (!absl::SimpleAtoi(tokens.back(), &index)) return false;
    parent.erase(index);
  }
  return true;
}

size_t DepthOf(const json& value) {
  size_t depth = 0;
  if (value.is_structured()) {
    for (const json& part : value) depth = std::max(depth, DepthOf(part));
  }
  return depth + 1;
}

bool Add(json& root, const Tokens& tokens, json added) {
  if (tokens.empty() || tokens.size() + DepthOf(added) > kMaxJsonDepth) {
    return false;
  }
  json* parent = Resolve(root, tokens, tokens.size() - 1);
  if (parent == nullptr) return false;
  if (parent->is_object()) {
    (*parent)[tokens.back()] = std::move(added);
    return true;
  }
  if (!parent->is_array()) return false;
  size_t index = parent->size();
  if (tokens.back() != "-" && !absl::SimpleAtoi(tokens.back(), &index)) {
    return false;
  }
  if (index > parent->size()) return false;
  parent->insert(parent->begin() + static_cast<std::ptrdiff_t>(index),
                 std::move(added));
  return true;
}

bool Operate(const JsonPatchOperation& operation, json& root) {
  const Tokens tokens = TokensOf(operation.path());
  if (operation.op() == "remove") return Remove(root, tokens);
  absl::StatusOr<json> value = ParseKubeJson(
      operation.value_json().empty() ? "null" : operation.value_json());
  if (!value.ok()) return false;
  if (operation.op() == "add") return Add(root, tokens, *std::move(value));
  json* there = Resolve(root, tokens, tokens.size());
  if (there == nullptr || tokens.empty()) return false;
  if (operation.op() == "test") return *there == *value;
  if (operation.op() != "replace" ||
      tokens.size() + DepthOf(*value) > kMaxJsonDepth) {
    return false;
  }
  *there = *std::move(value);
  return true;
}

// --- What stays as it is.

// The values in `live` that somebody else than our applies owns.
std::set<const json*> ForeignValues(const json& live) {
  std::set<const json*> values;
  for (const ManagedFieldsEntry& entry : ParseManagedFields(live)) {
    if ((entry.manager == kFieldManager && entry.operation == "Apply") ||
        entry.subresource == "status") {
      continue;
    }
    for (const FieldPath& field : entry.fields) {
      if (const json* value = FindPath(live, field)) values.insert(value);
    }
  }
  return values;
}

bool AnyWithin(const json& value, const std::set<const json*>& values) {
  if (values.count(&value) > 0) return true;
  if (!value.is_structured()) return false;
  return std::any_of(value.begin(), value.end(), [&](const json& part) {
    return AnyWithin(part, values);
  });
}

// `parent[name]` of what is wanted becomes as `live`; nullptr: not there.
void Hold(json& parent, const std::string& name, const std::string& pointer,
          const json* live, const std::set<const json*>& foreign,
          std::vector<std::string>* held) {
  json& wanted = parent[name];
  if (live != nullptr && wanted.is_object() && live->is_object() &&
      !wanted.empty() && foreign.count(live) == 0) {
    std::vector<std::string> names;
    for (const auto& item : wanted.items()) names.push_back(item.key());
    for (const std::string& part : names) {
      Hold(wanted, part, absl::StrCat(pointer, "/", Escaped(part)),
           Child(*live, part), foreign, held);
    }
    return;
  }
  // Our marks stay.
  if (absl::StartsWith(name, kMarkPrefix)) return;
  if (live == nullptr || AnyWithin(*live, foreign)) {
    parent.erase(name);
  } else if (wanted == *live) {
    return;
  } else {
    wanted = *live;
  }
  held->push_back(pointer);
}

bool IsIdentity(const Tokens& tokens) {
  if (tokens.empty()) return true;
  if (tokens[0] == "apiVersion" || tokens[0] == "kind") return true;
  return tokens[0] == "metadata" &&
         (tokens.size() == 1 ||
          (tokens[1] != "labels" && tokens[1] != "annotations"));
}

}  // namespace

IgnoreRules::IgnoreRules(const core::v1::DeployPolicy& policy,
                         const ResourceKey& key) {
  for (const ComparePatch& patch : policy.compare_patches()) {
    if (PointersApply(patch, key)) {
      pointers_.insert(pointers_.end(), patch.json_pointers().begin(),
                       patch.json_pointers().end());
    }
    if (!KindIs(patch, key)) continue;
    for (const JsonPatchOperation& operation : patch.operations()) {
      if (operation.op() == "ignore") {
        ignores_absence_ = ignores_absence_ || patch.name().empty() ||
                           patch.name() == key.name() ||
                           MatchesPattern(patch.name(), key.name());
      } else if (patch.name() == key.name() &&
                 operations_.size() < kMaxOperations) {
        operations_.push_back(operation);
      }
    }
  }
}

IgnoreRules IgnoreRules::WithWellKnown(const json& wanted,
                                       const json& live) const {
  IgnoreRules rules = *this;
  for (const ManagedFieldsEntry& entry : ParseManagedFields(live)) {
    if (entry.manager == kAutoscaler && entry.subresource == "scale") {
      rules.pointers_.push_back("/spec/replicas");
    }
  }
  const std::string kind = TextOr(Member(live, "kind"));
  std::vector<std::string> bundles;
  if (kind == "MutatingWebhookConfiguration" ||
      kind == "ValidatingWebhookConfiguration") {
    const json& webhooks = Member(live, "webhooks");
    for (size_t i = 0; webhooks.is_array() && i < webhooks.size(); ++i) {
      bundles.push_back(
          absl::StrCat("/webhooks/", i, "/clientConfig/caBundle"));
    }
  } else if (kind == "CustomResourceDefinition") {
    bundles.push_back("/spec/conversion/webhook/clientConfig/caBundle");
  } else if (kind == "APIService") {
    bundles.push_back("/spec/caBundle");
  }
  for (std::string& bundle : bundles) {
    const json* value = AtPointer(wanted, bundle);
    // A line break stands for a value that is still to come.
    if (value == nullptr || value->is_null() || *value == "" ||
        *value == "Cg==") {
      rules.pointers_.push_back(std::move(bundle));
    }
  }
  return rules;
}

json IgnoreRules::Relevant(json object) const {
  for (const std::string& pointer : pointers_) {
    Remove(object, TokensOf(pointer));
  }
  if (operations_.empty()) return object;
  json patched = object;
  for (const JsonPatchOperation& operation : operations_) {
    if (!Operate(operation, patched)) return object;
  }
  return patched;
}

json IgnoreRules::Adapted(json wanted, const json& live,
                          std::vector<std::string>* held) const {
  const std::set<const json*> foreign = ForeignValues(live);
  std::vector<std::string> pointers = pointers_;
  json patched = wanted;
  bool operates = true;
  for (const JsonPatchOperation& operation : operations_) {
    operates = operates && Operate(operation, patched);
  }
  for (const JsonPatchOperation& operation : operations_) {
    if (operates &&
        (operation.op() == "remove" || operation.op() == "replace")) {
      pointers.push_back(operation.path());
    }
  }
  for (const std::string& pointer : pointers) {
    const Tokens tokens = TokensOf(pointer);
    if (IsIdentity(tokens)) continue;
    json* there = Resolve(wanted, tokens, tokens.size());
    if (there == nullptr) continue;
    const json* now = Resolve(live, tokens, tokens.size());
    json* parent = Resolve(wanted, tokens, tokens.size() - 1);
    if (parent->is_object()) {
      Hold(*parent, tokens.back(), pointer, now, foreign, held);
    } else if (now != nullptr && *now != *there) {
      // To leave out an item would move the others.
      *there = *now;
      held->push_back(pointer);
    }
  }
  return wanted;
}

const json* AtPointer(const json& object, const std::string& pointer) {
  const Tokens tokens = TokensOf(pointer);
  return Resolve(object, tokens, tokens.size());
}

}  // namespace flotilla::agent
