// SPDX-License-Identifier: Apache-2.0
//
// Whether a cluster gets a bundle, and with which options (spec 4.3, mode
// FirstMatch; 4.4 for the options that are honoured).

#ifndef FLOTILLA_MANAGER_TARGETING_TARGET_RESOLVER_H_
#define FLOTILLA_MANAGER_TARGETING_TARGET_RESOLVER_H_

#include <optional>
#include <string>

#include "flotilla/storage/v1/storage.pb.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "manager/targeting/cluster_matcher.h"

namespace flotilla::manager {

struct ResolvedTarget {
  // Target that matched; with a customization "<target>/<customization>".
  std::string target_name;
  // Merged. correct_drift is TRUE or FALSE (decisions.md 11).
  storage::v1::DeployOptions options;
};

// Nothing when the cluster does not get the bundle.
std::optional<ResolvedTarget> ResolveTarget(
    const storage::v1::BundleRevision& bundle, const TargetCluster& cluster);

// Whether any of a GitRepo's targets means the cluster; no targets mean
// ClusterGroup "default". For "0 clusters match".
bool AnyTargetMatches(
    const google::protobuf::RepeatedPtrField<storage::v1::Target>& targets,
    const TargetCluster& cluster);

// The targets that a GitRepo without any has.
google::protobuf::RepeatedPtrField<storage::v1::Target> DefaultTargets();

// `custom` over `base`.
storage::v1::DeployOptions MergeOptions(
    const storage::v1::DeployOptions& base,
    const storage::v1::DeployOptions& custom);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_TARGETING_TARGET_RESOLVER_H_
