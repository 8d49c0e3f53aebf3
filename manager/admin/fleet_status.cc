// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/fleet_status.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "manager/admin/status_text.h"
#include "manager/status/status_source.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;

// What conditions get from those who show them, and a condition more.
constexpr size_t kRoom = 6 << 10;
constexpr size_t kBudget = kMaxStatusBytes - kRoom;
// Condition Truncated.
constexpr size_t kTruncatedRoom = 512;
constexpr size_t kMaxMessage = 1500;
constexpr size_t kMaxChildMessage = 256;

// In Fleet's words (spec.md 7.1).
std::string FleetState(const std::string& state) {
  if (state == "Offline") return "NotReady";
  if (state == "Deleting") return "Pending";
  if (state == "Error") return "ErrApplied";
  return state;
}

// "" is how Ready is displayed (spec.md 7.6).
std::string Displayed(const std::string& state) {
  const std::string word = FleetState(state);
  return word == "Ready" ? "" : word;
}

// `by_cluster`: children are clusters, else bundles.
json Summary(const admin::v1::StateCounts& counts,
             const std::vector<NotReadyOne>& waiting, bool by_cluster) {
  json out = {{"ready", counts.ready()}, {"desiredReady", counts.desired()}};
  const auto set = [&out](const char* key, uint32_t n) {
    if (n > 0) out[key] = n;
  };
  set("notReady", counts.not_ready() + counts.offline());
  set("waitApplied", counts.wait_applied());
  set("errApplied", counts.err_applied());
  set("outOfSync", counts.out_of_sync());
  set("modified", counts.modified());
  set("pending", counts.pending() + counts.deleting());
  for (const NotReadyOne& one : waiting) {
    const DeploymentName& name = one.entry->name;
    out["nonReadyResources"].push_back(
        {{"name", by_cluster
                      ? ClusterText(name)
                      : absl::StrCat(name.workspace, "/", name.bundle)},
         {"bundleState", FleetWord(one.entry->state)},
         {"message", BoundedText(one.message, kMaxChildMessage)}});
  }
  return out;
}

json Counts(const core::v1::ResourceCounts& counts) {
  json out = {{"ready", counts.ready()}, {"desiredReady", counts.desired()}};
  const auto set = [&out](const char* key, uint32_t n) {
    if (n > 0) out[key] = n;
  };
  set("waitApplied", counts.wait_applied());
  set("modified", counts.modified());
  set("orphaned", counts.pruning());
  set("missing", counts.missing());
  set("unknown", counts.unknown());
  set("notReady", counts.not_ready() + counts.degraded() + counts.error());
  return out;
}

// With every counter, as readers of Fleet's status expect.
json AllCounts(const core::v1::ResourceCounts& counts) {
  json out = Counts(counts);
  for (const char* key : {"waitApplied", "modified", "orphaned", "missing",
                          "unknown", "notReady"}) {
    if (out.find(key) == out.end()) out[key] = 0;
  }
  return out;
}

json Condition(const std::string& type, bool holds, const std::string& reason,
               const std::string& message) {
  json out = {{"type", type}, {"status", holds ? "True" : "False"}};
  if (!reason.empty()) out["reason"] = reason;
  if (!message.empty()) out["message"] = BoundedText(message, kMaxMessage);
  return out;
}

json Ready(const std::string& state, const std::string& message) {
  const bool ready = state == "Ready";
  return Condition("Ready", ready, ready ? "" : FleetState(state),
                   ready ? "" : message);
}

json Display(const char* count_key, const std::string& count,
             const std::string& state) {
  json out = {{count_key, count}};
  const std::string word = Displayed(state);
  if (!word.empty()) out["state"] = word;
  return out;
}

std::string ReadyOf(const admin::v1::StateCounts& counts) {
  return absl::StrCat(counts.ready(), "/", counts.desired());
}

template <typename Source>
json ConditionList(const Source& source) {
  json out = json::array();
  for (const admin::v1::Condition& condition : source.conditions()) {
    out.push_back(Condition(condition.type(), condition.status() == "True",
                            FleetState(condition.reason()),
                            condition.message()));
  }
  const bool stalled = source.state() == "Error";
  const bool busy =
      source.state() == "GitUpdating" || source.state() == "Pending";
  out.push_back(Condition("Stalled", stalled, stalled ? "Error" : "",
                          stalled ? source.message() : ""));
  out.push_back(Condition("Reconciling", busy, busy ? source.state() : "",
                          busy ? source.message() : ""));
  if (source.warnings_size() > 0) {
    std::string text;
    for (const core::v1::Problem& warning : source.warnings()) {
      if (text.size() > kMaxMessage) break;
      if (!text.empty()) text += "; ";
      if (!warning.file().empty()) {
        absl::StrAppend(&text, warning.file(), ":", warning.line(), ": ");
      }
      text += warning.message();
    }
    out.push_back(Condition("Warnings", true, "Warnings", text));
  }
  return out;
}

// The worst first, in at most `budget` bytes.
json PerClusterCounts(const DeploymentTally& tally, size_t budget) {
  std::vector<std::tuple<FoldedState, const std::string*,
                         const core::v1::ResourceCounts*>>
      clusters;
  clusters.reserve(tally.shares().size());
  for (const auto& [cluster, share] : tally.shares()) {
    clusters.emplace_back(DeploymentTally::WorstOf(share.states),
                          &cluster.first, &share.resources);
  }
  // Stable: by name where equal.
  std::stable_sort(clusters.begin(), clusters.end(),
                   [](const auto& a, const auto& b) {
                     return std::get<0>(a) < std::get<0>(b);
                   });
  json out = json::object();
  for (const auto& [state, cluster, counts] : clusters) {
    json one = Counts(*counts);
    const size_t size = JsonSize(*cluster) + JsonSize(one) + 2;
    if (size > budget) break;
    budget -= size;
    out[*cluster] = std::move(one);
  }
  return out;
}

// The block that GitRepo and HelmOp have in common (spec.md 1.1).
template <typename Source>
json SourceStatus(const Source& source, const StatusParts& parts,
                  const ResourcesWithin& resources, int64_t generation) {
  const auto& shares = parts.tally.shares();
  const auto ready =
      std::count_if(shares.begin(), shares.end(), [](const auto& share) {
        return DeploymentTally::WorstOf(share.second.states) ==
               FoldedState::kReady;
      });
  json out;
  out["observedGeneration"] = generation;
  out["readyClusters"] = ready;
  out["desiredReadyClusters"] = shares.size();
  out["summary"] =
      Summary(source.deployments(), parts.waiting, /*by_cluster=*/false);
  out["resourceCounts"] = AllCounts(source.resources());
  json display = Display("readyBundleDeployments",
                         ReadyOf(source.deployments()), source.state());
  if (source.state() != "Ready" && !source.message().empty()) {
    display["message"] = BoundedText(source.message(), kMaxMessage);
    display["error"] = source.state() == "Error" ||
                       source.deployments().err_applied() > 0;
  }
  out["display"] = std::move(display);
  out["conditions"] = ConditionList(source);

  // A third of what is left for the clusters, the rest for the objects.
  const size_t used = JsonSize(out) + kTruncatedRoom;
  size_t room = kBudget - std::min(kBudget, used);
  std::string truncated;
  json per_cluster = PerClusterCounts(parts.tally, room / 3);
  room -= std::min(room, JsonSize(per_cluster));
  if (per_cluster.size() < shares.size()) {
    absl::StrAppend(&truncated, "perClusterResourceCounts has ",
                    per_cluster.size(), " of ", shares.size(), " clusters");
  }
  if (!per_cluster.empty()) {
    out["perClusterResourceCounts"] = std::move(per_cluster);
  }
  ResourceList list = resources(room);
  const auto cut = std::count_if(
      list.shown.begin(), list.shown.end(), [](const json& resource) {
        return resource.find("incompleteState") != resource.end();
      });
  if (list.shown.size() < list.all || cut > 0) {
    absl::StrAppend(&truncated, truncated.empty() ? "" : "; ",
                    "resources has ", list.shown.size(), " of ", list.all,
                    " objects, ", cut, " of them without all their clusters");
  }
  if (!list.shown.empty()) out["resources"] = std::move(list.shown);
  if (!truncated.empty()) {
    out["conditions"].push_back(Condition(
        "Truncated", true, "TooLarge",
        absl::StrCat(truncated,
                     "; the worst are shown, `flotilla get resources` and "
                     "`flotilla get deployments` list all")));
  }
  return out;
}

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

json SourcesReady(const char* ready_key, const char* desired_key,
                  SourceCounts counts) {
  return {{ready_key, counts.ready}, {desired_key, counts.all}};
}

}  // namespace

json GitRepoStatus(const admin::v1::GitRepo& repo, const StatusParts& parts,
                   const ResourcesWithin& resources, int64_t generation,
                   int64_t sync_generation) {
  json out = SourceStatus(repo, parts, resources, generation);
  if (!repo.commit().id().empty()) {
    out["commit"] = repo.commit().id();
    out["pollingCommit"] = repo.commit().id();
  }
  out["updateGeneration"] = sync_generation;
  out["gitJobStatus"] = repo.state() == "Error"         ? "Failed"
                        : repo.state() == "GitUpdating" ? "InProgress"
                        : repo.state() == "Deleting"    ? "Terminating"
                        : repo.commit().id().empty()    ? "NotFound"
                                                        : "Current";
  return out;
}

json HelmOpStatus(const admin::v1::HelmOp& helm_op, const StatusParts& parts,
                  const ResourcesWithin& resources, int64_t generation) {
  json out = SourceStatus(helm_op, parts, resources, generation);
  if (!helm_op.version().empty()) out["version"] = helm_op.version();
  return out;
}

json BundleStatus(const admin::v1::Bundle& bundle, const StatusParts& parts,
                  int64_t generation) {
  json out;
  out["observedGeneration"] = generation;
  out["summary"] =
      Summary(bundle.deployments(), parts.waiting, /*by_cluster=*/true);
  out["display"] =
      Display("readyClusters", ReadyOf(bundle.deployments()), bundle.state());
  out["unavailable"] =
      bundle.deployments().desired() - bundle.deployments().ready();
  out["conditions"] = {Ready(bundle.state(), bundle.message())};
  return out;
}

json ClusterStatus(const admin::v1::Cluster& cluster, const StatusParts& parts,
                   SourceCounts git_repos, SourceCounts helm_ops,
                   absl::Time now) {
  json out;
  out["summary"] =
      Summary(cluster.deployments(), parts.waiting, /*by_cluster=*/false);
  out["resourceCounts"] = AllCounts(parts.tally.resources());
  out.update(SourcesReady("readyGitRepos", "desiredReadyGitRepos", git_repos));
  out.update(SourcesReady("readyHelmOps", "desiredReadyHelmOps", helm_ops));
  // WaitCheckIn is a word of Fleet's as well.
  out["display"] = Display("readyBundles", ReadyOf(cluster.deployments()),
                           cluster.state());
  if (cluster.online() || cluster.has_last_seen_time()) {
    const absl::Time seen =
        cluster.online()
            ? absl::UnixEpoch() +
                  absl::Floor(now - absl::UnixEpoch(), kCheckIn)
            : absl::FromUnixSeconds(cluster.last_seen_time().seconds());
    out["agent"] = {{"lastSeen", TimeText(seen)}};
  }
  out["conditions"] = {Ready(cluster.state(), cluster.message()),
                       Condition("Processed", true, "", "")};
  return out;
}

json ClusterGroupStatus(const admin::v1::ClusterGroup& group) {
  json out;
  out["clusterCount"] = group.clusters();
  out["nonReadyClusterCount"] = group.non_ready_clusters();
  for (const std::string& name : group.non_ready_names()) {
    out["nonReadyClusters"].push_back(name);
  }
  out["summary"] = Summary(group.deployments(), {}, /*by_cluster=*/true);
  out["resourceCounts"] = AllCounts(group.resources());
  json display = Display("readyBundles", group.bundles_ready(), group.state());
  display["readyClusters"] = group.clusters_ready();
  out["display"] = std::move(display);
  out["conditions"] = {Ready(group.state(), group.message()),
                       Condition("Processed", true, "", "")};
  return out;
}

}  // namespace flotilla::manager
