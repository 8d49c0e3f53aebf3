// SPDX-License-Identifier: Apache-2.0

#include "agent/drift/ignore_rules.h"

#include <string>
#include <vector>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

using nlohmann::json;

core::v1::DeployPolicy Policy(const std::string& patches) {
  core::v1::DeployPolicy policy;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(patches, &policy))
      << patches;
  return policy;
}

core::v1::ResourceKey Web() {
  core::v1::ResourceKey key;
  key.set_group("apps");
  key.set_version("v1");
  key.set_kind("Deployment");
  key.set_namespace_("shop");
  key.set_name("web");
  return key;
}

IgnoreRules Rules(const std::string& patches) {
  return IgnoreRules(Policy(patches), Web());
}

struct Row {
  const char* patch;
  bool applies;
};

TEST(IgnoreRules, PointersMatchByGlobAndByWhatIsGiven) {
  for (const Row& row : {
           Row{"api_version: 'apps/v1' kind: 'Deployment'", true},
           Row{"api_version: 'apps/v2' kind: 'Deployment'", true},
           Row{"api_version: '*/v1' kind: '*'", true},
           Row{"api_version: '*' kind: 'Deploy*'", true},
           Row{"api_version: 'app?/v1' kind: '{Job,Deployment}'", true},
           Row{"api_version: 'apps/v1' kind: '[A-D]eployment'", true},
           Row{"api_version: 'apps/v1' kind: '[!D]eployment'", false},
           Row{"api_version: 'apps/v1' kind: 'Deploymen.'", false},
           Row{"api_version: 'apps/v1' kind: '[broken'", false},
           Row{"api_version: 'v1' kind: 'Deployment'", false},
           Row{"api_version: 'apps/v1' kind: 'StatefulSet'", false},
           Row{"api_version: 'apps/v1' kind: 'Deployment' name: 'web'", true},
           Row{"api_version: 'apps/v1' kind: 'Deployment' name: 'w.*'", false},
           Row{"api_version: 'apps/v1' kind: 'Deployment' namespace: 'x'",
               false},
           Row{"api_version: 'apps/v1' kind: 'Deployment' namespace: 'shop' "
               "name: 'web'",
               true},
       }) {
    const IgnoreRules rules =
        Rules("compare_patches { json_pointers: '/spec/replicas' " +
              std::string(row.patch) + " }");
    EXPECT_EQ(!rules.empty(), row.applies) << row.patch;
  }
}

TEST(IgnoreRules, OperationsMatchExactly) {
  for (const Row& row : {
           Row{"api_version: 'apps/v1' kind: 'Deployment' namespace: 'shop' "
               "name: 'web'",
               true},
           Row{"api_version: 'apps/v1' kind: 'Deployment' name: 'web'", false},
           Row{"api_version: 'apps/v1' kind: 'Deployment' namespace: 'shop'",
               false},
           Row{"api_version: 'apps/v2' kind: 'Deployment' namespace: 'shop' "
               "name: 'web'",
               false},
           Row{"api_version: 'apps/v1' kind: '*' namespace: 'shop' "
               "name: 'web'",
               false},
       }) {
    const IgnoreRules rules =
        Rules("compare_patches { operations { op: 'remove' path: '/spec' } " +
              std::string(row.patch) + " }");
    EXPECT_EQ(!rules.empty(), row.applies) << row.patch;
  }
}

TEST(IgnoreRules, AbsenceIsIgnoredByNamePatternOrForAllOfTheKind) {
  for (const Row& row : {
           Row{"namespace: 'shop'", true},
           Row{"namespace: 'shop' name: 'web'", true},
           Row{"namespace: 'shop' name: 'w.b'", true},
           Row{"namespace: 'shop' name: '^w'", false},
           Row{"namespace: 'shop' name: '(((a+)+)+)+$'", false},
           Row{"namespace: 'shop' name: '(broken'", false},
           Row{"namespace: 'other' name: 'web'", false},
           Row{"name: 'web'", false},
       }) {
    const IgnoreRules rules = Rules(
        "compare_patches { api_version: 'apps/v1' kind: 'Deployment' "
        "operations { op: 'ignore' } " +
        std::string(row.patch) + " }");
    EXPECT_EQ(rules.ignores_absence(), row.applies) << row.patch;
    EXPECT_TRUE(rules.empty());
  }
}

TEST(IgnoreRules, WhatIsRelevantLacksWhatTheRulesTakeOut) {
  struct Case {
    const char* rules;
    json before;
    json after;
  };
  const std::string head =
      "compare_patches { api_version: 'apps/v1' kind: 'Deployment' "
      "namespace: 'shop' name: 'web' ";
  for (const Case& row : std::vector<Case>{
           {"json_pointers: '/spec/replicas'",
            {{"spec", {{"replicas", 1}, {"x", 2}}}},
            {{"spec", {{"x", 2}}}}},
           {"json_pointers: '/spec/none' json_pointers: '/x'",
            {{"spec", 1}, {"x", 2}},
            {{"spec", 1}}},
           {"json_pointers: '/a~1b~0c' json_pointers: '/l/1'",
            {{"a/b~c", 1}, {"l", {1, 2, 3}}},
            {{"l", {1, 3}}}},
           {"json_pointers: '/l/9' json_pointers: '/l/x' json_pointers: ''",
            {{"l", {1}}},
            {{"l", {1}}}},
           {"operations { op: 'remove' path: '/x' }", {{"x", 2}, {"y", 1}},
            {{"y", 1}}},
           {"operations { op: 'remove' path: '/y' } "
            "operations { op: 'remove' path: '/none' }",
            {{"y", 1}},
            {{"y", 1}}},
           {"operations { op: 'replace' path: '/x' value_json: '[1]' }",
            {{"x", 2}},
            {{"x", {1}}}},
           {"operations { op: 'add' path: '/l/-' value_json: '5' } "
            "operations { op: 'add' path: '/l/0' value_json: '0' }",
            {{"l", {1}}},
            {{"l", {0, 1, 5}}}},
           {"operations { op: 'test' path: '/x' value_json: '1' } "
            "operations { op: 'remove' path: '/x' }",
            {{"x", 2}},
            {{"x", 2}}},
           {"operations { op: 'copy' path: '/x' }", {{"x", 2}}, {{"x", 2}}},
           {"operations { op: 'add' path: '/x' value_json: '{broken' }",
            {{"x", 2}},
            {{"x", 2}}},
       }) {
    EXPECT_EQ(Rules(head + row.rules + " }").Relevant(row.before), row.after)
        << row.rules;
  }
}

TEST(IgnoreRules, NoOperationMakesAnythingTooDeep) {
  std::string rules =
      "compare_patches { api_version: 'apps/v1' kind: 'Deployment' "
      "namespace: 'shop' name: 'web' ";
  std::string path = "/a";
  for (int i = 0; i < 100; ++i, path += "/a") {
    rules += "operations { op: 'add' path: '" + path + "' value_json: '{}' } ";
  }

  EXPECT_EQ(Rules(rules + "}").Relevant(json::object()), json::object());
}

json Live(const json& spec, const char* manager, const char* subresource,
          const char* fields) {
  json entry = {{"manager", manager},
                {"operation", "Update"},
                {"fieldsV1", json::parse(fields)}};
  if (*subresource != '\0') entry["subresource"] = subresource;
  return {{"kind", "Deployment"},
          {"metadata", {{"managedFields", json::array({entry})}}},
          {"spec", spec}};
}

TEST(IgnoreRules, WhatAnotherManagerOwnsIsNotSentAndWhatNobodyOwnsStays) {
  const IgnoreRules rules = Rules(
      "compare_patches { api_version: 'apps/v1' kind: 'Deployment' "
      "json_pointers: '/spec/replicas' json_pointers: '/spec/paused' "
      "json_pointers: '/spec/gone' json_pointers: '/spec/same' "
      "json_pointers: '/kind' }");
  const json live = Live({{"replicas", 5}, {"paused", true}, {"same", 1}},
                         "tool", "", R"({"f:spec":{"f:replicas":{}}})");
  const json wanted = {{"kind", "Deployment"},
                       {"spec",
                        {{"replicas", 2},
                         {"paused", false},
                         {"gone", 3},
                         {"same", 1},
                         {"other", 4}}}};
  std::vector<std::string> held;

  const json sent = rules.Adapted(wanted, live, &held);

  EXPECT_EQ(sent["spec"],
            (json{{"paused", true}, {"same", 1}, {"other", 4}}));
  EXPECT_EQ(sent["kind"], "Deployment");
  EXPECT_EQ(held, (std::vector<std::string>{"/spec/replicas", "/spec/paused",
                                            "/spec/gone"}));
}

TEST(IgnoreRules, WhatOperationsTakeOutStaysUnlessOneFails) {
  const std::string head =
      "compare_patches { api_version: 'apps/v1' kind: 'Deployment' "
      "namespace: 'shop' name: 'web' "
      "operations { op: 'remove' path: '/spec/replicas' } ";
  const json live = {{"spec", {{"replicas", 5}}}};
  const json wanted = {{"spec", {{"replicas", 2}}}};
  std::vector<std::string> held;

  EXPECT_EQ(Rules(head + "}").Adapted(wanted, live, &held), live);
  EXPECT_EQ(Rules(head + "operations { op: 'remove' path: '/none' } }")
                .Adapted(wanted, live, &held),
            wanted);
  EXPECT_EQ(held, std::vector<std::string>{"/spec/replicas"});
}

TEST(IgnoreRules, AWholeMapIsHeldMemberByMemberAndOurMarksAreSent) {
  const IgnoreRules rules = Rules(
      "compare_patches { api_version: 'apps/v1' kind: 'Deployment' "
      "json_pointers: '/metadata/annotations' }");
  json live = Live(json::object(), "tool", "",
                   R"({"f:metadata":{"f:annotations":{"f:a":{}}}})");
  live["metadata"]["annotations"] = {
      {"a", "theirs"}, {"b", "live"}, {"flotilla.dev/bundle-id", "forged"}};
  const json wanted = {
      {"metadata",
       {{"annotations",
         {{"a", "1"}, {"b", "2"}, {"flotilla.dev/bundle-id", "x"}}}}}};
  std::vector<std::string> held;

  const json sent = rules.Adapted(wanted, live, &held);

  EXPECT_EQ(sent["metadata"]["annotations"],
            (json{{"b", "live"}, {"flotilla.dev/bundle-id", "x"}}));
  EXPECT_EQ(held,
            (std::vector<std::string>{"/metadata/annotations/a",
                                      "/metadata/annotations/b"}));
}

TEST(IgnoreRules, ReplicasAreTheAutoscalersOnlyWhileItOwnsThem) {
  const char fields[] = R"({"f:spec":{"f:replicas":{}}})";
  const json spec = {{"replicas", 5}};

  EXPECT_FALSE(IgnoreRules()
                   .WithWellKnown({}, Live(spec, "kube-controller-manager",
                                           "scale", fields))
                   .empty());
  EXPECT_TRUE(IgnoreRules()
                  .WithWellKnown({}, Live(spec, "kubectl", "scale", fields))
                  .empty());
  EXPECT_TRUE(IgnoreRules()
                  .WithWellKnown({}, Live(spec, "kube-controller-manager",
                                          "status", fields))
                  .empty());
}

TEST(IgnoreRules, CaBundlesThatAreLeftToOthersAreTheirs) {
  const json live = {
      {"kind", "ValidatingWebhookConfiguration"},
      {"webhooks",
       {{{"clientConfig", {{"caBundle", "QQ=="}}}},
        {{"clientConfig", {{"caBundle", "QQ=="}}}},
        {{"clientConfig", {{"caBundle", "QQ=="}}}}}}};
  const json wanted = {{"webhooks",
                        {{{"clientConfig", json::object()}},
                         {{"clientConfig", {{"caBundle", "Cg=="}}}},
                         {{"clientConfig", {{"caBundle", "ours"}}}}}}};

  const json counts =
      IgnoreRules().WithWellKnown(wanted, live).Relevant(live);

  EXPECT_EQ(counts["webhooks"],
            (json{{{"clientConfig", json::object()}},
                  {{"clientConfig", json::object()}},
                  {{"clientConfig", {{"caBundle", "QQ=="}}}}}));
}

}  // namespace
}  // namespace flotilla::agent
