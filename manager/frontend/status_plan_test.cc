// SPDX-License-Identifier: Apache-2.0

#include "manager/frontend/status_plan.h"

#include <string>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

TEST(StatusPlanTest, WhatIsKnownIsWrittenWithTheGenerationThatWasJudged) {
  Verdict verdict;
  verdict.generation = 7;
  const json known = {{"commit", "abc"}, {"observedGeneration", 3}};
  const json status = PlanStatus(known, verdict, json(), kNow);
  EXPECT_EQ(status["commit"], "abc");
  EXPECT_EQ(status["observedGeneration"], 7);
  EXPECT_EQ(ConditionOf(status, "Accepted")["status"], "True");
}

TEST(StatusPlanTest, ARefusalIsACondition) {
  Verdict verdict;
  verdict.refusal = "spec.paths[0]: leaves the repository";
  verdict.reason = "Invalid";
  const json known = {
      {"conditions", {{{"type", "Accepted"}, {"status", "True"}},
                      {{"type", "Ready"}, {"status", "True"}}}}};
  const json status = PlanStatus(known, verdict, json(), kNow);
  EXPECT_EQ(ConditionOf(status, "Accepted")["status"], "False");
  EXPECT_EQ(ConditionOf(status, "Accepted")["message"], verdict.refusal);
  // What was taken before goes on.
  EXPECT_EQ(ConditionOf(status, "Ready")["status"], "True");

  const json fresh = PlanStatus(json(), verdict, json(), kNow);
  EXPECT_EQ(ConditionOf(fresh, "Ready")["message"], verdict.refusal);
}

TEST(StatusPlanTest, TheSameStateGivesTheSameBytesAtAnyTime) {
  Verdict verdict;
  verdict.refusal = "no";
  verdict.reason = "Invalid";
  const json first = PlanStatus(json(), verdict, json(), kNow);
  const json second =
      PlanStatus(json(), verdict, first, kNow + absl::Hours(1));
  EXPECT_EQ(first, second);

  verdict.refusal = "no, for another reason";
  const json third = PlanStatus(json(), verdict, second, kNow + absl::Hours(2));
  EXPECT_EQ(ConditionOf(third, "Accepted")["lastTransitionTime"],
            ConditionOf(first, "Accepted")["lastTransitionTime"]);
  EXPECT_NE(ConditionOf(third, "Accepted")["lastUpdateTime"],
            ConditionOf(first, "Accepted")["lastUpdateTime"]);
}

TEST(StatusPlanTest, KnownConditionsKeepTheirTimesWhileTheySayTheSame) {
  const json known = {
      {"conditions",
       {{{"type", "Ready"}, {"status", "False"}, {"message", "1 of 2"}}}}};
  const json first = PlanStatus(known, Verdict(), json(), kNow);
  EXPECT_NE(ConditionOf(first, "Ready")["lastTransitionTime"], json());
  EXPECT_EQ(PlanStatus(known, Verdict(), first, kNow + absl::Hours(1)), first);

  json other = known;
  other["conditions"][0]["message"] = "2 of 3";
  const json second =
      PlanStatus(other, Verdict(), first, kNow + absl::Hours(2));
  EXPECT_EQ(ConditionOf(second, "Ready")["lastTransitionTime"],
            ConditionOf(first, "Ready")["lastTransitionTime"]);
  EXPECT_NE(ConditionOf(second, "Ready")["lastUpdateTime"],
            ConditionOf(first, "Ready")["lastUpdateTime"]);
}

TEST(StatusPlanTest, AChangeOfStateIsUrgentAndACountIsNot) {
  const json ready = {
      {"display", {{"state", ""}, {"readyBundleDeployments", "1/2"}}},
      {"conditions", {{{"type", "Ready"}, {"status", "True"}}}}};
  json counted = ready;
  counted["display"]["readyBundleDeployments"] = "2/2";
  EXPECT_FALSE(IsUrgent(ready, counted));
  json other = ready;
  other["display"]["state"] = "NotReady";
  EXPECT_TRUE(IsUrgent(ready, other));
  other = ready;
  other["conditions"][0]["status"] = "False";
  EXPECT_TRUE(IsUrgent(ready, other));
  EXPECT_TRUE(IsUrgent(json(), ready));
  other = ready;
  other["commit"] = "x";
  EXPECT_TRUE(IsUrgent(ready, other));
}

TEST(StatusRateTest, ABurstOfFiveThenOneASecond) {
  StatusRate rate;
  absl::Duration now = absl::Hours(5);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(rate.Take(now, false), absl::ZeroDuration()) << i;
  }
  EXPECT_EQ(rate.Take(now, false), absl::Seconds(1));
  EXPECT_EQ(rate.Take(now, true), absl::ZeroDuration());
  now += absl::Milliseconds(1500);
  EXPECT_EQ(rate.Take(now, false), absl::ZeroDuration());
  EXPECT_EQ(rate.Take(now, false), absl::Milliseconds(500));
}

}  // namespace
}  // namespace flotilla::manager
