// SPDX-License-Identifier: Apache-2.0

// Labels and annotations of release namespaces (spec 6.8): exact where a bundle
// names them, put right when somebody changes them, left alone where two
// bundles want different ones.

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agent/apply/namespace_rules.h"
#include "agent/apply/refusal.h"
#include "agent/reconcile/reconciler.h"

namespace flotilla::agent {
namespace {

core::v1::ResourceKey NamespaceKey(const std::string& name) {
  core::v1::ResourceKey key;
  key.set_version("v1");
  key.set_kind("Namespace");
  key.set_name(name);
  return key;
}

}  // namespace

void Reconciler::SetNamespaceProblem(Deployment& deployment,
                                     const std::string& code,
                                     const std::string& message) {
  const std::string before = deployment.namespace_problems.empty()
                                 ? ""
                                 : deployment.namespace_problems[0].message();
  if (before == message) return;
  deployment.namespace_problems.clear();
  if (!message.empty()) {
    core::v1::Problem& problem = deployment.namespace_problems.emplace_back();
    problem.set_code(code);
    problem.set_subject(absl::StrCat(
        "namespace ", deployment.running->policy().release_namespace()));
    problem.set_message(message);
  }
  Touch(deployment);
}

void Reconciler::SettleNamespace(const std::string& name) {
  if (name.empty() || !loaded_ || patching_.count(name) > 0) return;
  std::vector<Ptr> wanting;
  for (const auto& [bundle_id, deployment] : deployments_) {
    if (deployment->record.tombstone() || deployment->running == nullptr ||
        deployment->running->policy().release_namespace() != name) {
      continue;
    }
    if (WishOf(deployment->running->policy()).empty()) {
      SetNamespaceProblem(*deployment, "", "");
    } else {
      wanting.push_back(deployment);
    }
  }
  const LiveNamespace* live = namespace_watch_.Find(name);
  if (wanting.empty() || live == nullptr || live->deleting) return;
  NamespaceWish wish;
  bool agree = true;
  for (const Ptr& one : wanting) {
    const NamespaceWish its = WishOf(one->running->policy());
    agree = agree && Agree(wish, its);
    if (wish.labels.empty()) wish.labels = its.labels;
    if (wish.annotations.empty()) wish.annotations = its.annotations;
  }
  if (!agree) {
    std::vector<std::string> names;
    for (const Ptr& one : wanting) {
      if (names.size() < 10) names.push_back(NameOf(one->bundle_id));
    }
    for (const Ptr& one : wanting) {
      SetNamespaceProblem(
          *one, "ALREADY_EXISTS",
          absl::StrCat("bundles ", absl::StrJoin(names, ", "),
                       " name different namespaceLabels or "
                       "namespaceAnnotations for it; none of them is set"));
    }
    return;
  }
  const core::v1::ResourceKey key = NamespaceKey(name);
  NamespaceChange change = CompareNamespace(
      wish, *live, parts_.cache.inventory().Find(key) != nullptr);
  const std::string contested =
      change.contested.empty()
          ? ""
          : absl::StrCat("the Namespace object of a bundle sets these to "
                         "something else: ",
                         absl::StrJoin(change.contested, ", "));
  for (const Ptr& one : wanting) {
    SetNamespaceProblem(*one, "ALREADY_EXISTS", contested);
  }
  if (change.patch.is_null()) {
    settled_.insert(name);
    return;
  }
  PatchNamespace(name, wanting.front(), std::move(change));
}

void Reconciler::PatchNamespace(const std::string& name, const Ptr& deployment,
                                NamespaceChange change) {
  patching_.insert(name);
  const bool drift = settled_.count(name) > 0;
  applier_.Patch(
      Lane::kUrgent, deployment->user, NamespaceKey(name),
      CanonicalJson(change.patch),
      [this, name, deployment, drift, records = std::move(change.records)](
          absl::StatusOr<ApplyResult> result) mutable {
        patching_.erase(name);
        if (drift) {
          for (core::v1::DriftRecord& record : records) {
            record.set_bundle_id(deployment->bundle_id);
            *record.mutable_key() = NamespaceKey(name);
            record.set_action(result.ok() ? core::v1::DRIFT_ACTION_CORRECTED
                                          : core::v1::DRIFT_ACTION_FAILED);
            reporter_.AddDrift(std::move(record));
          }
        }
        if (result.ok()) {
          namespace_watch_.Learn(result->object);
          settled_.insert(name);
          SettleNamespace(name);
          return;
        }
        if (deployment->running == nullptr) return;
        const Refusal refusal =
            JudgeRefusal(NamespaceKey(name), result.status(), false);
        SetNamespaceProblem(
            *deployment, "FAILED_PRECONDITION",
            absl::StrCat("its labels cannot be set: ", refusal.message));
        if (!deployment->retry_timer->armed()) {
          Retry(*deployment, RunEnd::kFailed, absl::ZeroDuration());
        }
      });
}

}  // namespace flotilla::agent
