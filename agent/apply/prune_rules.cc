// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/prune_rules.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "agent/apply/refusal.h"
#include "agent/drift/drift_diff.h"
#include "common/kube/object.h"

namespace flotilla::agent {
namespace {

using core::v1::ResourceKey;
using nlohmann::json;
using Word = PruneVerdict::Word;

bool IsNamespace(const ResourceKey& key) {
  return key.group().empty() && key.kind() == "Namespace";
}

bool IsCrd(const ResourceKey& key) {
  return key.group() == "apiextensions.k8s.io" &&
         key.kind() == "CustomResourceDefinition";
}

// Of a group that comes with Kubernetes.
bool IsBuiltIn(const ResourceKey& key) {
  return !absl::StrContains(key.group(), '.') ||
         absl::EndsWith(key.group(), ".k8s.io");
}

}  // namespace

PruneVerdict JudgePrune(const ResourceKey& key, absl::string_view bundle_id,
                        bool known, const json& live) {
  const bool ours =
      known ? !OwnedFieldsText(live).empty() : BearsMark(live, bundle_id);
  if (!ours) return {Word::kLeave, "it is no longer Flotilla's"};
  const json& annotations = Member(Member(live, "metadata"), "annotations");
  const std::string word = TextOr(Member(annotations, kOnRemove));
  if (word == "keep" ||
      TextOr(Member(annotations, "helm.sh/resource-policy")) == "keep") {
    return {Word::kLeave, "it is marked to be kept"};
  }
  if (word == "delete") return {Word::kDelete, ""};
  if (IsNamespace(key) || IsCrd(key)) return {Word::kDeleteIfEmpty, ""};
  const absl::string_view lost = LostWith(key);
  if (lost.empty()) return {Word::kDelete, ""};
  return {Word::kLeave,
          absl::StrCat(lost, " would go with it. Delete it yourself, or give "
                       "it the annotation ",
                       kOnRemove, ": delete before it is removed from Git")};
}

bool WaitsFor(const ResourceKey& next, const ResourceKey& stuck) {
  if (IsNamespace(next)) return stuck.namespace_() == next.name();
  // A controller may have to let go of it: its workload, its rights, its kind.
  return !IsBuiltIn(stuck);
}

}  // namespace flotilla::agent
