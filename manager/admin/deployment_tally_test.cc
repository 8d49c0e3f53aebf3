// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/deployment_tally.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

DeploymentEntry Entry(const std::string& bundle, const std::string& cluster,
                      FoldedState state) {
  DeploymentEntry entry;
  entry.name.bundle_id = entry.name.bundle = bundle;
  entry.name.cluster_id = entry.name.cluster = cluster;
  entry.name.workspace = entry.name.cluster_workspace = "w";
  entry.state = state;
  entry.counts.set_desired(2);
  entry.counts.set_ready(state == FoldedState::kReady ? 2 : 1);
  return entry;
}

std::string Message(const DeploymentTally& tally,
                    absl::string_view (*word_of)(FoldedState) = StateWord) {
  return tally.Message("Cluster", word_of, [](const DeploymentEntry& entry) {
    return absl::StrCat(entry.name.cluster, ": why");
  });
}

TEST(DeploymentTally, SaysTheFirstOfEachStateTheWorstFirst) {
  const DeploymentEntry dev = Entry("b", "dev", FoldedState::kNotReady);
  const DeploymentEntry prod = Entry("b", "prod", FoldedState::kReady);
  const DeploymentEntry far = Entry("b", "far", FoldedState::kOffline);
  const DeploymentEntry test = Entry("b", "test", FoldedState::kNotReady);
  DeploymentTally tally;
  EXPECT_EQ(tally.worst(), FoldedState::kReady);
  EXPECT_EQ(Message(tally), "");

  for (const DeploymentEntry* entry : {&test, &prod, &far, &dev}) {
    tally.Add(*entry);
  }

  EXPECT_EQ(tally.worst(), FoldedState::kOffline);
  EXPECT_EQ(tally.counts().desired(), 4u);
  EXPECT_EQ(tally.counts().not_ready(), 2u);
  EXPECT_EQ(tally.resources().ready(), 5u);
  EXPECT_EQ(Message(tally),
            "Offline(1) [Cluster far: why]; NotReady(2) [Cluster dev: why]");
  // One word is one piece.
  EXPECT_EQ(Message(tally, FleetWord), "NotReady(3) [Cluster far: why]");

  tally.Remove(far);
  tally.Remove(dev);
  EXPECT_EQ(Message(tally), "NotReady(1) [Cluster test: why]");
  tally.Remove(test);
  EXPECT_EQ(tally.worst(), FoldedState::kReady);
  EXPECT_FALSE(tally.empty());
  tally.Remove(prod);
  EXPECT_TRUE(tally.empty());
  EXPECT_EQ(tally.resources().desired(), 0u);
}

TEST(DeploymentTally, SharesAreThoseOfClusters) {
  const DeploymentEntry one = Entry("a", "dev", FoldedState::kReady);
  const DeploymentEntry two = Entry("b", "dev", FoldedState::kModified);
  DeploymentEntry far = Entry("a", "dev", FoldedState::kReady);
  far.name.cluster_workspace = "far";
  far.name.cluster_id = "other";
  DeploymentTally tally(/*shares=*/true);
  tally.Add(one);
  tally.Add(two);
  tally.Add(far);

  ASSERT_EQ(tally.shares().size(), 2u);
  const DeploymentTally::Share& share = tally.shares().at({"w/dev", "dev"});
  EXPECT_EQ(DeploymentTally::WorstOf(share.states), FoldedState::kModified);
  EXPECT_EQ(share.resources.desired(), 4u);

  tally.Remove(far);
  EXPECT_EQ(tally.shares().size(), 1u);
}

}  // namespace
}  // namespace flotilla::manager
