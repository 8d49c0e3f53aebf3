// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/fleet_status.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "flotilla/admin/v1/admin.pb.h"
#include "flotilla/core/v1/core.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/admin/deployment_tally.h"
#include "manager/admin/resource_index.h"
#include "manager/admin/status_text.h"
#include "manager/status/status_fold.h"
#include "manager/status/status_source.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

DeploymentEntry Entry(const std::string& bundle, const std::string& cluster,
                      FoldedState state) {
  DeploymentEntry entry;
  entry.name.workspace = entry.name.cluster_workspace = "w";
  entry.name.bundle = entry.name.bundle_id = bundle;
  entry.name.cluster = entry.name.cluster_id = cluster;
  entry.state = state;
  entry.counts.set_desired(10);
  entry.counts.set_ready(state == FoldedState::kReady ? 10 : 9);
  return entry;
}

json ConditionOf(const json& status, const std::string& type) {
  for (const json& condition : status["conditions"]) {
    if (condition["type"] == type) return condition;
  }
  return json();
}

ResourceList NoResources(size_t) { return {}; }

TEST(FleetStatusTest, AGitRepoThatIsReady) {
  admin::v1::GitRepo repo;
  repo.set_state("Ready");
  repo.mutable_commit()->set_id("abc");
  repo.mutable_deployments()->set_ready(2);
  repo.mutable_deployments()->set_desired(2);
  admin::v1::Condition& ready = *repo.add_conditions();
  ready.set_type("Ready");
  ready.set_status("True");
  const DeploymentEntry one = Entry("b", "one", FoldedState::kReady);
  const DeploymentEntry two = Entry("b", "two", FoldedState::kReady);
  DeploymentTally tally(/*shares=*/true);
  tally.Add(one);
  tally.Add(two);

  const json status = GitRepoStatus(repo, {tally, {}}, NoResources, 3, 1);

  EXPECT_EQ(status["commit"], "abc");
  EXPECT_EQ(status["observedGeneration"], 3);
  EXPECT_EQ(status["updateGeneration"], 1);
  EXPECT_EQ(status["gitJobStatus"], "Current");
  EXPECT_EQ(status["readyClusters"], 2);
  EXPECT_EQ(status["desiredReadyClusters"], 2);
  EXPECT_EQ(status["display"], json({{"readyBundleDeployments", "2/2"}}));
  EXPECT_EQ(status["perClusterResourceCounts"]["w/one"],
            json({{"ready", 10}, {"desiredReady", 10}}));
  EXPECT_EQ(ConditionOf(status, "Ready"),
            json({{"type", "Ready"}, {"status", "True"}}));
  EXPECT_EQ(ConditionOf(status, "Stalled")["status"], "False");
  EXPECT_TRUE(ConditionOf(status, "Truncated").is_null());
}

TEST(FleetStatusTest, AnErrorStalls) {
  admin::v1::GitRepo repo;
  repo.set_state("Error");
  repo.set_message("fleet.yaml:3: wrong");

  const json status =
      GitRepoStatus(repo, {DeploymentTally(true), {}}, NoResources, 1, 0);

  EXPECT_EQ(status["gitJobStatus"], "Failed");
  EXPECT_EQ(status["display"]["state"], "ErrApplied");
  EXPECT_EQ(status["display"]["error"], true);
  EXPECT_EQ(ConditionOf(status, "Stalled")["status"], "True");
  EXPECT_EQ(ConditionOf(status, "Stalled")["message"], "fleet.yaml:3: wrong");
}

TEST(FleetStatusTest, WhatAUserShouldKnowIsThere) {
  admin::v1::GitRepo repo;
  repo.set_state("Ready");
  core::v1::Problem& warning = *repo.add_warnings();
  warning.set_file("fleet.yaml");
  warning.set_line(2);
  warning.set_message("unknown key");

  const json status =
      GitRepoStatus(repo, {DeploymentTally(true), {}}, NoResources, 1, 0);

  EXPECT_EQ(ConditionOf(status, "Warnings")["message"],
            "fleet.yaml:2: unknown key");
}

// Everything as large as it can be: the worst cluster has the last name.
TEST(FleetStatusTest, AThousandClustersFitWithTheWorstOfThem) {
  // Each of these bytes would be six in JSON.
  const std::string hostile(5000, '\x01');
  admin::v1::GitRepo repo;
  repo.set_state("Error");
  repo.set_message(hostile);
  for (const char* type :
       {"Ready", "Accepted", "GitPolling", "ClustersMatch", "SourceMissing"}) {
    admin::v1::Condition& condition = *repo.add_conditions();
    condition.set_type(type);
    condition.set_status("False");
    condition.set_message(hostile);
  }
  repo.add_warnings()->set_message(hostile);
  ResourceIndex index;
  DeploymentTally tally(/*shares=*/true);
  std::vector<DeploymentEntry> entries;
  for (int c = 0; c < 1000; ++c) {
    entries.push_back(Entry("a-bundle", absl::StrCat("cluster-", 1000 + c),
                            c == 999 ? FoldedState::kNotReady
                                     : FoldedState::kReady));
  }
  for (const DeploymentEntry& entry : entries) {
    tally.Add(entry);
    index.Place(entry, "s");
    for (int i = 0; i < 10; ++i) {
      core::v1::ResourceStatus status;
      status.set_bundle_id("a-bundle");
      status.mutable_key()->set_version("v1");
      status.mutable_key()->set_kind("ConfigMap");
      status.mutable_key()->set_name(absl::StrCat("config-", i));
      status.set_sync(core::v1::SYNC_STATE_SYNCED);
      status.set_health(entry.state == FoldedState::kReady
                            ? core::v1::HEALTH_HEALTHY
                            : core::v1::HEALTH_DEGRADED);
      index.Report(entry.name.cluster_id, status);
    }
  }
  const StatusParts parts{
      tally, std::vector<NotReadyOne>(kMaxNonReady, {&entries[999], hostile})};

  const json status = GitRepoStatus(
      repo, parts, [&](size_t budget) { return index.Resources("s", budget); },
      1, 0);

  EXPECT_LE(JsonSize(status), kMaxStatusBytes - (5 << 10));
  EXPECT_EQ(status["summary"]["nonReadyResources"].size(), 10u);
  EXPECT_EQ(status["perClusterResourceCounts"]["w/cluster-1999"]["ready"], 9);
  EXPECT_LT(status["perClusterResourceCounts"].size(), 1000u);
  ASSERT_EQ(status["resources"].size(), 10u);
  EXPECT_EQ(status["resources"][0]["perClusterState"]["notReady"],
            json({"w/cluster-1999"}));
  EXPECT_THAT(ConditionOf(status, "Truncated")["message"].get<std::string>(),
              HasSubstr("of 1000 clusters"));
}

TEST(FleetStatusTest, BundlesClustersAndGroupsHaveFleetsColumns) {
  admin::v1::Bundle bundle;
  bundle.set_state("Modified");
  bundle.set_message("Modified(1) [Cluster one: x]");
  bundle.mutable_deployments()->set_desired(2);
  bundle.mutable_deployments()->set_ready(1);
  bundle.mutable_deployments()->set_modified(1);
  const DeploymentEntry one = Entry("b", "one", FoldedState::kModified);
  DeploymentTally tally;
  tally.Add(one);
  json status = BundleStatus(bundle, {tally, {{&one, "x"}}}, 1);
  EXPECT_EQ(status["display"],
            json({{"readyClusters", "1/2"}, {"state", "Modified"}}));
  EXPECT_EQ(status["summary"]["nonReadyResources"][0],
            json({{"name", "w/one"}, {"bundleState", "Modified"},
                  {"message", "x"}}));
  EXPECT_EQ(ConditionOf(status, "Ready")["status"], "False");

  admin::v1::Cluster cluster;
  cluster.set_name("one");
  cluster.set_state("WaitCheckIn");
  status = ClusterStatus(cluster, {DeploymentTally(), {}}, {1, 2}, {0, 3},
                         absl::UnixEpoch());
  EXPECT_EQ(status["display"],
            json({{"readyBundles", "0/0"}, {"state", "WaitCheckIn"}}));
  EXPECT_EQ(status["readyGitRepos"], 1);
  EXPECT_EQ(status["desiredReadyGitRepos"], 2);
  EXPECT_EQ(status["readyHelmOps"], 0);
  EXPECT_EQ(status["desiredReadyHelmOps"], 3);
  EXPECT_TRUE(status.find("agent") == status.end());

  admin::v1::ClusterGroup group;
  group.set_state("Offline");
  group.set_clusters(1);
  group.set_non_ready_clusters(1);
  group.add_non_ready_names("one");
  group.set_clusters_ready("0/1 (one)");
  group.set_bundles_ready("0/3");
  group.set_message("NotReady(1) [Cluster one: the agent is offline]");
  group.mutable_resources()->set_unknown(4);
  status = ClusterGroupStatus(group);
  EXPECT_EQ(status["display"], json({{"readyClusters", "0/1 (one)"},
                                     {"readyBundles", "0/3"},
                                     {"state", "NotReady"}}));
  EXPECT_EQ(status["nonReadyClusters"], json({"one"}));
  EXPECT_EQ(status["resourceCounts"]["unknown"], 4);
  EXPECT_EQ(ConditionOf(status, "Ready")["message"], group.message());
}

TEST(FleetStatusTest, AnAgentThatIsThereWasSeenInStepsElseExactly) {
  admin::v1::Cluster cluster;
  cluster.set_state("Ready");
  cluster.set_online(true);
  cluster.mutable_last_seen_time()->set_seconds(1000);
  const absl::Time now = absl::FromUnixSeconds(3 * 900 + 17);
  const auto last_seen = [&] {
    return ClusterStatus(cluster, {DeploymentTally(), {}}, {}, {},
                         now)["agent"]["lastSeen"];
  };

  EXPECT_EQ(last_seen(), "1970-01-01T00:45:00Z");
  cluster.set_online(false);
  EXPECT_EQ(last_seen(), "1970-01-01T00:16:40Z");
}

}  // namespace
}  // namespace flotilla::manager
