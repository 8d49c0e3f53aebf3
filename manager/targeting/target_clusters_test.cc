// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/target_clusters.h"

#include <string>
#include <utility>
#include <vector>

#include "flotilla/storage/v1/storage.pb.h"
#include "gtest/gtest.h"
#include "manager/targeting/cluster_matcher.h"

namespace flotilla::manager {
namespace {

using storage::v1::Document;

Document Make(const std::string& workspace, const std::string& kind,
              const std::string& name, const std::string& env = "") {
  Document document;
  document.set_workspace(workspace);
  document.set_kind(kind);
  document.set_name(name);
  if (!env.empty()) {
    auto* label = document.add_labels();
    label->set_key("env");
    label->set_value(env);
  }
  if (kind == "Cluster") document.mutable_cluster();
  return document;
}

TEST(TargetClusters, FindsTheGroupsOfItsOwnWorkspace) {
  const Document cluster = Make("w", "Cluster", "dev", "dev");
  Document all = Make("w", "ClusterGroup", "all");
  all.mutable_cluster_group()->mutable_selector();
  Document none = Make("w", "ClusterGroup", "none");
  none.mutable_cluster_group();
  Document elsewhere = Make("other", "ClusterGroup", "all");
  elsewhere.mutable_cluster_group()->mutable_selector();

  const TargetCluster target =
      MakeTargetCluster(cluster, {&all, &none, &elsewhere, &cluster});

  EXPECT_EQ(target.name, "dev");
  EXPECT_EQ(target.labels.at("env"), "dev");
  ASSERT_EQ(target.groups.size(), 1);
  EXPECT_EQ(target.groups[0].name, "all");
}

TEST(TargetClusters, CountsTheClustersOfAGitRepo) {
  const Document dev = Make("w", "Cluster", "dev", "dev");
  const Document prod = Make("w", "Cluster", "prod", "prod");
  const Document other = Make("other", "Cluster", "prod", "prod");
  Document repo = Make("w", "GitRepo", "r");
  auto* pair = repo.mutable_git_repo()
                   ->add_targets()
                   ->mutable_cluster_selector()
                   ->add_match_labels();
  pair->set_key("env");
  pair->set_value("prod");

  EXPECT_EQ(CountMatchingClusters(repo, {&dev, &prod, &other, &repo}), 1);
  pair->set_value("typo");
  EXPECT_EQ(CountMatchingClusters(repo, {&dev, &prod, &other, &repo}), 0);
}

}  // namespace
}  // namespace flotilla::manager
