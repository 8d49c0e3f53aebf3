// SPDX-License-Identifier: Apache-2.0
//
// Whether a cluster gets a bundle, and with which options (spec 4.3, 4.4).
// ResolveTarget() is the rule written down; BundleResolver gives the same
// answers for a bundle and very many clusters.

#ifndef FLOTILLA_MANAGER_TARGETING_TARGET_RESOLVER_H_
#define FLOTILLA_MANAGER_TARGETING_TARGET_RESOLVER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "manager/targeting/cluster_matcher.h"
#include "manager/targeting/fast_selector.h"

namespace flotilla::manager {

struct ResolvedTarget {
  // Target that matched; with customizations
  // "<target>/<customization>+<customization>".
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

// A group, ready for being asked often. Shared by its clusters.
struct GroupSubject {
  GroupSubject(std::string group_name, const LabelMap& group_labels)
      : name(std::move(group_name)), labels(group_labels) {}
  // In which a cluster without groups is.
  GroupSubject() = default;

  std::string name;
  FastLabels labels;
};

// A cluster, ready for being asked often.
struct ClusterSubject {
  ClusterSubject() = default;
  explicit ClusterSubject(const TargetCluster& cluster);

  std::string name;
  std::string display_name;  // kDisplayNameLabel; empty when there is none.
  FastLabels labels;
  std::vector<std::shared_ptr<const GroupSubject>> groups;
};

// What clusters that match the same targets share.
struct SharedTarget {
  ResolvedTarget resolved;
  // Of `resolved.options`, canonical.
  std::string options_bytes;
  std::string options_digest;  // SHA-256 of them.
  // The values have something that depends on the cluster (spec 2.4).
  bool templated = false;
};

// One revision of a bundle.
//
// Thread-compatible.
class BundleResolver {
 public:
  // Copies what it needs.
  explicit BundleResolver(const storage::v1::BundleRevision& bundle);

  // As ResolveTarget(); null when the cluster does not get the bundle.
  std::shared_ptr<const SharedTarget> Resolve(const ClusterSubject& cluster);

 private:
  // A target, ready for being asked often.
  struct Matcher {
    explicit Matcher(const storage::v1::Target& target);

    bool MatchesCluster(const ClusterSubject& cluster) const;
    bool MatchesGroup(const GroupSubject& group) const;

    bool none = false;  // Has no criteria.
    bool by_group = false;
    bool has_cluster_selector = false;
    bool has_group_selector = false;
    bool do_not_deploy = false;
    std::string cluster_name;
    std::string cluster_group;
    FastSelector cluster_selector;
    FastSelector group_selector;
  };
  // Which target and customizations apply, by position.
  using Choice = std::vector<int32_t>;

  static bool Matches(const Matcher& matcher, const ClusterSubject& cluster);
  bool IsHit(const Matcher& matcher, const ClusterSubject& cluster) const;

  // Constant after construction.
  storage::v1::BundleRevision bundle_;
  std::vector<Matcher> targets_;
  std::vector<Matcher> restrictions_;
  std::vector<Matcher> customizations_;

  absl::flat_hash_map<Choice, std::shared_ptr<const SharedTarget>> known_;
  Choice choice_;  // Kept for its memory.
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_TARGETING_TARGET_RESOLVER_H_
