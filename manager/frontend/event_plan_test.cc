// SPDX-License-Identifier: Apache-2.0

#include "manager/frontend/event_plan.h"

#include <string>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

json Status(const char* type, const char* status, const char* message) {
  return {{"conditions",
           {{{"type", type}, {"status", status}, {"message", message}}}}};
}

TEST(EventPlanTest, ANewCommitIsSaidOnce) {
  const json before = {{"commit", "a"}};
  const json after = {{"commit", "b"}};
  EXPECT_THAT(EventsOf("GitRepo", before, after),
              ElementsAre(ObjectEvent{false, "GotNewCommit", "commit b"}));
  EXPECT_THAT(EventsOf("GitRepo", after, after), IsEmpty());
  EXPECT_THAT(EventsOf("Bundle", before, after), IsEmpty());
  EXPECT_THAT(EventsOf("HelmOp", json(), {{"version", "1.2.3"}}),
              ElementsAre(ObjectEvent{false, "GotNewChartVersion",
                                      "version 1.2.3"}));
}

TEST(EventPlanTest, ConditionsThatTurnBadHaveFleetsWords) {
  struct Case {
    const char* kind;
    const char* type;
    const char* status;
    const char* message;
    const char* reason;
  };
  for (const Case& c : {
           Case{"GitRepo", "Accepted", "False",
                "Policy p does not allow service account x",
                "PolicyViolation"},
           Case{"GitRepo", "Accepted", "False", "spec.paths: wrong", "Failed"},
           Case{"GitRepo", "GitPolling", "False", "no route to host",
                "FailedToCheckCommit"},
           Case{"GitRepo", "GitPolling", "False",
                "Secret fleet-local/s does not exist",
                "FailedValidatingSecret"},
           Case{"GitRepo", "Stalled", "True", "no bundle", "Failed"},
           Case{"HelmOp", "Polled", "False", "404",
                "FailedToCheckChartVersion"},
           Case{"Bundle", "Ready", "False", "Policy p says no",
                "PolicyViolation"},
       }) {
    const json after = Status(c.type, c.status, c.message);
    EXPECT_THAT(EventsOf(c.kind, json(), after),
                ElementsAre(ObjectEvent{true, c.reason, c.message}));
    EXPECT_THAT(EventsOf(c.kind, after, after), IsEmpty()) << c.message;
  }
  EXPECT_THAT(EventsOf("Bundle", json(), Status("Ready", "False", "NotReady")),
              IsEmpty());
}

TEST(EventPlanTest, WhatHasNotHappenedYetIsNoEvent) {
  EXPECT_THAT(EventsOf("GitRepo", json(), Status("GitPolling", "False", "")),
              IsEmpty());
  EXPECT_THAT(EventsOf("HelmOp", json(), Status("Polled", "False", "")),
              IsEmpty());
}

TEST(EventPlanTest, TheSameWordAboutTheSameObjectIsOneEvent) {
  const EventSubject subject{"GitRepo", "fleet-local", "r", "uid-1"};
  const absl::Time now = absl::FromUnixSeconds(1'800'000'000);
  const json one = MakeEvent(subject, {true, "Failed", "x"}, now, now, 1);
  const json two = MakeEvent(subject, {true, "Failed", "x"}, now,
                             now + absl::Hours(1), 2);
  EXPECT_EQ(one["metadata"]["name"], two["metadata"]["name"]);
  const json other = MakeEvent(subject, {true, "Failed", "y"}, now, now, 1);
  EXPECT_NE(one["metadata"]["name"], other["metadata"]["name"]);
  EXPECT_EQ(one["involvedObject"]["uid"], "uid-1");
}

}  // namespace
}  // namespace flotilla::manager
