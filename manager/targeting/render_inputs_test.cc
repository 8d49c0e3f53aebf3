// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/render_inputs.h"

#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/gitsync/memory_tree.h"
#include "manager/targeting/cluster_matcher.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::map<std::string, std::string> kFiles = {
    {"a/fleet.yaml",
     "targetCustomizations:\n"
     "- clusterSelector: {matchLabels: {env: prod}}\n"
     "  helm: {values: {replicas: 3}}\n"
     "- {clusterGroup: canary, doNotDeploy: true}\n"},
    {"a/x.yaml", "x"},
    {"b/fleet.yaml", "name: web\nnamespace: apps\n"},
    {"b/y.yaml", "y"}};

TEST(RenderInputs, GivesTheBundlesOfACluster) {
  MemoryTree tree(kFiles);
  TargetCluster cluster;
  cluster.name = "c";
  cluster.labels = {{"env", "prod"}};

  const RenderInputList inputs = ReadRenderInputs(tree, "repo", cluster);

  EXPECT_THAT(inputs.errors, IsEmpty());
  ASSERT_THAT(inputs.bundles, SizeIs(2));
  EXPECT_EQ(inputs.bundles[0].bundle, "repo-a");
  EXPECT_EQ(inputs.bundles[0].options.helm().values_json(),
            R"({"replicas":3})");
  EXPECT_EQ(inputs.bundles[0].options.correct_drift(),
            storage::v1::TRI_STATE_TRUE);
  ASSERT_THAT(inputs.bundles[0].files, SizeIs(1));
  EXPECT_EQ(inputs.bundles[0].files[0].bytes, "x");
  EXPECT_EQ(inputs.bundles[1].bundle, "web");
  EXPECT_EQ(inputs.bundles[1].options.namespace_(), "apps");
}

TEST(RenderInputs, NamesWhatIsKeptFromTheCluster) {
  MemoryTree tree(kFiles);
  TargetCluster cluster;
  cluster.groups = {{"canary", {}}};

  const RenderInputList inputs = ReadRenderInputs(tree, "repo", cluster);

  EXPECT_THAT(inputs.not_deployed, ElementsAre("repo-a"));
  EXPECT_THAT(inputs.bundles, SizeIs(1));
}

TEST(RenderInputs, GivesNothingWithAnError) {
  MemoryTree tree({{"fleet.yaml", "paused: ["}, {"x.yaml", "x"}}, {});

  const RenderInputList inputs = ReadRenderInputs(tree, "repo", {});

  EXPECT_THAT(inputs.errors, SizeIs(1));
  EXPECT_THAT(inputs.bundles, IsEmpty());
}

}  // namespace
}  // namespace flotilla::manager
