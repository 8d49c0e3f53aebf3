// SPDX-License-Identifier: Apache-2.0

#include "common/kube/object.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "flotilla/core/v1/core.pb.h"

#include "common/status/status_matchers.h"

namespace flotilla {
namespace {

using ::nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

core::v1::ResourceKey Key(const std::string& group, const std::string& version,
                          const std::string& kind, const std::string& ns,
                          const std::string& name) {
  core::v1::ResourceKey key;
  key.set_group(group);
  key.set_version(version);
  key.set_kind(kind);
  key.set_namespace_(ns);
  key.set_name(name);
  return key;
}

std::vector<std::string> Texts(const FieldSet& set) {
  std::vector<std::string> texts;
  for (const FieldPath& path : set) texts.push_back(PathText(path));
  return texts;
}

// What an API server wrote for a Deployment.
json DeploymentFields() {
  return json::parse(R"json({
    "f:metadata": {"f:labels": {".": {}, "f:app": {},
                                "f:example.com/team": {}},
                   "f:finalizers": {".": {}, "v:\"a/b\"": {}}},
    "f:spec": {
      "f:replicas": {},
      "f:template": {"f:spec": {
        "f:containers": {"k:{\"name\":\"web\"}": {
          ".": {}, "f:image": {}, "f:name": {},
          "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":
                      {".": {}, "f:containerPort": {}}},
          "f:args": {"i:0": {}},
          "f:resources": {}}},
        "f:volumes": {"k:{\"name\":\"tmp\"}": {".": {}}}}}}})json");
}

json Deployment() {
  return json::parse(R"json({
    "apiVersion": "apps/v1", "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop",
                 "labels": {"app": "web", "example.com/team": "a"},
                 "finalizers": ["a/b"]},
    "spec": {"replicas": 2, "template": {"spec": {
      "containers": [
        {"name": "sidecar", "image": "side:1"},
        {"name": "web", "image": "web:2", "args": ["-v"],
         "ports": [{"containerPort": 80}]}]}}}})json");
}

TEST(KeyTest, IdentityIgnoresTheVersion) {
  const auto a = Key("apps", "v1", "Deployment", "shop", "web");
  const auto b = Key("apps", "v1beta1", "Deployment", "shop", "web");
  EXPECT_TRUE(SameObject(a, b));
  EXPECT_EQ(IdentityOf(a), IdentityOf(b));
  EXPECT_FALSE(KeyLess(a, b) || KeyLess(b, a));
  EXPECT_FALSE(SameObject(a, Key("", "v1", "Deployment", "shop", "web")));
  EXPECT_FALSE(SameObject(a, Key("apps", "v1", "Deployment", "", "web")));
}

TEST(KeyTest, TextIsForPeople) {
  EXPECT_EQ(KeyText(Key("apps", "v1", "Deployment", "shop", "web")),
            "deployment.apps shop/web");
  EXPECT_EQ(KeyText(Key("", "v1", "Namespace", "", "shop")), "namespace shop");
}

TEST(KeyTest, IsReadFromAnObject) {
  const auto key = KeyOf(Deployment());
  ASSERT_THAT(key, IsOk());
  EXPECT_EQ(key->group(), "apps");
  EXPECT_EQ(key->version(), "v1");
  EXPECT_EQ(KeyText(*key), "deployment.apps shop/web");
}

TEST(KeyTest, OddObjectsHaveNoKey) {
  for (const char* text :
       {"null", "[]", "{}", R"({"apiVersion": 1, "kind": "A"})",
        R"({"apiVersion": "v1"})", R"({"apiVersion": "v1", "kind": "A"})",
        R"({"apiVersion": "v1", "kind": "A", "metadata": []})",
        R"({"apiVersion": "v1", "kind": "A", "metadata": {"name": 7}})"}) {
    EXPECT_THAT(KeyOf(json::parse(text)),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << text;
  }
}

TEST(JsonTest, CanonicalJsonSortsKeysAndHasNoSpace) {
  EXPECT_EQ(CanonicalJson(json::parse(R"({"b": [1, 2.5, null], "a": "ü\n"})")),
            R"({"a":"ü\n","b":[1,2.5,null]})");
}

TEST(JsonTest, CanonicalJsonReplacesInvalidUtf8) {
  EXPECT_EQ(CanonicalJson(json(std::string("a\xff"))), "\"a\xef\xbf\xbd\"");
}

TEST(JsonTest, DeepJsonIsRefused) {
  EXPECT_THAT(
      ParseKubeJson(std::string(100000, '[')),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("levels deep")));
  EXPECT_THAT(ParseKubeJson("{\"a\": \"[[[\\\"[[[\"}"), IsOk());
  EXPECT_THAT(ParseKubeJson("{"), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(JsonTest, ReadersTakeAnyShape) {
  const json value = json::parse(
      R"({"n": 18446744073709551615, "i": -3, "s": "x", "b": true})");
  EXPECT_EQ(IntegerOr(Member(value, "n"), 7), 7);
  EXPECT_EQ(IntegerOr(Member(value, "i"), 7), -3);
  EXPECT_EQ(IntegerOr(Member(value, "s"), 7), 7);
  EXPECT_EQ(TextOr(Member(value, "i"), "z"), "z");
  EXPECT_TRUE(BoolOr(Member(value, "b"), false));
  EXPECT_TRUE(Member(Member(value, "no"), "way").is_null());
}

TEST(FieldsTest, LeavesOfFieldsV1) {
  EXPECT_THAT(Texts(ParseFieldsV1(DeploymentFields())),
              UnorderedElementsAre(
                  "metadata.labels.app", "metadata.labels[example.com/team]",
                  "metadata.finalizers[=a/b]", "spec.replicas",
                  "spec.template.spec.containers[name=web].image",
                  "spec.template.spec.containers[name=web].name",
                  "spec.template.spec.containers[name=web].ports"
                  "[containerPort=80,protocol=TCP].containerPort",
                  "spec.template.spec.containers[name=web].args[0]",
                  "spec.template.spec.containers[name=web].resources",
                  "spec.template.spec.volumes[name=tmp]"));
}

TEST(FieldsTest, ValuesAreFoundByPath) {
  const json deployment = Deployment();
  for (const FieldPath& path : ParseFieldsV1(DeploymentFields())) {
    const json* const value = FindPath(deployment, path);
    const std::string text = PathText(path);
    if (text == "spec.template.spec.containers[name=web].image") {
      ASSERT_NE(value, nullptr);
      EXPECT_EQ(*value, "web:2");
    } else if (text == "metadata.finalizers[=a/b]") {
      ASSERT_NE(value, nullptr);
      EXPECT_EQ(*value, "a/b");
    } else if (text.find("containerPort=80") != std::string::npos) {
      // The manifest leaves the protocol to its default.
      ASSERT_NE(value, nullptr);
      EXPECT_EQ(*value, 80);
    } else if (text.find("args[0]") != std::string::npos) {
      ASSERT_NE(value, nullptr);
      EXPECT_EQ(*value, "-v");
    } else if (text.find("volumes") != std::string::npos) {
      EXPECT_EQ(value, nullptr);
    }
  }
}

TEST(FieldsTest, OddFieldsAreSkipped) {
  EXPECT_THAT(ParseFieldsV1(json::parse("[1]")), IsEmpty());
  EXPECT_THAT(ParseFieldsV1(json::parse("{}")), IsEmpty());
  EXPECT_THAT(Texts(ParseFieldsV1(json::parse(
                  R"json({"x:a": {}, "k:{": {}, "k:[]": {}, "i:-1": {},
                          "f:a": 3, "f:b": {".": 1}})json"))),
              ElementsAre("b"));
  json deep = json::object();
  for (int i = 0; i < 5000; ++i) deep = json{{"f:a", std::move(deep)}};
  EXPECT_THAT(ParseFieldsV1(deep), IsEmpty());
}

TEST(FieldsTest, ManagedFieldsAreReadByManager) {
  json object = Deployment();
  object["metadata"]["managedFields"] = json::array(
      {{{"manager", "flotilla"},
        {"operation", "Apply"},
        {"apiVersion", "apps/v1"},
        {"time", "2026-01-01T00:00:00Z"},
        {"fieldsV1", {{"f:spec", {{"f:replicas", json::object()}}}}}},
       {{"manager", "kubectl"},
        {"operation", "Update"},
        {"subresource", "scale"},
        {"fieldsV1", {{"f:spec", {{"f:paused", json::object()}}}}}},
       "odd",
       {{"manager", 1}}});
  const auto entries = ParseManagedFields(object);
  ASSERT_THAT(entries, SizeIs(2));
  EXPECT_EQ(entries[0].api_version, "apps/v1");
  EXPECT_EQ(entries[1].subresource, "scale");
  EXPECT_THAT(Texts(AppliedFields(entries, "flotilla")),
              ElementsAre("spec.replicas"));
  EXPECT_THAT(AppliedFields(entries, "kubectl"), IsEmpty());
  EXPECT_THAT(ParseManagedFields(json::parse(R"({"metadata": 1})")), IsEmpty());
}

TEST(FieldsTest, DifferenceNamesWhatWasLost) {
  FieldSet before = ParseFieldsV1(DeploymentFields());
  json fields = DeploymentFields();
  fields["f:spec"].erase("f:replicas");
  EXPECT_THAT(Texts(Minus(before, ParseFieldsV1(fields))),
              ElementsAre("spec.replicas"));
}

TEST(FieldsTest, LeavesOfAManifestLeaveIdentityOut) {
  EXPECT_THAT(Texts(LeavesOf(Deployment())),
              UnorderedElementsAre("metadata.labels.app",
                                   "metadata.labels[example.com/team]",
                                   "metadata.finalizers", "spec.replicas",
                                   "spec.template.spec.containers"));
}

TEST(FieldsTest, PrefixLeadsToPath) {
  const FieldPath spec = {{PathStep::Kind::kField, "spec"}};
  const FieldPath replicas = {{PathStep::Kind::kField, "spec"},
                              {PathStep::Kind::kField, "replicas"}};
  EXPECT_TRUE(IsPrefix(spec, replicas));
  EXPECT_TRUE(IsPrefix(spec, spec));
  EXPECT_FALSE(IsPrefix(replicas, spec));
}

}  // namespace
}  // namespace flotilla
