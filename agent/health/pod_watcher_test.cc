// SPDX-License-Identifier: Apache-2.0

#include "agent/health/pod_watcher.h"

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
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

using ::testing::HasSubstr;
using nlohmann::json;
using Verb = FakeKubeClient::Verb;

class PodWatcherTest : public testing::Test {
 protected:
  PodWatcherTest() {
    kube_.AddKind({"", "v1", "Event", "events", true, {"list", "watch"}});
  }

  static ObjectIdentity Id(const std::string& name) {
    return {"apps", "Deployment", "default", name};
  }

  void Look(const std::string& name) {
    watcher_.Look(Id(name), {{"spec",
                              {{"selector",
                                {{"matchLabels", {{"app", name}}}}}}}});
  }

  // A pod of workload `app`, its container waiting for `reason`.
  void MakePod(const std::string& app, const std::string& name,
               const std::string& reason) {
    ASSERT_TRUE(
        kube_.CreateAs("kubelet",
                       {{"apiVersion", "v1"},
                        {"kind", "Pod"},
                        {"metadata",
                         {{"name", name},
                          {"namespace", "default"},
                          {"labels", {{"app", app}}}}},
                        {"spec", {{"nodeName", "n"}}},
                        {"status",
                         {{"phase", "Pending"},
                          {"containerStatuses",
                           {{{"name", "c"},
                             {"state",
                              {{"waiting", {{"reason", reason}}}}}}}}}}})
            .ok());
  }

  void Advance(absl::Duration duration) {
    clock_.Advance(duration);
    loop_.Advance(duration);
  }

  SimulatedLoop loop_;
  FakeClock clock_;
  FakeKubeClient kube_{loop_};
  std::map<std::string, HealthVerdict> told_;
  PodWatcher watcher_{kube_, loop_, clock_, absl::Minutes(5),
                      [this](const ObjectIdentity& id,
                             const HealthVerdict& trouble) {
                        told_[std::get<3>(id)] = trouble;
                      }};
};

TEST_F(PodWatcherTest, TellsTheWorstOfAWorkloadAndWhenItIsOver) {
  MakePod("web", "web-1", "CrashLoopBackOff");
  MakePod("web", "web-2", "ErrImagePull");
  MakePod("other", "other-1", "ErrImagePull");
  Look("web");

  Advance(absl::Milliseconds(900));
  EXPECT_EQ(kube_.CountOf(Verb::kWatch), 0u);
  Advance(absl::Seconds(1));
  EXPECT_EQ(told_["web"].health, core::v1::HEALTH_DEGRADED);
  EXPECT_THAT(told_["web"].message, HasSubstr("web-1"));
  EXPECT_THAT(told_["web"].message, HasSubstr("(and 1 more)"));
  for (const char* const name : {"web-1", "web-2"}) {
    core::v1::ResourceKey key;
    key.set_version("v1");
    key.set_kind("Pod");
    key.set_namespace_("default");
    key.set_name(name);
    ASSERT_TRUE(kube_.DeleteAs(key).ok());
  }
  Advance(absl::Seconds(1));
  EXPECT_EQ(told_["web"].health, core::v1::HEALTH_HEALTHY);
  watcher_.Forget(Id("web"));
  loop_.RunUntilIdle();
  EXPECT_EQ(kube_.open_watches(), 0u);
}

TEST_F(PodWatcherTest, ManyWorkloadsTakeTurns) {
  constexpr int kMany = 40;
  for (int i = 0; i < kMany; ++i) {
    const std::string name = absl::StrCat("w", i);
    MakePod(name, absl::StrCat(name, "-1"), "ErrImagePull");
    Look(name);
  }

  for (int i = 0; i < 4; ++i) {
    Advance(absl::Seconds(11));
    EXPECT_LE(kube_.open_watches(), PodWatcher::kMaxWatched);
  }

  EXPECT_EQ(told_.size(), static_cast<size_t>(kMany));
  for (const auto& [name, trouble] : told_) {
    EXPECT_EQ(trouble.health, core::v1::HEALTH_DEGRADED) << name;
  }
  for (int i = 0; i < kMany; ++i) watcher_.Forget(Id(absl::StrCat("w", i)));
  Advance(absl::Minutes(1));
  EXPECT_EQ(kube_.open_watches(), 0u);
}

TEST_F(PodWatcherTest, ReadsTheEventsOfAPodWhoseContainersAreNotMade) {
  MakePod("web", "web-1", "ContainerCreating");
  ASSERT_TRUE(
      kube_.CreateAs("kubelet",
                     {{"apiVersion", "v1"},
                      {"kind", "Event"},
                      {"metadata", {{"name", "e"}, {"namespace", "default"}}},
                      {"involvedObject", {{"kind", "Pod"}, {"name", "web-1"}}},
                      {"type", "Warning"},
                      {"reason", "FailedMount"},
                      {"message", "secret x not found"}})
          .ok());
  Look("web");

  Advance(absl::Seconds(15));
  EXPECT_EQ(told_.count("web"), 0u);
  Advance(absl::Seconds(10));
  EXPECT_EQ(told_["web"].health, core::v1::HEALTH_DEGRADED);
  EXPECT_EQ(told_["web"].message,
            "pod web-1: FailedMount: secret x not found");
  const size_t asked = kube_.CountOf(Verb::kWatch);
  Advance(absl::Hours(1));
  EXPECT_EQ(kube_.CountOf(Verb::kWatch), asked);
}

TEST_F(PodWatcherTest, APodWithoutANodeIsDegradedAfterItsTime) {
  ASSERT_TRUE(
      kube_.CreateAs(
               "scheduler",
               {{"apiVersion", "v1"},
                {"kind", "Pod"},
                {"metadata",
                 {{"name", "web-1"},
                  {"namespace", "default"},
                  {"labels", {{"app", "web"}}}}},
                {"status",
                 {{"phase", "Pending"},
                  {"conditions",
                   {{{"type", "PodScheduled"},
                     {"status", "False"},
                     {"reason", "Unschedulable"},
                     {"message", "no node"},
                     {"lastTransitionTime",
                      absl::FormatTime(absl::RFC3339_full, clock_.Now(),
                                       absl::UTCTimeZone())}}}}}}})
          .ok());
  Look("web");

  Advance(absl::Seconds(2));
  EXPECT_EQ(told_["web"].health, core::v1::HEALTH_PROGRESSING);
  EXPECT_THAT(told_["web"].message, HasSubstr("no node"));
  Advance(absl::Minutes(5));
  EXPECT_EQ(told_["web"].health, core::v1::HEALTH_DEGRADED);
}

TEST_F(PodWatcherTest, SelectsByExpressions) {
  MakePod("web", "web-1", "ErrImagePull");
  watcher_.Look(Id("web"), json::parse(R"({"spec":{"selector":{
      "matchExpressions":[{"key":"app","operator":"In","values":["web"]},
      {"key":"gone","operator":"DoesNotExist"}]}}})"));
  watcher_.Look(Id("odd"), json::parse(R"({"spec":{"selector":[1]}})"));
  Advance(absl::Seconds(2));
  EXPECT_EQ(told_.size(), 1u);
  EXPECT_EQ(kube_.requests().back().label_selector, "app in (web),!gone");
}

}  // namespace
}  // namespace flotilla::agent
