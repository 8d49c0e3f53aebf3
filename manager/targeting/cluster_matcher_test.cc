// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/cluster_matcher.h"

#include <string>

#include "flotilla/storage/v1/storage.pb.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

struct Row {
  const char* target;
  bool alone;     // Matches a cluster without groups.
  bool in_group;  // Matches one in groups "east" (tier=1) and "west" (tier=2).
};

class ClusterMatcher : public ::testing::TestWithParam<Row> {};

TEST_P(ClusterMatcher, FollowsTheTable) {
  storage::v1::Target target;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(GetParam().target,
                                                            &target));
  TargetCluster alone;
  alone.name = "dev";
  alone.labels = {{"env", "dev"},
                  {"management.cattle.io/cluster-display-name", "Shown"}};
  TargetCluster in_group = alone;
  in_group.groups = {{"east", {{"tier", "1"}}}, {"west", {{"tier", "2"}}}};

  EXPECT_EQ(TargetMatches(target, alone), GetParam().alone);
  EXPECT_EQ(TargetMatches(target, in_group), GetParam().in_group);
}

INSTANTIATE_TEST_SUITE_P(
    Table, ClusterMatcher,
    ::testing::Values(
        Row{"", false, false}, Row{"name: 'x'", false, false},
        Row{"cluster_name: 'dev'", true, true},
        Row{"cluster_name: 'Shown'", true, true},
        Row{"cluster_name: 'de'", false, false},
        Row{"cluster_selector {}", true, true},
        Row{"cluster_selector { match_labels { key: 'env' value: 'dev' } }",
            true, true},
        Row{"cluster_selector { match_labels { key: 'env' value: 'x' } }",
            false, false},
        Row{"cluster_group: 'east'", false, true},
        Row{"cluster_group: 'north'", false, false},
        Row{"cluster_group_selector {}", true, true},
        Row{"cluster_group_selector { match_labels { key: 'tier' value: '2' "
            "} }",
            false, true},
        Row{"cluster_group: 'east' "
            "cluster_group_selector { match_labels { key: 'tier' value: '2' "
            "} }",
            false, false},
        Row{"cluster_name: 'dev' cluster_group: 'north'", false, false},
        Row{"cluster_name: 'other' cluster_selector {}", false, false}));

}  // namespace
}  // namespace flotilla::manager
