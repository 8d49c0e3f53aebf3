// SPDX-License-Identifier: Apache-2.0

#include "agent/health/health_judge.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/health/health_verdict.h"
#include "common/env/fake_clock.h"
#include "common/event/simulated_loop.h"
#include "common/kube/fake_kube_client.h"
#include "common/kube/kube_client.h"
#include "common/kube/object.h"
#include "flotilla/core/v1/core.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using nlohmann::json;
using Verb = FakeKubeClient::Verb;

class HealthJudgeTest : public testing::Test {
 protected:
  HealthJudgeTest() {
    kube_.AddKind({"storage.k8s.io", "v1", "StorageClass", "storageclasses",
                   false, {"get"}});
  }

  HealthVerdict Judge(const json& live) {
    return judge_.Judge(IdentityOf(*KeyOf(live)), policy_, live);
  }

  void Advance(absl::Duration duration) {
    clock_.Advance(duration);
    loop_.Advance(duration);
  }

  json Thing() {
    return {{"apiVersion", "x.io/v1"},
            {"kind", "Thing"},
            {"metadata",
             {{"name", "t"},
              {"namespace", "default"},
              {"creationTimestamp",
               absl::FormatTime(absl::RFC3339_full, clock_.Now(),
                                absl::UTCTimeZone())}}}};
  }

  SimulatedLoop loop_;
  FakeClock clock_;
  FakeKubeClient kube_{loop_};
  core::v1::DeployPolicy policy_;
  std::vector<std::string> due_;
  HealthJudge judge_{kube_, loop_, clock_, HealthOptions(),
                     [this](const ObjectIdentity& id) {
                       due_.push_back(std::get<3>(id));
                     }};
};

TEST_F(HealthJudgeTest, AsksNothingWhereNothingIsNeeded) {
  const json map = {{"apiVersion", "v1"},
                    {"kind", "ConfigMap"},
                    {"metadata", {{"name", "m"}, {"namespace", "default"}}}};
  EXPECT_EQ(Judge(map).health, core::v1::HEALTH_HEALTHY);
  Advance(absl::Hours(1));

  EXPECT_THAT(kube_.requests(), IsEmpty());
  EXPECT_THAT(due_, IsEmpty());
}

TEST_F(HealthJudgeTest, LooksAgainWhenTheTimeForAFirstStatusIsUp) {
  kube_.AddKind({"x.io", "v1", "Thing", "things", true, {"get"}, true});
  judge_.Start();
  loop_.RunUntilIdle();
  const json thing = Thing();

  EXPECT_EQ(Judge(thing).reason, "NoStatusYet");
  Advance(absl::Seconds(29));
  EXPECT_THAT(due_, IsEmpty());
  Advance(absl::Seconds(2));
  EXPECT_THAT(due_, ElementsAre("t"));
  EXPECT_EQ(Judge(thing).health, core::v1::HEALTH_NOT_TRACKABLE);
  Advance(absl::Hours(1));
  EXPECT_THAT(due_, ElementsAre("t"));
  EXPECT_EQ(kube_.CountOf(Verb::kDiscover), 1u);
}

TEST_F(HealthJudgeTest, LearnsWhatAKindHasBeforeItCallsItNotTrackable) {
  const json thing = Thing();

  EXPECT_EQ(Judge(thing).health, core::v1::HEALTH_PROGRESSING);
  Advance(absl::Seconds(1));
  EXPECT_THAT(due_, ElementsAre("t"));
  // Not served at all: there is no more to learn.
  EXPECT_EQ(Judge(thing).health, core::v1::HEALTH_NOT_TRACKABLE);
  Advance(absl::Hours(1));
  EXPECT_EQ(kube_.CountOf(Verb::kDiscover), 1u);
}

TEST_F(HealthJudgeTest, ACrdIsHealthyOnceItsKindIsListed) {
  const json crd = json::parse(R"({"apiVersion":"apiextensions.k8s.io/v1",
      "kind":"CustomResourceDefinition","metadata":{"name":"things.x.io"},
      "spec":{"group":"x.io","names":{"kind":"Thing"},"versions":[
      {"name":"v1","served":true}]},"status":{"conditions":[
      {"type":"Established","status":"True"}]}})");

  EXPECT_EQ(Judge(crd).reason, "NotServed");
  for (int i = 0; i < 3; ++i) {
    due_.clear();
    Advance(absl::Milliseconds(200));
    EXPECT_THAT(due_, ElementsAre("things.x.io"));
    EXPECT_EQ(Judge(crd).reason, "NotServed");
  }
  kube_.AddKind({"x.io", "v1", "Thing", "things", true, {"get"}});
  due_.clear();
  Advance(absl::Seconds(5));
  EXPECT_THAT(due_, ElementsAre("things.x.io"));
  EXPECT_EQ(Judge(crd).health, core::v1::HEALTH_HEALTHY);
  const size_t asked = kube_.CountOf(Verb::kDiscover);
  Advance(absl::Hours(1));
  EXPECT_EQ(kube_.CountOf(Verb::kDiscover), asked);
}

TEST_F(HealthJudgeTest, AsksOnceHowAStorageClassBinds) {
  json claim = json::parse(R"({"apiVersion":"v1",
      "kind":"PersistentVolumeClaim","metadata":{"name":"a",
      "namespace":"default"},"spec":{"storageClassName":"late"},
      "status":{"phase":"Pending"}})");
  ASSERT_TRUE(kube_.CreateAs("admin", {{"apiVersion", "storage.k8s.io/v1"},
                                       {"kind", "StorageClass"},
                                       {"metadata", {{"name", "late"}}},
                                       {"volumeBindingMode",
                                        "WaitForFirstConsumer"}})
                  .ok());

  EXPECT_FALSE(LetsOthersGoOn(Judge(claim)));
  loop_.RunUntilIdle();
  EXPECT_THAT(due_, ElementsAre("a"));
  EXPECT_TRUE(LetsOthersGoOn(Judge(claim)));
  claim["metadata"]["name"] = "b";
  EXPECT_TRUE(LetsOthersGoOn(Judge(claim)));
  EXPECT_EQ(kube_.CountOf(Verb::kGet), 1u);

  claim["spec"]["storageClassName"] = "none";
  EXPECT_FALSE(LetsOthersGoOn(Judge(claim)));
  loop_.RunUntilIdle();
  EXPECT_FALSE(LetsOthersGoOn(Judge(claim)));
  EXPECT_EQ(kube_.CountOf(Verb::kGet), 2u);
}

TEST_F(HealthJudgeTest, WhatIsForgottenIsNotLookedAtAgain) {
  kube_.AddKind({"x.io", "v1", "Thing", "things", true, {"get"}, true});
  judge_.Start();
  loop_.RunUntilIdle();
  const json thing = Thing();
  Judge(thing);
  judge_.Forget(IdentityOf(*KeyOf(thing)));
  Advance(absl::Hours(1));
  EXPECT_THAT(due_, IsEmpty());
}

}  // namespace
}  // namespace flotilla::agent
