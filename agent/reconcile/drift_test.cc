// SPDX-License-Identifier: Apache-2.0
//
// Drift as a deployment sees it, from an edit in the cluster to the report.

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "agent/testing/agent_world.h"
#include "common/kube/fake_kube_client.h"
#include "common/status/status_matchers.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

using nlohmann::json;
using Verb = FakeKubeClient::Verb;

class DriftTest : public AgentWorld {
 protected:
  core::v1::Manifest Manifest(const std::vector<json>& objects,
                              const std::string& policy) {
    core::v1::Manifest manifest = link_.MakeManifest("b", objects);
    core::v1::DeployPolicy more;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(policy, &more))
        << policy;
    manifest.mutable_policy()->MergeFrom(more);
    return manifest;
  }
  void AssignWith(uint64_t generation, const std::vector<json>& objects,
                  const std::string& policy) {
    link_.Assign("b", generation, Manifest(objects, policy));
    Settle();
  }
  void Edit(const json& object, const std::string& manager,
            const std::function<void(json&)>& edit) {
    ASSERT_THAT(kube_.EditAs(manager, Key(object), edit), IsOk());
    Settle();
  }
  void Pass(absl::Duration duration) {
    for (; duration > absl::ZeroDuration(); duration -= absl::Minutes(1)) {
      Settle(absl::Minutes(1));
    }
  }
  json Find(const json& object) { return *kube_.Find(Key(object)); }
  core::v1::SyncState SyncOf(const std::string& name) {
    return link_.Resource("b", name)->sync();
  }
};

const char kIgnoreReplicas[] =
    "compare_patches { api_version: 'apps/v1' kind: 'Deployment' "
    "json_pointers: '/spec/replicas' }";

TEST_F(DriftTest, AnIgnoredFieldIsNoDriftAndIsNotLookedAtTwice) {
  const json web = Deployment("web", 2);
  AssignWith(1, {web}, kIgnoreReplicas);
  kube_.ClearRequests();

  Edit(web, "scaler", [](json& o) { o["spec"]["replicas"] = 5; });

  EXPECT_EQ(kube_.WriteCount(), 0u);
  EXPECT_EQ(Find(web)["spec"]["replicas"], 5);
  EXPECT_EQ(SyncOf("web"), core::v1::SYNC_STATE_SYNCED);
  EXPECT_TRUE(link_.drift().empty());

  kube_.ClearRequests();
  Crash();
  Start();
  EXPECT_EQ(kube_.WriteCount(), 0u);
  EXPECT_EQ(kube_.CountOf(Verb::kGet), 0u);
  EXPECT_EQ(SyncOf("web"), core::v1::SYNC_STATE_SYNCED);
}

TEST_F(DriftTest, ANewRevisionLeavesAnIgnoredFieldAsItIs) {
  AssignWith(1, {Deployment("web", 2)}, kIgnoreReplicas);
  Edit(Deployment("web", 2), "scaler",
       [](json& o) { o["spec"]["replicas"] = 5; });
  json next = Deployment("web", 3);
  next["spec"]["template"]["spec"]["containers"][0]["image"] = "y";

  AssignWith(2, {next}, kIgnoreReplicas);

  EXPECT_EQ(Find(next)["spec"]["replicas"], 5);
  EXPECT_EQ(Find(next)["spec"]["template"]["spec"]["containers"][0]["image"],
            "y");
  EXPECT_EQ(SyncOf("web"), core::v1::SYNC_STATE_SYNCED);

  // What is not ignored is put right, and the rest still left.
  Edit(next, "scaler", [](json& o) {
    o["spec"]["replicas"] = 7;
    o["spec"]["template"]["spec"]["containers"][0]["image"] = "z";
  });
  EXPECT_EQ(Find(next)["spec"]["replicas"], 7);
  EXPECT_EQ(Find(next)["spec"]["template"]["spec"]["containers"][0]["image"],
            "y");
}

TEST_F(DriftTest, RulesThatChangeSendNothingUntilSomethingIsDrift) {
  const json web = Deployment("web", 2);
  AssignWith(1, {web}, "");
  kube_.ClearRequests();
  AssignWith(2, {web}, kIgnoreReplicas);
  EXPECT_EQ(kube_.WriteCount(), 0u);

  Edit(web, "scaler", [](json& o) { o["spec"]["replicas"] = 5; });
  EXPECT_EQ(kube_.WriteCount(), 0u);

  // The rule goes: what it allowed is drift.
  AssignWith(3, {web}, "");
  EXPECT_EQ(Find(web)["spec"]["replicas"], 2);
  ASSERT_EQ(link_.drift().size(), 1u);
  EXPECT_EQ(link_.drift()[0].path(), "spec.replicas");
  EXPECT_EQ(link_.drift()[0].field_manager(), "scaler");
}

TEST_F(DriftTest, WhatWasLeftOutIsDriftOnceTheRuleIsGone) {
  AssignWith(1, {Deployment("web", 2)}, kIgnoreReplicas);
  Edit(Deployment("web", 2), "scaler",
       [](json& o) { o["spec"]["replicas"] = 5; });
  json next = Deployment("web", 2);
  next["spec"]["template"]["spec"]["containers"][0]["image"] = "y";
  AssignWith(2, {next}, kIgnoreReplicas);
  ASSERT_EQ(Find(next)["spec"]["replicas"], 5);

  AssignWith(3, {next}, "");

  EXPECT_EQ(Find(next)["spec"]["replicas"], 2);
  ASSERT_EQ(link_.drift().size(), 1u);
  EXPECT_EQ(link_.drift()[0].path(), "spec.replicas");
}

TEST_F(DriftTest, ARuleEndsTheDriftThatIsOnlyReported) {
  const json web = Deployment("web", 2);
  core::v1::Manifest manifest = Manifest({web}, "");
  manifest.mutable_policy()->set_correct_drift(false);
  link_.Assign("b", 1, manifest);
  Settle();
  Edit(web, "scaler", [](json& o) { o["spec"]["replicas"] = 5; });
  ASSERT_EQ(SyncOf("web"), core::v1::SYNC_STATE_DRIFTED);
  kube_.ClearRequests();

  manifest = Manifest({web}, kIgnoreReplicas);
  manifest.mutable_policy()->set_correct_drift(false);
  link_.Assign("b", 2, manifest);
  Settle();

  EXPECT_EQ(SyncOf("web"), core::v1::SYNC_STATE_SYNCED);
  EXPECT_EQ(kube_.WriteCount(), 0u);
}

TEST_F(DriftTest, AnAbsenceThatIsIgnoredIsLeft) {
  const std::string ignore =
      "compare_patches { api_version: 'v1' kind: 'ConfigMap' "
      "namespace: 'default' name: 'a.*' operations { op: 'ignore' } }";
  AssignWith(1, {ConfigMap("a1"), ConfigMap("b")}, ignore);
  kube_.ClearRequests();

  ASSERT_THAT(kube_.DeleteAs(Key(ConfigMap("a1"))), IsOk());
  Settle();

  EXPECT_EQ(kube_.WriteCount(), 0u);
  EXPECT_TRUE(link_.drift().empty());
  EXPECT_EQ(SyncOf("a1"), core::v1::SYNC_STATE_SYNCED);
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY);

  ASSERT_THAT(kube_.DeleteAs(Key(ConfigMap("b"))), IsOk());
  Settle();
  EXPECT_TRUE(Exists(ConfigMap("b")));

  AssignWith(2, {ConfigMap("a1"), ConfigMap("b")}, "");
  EXPECT_TRUE(Exists(ConfigMap("a1")));
}

void Fight(json& object) { object["data"]["key"] = "theirs"; }

TEST_F(DriftTest, AFightIsLeftAfterFiveRoundsAndShown) {
  const json a = ConfigMap("a");
  Assign(1, {a});
  for (int i = 0; i < 5; ++i) {
    Edit(a, "fighter", Fight);
    EXPECT_EQ(Find(a)["data"]["key"], "1") << i;
  }
  kube_.ClearRequests();

  Edit(a, "fighter", Fight);

  EXPECT_EQ(Find(a)["data"]["key"], "theirs");
  EXPECT_EQ(kube_.WriteCount(), 0u);
  EXPECT_EQ(SyncOf("a"), core::v1::SYNC_STATE_DRIFTED);
  EXPECT_EQ(link_.Resource("b", "a")->reason(), "Contested");
  EXPECT_NE(PhaseOf("b"), core::v1::PHASE_HEALTHY);
  EXPECT_EQ(link_.drift().back().action(), core::v1::DRIFT_ACTION_REPORTED);

  // What is unchanged is no new round; neither is a restart.
  Crash();
  Start();
  Settle();
  EXPECT_EQ(Find(a)["data"]["key"], "theirs");
  EXPECT_EQ(kube_.WriteCount(), 0u);
  EXPECT_EQ(link_.Resource("b", "a")->reason(), "Contested");

  // The other stops.
  Pass(absl::Minutes(13));
  EXPECT_EQ(Find(a)["data"]["key"], "1");
  EXPECT_EQ(SyncOf("a"), core::v1::SYNC_STATE_SYNCED);
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY);
}

TEST_F(DriftTest, ANewRevisionTakesUpAFight) {
  const json a = ConfigMap("a");
  Assign(1, {a});
  for (int i = 0; i < 6; ++i) Edit(a, "fighter", Fight);
  ASSERT_EQ(Find(a)["data"]["key"], "theirs");

  Assign(2, {a});
  EXPECT_EQ(Find(a)["data"]["key"], "1");

  Edit(a, "fighter", Fight);
  EXPECT_EQ(Find(a)["data"]["key"], "1");
}

TEST_F(DriftTest, OneManagersFightIsNotAnothersDrift) {
  const json a = ConfigMap("a");
  const json b = ConfigMap("b");
  Assign(1, {a, b});
  for (int i = 0; i < 6; ++i) Edit(a, "fighter", Fight);
  ASSERT_EQ(Find(a)["data"]["key"], "theirs");

  Edit(b, "fighter", Fight);
  EXPECT_EQ(Find(b)["data"]["key"], "1");
  Edit(a, "jane", [](json& o) { o["data"]["key"] = "hers"; });
  EXPECT_EQ(Find(a)["data"]["key"], "1");
}

TEST_F(DriftTest, AFightThatGoesOnCostsNoWrites) {
  const json a = ConfigMap("a");
  Assign(1, {a});
  kube_.ClearRequests();
  for (int i = 0; i < 1000; ++i) {
    Edit(a, "fighter",
         [i](json& o) { o["data"]["key"] = absl::StrCat("x", i); });
  }

  EXPECT_LT(kube_.WriteCount(), 20u);
  EXPECT_LT(link_.drift().size(), 20u);
}

TEST_F(DriftTest, WhoDeletesItAgainAndAgainIsFoughtNoLonger) {
  const json a = ConfigMap("a");
  Assign(1, {a});
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(Exists(a)) << i;
    ASSERT_THAT(kube_.DeleteAs(Key(a)), IsOk());
    Settle();
  }

  EXPECT_FALSE(Exists(a));
  EXPECT_EQ(SyncOf("a"), core::v1::SYNC_STATE_MISSING);
  EXPECT_EQ(link_.Resource("b", "a")->reason(), "Contested");

  Pass(absl::Minutes(13));
  EXPECT_TRUE(Exists(a));
}

}  // namespace
}  // namespace flotilla::agent
