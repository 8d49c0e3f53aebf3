// SPDX-License-Identifier: Apache-2.0

#include "agent/facts/cluster_facts.h"

#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

TEST(ClusterFacts, AreSortedAndNameEachKindOnce) {
  const Discovery discovery(
      {{"apps", "v1", "Deployment", "deployments", true, {}},
       {"", "v1", "Pod", "pods", true, {}},
       {"", "v1", "Pod", "pods", true, {}},
       {"", "v1", "Node", "nodes", false, {}}},
      {});

  const core::v1::ClusterFacts facts =
      BuildFacts({"v1.36.3", "1", "36"}, discovery);

  EXPECT_EQ(facts.kube_version(), "v1.36.3");
  ASSERT_EQ(facts.kinds_size(), 3);
  EXPECT_EQ(facts.kinds(0).kind(), "Node");
  EXPECT_FALSE(facts.kinds(0).namespaced());
  EXPECT_EQ(facts.kinds(2).plural(), "deployments");
}

}  // namespace
}  // namespace flotilla::agent
