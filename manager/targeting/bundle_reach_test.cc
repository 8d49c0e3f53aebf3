// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/bundle_reach.h"

#include <string>

#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;

storage::v1::Document Mapping(const std::string& spec) {
  storage::v1::Document document;
  document.set_workspace("w");
  document.set_kind("BundleNamespaceMapping");
  document.set_name("m");
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      spec, document.mutable_bundle_namespace_mapping()));
  return document;
}

constexpr char kTeamA[] =
    "bundle_selector { match_labels { key: 'team' value: 'a' } } "
    "namespace_selector { match_labels { key: 'tier' value: 'edge' } }";

class BundleReachTest : public ::testing::Test {
 protected:
  BundleReachTest() {
    for (const char* name : {"x", "w", "v"}) reach_.AddWorkspace(name);
    reach_.SetNamespace("v", {{"tier", "edge"}});
    reach_.SetNamespace("x", {{"tier", "core"}});
  }
  BundleReach reach_;
};

TEST_F(BundleReachTest, IsTheOwnWorkspaceWithoutAMapping) {
  EXPECT_THAT(reach_.Of("w", {{"team", "a"}}), ElementsAre("w"));
}

TEST_F(BundleReachTest, ReachesWorkspacesWhoseLabelsMatch) {
  reach_.SetMapping(Mapping(kTeamA));

  EXPECT_THAT(reach_.Of("w", {{"team", "a"}}), ElementsAre("v", "w"));
  EXPECT_THAT(reach_.Of("w", {{"team", "b"}}), ElementsAre("w"));
  // A mapping is for the bundles of its own workspace.
  EXPECT_THAT(reach_.Of("x", {{"team", "a"}}), ElementsAre("x"));

  reach_.RemoveNamespace("v");
  EXPECT_THAT(reach_.Of("w", {{"team", "a"}}), ElementsAre("w"));
}

TEST_F(BundleReachTest, KnowsEachWorkspaceByItsName) {
  reach_.SetMapping(Mapping(
      "bundle_selector { } namespace_selector { match_labels { "
      "key: 'kubernetes.io/metadata.name' value: 'fresh' } }"));
  EXPECT_THAT(reach_.Of("w", {}), ElementsAre("w"));

  EXPECT_TRUE(reach_.AddWorkspace("fresh"));
  EXPECT_FALSE(reach_.AddWorkspace("fresh"));

  EXPECT_THAT(reach_.Of("w", {}), ElementsAre("fresh", "w"));
}

TEST_F(BundleReachTest, AnAbsentSelectorOrADeletionMapsNothing) {
  reach_.SetMapping(Mapping("bundle_selector { }"));
  EXPECT_THAT(reach_.Of("w", {}), ElementsAre("w"));
  reach_.SetMapping(Mapping("namespace_selector { }"));
  EXPECT_THAT(reach_.Of("w", {}), ElementsAre("w"));
  storage::v1::Document both =
      Mapping("bundle_selector { } namespace_selector { }");
  reach_.SetMapping(both);
  EXPECT_THAT(reach_.Of("w", {}), ElementsAre("v", "w", "x"));
  both.mutable_delete_time();
  reach_.SetMapping(both);
  EXPECT_THAT(reach_.Of("w", {}), ElementsAre("w"));
}

}  // namespace
}  // namespace flotilla::manager
