// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/bundle_reach.h"

#include <utility>

namespace flotilla::manager {
namespace {

constexpr char kNameLabel[] = "kubernetes.io/metadata.name";

}  // namespace

void BundleReach::SetMapping(const storage::v1::Document& mapping) {
  const storage::v1::BundleNamespaceMappingSpec& spec =
      mapping.bundle_namespace_mapping();
  // An absent selector matches nothing.
  if (mapping.has_delete_time() || !spec.has_bundle_selector() ||
      !spec.has_namespace_selector()) {
    RemoveMapping(mapping.workspace(), mapping.name());
    return;
  }
  mappings_[mapping.workspace()][mapping.name()] = {spec.bundle_selector(),
                                                    spec.namespace_selector()};
}

void BundleReach::RemoveMapping(const std::string& workspace,
                                const std::string& name) {
  const auto known = mappings_.find(workspace);
  if (known == mappings_.end()) return;
  known->second.erase(name);
  if (known->second.empty()) mappings_.erase(known);
}

void BundleReach::SetNamespace(const std::string& workspace, LabelMap labels) {
  namespaces_[workspace] = std::move(labels);
}

void BundleReach::RemoveNamespace(const std::string& workspace) {
  namespaces_.erase(workspace);
}

bool BundleReach::AddWorkspace(const std::string& workspace) {
  return workspaces_.insert(workspace).second;
}

std::set<std::string> BundleReach::MappingWorkspaces() const {
  std::set<std::string> result;
  for (const auto& [workspace, mappings] : mappings_) result.insert(workspace);
  return result;
}

std::set<std::string> BundleReach::Of(const std::string& workspace,
                                      const LabelMap& bundle_labels) const {
  std::set<std::string> result = {workspace};
  const auto mappings = mappings_.find(workspace);
  if (mappings == mappings_.end()) return result;
  for (const auto& [name, mapping] : mappings->second) {
    if (!SelectorMatches(mapping.bundles, bundle_labels)) continue;
    for (const std::string& candidate : workspaces_) {
      const auto known = namespaces_.find(candidate);
      LabelMap labels;
      if (known != namespaces_.end()) labels = known->second;
      labels[kNameLabel] = candidate;
      if (SelectorMatches(mapping.namespaces, labels)) {
        result.insert(candidate);
      }
    }
  }
  return result;
}

}  // namespace flotilla::manager
