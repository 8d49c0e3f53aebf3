// SPDX-License-Identifier: Apache-2.0

#include "manager/frontend/object_document.h"

#include <string>

#include "absl/status/status.h"
#include "common/status/status_matchers.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/documents/documents.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

json GitRepo() {
  return {{"apiVersion", "fleet.cattle.io/v1alpha1"},
          {"kind", "GitRepo"},
          {"metadata",
           {{"name", "r"},
            {"namespace", "fleet-local"},
            {"uid", "u"},
            {"resourceVersion", "17"},
            {"generation", 3},
            {"finalizers", {"flotilla.dev/finalizer"}},
            {"labels", {{"team", "a"}}},
            {"managedFields", json::array()},
            {"annotations",
             {{"kubectl.kubernetes.io/last-applied-configuration", "{}"}}}}},
          {"spec", {{"repo", "https://h/r"}}},
          {"status", {{"commit", "x"}}}};
}

TEST(ObjectDocumentTest, TheTextHoldsWhatTheUserWroteAlone) {
  EXPECT_EQ(*DocumentTextOf("GitRepo", GitRepo()),
            R"({"apiVersion":"fleet.cattle.io/v1alpha1","kind":"GitRepo",)"
            R"("metadata":{"labels":{"team":"a"},"name":"r",)"
            R"("namespace":"fleet-local"},"spec":{"repo":"https://h/r"}})");
  json touched = GitRepo();
  touched["status"]["commit"] = "y";
  touched["metadata"]["resourceVersion"] = "18";
  EXPECT_EQ(*DocumentTextOf("GitRepo", GitRepo()),
            *DocumentTextOf("GitRepo", touched));
}

TEST(ObjectDocumentTest, AnObjectBecomesTheDocumentThatApplyWouldMake) {
  absl::StatusOr<ParsedDocument> parsed = ReadObjectDocument(
      {"GitRepo", "fleet-local", "r"}, *DocumentTextOf("GitRepo", GitRepo()));
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(parsed->document.workspace(), "fleet-local");
  EXPECT_EQ(parsed->document.git_repo().repo(), "https://h/r");
  EXPECT_EQ(parsed->document.labels(0).value(), "a");
}

TEST(ObjectDocumentTest, ANamespaceIsReadFromItsMetadata) {
  const json object = {{"apiVersion", "meta.k8s.io/v1"},
                       {"kind", "PartialObjectMetadata"},
                       {"metadata",
                        {{"name", "team-a"}, {"labels", {{"tier", "gold"}}}}}};
  absl::StatusOr<ParsedDocument> parsed =
      ReadObjectDocument({"Namespace", "team-a", "team-a"},
                         *DocumentTextOf("Namespace", object));
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(parsed->document.workspace(), "team-a");
  EXPECT_EQ(parsed->document.labels(0).value(), "gold");
}

TEST(ObjectDocumentTest, EveryProblemIsSaidAtOnce) {
  json object = GitRepo();
  object["spec"]["branch"] = "a..b";
  object["spec"]["paths"] = {"../x"};
  absl::StatusOr<ParsedDocument> parsed = ReadObjectDocument(
      {"GitRepo", "fleet-local", "r"}, *DocumentTextOf("GitRepo", object));
  EXPECT_THAT(parsed.status(), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("spec.branch")));
  EXPECT_THAT(parsed.status(), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("spec.paths")));
}

TEST(ObjectDocumentTest, ObjectsOddInShapeAreErrors) {
  EXPECT_FALSE(DocumentTextOf("GitRepo", json::array()).ok());
  absl::StatusOr<std::string> text =
      DocumentTextOf("GitRepo", {{"metadata", 3}, {"spec", "x"}});
  ASSERT_THAT(text, IsOk());
  EXPECT_FALSE(
      ReadObjectDocument({"GitRepo", "fleet-local", "r"}, *text).ok());
}

TEST(ObjectDocumentTest, WhatADocumentNamesIsWatched) {
  storage::v1::Document document;
  document.set_kind("GitRepo");
  document.set_workspace("w");
  document.mutable_git_repo()->set_helm_secret_name("helm");
  EXPECT_THAT(
      ObjectsNamedBy(document),
      ElementsAre(
          NamedObject{"ConfigMap", "cattle-fleet-system", "known-hosts"},
          NamedObject{"Secret", "cattle-fleet-system", "gitjob-webhook"},
          NamedObject{"Secret", "w", "gitcredential"},
          NamedObject{"Secret", "w", "helm"}));
  document.mutable_git_repo()->set_client_secret_name("mine");
  EXPECT_EQ(ObjectsNamedBy(document).count({"Secret", "w", "mine"}), 1);
  EXPECT_EQ(ObjectsNamedBy(document).count({"Secret", "w", "gitcredential"}),
            0);

  storage::v1::Document bundle;
  bundle.set_workspace("w");
  auto* resource =
      bundle.mutable_bundle()->mutable_options()->add_downstream_resources();
  resource->set_kind("ConfigMap");
  resource->set_name("c");
  EXPECT_THAT(ObjectsNamedBy(bundle),
              ElementsAre(NamedObject{"ConfigMap", "w", "c"}));
}

TEST(ObjectDocumentTest, ClustersAndTheLocalGroupAreShown) {
  storage::v1::Document document;
  document.set_kind("Cluster");
  document.set_workspace("fleet-default");
  document.set_name("c");
  document.mutable_cluster();
  auto* label = document.add_labels();
  label->set_key("env");
  label->set_value("prod");
  EXPECT_TRUE(IsExported(document));
  const json object = ObjectOf(document);
  EXPECT_EQ(object["metadata"]["labels"]["env"], "prod");
  document.set_door(storage::v1::Document::DOOR_MANAGEMENT_CLUSTER);
  EXPECT_FALSE(IsExported(document));
}

}  // namespace
}  // namespace flotilla::manager
