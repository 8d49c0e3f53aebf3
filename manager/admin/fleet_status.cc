// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/fleet_status.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::manager {
namespace {

using admin::v1::Deployment;
using nlohmann::json;

// spec.md 1.0.3.
constexpr size_t kMaxNonReady = 10;
constexpr size_t kMaxClusters = 1000;
// Fleet's agents check in that often (spec.md 10.6).
constexpr absl::Duration kCheckIn = absl::Minutes(15);

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

// Messages of an offline agent hold its age, which is another each time.
std::string Lasting(const std::string& state, const std::string& message) {
  return state == "Offline" ? "the agent is offline" : message;
}

std::string ClusterId(const Deployment& deployment) {
  return absl::StrCat(deployment.workspace(), "/", deployment.cluster());
}

// `by_cluster`: children are clusters, else bundles.
json Summary(const admin::v1::StateCounts& counts,
             const DeploymentPtrs& deployments, bool by_cluster) {
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
  json waiting = json::array();
  for (const Deployment* deployment : deployments) {
    if (deployment->state() == "Ready") continue;
    if (waiting.size() == kMaxNonReady) break;
    waiting.push_back(
        {{"name", by_cluster ? ClusterId(*deployment)
                             : absl::StrCat(deployment->workspace(), "/",
                                            deployment->bundle())},
         {"bundleState", FleetState(deployment->state())},
         {"message", Lasting(deployment->state(), deployment->message())}});
  }
  if (!waiting.empty()) out["nonReadyResources"] = std::move(waiting);
  return out;
}

json Counts(const core::v1::ResourceCounts& counts) {
  return {{"ready", counts.ready()},
          {"desiredReady", counts.desired()},
          {"waitApplied", counts.wait_applied()},
          {"modified", counts.modified()},
          {"orphaned", counts.pruning()},
          {"missing", counts.missing()},
          {"unknown", counts.unknown()},
          {"notReady",
           counts.not_ready() + counts.degraded() + counts.error()}};
}

json Condition(const std::string& type, bool holds, const std::string& reason,
               const std::string& message) {
  json out = {{"type", type}, {"status", holds ? "True" : "False"}};
  if (!reason.empty()) out["reason"] = reason;
  if (!message.empty()) out["message"] = message;
  return out;
}

std::string OfflineBundle(const admin::v1::Bundle& bundle,
                          const DeploymentPtrs& deployments) {
  for (const Deployment* deployment : deployments) {
    if (deployment->state() != "Offline") continue;
    return absl::StrCat("NotReady(", bundle.deployments().offline(),
                        ") [Cluster ", deployment->cluster(),
                        ": the agent is offline]");
  }
  return "";
}

template <typename Conditions>
json ConditionList(const Conditions& conditions, const std::string& state,
                   const std::string& message) {
  json out = json::array();
  for (const admin::v1::Condition& condition : conditions) {
    out.push_back({{"type", condition.type()},
                   {"status", condition.status()}});
    if (!condition.reason().empty()) out.back()["reason"] = condition.reason();
    const std::string text =
        state == "Offline" && condition.type() == "Ready"
            ? message
            : condition.message();
    if (!text.empty()) out.back()["message"] = text;
  }
  const bool stalled = state == "Error";
  const bool busy = state == "GitUpdating" || state == "Pending";
  out.push_back(Condition("Stalled", stalled, stalled ? "Error" : "",
                          stalled ? message : ""));
  out.push_back(Condition("Reconciling", busy, busy ? state : "",
                          busy ? message : ""));
  return out;
}

// The block that GitRepo and HelmOp have in common (spec.md 1.1).
template <typename Source>
json SourceStatus(const Source& source, const DeploymentPtrs& deployments,
                  int64_t generation) {
  std::map<std::string, std::pair<int, int>> clusters;  // Ready, all.
  std::map<std::string, core::v1::ResourceCounts> counts;
  for (const Deployment* deployment : deployments) {
    auto& [ready, all] = clusters[ClusterId(*deployment)];
    ++all;
    if (deployment->state() == "Ready") ++ready;
    if (counts.size() < kMaxClusters) {
      core::v1::ResourceCounts& sum = counts[ClusterId(*deployment)];
      const core::v1::ResourceCounts& one = deployment->observed().counts();
      sum.set_ready(sum.ready() + one.ready());
      sum.set_desired(sum.desired() + one.desired());
    }
  }
  const auto ready = std::count_if(
      clusters.begin(), clusters.end(), [](const auto& cluster) {
        return cluster.second.first == cluster.second.second;
      });
  json out;
  out["observedGeneration"] = generation;
  out["readyClusters"] = ready;
  out["desiredReadyClusters"] = clusters.size();
  out["summary"] =
      Summary(source.deployments(), deployments, /*by_cluster=*/false);
  out["resourceCounts"] = Counts(source.resources());
  json per_cluster = json::object();
  for (const auto& [cluster, sum] : counts) {
    per_cluster[cluster] = {{"ready", sum.ready()},
                            {"desiredReady", sum.desired()}};
  }
  if (!per_cluster.empty()) {
    out["perClusterResourceCounts"] = std::move(per_cluster);
  }
  const bool fine = source.state() == "Ready";
  std::string message = source.message();
  if (source.state() == "Offline") {
    message = absl::StrCat("NotReady(", source.deployments().offline(), ")");
    for (const Deployment* deployment : deployments) {
      if (deployment->state() != "Offline") continue;
      absl::StrAppend(&message, " [Bundle ", deployment->bundle(), " on ",
                      deployment->cluster(), ": the agent is offline]");
      break;
    }
  }
  json display = {
      {"readyBundleDeployments", absl::StrCat(source.deployments().ready(), "/",
                                              source.deployments().desired())}};
  const std::string state = Displayed(source.state());
  if (!state.empty()) display["state"] = state;
  if (!fine && !message.empty()) {
    display["message"] = message;
    display["error"] = source.state() == "Error" ||
                       source.deployments().err_applied() > 0;
  }
  out["display"] = std::move(display);
  out["conditions"] =
      ConditionList(source.conditions(), source.state(), message);
  if (source.warnings_size() > 0) {
    std::string text;
    for (const core::v1::Problem& warning : source.warnings()) {
      if (text.size() > 2000) break;
      if (!text.empty()) text += "; ";
      if (!warning.file().empty()) {
        absl::StrAppend(&text, warning.file(), ":", warning.line(), ": ");
      }
      text += warning.message();
    }
    out["conditions"].push_back(Condition("Warnings", true, "Warnings", text));
  }
  return out;
}

}  // namespace

json GitRepoStatus(const admin::v1::GitRepo& repo,
                   const DeploymentPtrs& deployments, int64_t generation,
                   int64_t sync_generation) {
  json out = SourceStatus(repo, deployments, generation);
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

json HelmOpStatus(const admin::v1::HelmOp& helm_op,
                  const DeploymentPtrs& deployments, int64_t generation) {
  json out = SourceStatus(helm_op, deployments, generation);
  if (!helm_op.version().empty()) out["version"] = helm_op.version();
  return out;
}

json BundleStatus(const admin::v1::Bundle& bundle,
                  const DeploymentPtrs& deployments, int64_t generation) {
  json out;
  out["observedGeneration"] = generation;
  out["summary"] =
      Summary(bundle.deployments(), deployments, /*by_cluster=*/true);
  json display = {
      {"readyClusters", absl::StrCat(bundle.deployments().ready(), "/",
                                     bundle.deployments().desired())}};
  const std::string state = Displayed(bundle.state());
  if (!state.empty()) display["state"] = state;
  out["display"] = std::move(display);
  out["unavailable"] =
      bundle.deployments().desired() - bundle.deployments().ready();
  const bool ready = bundle.state() == "Ready";
  out["conditions"] = {Condition("Ready", ready,
                                 ready ? "" : FleetState(bundle.state()),
                                 ready ? ""
                                 : bundle.state() == "Offline"
                                     ? OfflineBundle(bundle, deployments)
                                     : bundle.message())};
  return out;
}

json ClusterStatus(const admin::v1::Cluster& cluster,
                   const DeploymentPtrs& deployments) {
  json out;
  out["summary"] =
      Summary(cluster.deployments(), deployments, /*by_cluster=*/false);
  core::v1::ResourceCounts counts;
  for (const Deployment* deployment : deployments) {
    const core::v1::ResourceCounts& one = deployment->observed().counts();
    counts.set_ready(counts.ready() + one.ready());
    counts.set_desired(counts.desired() + one.desired());
    counts.set_modified(counts.modified() + one.modified());
    counts.set_missing(counts.missing() + one.missing());
    counts.set_not_ready(counts.not_ready() + one.not_ready());
    counts.set_degraded(counts.degraded() + one.degraded());
    counts.set_error(counts.error() + one.error());
    counts.set_wait_applied(counts.wait_applied() + one.wait_applied());
    counts.set_unknown(counts.unknown() + one.unknown());
    counts.set_pruning(counts.pruning() + one.pruning());
  }
  out["resourceCounts"] = Counts(counts);
  json display = {
      {"readyBundles", absl::StrCat(cluster.deployments().ready(), "/",
                                    cluster.deployments().desired())}};
  // WaitCheckIn is a word of Fleet's as well.
  const std::string state = Displayed(cluster.state());
  if (!state.empty()) display["state"] = state;
  out["display"] = std::move(display);
  if (cluster.has_last_seen_time()) {
    const absl::Time seen = absl::UnixEpoch() +
                            absl::Floor(absl::Seconds(
                                            cluster.last_seen_time().seconds()),
                                        kCheckIn);
    out["agent"] = {{"lastSeen",
                     absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", seen,
                                      absl::UTCTimeZone())}};
  }
  const bool ready = cluster.state() == "Ready";
  out["conditions"] = {
      Condition("Ready", ready, ready ? "" : FleetState(cluster.state()),
                ready ? ""
                      : Lasting(cluster.state(), cluster.message())),
      Condition("Processed", true, "", "")};
  return out;
}

json ClusterGroupStatus(
    const admin::v1::ClusterGroup& group,
    const std::vector<const admin::v1::Cluster*>& clusters) {
  json out;
  out["clusterCount"] = group.clusters();
  out["nonReadyClusterCount"] = group.non_ready_clusters();
  json waiting = json::array();
  for (const admin::v1::Cluster* cluster : clusters) {
    if (cluster->state() != "Ready" && waiting.size() < kMaxNonReady) {
      waiting.push_back(cluster->name());
    }
  }
  if (!waiting.empty()) out["nonReadyClusters"] = std::move(waiting);
  out["summary"] = Summary(group.deployments(), {}, /*by_cluster=*/true);
  json display = {{"readyClusters", group.clusters_ready()},
                  {"readyBundles", group.bundles_ready()}};
  const std::string state = Displayed(group.state());
  if (!state.empty()) display["state"] = state;
  out["display"] = std::move(display);
  const bool ready = group.state() == "Ready";
  std::string message;
  for (const admin::v1::Cluster* cluster : clusters) {
    if (cluster->state() == "Ready") continue;
    message = absl::StrCat(
        FleetState(cluster->state()), "(", group.non_ready_clusters(),
        ") [Cluster ", cluster->name(),
        ": ", Lasting(cluster->state(), cluster->message()), "]");
    break;
  }
  out["conditions"] = {Condition("Ready", ready,
                                 ready ? "" : FleetState(group.state()),
                                 message),
                       Condition("Processed", true, "", "")};
  return out;
}

}  // namespace flotilla::manager
