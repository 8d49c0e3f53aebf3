// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/template_context.h"

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace flotilla::manager {
namespace {

using storage::v1::DeployOptions;
using storage::v1::Document;
using storage::v1::HelmOptions;
using storage::v1::TemplateContext;

// Values are canonical JSON, so a string begins after a quote.
constexpr char kLabelValue[] = "\"global.fleet.clusterLabels.";

bool IsForeignKey(absl::string_view key) {
  return absl::StartsWith(key, "kubectl.kubernetes.io/") ||
         absl::StrContains(key, "cattle.io/");
}

bool IsUsableLabel(absl::string_view key) {
  return !IsForeignKey(key) || absl::StartsWith(key, "fleet.cattle.io/") ||
         absl::StartsWith(key, "management.cattle.io/");
}

}  // namespace

bool NeedsTemplateContext(const DeployOptions& options) {
  if (!options.has_helm()) return false;
  const HelmOptions& helm = options.helm();
  if (absl::StrContains(helm.values_json(), kLabelValue)) return true;
  return !helm.disable_pre_process() &&
         (!helm.template_values().empty() ||
          absl::StrContains(helm.values_json(), "${"));
}

std::optional<TemplateContext> MakeTemplateContext(const Document& cluster) {
  TemplateContext context;
  for (const auto& label : cluster.labels()) {
    if (IsUsableLabel(label.key())) *context.add_cluster_labels() = label;
  }
  if (context.cluster_labels().empty()) return std::nullopt;
  for (const auto& annotation : cluster.annotations()) {
    if (!IsForeignKey(annotation.key())) {
      *context.add_cluster_annotations() = annotation;
    }
  }
  context.set_cluster_namespace(cluster.workspace());
  context.set_cluster_name(cluster.name());
  context.set_cluster_values_json(cluster.cluster().template_values_json());
  return context;
}

}  // namespace flotilla::manager
