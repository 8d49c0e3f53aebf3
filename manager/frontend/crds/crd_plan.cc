// SPDX-License-Identifier: Apache-2.0

#include "manager/frontend/crds/crd_plan.h"

#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/kube/object.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;

constexpr char kVersion[] = "v1alpha1";
constexpr char kKeepsUnknown[] = "x-kubernetes-preserve-unknown-fields";

// 0 for one that is not ours.
int64_t VersionOf(const json& crd) {
  const std::string text = TextOr(
      Member(Member(Member(crd, "metadata"), "annotations"), kCrdVersion));
  int64_t version = 0;
  return absl::SimpleAtoi(text, &version) && version > 0 ? version : 0;
}

// The served version of that name; null when there is none.
const json& ServedVersion(const json& crd) {
  static const json& none = *new json();
  for (const json& version : Member(Member(crd, "spec"), "versions")) {
    if (TextOr(Member(version, "name")) == kVersion &&
        BoolOr(Member(version, "served"), false)) {
      return version;
    }
  }
  return none;
}

const json& SchemaOf(const json& crd) {
  return Member(Member(ServedVersion(crd), "schema"), "openAPIV3Schema");
}

void FindLacks(const json& wanted, const json& live, const std::string& path,
               std::vector<std::string>& lacks) {
  if (lacks.size() >= kMaxLacks || BoolOr(Member(live, kKeepsUnknown), false)) {
    return;
  }
  const json& theirs = Member(live, "properties");
  const json& ours = Member(wanted, "properties");
  if (ours.is_object()) {
    for (const auto& [name, schema] : ours.items()) {
      const std::string here =
          path.empty() ? name : absl::StrCat(path, ".", name);
      if (here == "apiVersion" || here == "kind" || here == "metadata") {
        continue;
      }
      if (!theirs.is_object() || theirs.find(name) == theirs.end()) {
        if (lacks.size() < kMaxLacks) lacks.push_back(here);
        continue;
      }
      FindLacks(schema, Member(theirs, name), here, lacks);
    }
  }
  const json& items = Member(wanted, "items");
  if (items.is_object()) {
    FindLacks(items, Member(live, "items"), absl::StrCat(path, "[]"), lacks);
  }
}

}  // namespace

CrdPlan PlanCrd(const json& wanted, const json& live) {
  CrdPlan plan;
  if (live.is_null()) {
    plan.action = CrdPlan::Action::kCreate;
    return plan;
  }
  const int64_t version = VersionOf(live);
  if (version > 0) {
    const bool leaving =
        !Member(Member(live, "metadata"), "deletionTimestamp").is_null();
    plan.action = !leaving && version < VersionOf(wanted)
                      ? CrdPlan::Action::kUpdate
                      : CrdPlan::Action::kKeep;
    return plan;
  }
  plan.action = CrdPlan::Action::kForeign;
  if (ServedVersion(live).is_null()) {
    plan.lacks.push_back(absl::StrCat("version ", kVersion));
    return plan;
  }
  const json& subresources = Member(ServedVersion(live), "subresources");
  if (!Member(Member(ServedVersion(wanted), "subresources"), "status")
           .is_null() &&
      Member(subresources, "status").is_null()) {
    plan.lacks.emplace_back("the status subresource");
  }
  FindLacks(SchemaOf(wanted), SchemaOf(live), "", plan.lacks);
  return plan;
}

std::string CrdKind(const json& crd) {
  return TextOr(Member(Member(Member(crd, "spec"), "names"), "kind"));
}

bool IsEstablished(const json& crd) {
  for (const json& condition : Member(Member(crd, "status"), "conditions")) {
    if (TextOr(Member(condition, "type")) == "Established" &&
        TextOr(Member(condition, "status")) == "True") {
      return true;
    }
  }
  return false;
}

}  // namespace flotilla::manager
