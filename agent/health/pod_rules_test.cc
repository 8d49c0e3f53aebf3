// SPDX-License-Identifier: Apache-2.0

#include "agent/health/pod_rules.h"

#include <string>

#include "absl/time/time.h"
#include "agent/health/health_verdict.h"
#include "flotilla/core/v1/core.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

using ::testing::HasSubstr;
using nlohmann::json;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

HealthContext Now() {
  HealthContext context;
  context.now = kNow;
  return context;
}

struct Case {
  const char* what;
  const char* spec_and_status;
  core::v1::Health alone;
  // What a workload tells of it; empty: nothing.
  core::v1::Health trouble;
  const char* words;
};

constexpr auto kHealthy = core::v1::HEALTH_HEALTHY;
constexpr auto kProgressing = core::v1::HEALTH_PROGRESSING;
constexpr auto kDegraded = core::v1::HEALTH_DEGRADED;

TEST(PodRules, EachStateOfAPod) {
  const Case kCases[] = {
      {"succeeded", R"({"status":{"phase":"Succeeded"}})", kHealthy, kHealthy,
       ""},
      {"running and ready", R"({"status":{"phase":"Running","conditions":[
          {"type":"Ready","status":"True"}]}})", kHealthy, kHealthy, ""},
      {"running", R"({"status":{"phase":"Running","conditions":[
          {"type":"Ready","status":"False"}]}})", kProgressing, kHealthy, ""},
      {"no phase", R"({"status":{}})", kProgressing, kHealthy, ""},
      {"a phase that is not known", R"({"status":{"phase":"Resting"}})",
       kProgressing, kHealthy, ""},
      {"failed", R"({"status":{"phase":"Failed","reason":"Evicted",
          "message":"the node was low on memory"}})", kDegraded, kDegraded,
       "low on memory"},
      {"failed with an exit code", R"({"spec":{"restartPolicy":"Never"},
          "status":{"phase":"Failed","containerStatuses":[{"name":"app",
          "state":{"terminated":{"exitCode":3,"reason":"Error"}}}]}})",
       kDegraded, kDegraded, "container app: exit code 3 (Error)"},
      {"crash loop", R"({"status":{"phase":"Running","containerStatuses":[
          {"name":"app","state":{"waiting":{"reason":"CrashLoopBackOff",
          "message":"back-off 10s"}},"lastState":{"terminated":{
          "exitCode":137,"reason":"OOMKilled"}}}]}})", kDegraded, kDegraded,
       "container app: CrashLoopBackOff: back-off 10s; last exit code 137 "
       "(OOMKilled)"},
      {"image", R"({"status":{"phase":"Pending","containerStatuses":[
          {"name":"app","state":{"waiting":{"reason":"ErrImagePull",
          "message":"not found"}}}]}})", kDegraded, kDegraded,
       "ErrImagePull: not found"},
      {"image name", R"({"status":{"phase":"Pending","containerStatuses":[
          {"name":"app","state":{"waiting":{"reason":"InvalidImageName"}}}]}
          })", kDegraded, kDegraded, "InvalidImageName"},
      {"no such key", R"({"status":{"phase":"Pending","containerStatuses":[
          {"name":"app","state":{"waiting":{
          "reason":"CreateContainerConfigError",
          "message":"secret x not found"}}}]}})", kDegraded, kDegraded,
       "secret x not found"},
      {"init container", R"({"status":{"phase":"Pending",
          "initContainerStatuses":[{"name":"init","state":{"waiting":{
          "reason":"CrashLoopBackOff"}}}],"containerStatuses":[{"name":"app",
          "state":{"waiting":{"reason":"PodInitializing"}}}]}})", kDegraded,
       kDegraded, "container init: CrashLoopBackOff"},
      {"being made", R"({"status":{"phase":"Pending","containerStatuses":[
          {"name":"app","state":{"waiting":{
          "reason":"ContainerCreating"}}}]}})", kProgressing, kHealthy, ""},
      {"out of memory, started again", R"({"status":{"phase":"Running",
          "containerStatuses":[{"name":"app","ready":false,"restartCount":1,
          "state":{"running":{}},"lastState":{"terminated":{"exitCode":137,
          "reason":"OOMKilled"}}}]}})", kDegraded, kDegraded, "OOMKilled"},
      {"failed once, started again", R"({"status":{"phase":"Running",
          "containerStatuses":[{"name":"app","ready":false,"restartCount":1,
          "state":{"running":{}},"lastState":{"terminated":{"exitCode":1,
          "reason":"Error"}}}]}})", kProgressing, kHealthy, ""},
      {"failed often", R"({"status":{"phase":"Running",
          "containerStatuses":[{"name":"app","ready":false,"restartCount":4,
          "state":{"running":{}},"lastState":{"terminated":{"exitCode":1}}}]}
          })", kDegraded, kDegraded, "restarted 4 times"},
      {"failed often, ready now", R"({"status":{"phase":"Running",
          "conditions":[{"type":"Ready","status":"True"}],
          "containerStatuses":[{"name":"app","ready":true,"restartCount":4,
          "state":{"running":{}},"lastState":{"terminated":{
          "exitCode":1}}}]}})", kHealthy, kHealthy, ""},
      {"gated", R"({"status":{"phase":"Pending","conditions":[
          {"type":"PodScheduled","status":"False",
          "reason":"SchedulingGated","message":"gated"}]}})", kProgressing,
       kProgressing, "SchedulingGated: gated"},
      {"lists are odd", R"({"spec":7,"status":{"phase":"Pending",
          "containerStatuses":{"a":1},"initContainerStatuses":[null,7,[]]}})",
       kProgressing, kHealthy, ""},
      {"items are odd", R"({"status":{"phase":"Pending",
          "containerStatuses":[{"state":"x","lastState":[1],"ready":"no",
          "restartCount":"9"},{"state":{"waiting":{"reason":7}}},
          {"state":{"terminated":{"exitCode":"1"}}}]}})", kProgressing,
       kHealthy, ""},
  };
  for (const Case& c : kCases) {
    json pod = json::parse(R"({"apiVersion":"v1","kind":"Pod",
        "metadata":{"name":"web-1"}})");
    pod.merge_patch(json::parse(c.spec_and_status));
    LiveFields live(pod);

    const HealthVerdict alone = JudgePod(live, Now());
    const HealthVerdict trouble = PodTrouble(pod, Now());

    EXPECT_EQ(alone.health, c.alone) << c.what << ": " << alone.message;
    EXPECT_EQ(trouble.health, c.trouble) << c.what << ": " << trouble.message;
    if (c.trouble != kHealthy) {
      EXPECT_THAT(trouble.message, HasSubstr(c.words)) << c.what;
      EXPECT_THAT(trouble.message, HasSubstr("pod web-1: ")) << c.what;
    }
  }
}

TEST(PodRules, WithoutANodeItWaitsForAnAutoscalerSomeTime) {
  json pod = json::parse(R"({"apiVersion":"v1","kind":"Pod",
      "metadata":{"name":"web-1"},"status":{"phase":"Pending","conditions":[
      {"type":"PodScheduled","status":"False","reason":"Unschedulable",
       "message":"0/3 nodes are available"}]}})");
  json& since = pod["status"]["conditions"][0]["lastTransitionTime"];
  const auto ago = [](absl::Duration age) {
    return absl::FormatTime(absl::RFC3339_full, kNow - age,
                            absl::UTCTimeZone());
  };

  since = ago(absl::Minutes(2));
  const HealthVerdict waits = PodTrouble(pod, Now());
  EXPECT_EQ(waits.health, kProgressing);
  EXPECT_EQ(waits.until, kNow + absl::Minutes(3));
  EXPECT_EQ(waits.reason, "Unschedulable");
  EXPECT_THAT(waits.message, HasSubstr("0/3 nodes"));

  since = ago(absl::Minutes(5));
  EXPECT_EQ(PodTrouble(pod, Now()).health, kDegraded);
  LiveFields live(pod);
  EXPECT_EQ(JudgePod(live, Now()).health, kDegraded);

  HealthContext patient = Now();
  patient.unschedulable_after = absl::Hours(1);
  EXPECT_EQ(PodTrouble(pod, patient).until, kNow + absl::Minutes(55));

  since = ago(absl::Hours(-1));  // The cluster's clock is ahead.
  EXPECT_EQ(PodTrouble(pod, Now()).until, kNow + absl::Minutes(5));
  since = "soon";
  EXPECT_EQ(PodTrouble(pod, Now()).health, kProgressing);
}

TEST(PodRules, OnlyEventsSayWhyContainersAreNotMade) {
  json pod = json::parse(R"({"spec":{"nodeName":"n"},"status":{
      "phase":"Pending","containerStatuses":[{"state":{"waiting":{
      "reason":"ContainerCreating"}}}]}})");
  EXPECT_TRUE(WaitsForContainers(pod));
  pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] =
      "ErrImagePull";
  EXPECT_FALSE(WaitsForContainers(pod));
  pod["status"].erase("containerStatuses");
  EXPECT_TRUE(WaitsForContainers(pod));
  pod["spec"].erase("nodeName");
  EXPECT_FALSE(WaitsForContainers(pod));
}

}  // namespace
}  // namespace flotilla::agent
