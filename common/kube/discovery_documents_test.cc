// SPDX-License-Identifier: Apache-2.0

#include "common/kube/discovery_documents.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "common/kube/kube_client.h"

namespace flotilla {
namespace {

using ::nlohmann::json;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(DiscoveryDocumentsTest, ReadsTheAggregatedDocument) {
  const json document = json::parse(R"json({
    "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
    "items": [{
      "metadata": {"name": "apps"},
      "versions": [{
        "version": "v1", "freshness": "Current",
        "resources": [{
          "resource": "deployments", "scope": "Namespaced",
          "responseKind": {"group": "", "version": "", "kind": "Deployment"},
          "verbs": ["get", "patch", 3],
          "subresources": [7, {"subresource": "status"}, {"subresource": "scale",
            "responseKind": {"group": "autoscaling", "kind": "Scale"}}]
        }]}]},
      {"metadata": {"name": "metrics.k8s.io"},
       "versions": [{"version": "v1", "freshness": "Stale"}]},
      7, {"versions": {}}, {"versions": [{"version": "v1", "resources": 1}]}]
  })json");
  ASSERT_TRUE(IsAggregatedDiscovery(document));
  const DiscoveryDocument read = ReadAggregatedDiscovery(document);
  ASSERT_THAT(read.kinds, SizeIs(1));
  EXPECT_EQ(read.kinds[0].group, "apps");
  EXPECT_EQ(read.kinds[0].version, "v1");
  EXPECT_EQ(read.kinds[0].kind, "Deployment");
  EXPECT_EQ(read.kinds[0].plural, "deployments");
  EXPECT_TRUE(read.kinds[0].namespaced);
  EXPECT_TRUE(read.kinds[0].HasVerb("patch"));
  EXPECT_FALSE(read.kinds[0].HasVerb("delete"));
  EXPECT_TRUE(read.kinds[0].has_status);
  EXPECT_THAT(read.stale_groups, ElementsAre("metrics.k8s.io/v1"));

  const Discovery discovery(read.kinds, read.stale_groups);
  EXPECT_NE(discovery.Find("apps", "", "Deployment"), nullptr);
  EXPECT_NE(discovery.Find("apps", "v1", "Deployment"), nullptr);
  EXPECT_EQ(discovery.Find("apps", "v2", "Deployment"), nullptr);
  EXPECT_EQ(discovery.Find("", "", "Deployment"), nullptr);
  EXPECT_TRUE(discovery.IsStale("metrics.k8s.io"));
  EXPECT_FALSE(discovery.IsStale("apps"));
}

TEST(DiscoveryDocumentsTest, ReadsTheOldDocuments) {
  EXPECT_THAT(ReadGroupVersions(json::parse(
                  R"({"kind": "APIVersions", "versions": ["v1"]})")),
              ElementsAre("v1"));
  EXPECT_THAT(
      ReadGroupVersions(json::parse(R"json({"kind": "APIGroupList", "groups": [
        {"name": "batch", "versions": [{"groupVersion": "batch/v1beta1"},
         {"groupVersion": "batch/v1"}],
         "preferredVersion": {"groupVersion": "batch/v1"}}, null]})json")),
      ElementsAre("batch/v1", "batch/v1beta1"));
  const auto kinds =
      ReadResourceList("batch/v1", json::parse(R"json({"resources": [
        {"name": "jobs", "namespaced": true, "kind": "Job", "verbs": ["get"]},
        {"name": "jobs/status", "namespaced": true, "kind": "Job"},
        {"name": 3}, null]})json"));
  ASSERT_THAT(kinds, SizeIs(1));
  EXPECT_EQ(kinds[0].group, "batch");
  EXPECT_EQ(kinds[0].plural, "jobs");
  EXPECT_TRUE(kinds[0].has_status);
  EXPECT_FALSE(
      ReadResourceList("v1", json::parse(R"({"resources": [
          {"name": "secrets", "kind": "Secret"}]})"))[0].has_status);
  EXPECT_TRUE(kinds[0].namespaced);
}

TEST(DiscoveryDocumentsTest, OddDocumentsSayNothing) {
  for (const char* text : {"null", "[]", "7", R"({"items": {}})"}) {
    const json document = json::parse(text);
    EXPECT_FALSE(IsAggregatedDiscovery(document));
    EXPECT_THAT(ReadAggregatedDiscovery(document).kinds, IsEmpty());
    EXPECT_THAT(ReadGroupVersions(document), IsEmpty());
    EXPECT_THAT(ReadResourceList("v1", document), IsEmpty());
  }
}

}  // namespace
}  // namespace flotilla
