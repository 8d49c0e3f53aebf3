// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/target_resolver.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "manager/documents/values.h"

namespace flotilla::manager {
namespace {

using google::protobuf::RepeatedPtrField;
using storage::v1::BundleRevision;
using storage::v1::DeployOptions;
using storage::v1::HelmOptions;
using storage::v1::Target;
using storage::v1::TriState;

const Target* FirstMatch(const RepeatedPtrField<Target>& targets,
                         const TargetCluster& cluster) {
  for (const Target& target : targets) {
    if (TargetMatches(target, cluster)) return &target;
  }
  return nullptr;
}

void MergeHelm(const HelmOptions& custom, HelmOptions& result) {
  if (!custom.chart().empty()) result.set_chart(custom.chart());
  if (!custom.release_name().empty()) {
    result.set_release_name(custom.release_name());
  }
  if (!custom.values_json().empty()) {
    result.set_values_json(
        MergeValuesText(result.values_json(), custom.values_json()));
  }
  if (custom.take_ownership()) result.set_take_ownership(true);
}

}  // namespace

DeployOptions MergeOptions(const DeployOptions& base,
                           const DeployOptions& custom) {
  DeployOptions result = base;
  if (!custom.default_namespace().empty()) {
    result.set_default_namespace(custom.default_namespace());
  }
  if (!custom.namespace_().empty()) {
    result.set_namespace_(custom.namespace_());
  }
  if (custom.has_helm()) MergeHelm(custom.helm(), *result.mutable_helm());
  if (custom.correct_drift() != storage::v1::TRI_STATE_UNSPECIFIED) {
    result.set_correct_drift(custom.correct_drift());
  }
  if (custom.keep_resources()) result.set_keep_resources(true);
  return result;
}

RepeatedPtrField<Target> DefaultTargets() {
  RepeatedPtrField<Target> targets;
  Target& target = *targets.Add();
  target.set_name("default");
  target.set_cluster_group("default");
  return targets;
}

bool AnyTargetMatches(const RepeatedPtrField<Target>& targets,
                      const TargetCluster& cluster) {
  if (targets.empty()) {
    return FirstMatch(DefaultTargets(), cluster) != nullptr;
  }
  return FirstMatch(targets, cluster) != nullptr;
}

std::optional<ResolvedTarget> ResolveTarget(const BundleRevision& bundle,
                                            const TargetCluster& cluster) {
  const Target* hit = FirstMatch(bundle.targets(), cluster);
  if (hit == nullptr || hit->do_not_deploy()) return std::nullopt;
  ResolvedTarget result;
  result.target_name = hit->name();
  const DeployOptions* custom = &hit->options();
  const Target* customization = FirstMatch(bundle.customizations(), cluster);
  if (customization != nullptr) {
    if (customization->do_not_deploy()) return std::nullopt;
    // Replaces the options of the target, is not merged with them.
    custom = &customization->options();
    absl::StrAppend(&result.target_name, "/", customization->name());
  }
  result.options = MergeOptions(bundle.options(), *custom);
  TriState drift = result.options.correct_drift();
  if (drift == storage::v1::TRI_STATE_UNSPECIFIED) {
    drift = bundle.source_correct_drift();
  }
  if (drift == storage::v1::TRI_STATE_UNSPECIFIED) {
    drift = storage::v1::TRI_STATE_TRUE;
  }
  result.options.set_correct_drift(drift);
  // They are in the values already.
  if (result.options.has_helm()) {
    result.options.mutable_helm()->clear_values_files();
  }
  return result;
}

}  // namespace flotilla::manager
