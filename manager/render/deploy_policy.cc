// SPDX-License-Identifier: Apache-2.0

#include "manager/render/deploy_policy.h"

#include <algorithm>

namespace flotilla::manager {
namespace {

constexpr char kCommitLabel[] = "fleet.cattle.io/commit";

}  // namespace

core::v1::DeployPolicy MakeDeployPolicy(const RenderInput& input) {
  const storage::v1::DeployOptions& options = input.options;
  core::v1::DeployPolicy policy;
  storage::v1::TriState correct = options.correct_drift();
  if (correct == storage::v1::TRI_STATE_UNSPECIFIED) {
    correct = input.source_correct_drift;
  }
  policy.set_correct_drift(correct != storage::v1::TRI_STATE_FALSE);
  policy.set_takeover(options.helm().take_ownership()
                          ? core::v1::TAKEOVER_ALWAYS
                          : core::v1::TAKEOVER_IF_NO_DIFF);
  policy.set_keep_resources(options.keep_resources());
  policy.set_service_account(options.service_account());
  policy.set_bundle_name(input.bundle_name);
  policy.set_workspace(input.workspace);
  for (const core::v1::LabelPair& label : input.bundle_labels) {
    if (label.key() != kCommitLabel) *policy.add_bundle_labels() = label;
  }
  for (const core::v1::Dependency& dependency : input.depends_on) {
    *policy.add_depends_on() = dependency;
  }
  *policy.mutable_ignore_conditions() = options.ignore_conditions();
  *policy.mutable_health_rules() = options.health_rules();
  *policy.mutable_compare_patches() = options.compare_patches();
  policy.set_delete_namespace(options.delete_namespace());
  policy.set_force(options.helm().force() || options.correct_drift_force());
  policy.set_atomic(options.helm().atomic());
  if (options.helm().timeout_seconds() > 0) {
    policy.mutable_wait()->set_seconds(options.helm().timeout_seconds());
  }
  policy.set_wait_for_jobs(options.helm().wait_for_jobs());
  policy.set_release_namespace(ReleaseNamespace(options));
  *policy.mutable_namespace_labels() = options.namespace_labels();
  *policy.mutable_namespace_annotations() = options.namespace_annotations();
  const auto by_key = [](const core::v1::LabelPair& a,
                         const core::v1::LabelPair& b) {
    return a.key() < b.key();
  };
  std::sort(policy.mutable_namespace_labels()->begin(),
            policy.mutable_namespace_labels()->end(), by_key);
  std::sort(policy.mutable_namespace_annotations()->begin(),
            policy.mutable_namespace_annotations()->end(), by_key);
  if (options.has_allowed_target_namespace_selector()) {
    *policy.mutable_allowed_namespace_selector() =
        options.allowed_target_namespace_selector();
  }
  policy.set_force_sync_generation(options.force_sync_generation());
  return policy;
}

}  // namespace flotilla::manager
