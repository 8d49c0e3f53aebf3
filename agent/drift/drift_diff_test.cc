// SPDX-License-Identifier: Apache-2.0

#include "agent/drift/drift_diff.h"

#include <string>

#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using core::v1::DriftRecord;
using nlohmann::json;

json Parse(const std::string& text) {
  return json::parse(text, nullptr, false);
}

const char kWanted[] = R"({"apiVersion":"apps/v1","kind":"Deployment",
  "metadata":{"name":"web","labels":{"app":"web"}},
  "spec":{"replicas":2,"template":{"spec":{"containers":[
    {"name":"web","image":"nginx:1"}]}}}})";

// Our fields as the server writes them after the apply of kWanted.
const char kOurs[] = R"({"f:metadata":{"f:labels":{"f:app":{}}},
  "f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{
    "k:{\"name\":\"web\"}":{".":{},"f:image":{},"f:name":{}}}}}}})";

json Live(const std::string& spec, const std::string& ours,
          const std::string& others) {
  json live = Parse(kWanted);
  live["spec"] = Parse(spec);
  live["metadata"]["managedFields"] = json::array();
  live["metadata"]["managedFields"].push_back(
      {{"manager", "flotilla"}, {"operation", "Apply"},
       {"fieldsV1", Parse(ours)}});
  for (const json& other : Parse(others)) {
    live["metadata"]["managedFields"].push_back(other);
  }
  return live;
}

DriftDiff Diff(const json& live, bool secret = false) {
  DriftRules rules;
  rules.secret = secret;
  return DiffDrift(Parse(kWanted), live, Parse(kOurs).dump(), rules);
}

TEST(DriftDiff, AnUntouchedObjectWithDefaultsHasNone) {
  const json live = Live(
      R"({"replicas":2,"revisionHistoryLimit":10,"template":{"spec":{
      "containers":[{"name":"web","image":"nginx:1","imagePullPolicy":"x"}]}}})",
      kOurs,
      R"([{"manager":"kube-controller-manager","operation":"Update",
      "subresource":"status","fieldsV1":{"f:status":{"f:replicas":{}}}}])");

  const DriftDiff diff = Diff(live);

  EXPECT_FALSE(diff.owned_lost);
  EXPECT_TRUE(diff.records.empty());
  EXPECT_EQ(ForeignFieldsDigest(live), "");
}

TEST(DriftDiff, AScaleIsAChangeByWhoScaled) {
  const DriftDiff diff = Diff(Live(
      R"({"replicas":5,"template":{"spec":{"containers":[
      {"name":"web","image":"nginx:1"}]}}})",
      R"({"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:template":{
      "f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:image":{},
      "f:name":{}}}}}}})",
      R"([{"manager":"kubectl","operation":"Update","subresource":"scale",
      "time":"2026-11-25T01:02:03Z","fieldsV1":{"f:spec":{"f:replicas":{}}}}])"));

  EXPECT_TRUE(diff.owned_lost);
  ASSERT_EQ(diff.records.size(), 1u);
  const DriftRecord& record = diff.records[0];
  EXPECT_EQ(record.path(), "spec.replicas");
  EXPECT_EQ(record.operation(), core::v1::DRIFT_OPERATION_CHANGED);
  EXPECT_EQ(record.wanted(), "2");
  EXPECT_EQ(record.live(), "5");
  EXPECT_EQ(record.field_manager(), "kubectl");
  EXPECT_EQ(record.manager_operation(), "Update");
  EXPECT_EQ(record.managed_time().seconds(), 1795568523);
}

TEST(DriftDiff, ARemovedContainerIsOneRecord) {
  const DriftDiff diff =
      Diff(Live(R"({"replicas":2,"template":{"spec":{"containers":[
      {"name":"other","image":"x"}]}}})",
                R"({"f:metadata":{"f:labels":{"f:app":{}}},
      "f:spec":{"f:replicas":{}}})",
                "[]"));

  ASSERT_EQ(diff.records.size(), 1u);
  EXPECT_EQ(diff.records[0].operation(), core::v1::DRIFT_OPERATION_REMOVED);
  EXPECT_EQ(diff.records[0].path(),
            "spec.template.spec.containers[name=web]");
  EXPECT_EQ(diff.records[0].field_manager(), "");
}

TEST(DriftDiff, AdditionsInsideTheManifestAreSeenOthersNot) {
  const DriftDiff diff = Diff(Live(
      R"({"replicas":2,"paused":true,"template":{"spec":{"containers":[
      {"name":"web","image":"nginx:1","env":[{"name":"A","value":"1"}]},
      {"name":"side","image":"x"}]}}})",
      kOurs,
      R"([{"manager":"kubectl-edit","operation":"Update","fieldsV1":{
        "f:metadata":{"f:annotations":{"f:x":{}}},
        "f:spec":{"f:paused":{},"f:template":{"f:spec":{"f:containers":{
          "k:{\"name\":\"web\"}":{"f:env":{".":{},
             "k:{\"name\":\"A\"}":{".":{},"f:name":{},"f:value":{}}}},
          "k:{\"name\":\"side\"}":{".":{},"f:image":{},"f:name":{}}}}}}}},
        {"manager":"kube-controller-manager","operation":"Update","fieldsV1":{
        "f:spec":{"f:strategy":{"f:type":{}}}}}])"));

  EXPECT_FALSE(diff.owned_lost);
  ASSERT_EQ(diff.records.size(), 3u);
  EXPECT_EQ(diff.additions, 3);
  EXPECT_EQ(diff.records[0].path(), "spec.paused");
  EXPECT_EQ(diff.records[0].live(), "true");
  EXPECT_EQ(diff.records[0].field_manager(), "kubectl-edit");
  EXPECT_EQ(diff.records[1].path(),
            "spec.template.spec.containers[name=side]");
  EXPECT_EQ(diff.records[2].path(),
            "spec.template.spec.containers[name=web].env");
}

TEST(DriftDiff, NeverShowsASecretsValues) {
  const DriftDiff diff = Diff(
      Live(R"({"replicas":5,"template":{"spec":{"containers":[
      {"name":"web","image":"nginx:1"}]}}})",
           R"({"f:metadata":{"f:labels":{"f:app":{}}}})", "[]"),
      /*secret=*/true);

  for (const DriftRecord& record : diff.records) {
    EXPECT_EQ(record.wanted(), "<redacted>");
    EXPECT_EQ(record.live(), "<redacted>");
  }
}

TEST(DriftDiff, OddShapesAreNoDriftAndNoCrash) {
  for (const char* text :
       {"null", "[]", "{}", R"({"metadata":{"managedFields":{}}})",
        R"({"metadata":{"managedFields":[1,{"manager":"flotilla",
        "operation":"Apply","fieldsV1":[]}]},"spec":[]})"}) {
    const json live = Parse(text);
    OwnedFieldsText(live);
    ForeignFieldsDigest(live);
    const DriftDiff diff =
        DiffDrift(Parse(kWanted), live, "{broken", DriftRules());
    EXPECT_TRUE(diff.records.empty()) << text;
  }
}

}  // namespace
}  // namespace flotilla::agent
