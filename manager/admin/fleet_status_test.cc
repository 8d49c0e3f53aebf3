// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/fleet_status.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "flotilla/admin/v1/admin.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

admin::v1::Deployment Deployment(const std::string& bundle,
                                 const std::string& cluster,
                                 const std::string& state,
                                 const std::string& message = "") {
  admin::v1::Deployment out;
  out.set_workspace("w");
  out.set_bundle(bundle);
  out.set_cluster(cluster);
  out.set_state(state);
  out.set_message(message);
  return out;
}

json ConditionOf(const json& status, const std::string& type) {
  for (const json& condition : status["conditions"]) {
    if (condition["type"] == type) return condition;
  }
  return json();
}

TEST(FleetStatusTest, AGitRepoThatIsReady) {
  admin::v1::GitRepo repo;
  repo.set_state("Ready");
  repo.mutable_commit()->set_id("abc");
  repo.mutable_deployments()->set_ready(2);
  repo.mutable_deployments()->set_desired(2);
  admin::v1::Condition& ready = *repo.add_conditions();
  ready.set_type("Ready");
  ready.set_status("True");
  const admin::v1::Deployment a = Deployment("b", "one", "Ready");
  const admin::v1::Deployment b = Deployment("b", "two", "Ready");

  const json status = GitRepoStatus(repo, {&a, &b}, 3, 1);

  EXPECT_EQ(status["commit"], "abc");
  EXPECT_EQ(status["observedGeneration"], 3);
  EXPECT_EQ(status["updateGeneration"], 1);
  EXPECT_EQ(status["gitJobStatus"], "Current");
  EXPECT_EQ(status["readyClusters"], 2);
  EXPECT_EQ(status["desiredReadyClusters"], 2);
  EXPECT_EQ(status["display"],
            json({{"readyBundleDeployments", "2/2"}}));
  EXPECT_EQ(ConditionOf(status, "Ready"),
            json({{"type", "Ready"}, {"status", "True"}}));
  EXPECT_EQ(ConditionOf(status, "Stalled")["status"], "False");
}

TEST(FleetStatusTest, AnErrorStalls) {
  admin::v1::GitRepo repo;
  repo.set_state("Error");
  repo.set_message("fleet.yaml:3: wrong");

  const json status = GitRepoStatus(repo, {}, 1, 0);

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

  EXPECT_EQ(
      ConditionOf(GitRepoStatus(repo, {}, 1, 0), "Warnings")["message"],
      "fleet.yaml:2: unknown key");
}

// Else it would be written again and again.
TEST(FleetStatusTest, TheAgeOfAnOfflineAgentIsNotInIt) {
  admin::v1::GitRepo repo;
  repo.set_state("Offline");
  repo.mutable_deployments()->set_offline(1);
  repo.mutable_deployments()->set_desired(1);
  repo.set_message("Offline(1) [Bundle b on one: no contact for 3m]");
  admin::v1::Condition& ready = *repo.add_conditions();
  ready.set_type("Ready");
  ready.set_status("False");
  ready.set_message(repo.message());
  const admin::v1::Deployment a =
      Deployment("b", "one", "Offline", "no contact for 3m");

  const json status = GitRepoStatus(repo, {&a}, 1, 0);

  EXPECT_EQ(status.dump().find("3m"), std::string::npos) << status;
  EXPECT_EQ(status["display"]["state"], "NotReady");
  EXPECT_EQ(status["summary"]["notReady"], 1);
  EXPECT_THAT(ConditionOf(status, "Ready")["message"].get<std::string>(),
              HasSubstr("on one: the agent is offline"));
}

TEST(FleetStatusTest, AThousandClustersFitIn50KiB) {
  admin::v1::GitRepo repo;
  repo.set_state("NotReady");
  std::vector<admin::v1::Deployment> deployments;
  for (int i = 0; i < 1000; ++i) {
    deployments.push_back(Deployment("a-bundle",
                                     absl::StrCat("cluster-", i), "NotReady",
                                     std::string(100, 'x')));
  }
  DeploymentPtrs pointers;
  for (const auto& deployment : deployments) pointers.push_back(&deployment);

  const json status = GitRepoStatus(repo, pointers, 1, 0);

  EXPECT_EQ(status["summary"]["nonReadyResources"].size(), 10u);
  // Larger ones lose perClusterResourceCounts where they are written.
  EXPECT_LT(status.dump().size(), 80u << 10);
}

TEST(FleetStatusTest, BundlesClustersAndGroupsHaveFleetsColumns) {
  admin::v1::Bundle bundle;
  bundle.set_state("Modified");
  bundle.set_message("Modified(1) [Cluster one: x]");
  bundle.mutable_deployments()->set_desired(2);
  bundle.mutable_deployments()->set_ready(1);
  bundle.mutable_deployments()->set_modified(1);
  const admin::v1::Deployment a = Deployment("b", "one", "Modified", "x");
  json status = BundleStatus(bundle, {&a}, 1);
  EXPECT_EQ(status["display"],
            json({{"readyClusters", "1/2"}, {"state", "Modified"}}));
  EXPECT_EQ(status["summary"]["nonReadyResources"][0]["name"], "w/one");
  EXPECT_EQ(ConditionOf(status, "Ready")["status"], "False");

  admin::v1::Cluster cluster;
  cluster.set_name("one");
  cluster.set_state("WaitCheckIn");
  status = ClusterStatus(cluster, {});
  EXPECT_EQ(status["display"]["state"], "WaitCheckIn");
  EXPECT_EQ(status["display"]["readyBundles"], "0/0");

  admin::v1::ClusterGroup group;
  group.set_state("Offline");
  group.set_clusters(1);
  group.set_non_ready_clusters(1);
  group.set_clusters_ready("0/1 (one)");
  group.set_bundles_ready("0/3");
  cluster.set_state("Offline");
  cluster.set_message("no contact for 3m");
  status = ClusterGroupStatus(group, {&cluster});
  EXPECT_EQ(status["display"], json({{"readyClusters", "0/1 (one)"},
                                     {"readyBundles", "0/3"},
                                     {"state", "NotReady"}}));
  EXPECT_EQ(status.dump().find("3m"), std::string::npos);
}

}  // namespace
}  // namespace flotilla::manager
