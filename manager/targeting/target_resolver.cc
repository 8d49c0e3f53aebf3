// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/target_resolver.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/crypto/sha256.h"
#include "manager/store/records.h"
#include "manager/targeting/merge_options.h"
#include "manager/targeting/template_context.h"

namespace flotilla::manager {
namespace {

using google::protobuf::RepeatedPtrField;
using storage::v1::BundleRevision;
using storage::v1::DeployOptions;
using storage::v1::Target;
using storage::v1::TriState;

// Combinations of customizations that are remembered for one bundle.
constexpr size_t kMaxKnown = 10000;

// The first deploy target that means the cluster, by a group by which some
// restriction does too.
const Target* FindHit(const BundleRevision& bundle,
                      const TargetCluster& cluster) {
  const std::vector<TargetGroup> groups = GroupsToTry(cluster);
  for (const Target& target : bundle.targets()) {
    for (const TargetGroup& group : groups) {
      if (!TargetMatchesByGroup(target, cluster, group)) continue;
      if (bundle.restrictions().empty() ||
          std::any_of(bundle.restrictions().begin(),
                      bundle.restrictions().end(), [&](const Target& r) {
                        return TargetMatchesByGroup(r, cluster, group);
                      })) {
        return &target;
      }
    }
  }
  return nullptr;
}

// `hit` and the customizations that apply, none of which has a veto.
ResolvedTarget Merge(const BundleRevision& bundle, const Target& hit,
                     const std::vector<const Target*>& customizations) {
  ResolvedTarget result;
  result.target_name = hit.name();
  // Without AllMatches a customization replaces the options of the target and
  // is not merged with them (spec 14.2).
  DeployOptions custom;
  if (bundle.all_matches() || customizations.empty()) custom = hit.options();
  const char* separator = "/";
  for (const Target* customization : customizations) {
    custom = bundle.all_matches()
                 ? MergeOptions(custom, customization->options())
                 : customization->options();
    absl::StrAppend(&result.target_name, separator, customization->name());
    separator = "+";
  }
  result.options = MergeOptions(bundle.options(), custom);
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

}  // namespace

RepeatedPtrField<Target> DefaultTargets() {
  RepeatedPtrField<Target> targets;
  Target& target = *targets.Add();
  target.set_name("default");
  target.set_cluster_group("default");
  return targets;
}

bool AnyTargetMatches(const RepeatedPtrField<Target>& targets,
                      const TargetCluster& cluster) {
  const RepeatedPtrField<Target> defaults = DefaultTargets();
  const RepeatedPtrField<Target>& asked = targets.empty() ? defaults : targets;
  return std::any_of(asked.begin(), asked.end(), [&](const Target& target) {
    return TargetMatches(target, cluster);
  });
}

std::optional<ResolvedTarget> ResolveTarget(const BundleRevision& bundle,
                                            const TargetCluster& cluster) {
  const Target* hit = FindHit(bundle, cluster);
  if (hit == nullptr || hit->do_not_deploy()) return std::nullopt;
  std::vector<const Target*> customizations;
  for (const Target& customization : bundle.customizations()) {
    if (!TargetMatches(customization, cluster)) continue;
    if (customization.do_not_deploy()) return std::nullopt;
    customizations.push_back(&customization);
    if (!bundle.all_matches()) break;
  }
  return Merge(bundle, *hit, customizations);
}

ClusterSubject::ClusterSubject(const TargetCluster& cluster)
    : name(cluster.name), labels(cluster.labels) {
  const auto display = cluster.labels.find(kDisplayNameLabel);
  if (display != cluster.labels.end()) display_name = display->second;
  for (const TargetGroup& group : cluster.groups) {
    groups.push_back(std::make_shared<GroupSubject>(group.name, group.labels));
  }
}

BundleResolver::Matcher::Matcher(const Target& target)
    : has_cluster_selector(target.has_cluster_selector()),
      has_group_selector(target.has_cluster_group_selector()),
      do_not_deploy(target.do_not_deploy()),
      cluster_name(target.cluster_name()),
      cluster_group(target.cluster_group()),
      cluster_selector(target.cluster_selector()),
      group_selector(target.cluster_group_selector()) {
  by_group = has_group_selector || !cluster_group.empty();
  none = !by_group && !has_cluster_selector && cluster_name.empty();
}

bool BundleResolver::Matcher::MatchesCluster(
    const ClusterSubject& cluster) const {
  if (none) return false;
  if (!cluster_name.empty() && cluster_name != cluster.name &&
      cluster_name != cluster.display_name) {
    return false;
  }
  return !has_cluster_selector || cluster_selector.Matches(cluster.labels);
}

bool BundleResolver::Matcher::MatchesGroup(const GroupSubject& group) const {
  if (!cluster_group.empty() && cluster_group != group.name) return false;
  return !has_group_selector || group_selector.Matches(group.labels);
}

BundleResolver::BundleResolver(const BundleRevision& bundle) {
  // Without files, of which there may be many.
  *bundle_.mutable_options() = bundle.options();
  *bundle_.mutable_customizations() = bundle.customizations();
  *bundle_.mutable_targets() = bundle.targets();
  bundle_.set_source_correct_drift(bundle.source_correct_drift());
  bundle_.set_all_matches(bundle.all_matches());
  for (const Target& target : bundle.targets()) targets_.emplace_back(target);
  for (const Target& target : bundle.restrictions()) {
    restrictions_.emplace_back(target);
  }
  for (const Target& target : bundle.customizations()) {
    customizations_.emplace_back(target);
  }
}

bool BundleResolver::Matches(const Matcher& matcher,
                             const ClusterSubject& cluster) {
  if (!matcher.MatchesCluster(cluster)) return false;
  if (!matcher.by_group) return true;
  if (cluster.groups.empty()) return matcher.MatchesGroup(GroupSubject());
  for (const auto& group : cluster.groups) {
    if (matcher.MatchesGroup(*group)) return true;
  }
  return false;
}

bool BundleResolver::IsHit(const Matcher& matcher,
                           const ClusterSubject& cluster) const {
  if (restrictions_.empty()) return Matches(matcher, cluster);
  if (!matcher.MatchesCluster(cluster)) return false;
  const auto by = [&](const GroupSubject& group) {
    if (!matcher.MatchesGroup(group)) return false;
    for (const Matcher& restriction : restrictions_) {
      if (restriction.MatchesCluster(cluster) &&
          restriction.MatchesGroup(group)) {
        return true;
      }
    }
    return false;
  };
  if (cluster.groups.empty()) return by(GroupSubject());
  for (const auto& group : cluster.groups) {
    if (by(*group)) return true;
  }
  return false;
}

std::shared_ptr<const SharedTarget> BundleResolver::Resolve(
    const ClusterSubject& cluster) {
  choice_.clear();
  for (size_t i = 0; i < targets_.size(); ++i) {
    if (!IsHit(targets_[i], cluster)) continue;
    if (targets_[i].do_not_deploy) return nullptr;
    choice_.push_back(static_cast<int32_t>(i));
    break;
  }
  if (choice_.empty()) return nullptr;
  for (size_t i = 0; i < customizations_.size(); ++i) {
    if (!Matches(customizations_[i], cluster)) continue;
    if (customizations_[i].do_not_deploy) return nullptr;
    choice_.push_back(static_cast<int32_t>(i));
    if (!bundle_.all_matches()) break;
  }
  const auto known = known_.find(choice_);
  if (known != known_.end()) return known->second;
  std::vector<const Target*> customizations;
  for (size_t i = 1; i < choice_.size(); ++i) {
    customizations.push_back(&bundle_.customizations(choice_[i]));
  }
  auto shared = std::make_shared<SharedTarget>();
  shared->resolved =
      Merge(bundle_, bundle_.targets(choice_[0]), customizations);
  shared->options_bytes = SerializeRecord(shared->resolved.options);
  shared->options_digest = Sha256(shared->options_bytes);
  shared->templated = NeedsTemplateContext(shared->resolved.options);
  if (known_.size() >= kMaxKnown) known_.clear();
  return known_[choice_] = std::move(shared);
}

}  // namespace flotilla::manager
