// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/namespace_rules.h"

#include <string>

#include "common/kube/object.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

using nlohmann::json;

LiveNamespace Live(LabelMap labels, LabelMap annotations = {}) {
  LiveNamespace live;
  live.uid = "u";
  live.labels = std::move(labels);
  live.annotations = std::move(annotations);
  return live;
}

TEST(NamespaceRulesTest, NothingDiffersMeansNoPatch) {
  const NamespaceWish wish{{{"a", "1"}}, {}};
  const NamespaceChange change = CompareNamespace(
      wish, Live({{"a", "1"}, {"kubernetes.io/metadata.name", "x"}},
                 {{"whose", "others'"}}),
      false);

  EXPECT_TRUE(change.patch.is_null());
  EXPECT_TRUE(change.records.empty());
}

TEST(NamespaceRulesTest, AWantedMapIsExactButForWhatOthersOwn) {
  const NamespaceWish wish{
      {{"a", "1"}, {"b", "2"}, {"pod-security.kubernetes.io/warn", "x"}}, {}};
  const NamespaceChange change = CompareNamespace(
      wish,
      Live({{"a", "0"},
            {"extra", "1"},
            {"kubernetes.io/metadata.name", "x"},
            {"pod-security.kubernetes.io/enforce", "restricted"},
            {"flotilla.dev/managed", "true"}}),
      false);

  EXPECT_EQ(change.patch,
            (json{{"metadata",
                   {{"uid", "u"},
                    {"labels", {{"a", "1"}, {"b", "2"}, {"extra", nullptr}}}}}}));
  ASSERT_EQ(change.records.size(), 3u);
  EXPECT_EQ(change.records[0].path(), "metadata.labels[a]");
  EXPECT_EQ(change.records[0].wanted(), "\"1\"");
  EXPECT_EQ(change.records[0].live(), "\"0\"");
  EXPECT_EQ(change.records[2].operation(), core::v1::DRIFT_OPERATION_ADDED);
}

TEST(NamespaceRulesTest, AnnotationsLikewise) {
  const NamespaceChange change = CompareNamespace(
      {{}, {{"a", "1"}}}, Live({{"extra", "1"}}, {{"b", "2"}}), false);

  EXPECT_EQ(change.patch["metadata"]["annotations"],
            (json{{"a", "1"}, {"b", nullptr}}));
  EXPECT_FALSE(change.patch["metadata"].contains("labels"));
}

TEST(NamespaceRulesTest, WhatABundlesNamespaceObjectSetsIsLeftToIt) {
  LiveNamespace live = Live({{"team", "red"}, {"a", "0"}});
  live.applied_labels = {"team", "a"};
  const NamespaceWish wish{{{"a", "1"}}, {}};

  const NamespaceChange owned = CompareNamespace(wish, live, true);
  EXPECT_TRUE(owned.patch.is_null());
  ASSERT_EQ(owned.contested.size(), 1u);
  EXPECT_EQ(owned.contested[0], "metadata.labels[a]");

  const NamespaceChange ensured = CompareNamespace(wish, live, false);
  EXPECT_EQ(ensured.patch["metadata"]["labels"],
            (json{{"a", "1"}, {"team", nullptr}}));
  EXPECT_TRUE(ensured.contested.empty());
}

TEST(NamespaceRulesTest, TwoWishesAgreeUnlessTheyNameDifferentMaps) {
  const NamespaceWish one{{{"a", "1"}}, {}};
  EXPECT_TRUE(Agree(one, one));
  EXPECT_TRUE(Agree(one, NamespaceWish{}));
  EXPECT_TRUE(Agree(one, NamespaceWish{{}, {{"b", "1"}}}));
  EXPECT_FALSE(Agree(one, NamespaceWish{{{"a", "2"}}, {}}));
  EXPECT_FALSE(Agree(one, NamespaceWish{{{"a", "1"}, {"b", "1"}}, {}}));
}

TEST(NamespaceRulesTest, AnObjectOfAnyShapeIsRead) {
  for (const char* const text :
       {"", "[]", "{\"metadata\":null}", "{\"metadata\":{\"labels\":[1]}}",
        "{\"metadata\":{\"labels\":{\"a\":1},\"managedFields\":\"x\"}}"}) {
    KubeObject object;
    object.json = text;
    EXPECT_TRUE(ReadNamespace(object).labels.empty()) << text;
  }
  KubeObject object;
  object.json =
      R"({"metadata":{"labels":{"a":"1"},"managedFields":[{"manager":"flotilla",
      "operation":"Apply","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":
      {"f:labels":{"f:a":{}}}}}]}})";
  const LiveNamespace live = ReadNamespace(object);
  EXPECT_EQ(live.labels, (LabelMap{{"a", "1"}}));
  EXPECT_EQ(live.applied_labels, (std::set<std::string>{"a"}));
}

TEST(NamespaceRulesTest, SomeNamespacesAreNeverDeleted) {
  for (const char* const name :
       {"", "default", "kube-system", "kube-x", "cattle-fleet-system",
        "fleet-local", "fleet-default", "mine"}) {
    EXPECT_TRUE(IsProtectedNamespace(name, "mine")) << name;
  }
  EXPECT_FALSE(IsProtectedNamespace("shop", "mine"));
}

}  // namespace
}  // namespace flotilla::agent
