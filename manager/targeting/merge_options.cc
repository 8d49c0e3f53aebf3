// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/merge_options.h"

#include <map>
#include <string>

#include "absl/strings/ascii.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "manager/documents/values.h"

namespace flotilla::manager {
namespace {

using core::v1::ComparePatch;
using core::v1::LabelPair;
using core::v1::ValuesRef;
using google::protobuf::RepeatedPtrField;
using storage::v1::DeployOptions;
using storage::v1::DownstreamResource;
using storage::v1::HelmOptions;

void MergeText(const std::string& custom, std::string& result) {
  if (!custom.empty()) result = custom;
}

// Key by key; the result is sorted by key.
void MergePairs(const RepeatedPtrField<LabelPair>& custom,
                RepeatedPtrField<LabelPair>& result) {
  if (custom.empty()) return;
  std::map<std::string, std::string> merged;
  for (const LabelPair& pair : result) merged[pair.key()] = pair.value();
  for (const LabelPair& pair : custom) merged[pair.key()] = pair.value();
  result.Clear();
  for (const auto& [key, value] : merged) {
    LabelPair& pair = *result.Add();
    pair.set_key(key);
    pair.set_value(value);
  }
}

// Replaces what has the same identity in place, appends the rest.
template <typename T, typename Same>
void MergeByIdentity(const RepeatedPtrField<T>& custom, Same same,
                     RepeatedPtrField<T>& result) {
  for (const T& item : custom) {
    T* known = nullptr;
    for (T& other : result) {
      if (same(other, item)) {
        known = &other;
        break;
      }
    }
    if (known == nullptr) known = result.Add();
    *known = item;
  }
}

bool SameRef(const ValuesRef& a, const ValuesRef& b) {
  return a.kind() == b.kind() && a.namespace_() == b.namespace_() &&
         a.name() == b.name() && a.key() == b.key();
}

bool SameHealthRule(const core::v1::HealthRule& a,
                    const core::v1::HealthRule& b) {
  return a.group() == b.group() && a.kind() == b.kind();
}

bool SamePatch(const ComparePatch& a, const ComparePatch& b) {
  return a.api_version() == b.api_version() && a.kind() == b.kind() &&
         a.namespace_() == b.namespace_() && a.name() == b.name();
}

bool SameDownstream(const DownstreamResource& a, const DownstreamResource& b) {
  return absl::AsciiStrToLower(a.kind()) == absl::AsciiStrToLower(b.kind()) &&
         a.name() == b.name();
}

// Never merged: max_history, skip_schema_validation,
// disable_dependency_update.
void MergeHelm(const HelmOptions& custom, HelmOptions& result) {
  MergeText(custom.chart(), *result.mutable_chart());
  MergeText(custom.repo(), *result.mutable_repo());
  MergeText(custom.version(), *result.mutable_version());
  MergeText(custom.release_name(), *result.mutable_release_name());
  if (custom.timeout_seconds() > 0) {
    result.set_timeout_seconds(custom.timeout_seconds());
  } else if (custom.timeout_seconds() < 0) {
    result.set_timeout_seconds(0);
  }
  if (!custom.values_json().empty()) {
    result.set_values_json(
        result.values_json().empty()
            ? custom.values_json()
            : MergeValuesText(result.values_json(), custom.values_json()));
  }
  MergePairs(custom.template_values(), *result.mutable_template_values());
  MergeByIdentity(custom.values_from(), SameRef,
                  *result.mutable_values_from());
  if (custom.force()) result.set_force(true);
  if (custom.atomic()) result.set_atomic(true);
  if (custom.take_ownership()) result.set_take_ownership(true);
  if (custom.disable_pre_process()) result.set_disable_pre_process(true);
  if (custom.wait_for_jobs()) result.set_wait_for_jobs(true);
  if (custom.disable_dns()) result.set_disable_dns(true);
}

}  // namespace

// Never merged: delete_namespace, delete_crd_resources, ignore_conditions, and
// what policies put into the root.
DeployOptions MergeOptions(const DeployOptions& base,
                           const DeployOptions& custom) {
  DeployOptions result = base;
  MergeText(custom.default_namespace(), *result.mutable_default_namespace());
  MergeText(custom.namespace_(), *result.mutable_namespace_());
  MergeText(custom.service_account(), *result.mutable_service_account());
  if (custom.has_helm()) MergeHelm(custom.helm(), *result.mutable_helm());
  MergeText(custom.kustomize_dir(), *result.mutable_kustomize_dir());
  // The whole object is replaced where there is one.
  if (custom.correct_drift() != storage::v1::TRI_STATE_UNSPECIFIED ||
      custom.correct_drift_force() ||
      custom.correct_drift_keep_fail_history()) {
    result.set_correct_drift(custom.correct_drift());
    result.set_correct_drift_force(custom.correct_drift_force());
    result.set_correct_drift_keep_fail_history(
        custom.correct_drift_keep_fail_history());
  }
  if (custom.keep_resources()) result.set_keep_resources(true);
  if (custom.force_sync_generation() > 0) {
    result.set_force_sync_generation(custom.force_sync_generation());
  }
  result.mutable_yaml_overlays()->MergeFrom(custom.yaml_overlays());
  MergeByIdentity(custom.compare_patches(), SamePatch,
                  *result.mutable_compare_patches());
  MergeByIdentity(custom.health_rules(), SameHealthRule,
                  *result.mutable_health_rules());
  MergeByIdentity(custom.downstream_resources(), SameDownstream,
                  *result.mutable_downstream_resources());
  MergePairs(custom.namespace_labels(), *result.mutable_namespace_labels());
  MergePairs(custom.namespace_annotations(),
             *result.mutable_namespace_annotations());
  return result;
}

}  // namespace flotilla::manager
