// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/reconciler.h"

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "agent/testing/agent_world.h"
#include "common/kube/fake_kube_client.h"
#include "common/kube/kube_error.h"
#include "common/status/status_matchers.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

using core::v1::ResourceKey;
using nlohmann::json;
using Verb = FakeKubeClient::Verb;

class ReconcilerTest : public AgentWorld {};

TEST_F(ReconcilerTest, AppliesABundleWithOneRequestForEachObject) {
  Assign(1, {ConfigMap("a"), ConfigMap("b")});

  EXPECT_TRUE(Exists(ConfigMap("a")));
  EXPECT_EQ(kube_.WriteCount(), 2u);
  EXPECT_EQ(kube_.CountOf(Verb::kGet) + kube_.CountOf(Verb::kList), 0u);
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
  EXPECT_EQ(link_.states().at("b").counts().ready(), 2u);
  ASSERT_NE(link_.Resource("b", "a"), nullptr);
  EXPECT_EQ(link_.Resource("b", "a")->uid(), UidOf(ConfigMap("a")));
}

TEST_F(ReconcilerTest, TheSameAgainSendsNothing) {
  Assign(1, {ConfigMap("a")});
  kube_.ClearRequests();
  const int frames = link_.frames();

  Assign(2, {ConfigMap("a")});

  EXPECT_TRUE(kube_.requests().empty());
  EXPECT_LE(link_.frames(), frames + 1);
  EXPECT_EQ(link_.states().at("b").generation(), 2u);
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY);
}

TEST_F(ReconcilerTest, ARestartInAnUnchangedClusterWritesAndSaysNothing) {
  Assign(1, {ConfigMap("a"), Deployment("web", 2)});
  ASSERT_THAT(kube_.SetStatus(Key(Deployment("web", 2)), Ready(2)), IsOk());
  Settle();
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
  const int frames = link_.frames();
  Crash();
  kube_.ClearRequests();

  Start();
  Settle(absl::Seconds(5));

  EXPECT_EQ(kube_.WriteCount(), 0u);
  EXPECT_EQ(link_.frames(), frames);
}

TEST_F(ReconcilerTest, ADeploymentIsReadyOnlyWhenItSaysSo) {
  const json web = Deployment("web", 2);
  Assign(1, {web});
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_VERIFYING);

  ASSERT_THAT(kube_.SetStatus(Key(web), Ready(2)), IsOk());
  Settle();
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY);

  // A new generation that the controller has not seen is not ready.
  Assign(2, {Deployment("web", 3)});
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_VERIFYING);
}

TEST_F(ReconcilerTest, AScaleIsReportedWithItsManagerAndHealed) {
  const json web = Deployment("web", 2);
  Assign(1, {web});
  ASSERT_THAT(kube_.EditAs("kubectl", Key(web),
                           [](json& o) { o["spec"]["replicas"] = 5; }),
              IsOk());
  Settle();

  EXPECT_EQ((*kube_.Find(Key(web)))["spec"]["replicas"], 2);
  ASSERT_EQ(link_.drift().size(), 1u);
  EXPECT_EQ(link_.drift()[0].path(), "spec.replicas");
  EXPECT_EQ(link_.drift()[0].wanted(), "2");
  EXPECT_EQ(link_.drift()[0].live(), "5");
  EXPECT_EQ(link_.drift()[0].field_manager(), "kubectl");
  EXPECT_EQ(link_.drift()[0].action(), core::v1::DRIFT_ACTION_CORRECTED);
  EXPECT_EQ(link_.Resource("b", "web")->sync(), core::v1::SYNC_STATE_SYNCED);
}

TEST_F(ReconcilerTest, ADeletedObjectIsMadeAgainWithNoManager) {
  Assign(1, {ConfigMap("a")});
  link_.Disconnect();
  Crash();
  Start();
  ASSERT_THAT(kube_.DeleteAs(Key(ConfigMap("a"))), IsOk());
  Settle();

  EXPECT_TRUE(Exists(ConfigMap("a")));
  link_.Connect();
  Settle();
  ASSERT_EQ(link_.drift().size(), 1u);
  EXPECT_EQ(link_.drift()[0].operation(),
            core::v1::DRIFT_OPERATION_OBJECT_DELETED);
  EXPECT_EQ(link_.drift()[0].field_manager(), "");
}

TEST_F(ReconcilerTest, DriftWhileTheAgentWasAwayIsHealed) {
  Assign(1, {ConfigMap("a"), ConfigMap("b")});
  Crash();
  ASSERT_THAT(kube_.EditAs("x", Key(ConfigMap("a")),
                           [](json& o) { o["data"]["key"] = "2"; }),
              IsOk());
  ASSERT_THAT(kube_.DeleteAs(Key(ConfigMap("b"))), IsOk());

  Start();

  EXPECT_EQ((*kube_.Find(Key(ConfigMap("a"))))["data"]["key"], "1");
  EXPECT_TRUE(Exists(ConfigMap("b")));
}

TEST_F(ReconcilerTest, CorrectDriftOffOnlyReports) {
  core::v1::Manifest manifest = link_.MakeManifest("b", {ConfigMap("a")});
  manifest.mutable_policy()->set_correct_drift(false);
  link_.Assign("b", 1, manifest);
  Settle();
  kube_.ClearRequests();
  ASSERT_THAT(kube_.EditAs("x", Key(ConfigMap("a")),
                           [](json& o) { o["data"]["key"] = "2"; }),
              IsOk());
  Settle();

  EXPECT_EQ(kube_.WriteCount(), 0u);
  EXPECT_EQ(link_.Resource("b", "a")->sync(), core::v1::SYNC_STATE_DRIFTED);
  ASSERT_EQ(link_.drift().size(), 1u);
  EXPECT_EQ(link_.drift()[0].action(), core::v1::DRIFT_ACTION_REPORTED);

  ASSERT_THAT(kube_.DeleteAs(Key(ConfigMap("a"))), IsOk());
  Settle();
  EXPECT_EQ(link_.Resource("b", "a")->sync(), core::v1::SYNC_STATE_MISSING);
}

TEST_F(ReconcilerTest, AnAddedKeyIsReportedAndLeft) {
  Assign(1, {ConfigMap("a")});
  kube_.ClearRequests();
  ASSERT_THAT(kube_.EditAs("kubectl-edit", Key(ConfigMap("a")),
                           [](json& o) { o["data"]["extra"] = "x"; }),
              IsOk());
  Settle();

  EXPECT_EQ(kube_.WriteCount(), 0u);
  ASSERT_EQ(link_.drift().size(), 1u);
  EXPECT_EQ(link_.drift()[0].path(), "data.extra");
  EXPECT_EQ(link_.drift()[0].operation(), core::v1::DRIFT_OPERATION_ADDED);
  EXPECT_EQ(link_.drift()[0].field_manager(), "kubectl-edit");
  EXPECT_EQ(link_.drift()[0].action(), core::v1::DRIFT_ACTION_REPORTED);
}

TEST_F(ReconcilerTest, TheLabelThatSomebodyTookOffIsPutBack) {
  Assign(1, {ConfigMap("a")});
  const std::string uid = UidOf(ConfigMap("a"));
  ASSERT_THAT(kube_.EditAs("x", Key(ConfigMap("a")),
                           [](json& o) { o["metadata"].erase("labels"); }),
              IsOk());
  Settle();

  EXPECT_EQ((*kube_.Find(Key(ConfigMap("a"))))["metadata"]["labels"]
                                             ["flotilla.dev/managed"],
            "true");
  EXPECT_EQ(UidOf(ConfigMap("a")), uid);
  ASSERT_EQ(link_.drift().size(), 1u);
  EXPECT_EQ(link_.drift()[0].operation(), core::v1::DRIFT_OPERATION_REMOVED);
}

TEST_F(ReconcilerTest, AStatusWriteIsNoDrift) {
  const json web = Deployment("web", 2);
  Assign(1, {web});
  kube_.ClearRequests();
  for (int i = 0; i < 5; ++i) {
    ASSERT_THAT(kube_.SetStatus(Key(web), Ready(2)), IsOk());
    Settle();
  }

  EXPECT_EQ(kube_.WriteCount(), 0u);
  EXPECT_EQ(kube_.CountOf(Verb::kGet), 0u);
  EXPECT_TRUE(link_.drift().empty());
}

TEST_F(ReconcilerTest, PrunesWhatANewGenerationNoLongerHas) {
  Assign(1, {ConfigMap("a"), ConfigMap("b")});
  Assign(2, {ConfigMap("a")});

  EXPECT_TRUE(Exists(ConfigMap("a")));
  EXPECT_FALSE(Exists(ConfigMap("b")));
  EXPECT_EQ(link_.Resource("b", "b"), nullptr);
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY);
}

TEST_F(ReconcilerTest, ATombstoneDeletesOnlyItsOwnAndIsForgottenWhenKnown) {
  Assign(1, {ConfigMap("a")}, "one");
  Assign(1, {ConfigMap("b")}, "two");
  link_.Tombstone("one", 2);
  Settle();

  EXPECT_FALSE(Exists(ConfigMap("a")));
  EXPECT_TRUE(Exists(ConfigMap("b")));
  EXPECT_EQ(PhaseOf("one"), core::v1::PHASE_DELETED);
  EXPECT_EQ(cache_->Find("one"), nullptr);
}

TEST_F(ReconcilerTest, AnObjectThatMovesToAnotherBundleKeepsItsUid) {
  Assign(1, {ConfigMap("a")}, "old");
  const std::string uid = UidOf(ConfigMap("a"));
  agent::v1::Assign assign;
  *assign.add_upserts() = link_.MakeUpsert(
      "new", 1, link_.MakeManifest("new", {ConfigMap("a")}));
  auto* tombstone = assign.add_tombstones();
  tombstone->set_bundle_id("old");
  tombstone->set_generation(2);
  tombstone->set_cause(core::v1::DELETE_CAUSE_GIT_REMOVED);
  link_.Send(assign);
  Settle(absl::Seconds(3));

  EXPECT_EQ(UidOf(ConfigMap("a")), uid);
  EXPECT_EQ(kube_.CountOf(Verb::kDelete), 0u);
  EXPECT_EQ(PhaseOf("old"), core::v1::PHASE_DELETED);
  EXPECT_EQ(PhaseOf("new"), core::v1::PHASE_HEALTHY) << ProblemsOf("new");
}

TEST_F(ReconcilerTest, TwoBundlesThatClaimAnObjectBothSaySo) {
  Assign(1, {ConfigMap("a")}, "one");
  Assign(1, {ConfigMap("a", "other")}, "two");
  Settle(absl::Seconds(2));

  EXPECT_EQ((*kube_.Find(Key(ConfigMap("a"))))["data"]["key"], "1");
  EXPECT_EQ(PhaseOf("two"), core::v1::PHASE_FAILED);
  EXPECT_NE(ProblemsOf("two").find("fleet-default/one"), std::string::npos);
  EXPECT_NE(ProblemsOf("one").find("fleet-default/two"), std::string::npos);
}

TEST_F(ReconcilerTest, AForeignObjectIsAConflictThatNamesItsManager) {
  ASSERT_THAT(kube_.CreateAs("kubectl", ConfigMap("a", "theirs")), IsOk());
  Assign(1, {ConfigMap("a")});

  EXPECT_EQ((*kube_.Find(Key(ConfigMap("a"))))["data"]["key"], "theirs");
  EXPECT_EQ(link_.Resource("b", "a")->sync(), core::v1::SYNC_STATE_CONFLICT);
  EXPECT_NE(link_.Resource("b", "a")->message().find("kubectl"),
            std::string::npos);
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_FAILED);

  core::v1::Manifest manifest = link_.MakeManifest("b", {ConfigMap("a")});
  manifest.mutable_policy()->set_takeover(core::v1::TAKEOVER_ALWAYS);
  link_.Assign("b", 2, manifest);
  Settle();
  EXPECT_EQ((*kube_.Find(Key(ConfigMap("a"))))["data"]["key"], "1");
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
}

TEST_F(ReconcilerTest, TakeoverNeverTouchesNothingForeign) {
  ASSERT_THAT(kube_.CreateAs("kubectl", ConfigMap("a")), IsOk());
  core::v1::Manifest manifest =
      link_.MakeManifest("b", {ConfigMap("a"), ConfigMap("new")});
  manifest.mutable_policy()->set_takeover(core::v1::TAKEOVER_NEVER);
  link_.Assign("b", 1, manifest);
  Settle();

  EXPECT_EQ(link_.Resource("b", "a")->sync(), core::v1::SYNC_STATE_CONFLICT);
  EXPECT_TRUE(Exists(ConfigMap("new")));
}

TEST_F(ReconcilerTest, ServerErrorsBlockAndHealByThemselves) {
  KubeError error;
  error.http_code = 429;
  error.reason = "TooManyRequests";
  error.message = "slow down";
  error.retry_after = absl::Seconds(3);
  kube_.FailNth(Verb::kApply, 1, ToStatus(error));
  Assign(1, {ConfigMap("a")});
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_BLOCKED);
  EXPECT_NE(ProblemsOf("b").find("API server"), std::string::npos);
  EXPECT_FALSE(Exists(ConfigMap("a")));

  Settle(absl::Seconds(5));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
}

TEST_F(ReconcilerTest, StartsWithTheApiServerDownAndGoesOnWhenItIsBack) {
  Assign(1, {ConfigMap("a")});
  Crash();
  kube_.SetDown(true);
  Start();
  Settle(absl::Seconds(10));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_BLOCKED);
  EXPECT_NE(ProblemsOf("b").find("API server"), std::string::npos);

  kube_.SetDown(false);
  Settle(absl::Seconds(30));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
}

TEST_F(ReconcilerTest, AKindThatCannotBeWatchedBlocksItsBundlesAlone) {
  KubeError error;
  error.http_code = 403;
  error.reason = "Forbidden";
  error.message = "configmaps is forbidden";
  ResourceKey kind = Key(ConfigMap("a"));
  kind.clear_name();
  kind.clear_namespace_();
  Assign(1, {ConfigMap("a")}, "one");
  Assign(1, {Deployment("web", 1)}, "two");
  kube_.FailKey(Verb::kWatch, kind, ToStatus(error));
  kube_.CloseWatches(absl::UnavailableError("cut"));
  Settle(absl::Seconds(60));

  EXPECT_EQ(PhaseOf("one"), core::v1::PHASE_BLOCKED) << ProblemsOf("one");
  EXPECT_NE(ProblemsOf("one").find("forbidden"), std::string::npos);
  EXPECT_EQ(PhaseOf("two"), core::v1::PHASE_VERIFYING) << ProblemsOf("two");

  kube_.ClearFaults();
  Settle(absl::Seconds(60));
  EXPECT_EQ(PhaseOf("one"), core::v1::PHASE_HEALTHY) << ProblemsOf("one");
}

TEST_F(ReconcilerTest, AnObjectOfAnUnknownKindWaitsForItsDefinition) {
  const json widget = {{"apiVersion", "example.com/v1"},
                       {"kind", "Widget"},
                       {"metadata", {{"name", "w"}, {"namespace", "default"}}}};
  Assign(1, {widget, ConfigMap("a")});
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_BLOCKED);
  EXPECT_NE(ProblemsOf("b").find("Widget"), std::string::npos);
  EXPECT_TRUE(Exists(ConfigMap("a")));

  kube_.AddKind({"example.com", "v1", "Widget", "widgets", true,
                 {"get", "list", "watch", "patch", "delete"}});
  reconciler_->OnKindsChanged();
  Settle(absl::Seconds(2));
  EXPECT_TRUE(Exists(widget));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
}

TEST_F(ReconcilerTest, AMissingNamespaceIsWaitedFor) {
  json a = ConfigMap("a");
  a["metadata"]["namespace"] = "shop";
  Assign(1, {a});
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_BLOCKED);

  ASSERT_THAT(kube_.CreateAs("x", {{"apiVersion", "v1"},
                                   {"kind", "Namespace"},
                                   {"metadata", {{"name", "shop"}}}}),
              IsOk());
  Settle();
  EXPECT_TRUE(Exists(a));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
}

TEST_F(ReconcilerTest, AnEnsuredNamespaceIsMadeAndNeverPruned) {
  json a = ConfigMap("a");
  a["metadata"]["namespace"] = "shop";
  const json ns = {{"apiVersion", "v1"},
                   {"kind", "Namespace"},
                   {"metadata", {{"name", "shop"}}}};
  core::v1::Manifest manifest = link_.MakeManifest("b", {a, ns});
  for (auto& entry : *manifest.mutable_entries()) {
    entry.set_ensure_namespace(entry.key().kind() == "Namespace");
  }
  link_.Assign("b", 1, manifest);
  Settle();
  EXPECT_TRUE(Exists(a));
  EXPECT_EQ(link_.states().at("b").counts().desired(), 1u);
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");

  link_.Tombstone("b", 2);
  Settle();
  EXPECT_FALSE(Exists(a));
  EXPECT_TRUE(Exists(ns));
  ASSERT_EQ(link_.states().at("b").notes_size(), 1);
  EXPECT_NE(link_.states().at("b").notes(0).find("shop"), std::string::npos);
}

TEST_F(ReconcilerTest, WhoWaitsForANamespaceOutlivesTheBundleThatAsked) {
  const json ns = {{"apiVersion", "v1"},
                   {"kind", "Namespace"},
                   {"metadata", {{"name", "shop"}}}};
  kube_.Hold();
  for (const char* name : {"one", "two"}) {
    json object = ConfigMap(name);
    object["metadata"]["namespace"] = "shop";
    core::v1::Manifest manifest = link_.MakeManifest(name, {object, ns});
    for (auto& entry : *manifest.mutable_entries()) {
      entry.set_ensure_namespace(entry.key().kind() == "Namespace");
    }
    link_.Assign(name, 1, manifest);
    Settle();
  }
  Assign(2, {ConfigMap("x")}, "one");
  kube_.Release();
  Settle(absl::Seconds(5));

  EXPECT_EQ(PhaseOf("one"), core::v1::PHASE_HEALTHY) << ProblemsOf("one");
  EXPECT_EQ(PhaseOf("two"), core::v1::PHASE_HEALTHY) << ProblemsOf("two");
}

TEST_F(ReconcilerTest, ANamespaceThatBecomesOnlyAnEnsuredOneStays) {
  json a = ConfigMap("a");
  a["metadata"]["namespace"] = "shop";
  const json ns = {{"apiVersion", "v1"},
                   {"kind", "Namespace"},
                   {"metadata", {{"name", "shop"}}}};
  Assign(1, {a, ns});
  const std::string uid = UidOf(a);
  core::v1::Manifest manifest = link_.MakeManifest("b", {a, ns});
  for (auto& entry : *manifest.mutable_entries()) {
    entry.set_ensure_namespace(entry.key().kind() == "Namespace");
  }
  kube_.ClearRequests();
  link_.Assign("b", 2, manifest);
  Settle();

  EXPECT_EQ(UidOf(a), uid);
  EXPECT_TRUE(Exists(ns));
  EXPECT_EQ(kube_.CountOf(Verb::kDelete), 0u);
  EXPECT_EQ(link_.Resource("b", "shop"), nullptr);
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
}

TEST_F(ReconcilerTest, ACustomResourceFollowsItsDefinition) {
  const json crd = {
      {"apiVersion", "apiextensions.k8s.io/v1"},
      {"kind", "CustomResourceDefinition"},
      {"metadata", {{"name", "widgets.example.com"}}},
      {"spec",
       {{"group", "example.com"},
        {"scope", "Namespaced"},
        {"names", {{"kind", "Widget"}, {"plural", "widgets"}}},
        {"versions", {{{"name", "v1"}, {"served", true}, {"storage", true}}}}}}};
  const json widget = {{"apiVersion", "example.com/v1"},
                       {"kind", "Widget"},
                       {"metadata", {{"name", "w"}, {"namespace", "default"}}}};
  kube_.SetAutoDiscover(false);
  Assign(1, {crd, widget});
  Settle(absl::Seconds(2));

  EXPECT_TRUE(Exists(widget));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
}

TEST_F(ReconcilerTest, ADeletionThatWaitsForAFinalizerNamesIt) {
  json a = ConfigMap("a");
  a["metadata"]["finalizers"] = {"example.com/hold"};
  Assign(1, {a});
  link_.Tombstone("b", 2);
  Settle(absl::Seconds(2));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_DELETING);
  EXPECT_NE(ProblemsOf("b").find("example.com/hold"), std::string::npos)
      << ProblemsOf("b");

  ASSERT_THAT(kube_.RemoveFinalizers(Key(a)), IsOk());
  Settle(absl::Seconds(2));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_DELETED);
}

TEST_F(ReconcilerTest, AnObjectOfAnotherUidIsNotDeleted) {
  Assign(1, {ConfigMap("a")});
  Crash();
  ASSERT_THAT(kube_.DeleteAs(Key(ConfigMap("a"))), IsOk());
  ASSERT_THAT(kube_.CreateAs("x", ConfigMap("a", "theirs")), IsOk());
  // The tombstone arrives before anything is healed.
  link_.Disconnect();
  kube_.SetDown(true);
  Start();
  link_.Connect();
  Settle();
  link_.Tombstone("b", 2);
  Settle();
  kube_.SetDown(false);
  Settle(absl::Seconds(40));

  EXPECT_TRUE(Exists(ConfigMap("a")));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_DELETED);
}

TEST_F(ReconcilerTest, ACrashAtAnyMomentLosesAndDeletesNothing) {
  // Crashes after every number of steps of a delivery, and starts again.
  for (int steps = 1; steps < 40; ++steps) {
    SCOPED_TRACE(steps);
    const std::string bundle = absl::StrCat("b", steps);
    const json a = ConfigMap(absl::StrCat("a", steps));
    const json b = ConfigMap(absl::StrCat("b", steps));
    link_.Assign(bundle, 1, link_.MakeManifest(bundle, {a, b}));
    loop_.Advance(absl::Microseconds(0));
    kube_.LoseAnswer(Verb::kApply, 1);
    loop_.Advance(absl::Milliseconds(steps));
    Crash();
    Start();
    if (cache_->Find(bundle) == nullptr) {
      // It was not acknowledged: the manager sends it again.
      link_.Assign(bundle, 1, link_.MakeManifest(bundle, {a, b}));
    }
    Settle(absl::Seconds(3));
    EXPECT_TRUE(Exists(a));
    EXPECT_TRUE(Exists(b));
    const std::string uid = UidOf(a);

    link_.Tombstone(bundle, 2);
    loop_.Advance(absl::Milliseconds(steps));
    Crash();
    Start();
    if (cache_->Find(bundle) != nullptr &&
        !cache_->Find(bundle)->tombstone()) {
      link_.Tombstone(bundle, 2);
    }
    Settle(absl::Seconds(3));
    EXPECT_FALSE(Exists(a));
    EXPECT_FALSE(Exists(b));
    EXPECT_EQ(PhaseOf(bundle), core::v1::PHASE_DELETED);
  }
  EXPECT_EQ(cache_->inventory().size(), 0u);
}

TEST_F(ReconcilerTest, AnAgentThatLostItsManagerGoesOnFromItsDisk) {
  Assign(1, {ConfigMap("a")});
  link_.Disconnect();
  Crash();
  Start();
  ASSERT_THAT(kube_.EditAs("x", Key(ConfigMap("a")),
                           [](json& o) { o["data"]["key"] = "2"; }),
              IsOk());
  Settle();
  EXPECT_EQ((*kube_.Find(Key(ConfigMap("a"))))["data"]["key"], "1");
}

TEST_F(ReconcilerTest, AnObjectThatTheDiskLostIsFetchedAgain) {
  Assign(1, {ConfigMap("a")});
  const core::v1::Manifest manifest =
      link_.MakeManifest("b", {ConfigMap("a")});
  blobs_.Damage(manifest.entries(0).blob_digest());
  ASSERT_THAT(kube_.DeleteAs(Key(ConfigMap("a"))), IsOk());
  Settle(absl::Seconds(3));

  EXPECT_TRUE(Exists(ConfigMap("a")));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
}

TEST_F(ReconcilerTest, ADeletedNamespaceComesBackWithAllThatWasInIt) {
  json a = ConfigMap("a");
  a["metadata"]["namespace"] = "shop";
  const json ns = {{"apiVersion", "v1"},
                   {"kind", "Namespace"},
                   {"metadata", {{"name", "shop"}}}};
  core::v1::Manifest manifest = link_.MakeManifest("b", {a, ns});
  for (auto& entry : *manifest.mutable_entries()) {
    entry.set_ensure_namespace(entry.key().kind() == "Namespace");
  }
  link_.Assign("b", 1, manifest);
  Settle();
  ASSERT_THAT(kube_.DeleteAs(Key(ns)), IsOk());
  Settle(absl::Seconds(10));

  EXPECT_TRUE(Exists(a));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
}

TEST_F(ReconcilerTest, APodThatNeverComesUpIsNamed) {
  const json web = Deployment("web", 1);
  Assign(1, {web});
  const json pod = {{"apiVersion", "v1"},
                    {"kind", "Pod"},
                    {"metadata",
                     {{"name", "web-1"},
                      {"namespace", "default"},
                      {"labels", {{"app", "web"}}}}},
                    {"spec", {{"containers", {{{"name", "web"}}}}}}};
  ASSERT_THAT(kube_.CreateAs("kubelet", pod), IsOk());
  ASSERT_THAT(
      kube_.SetStatus(
          Key(pod),
          {{"phase", "Pending"},
           {"containerStatuses",
            {{{"name", "web"},
              {"state",
               {{"waiting",
                 {{"reason", "ImagePullBackOff"},
                  {"message", "no such image"}}}}}}}}}),
      IsOk());
  Settle(absl::Seconds(3));

  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_DEGRADED);
  EXPECT_NE(ProblemsOf("b").find("web-1"), std::string::npos);
  EXPECT_NE(ProblemsOf("b").find("ImagePullBackOff"), std::string::npos);
}

TEST_F(ReconcilerTest, AnAnswerToAnOlderGenerationSaysNothingOfTheNewer) {
  const json ns = {{"apiVersion", "v1"},
                   {"kind", "Namespace"},
                   {"metadata", {{"name", "shop"}}}};
  kube_.Hold();
  Assign(1, {ConfigMap("a", "1")});
  // The newer generation is stopped before it comes to the object.
  KubeError error;
  error.http_code = 503;
  kube_.FailKey(Verb::kApply, Key(ns), ToStatus(error));
  Assign(2, {ns, ConfigMap("a", "2")});
  kube_.Release();
  Settle();
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_BLOCKED);

  kube_.ClearFaults();
  Settle(absl::Seconds(5));
  EXPECT_EQ((*kube_.Find(Key(ConfigMap("a"))))["data"]["key"], "2");
}

TEST_F(ReconcilerTest, WhatHasDriftedIsPutRightWhenCorrectingIsTurnedOn) {
  core::v1::Manifest manifest =
      link_.MakeManifest("b", {ConfigMap("a"), ConfigMap("b")});
  manifest.mutable_policy()->set_correct_drift(false);
  link_.Assign("b", 1, manifest);
  Settle();
  ASSERT_THAT(kube_.EditAs("x", Key(ConfigMap("a")),
                           [](json& o) { o["data"]["key"] = "2"; }),
              IsOk());
  ASSERT_THAT(kube_.DeleteAs(Key(ConfigMap("b"))), IsOk());
  Settle();
  EXPECT_EQ(link_.Resource("b", "b")->sync(), core::v1::SYNC_STATE_MISSING);

  manifest.mutable_policy()->set_correct_drift(true);
  link_.Assign("b", 2, manifest);
  Settle();

  EXPECT_EQ((*kube_.Find(Key(ConfigMap("a"))))["data"]["key"], "1");
  EXPECT_TRUE(Exists(ConfigMap("b")));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
}

TEST_F(ReconcilerTest, AnObjectThatIsRemovedWhileItIsExaminedStaysAway) {
  Assign(1, {ConfigMap("a"), ConfigMap("b")});
  kube_.Hold();
  ASSERT_THAT(kube_.EditAs("x", Key(ConfigMap("a")),
                           [](json& o) { o["data"]["key"] = "2"; }),
              IsOk());
  Settle();
  Assign(2, {ConfigMap("b")});
  kube_.Release();
  Settle(absl::Seconds(5));

  EXPECT_FALSE(Exists(ConfigMap("a")));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
}

TEST_F(ReconcilerTest, AnObjectThatIsRemovedWhileItIsMadeAgainStaysAway) {
  Assign(1, {ConfigMap("a"), ConfigMap("b")});
  kube_.Hold();
  ASSERT_THAT(kube_.DeleteAs(Key(ConfigMap("a"))), IsOk());
  Settle();
  Assign(2, {ConfigMap("b")});
  kube_.Release();
  Settle(absl::Seconds(5));

  EXPECT_FALSE(Exists(ConfigMap("a")));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
}

TEST_F(ReconcilerTest, ABundleThatComesBackWhileItsEndIsStoredIsApplied) {
  for (int turn = 0; turn < 12; ++turn) {
    SCOPED_TRACE(turn);
    const std::string bundle = absl::StrCat("b", turn);
    const json a = ConfigMap(absl::StrCat("a", turn));
    Assign(1, {a}, bundle);
    kube_.Hold();
    link_.Tombstone(bundle, 2);
    Settle();
    kube_.Release();
    const std::function<void(int)> assign_after = [&](int turns) {
      if (turns == 0) {
        link_.Assign(bundle, 3, link_.MakeManifest(bundle, {a}));
      } else {
        loop_.Post([&assign_after, turns] { assign_after(turns - 1); });
      }
    };
    assign_after(turn);
    Settle(absl::Seconds(5));

    EXPECT_TRUE(Exists(a));
    EXPECT_EQ(PhaseOf(bundle), core::v1::PHASE_HEALTHY) << ProblemsOf(bundle);
  }
}

TEST_F(ReconcilerTest, AnAgentThatLostItsDiskKnowsItsObjectsByTheirMark) {
  Assign(1, {ConfigMap("a")});
  const std::string uid = UidOf(ConfigMap("a"));
  Crash();
  for (const char* suffix : {"", "-wal", "-shm"}) {
    std::remove(absl::StrCat(path_, suffix).c_str());
  }
  ASSERT_THAT(kube_.EditAs("kubectl", Key(ConfigMap("a")),
                           [](json& o) { o["data"]["key"] = "2"; }),
              IsOk());
  Start();
  Assign(1, {ConfigMap("a")});

  EXPECT_EQ((*kube_.Find(Key(ConfigMap("a"))))["data"]["key"], "1");
  EXPECT_EQ(UidOf(ConfigMap("a")), uid);
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
}

json Account(const std::string& name) {
  return {{"apiVersion", "v1"},
          {"kind", "ServiceAccount"},
          {"metadata", {{"name", name}, {"namespace", "default"}}}};
}

TEST_F(ReconcilerTest, EveryRequestOfADeploymentActsAsItsServiceAccount) {
  ASSERT_THAT(kube_.CreateAs("x", Account("tenant")), IsOk());
  core::v1::Manifest manifest = link_.MakeManifest("b", {ConfigMap("a")});
  manifest.mutable_policy()->set_service_account("tenant");
  link_.Assign("b", 1, manifest);
  Settle();
  ASSERT_THAT(kube_.EditAs("x", Key(ConfigMap("a")),
                           [](json& o) { o["data"]["key"] = "2"; }),
              IsOk());
  Settle();
  Crash();
  Start();
  link_.Tombstone("b", 2);
  Settle();

  EXPECT_FALSE(Exists(ConfigMap("a")));
  int seen = 0;
  for (const auto& request : kube_.requests()) {
    if (request.key.kind() != "ConfigMap" || request.verb == Verb::kWatch) {
      continue;
    }
    ++seen;
    EXPECT_EQ(request.impersonate, "system:serviceaccount:default:tenant");
  }
  EXPECT_GE(seen, 4);
}

TEST_F(ReconcilerTest, AMissingServiceAccountHoldsAndTheOlderOneIsHealed) {
  Assign(1, {ConfigMap("a")});
  core::v1::Manifest manifest = link_.MakeManifest("b", {ConfigMap("a", "9")});
  manifest.mutable_policy()->set_service_account("tenant");
  link_.Assign("b", 2, manifest);
  Settle();
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_BLOCKED);
  EXPECT_NE(ProblemsOf("b").find("service account tenant does not exist"),
            std::string::npos);
  Crash();
  Start();
  ASSERT_THAT(kube_.DeleteAs(Key(ConfigMap("a"))), IsOk());
  Settle();
  EXPECT_EQ((*kube_.Find(Key(ConfigMap("a"))))["data"]["key"], "1");

  ASSERT_THAT(kube_.CreateAs("x", Account("tenant")), IsOk());
  Settle();
  EXPECT_EQ((*kube_.Find(Key(ConfigMap("a"))))["data"]["key"], "9");
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
}

TEST_F(ReconcilerTest, WhatAnAccountCouldNeverMakeIsForgotten) {
  const std::string tenant = "system:serviceaccount:default:tenant";
  ASSERT_THAT(kube_.CreateAs("x", Account("tenant")), IsOk());
  // One that is not there, and one of somebody else.
  ASSERT_THAT(kube_.CreateAs("x", ConfigMap("theirs", "9")), IsOk());
  kube_.Forbid(tenant, Key(ConfigMap("new")));
  kube_.Forbid(tenant, Key(ConfigMap("theirs")));
  core::v1::Manifest manifest = link_.MakeManifest(
      "b", {ConfigMap("a"), ConfigMap("new"), ConfigMap("theirs")});
  manifest.mutable_policy()->set_service_account("tenant");
  link_.Assign("b", 1, manifest);
  Settle();
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_FAILED) << ProblemsOf("b");

  manifest = link_.MakeManifest("b", {ConfigMap("a")});
  manifest.mutable_policy()->set_service_account("tenant");
  link_.Assign("b", 2, manifest);
  Settle();

  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
  EXPECT_TRUE(Exists(ConfigMap("theirs")));
  EXPECT_EQ(kube_.CountOf(Verb::kDelete), 0u);
}

TEST_F(ReconcilerTest, AConditionThatIsIgnoredFromNowOnCountsNoMore) {
  const json web = Deployment("web", 1);
  Assign(1, {web});
  json status = Ready(1);
  status["conditions"].push_back({{"type", "Stalled"},
                                  {"status", "True"},
                                  {"message", "odd"}});
  ASSERT_THAT(kube_.SetStatus(Key(web), status), IsOk());
  Settle();
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_DEGRADED) << ProblemsOf("b");

  core::v1::Manifest manifest = link_.MakeManifest("b", {web});
  core::v1::LabelPair* ignored =
      manifest.mutable_policy()->add_ignore_conditions()->add_fields();
  ignored->set_key("type");
  ignored->set_value("Stalled");
  link_.Assign("b", 2, manifest);
  Settle();

  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
  Assign(3, {web});
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_DEGRADED) << ProblemsOf("b");
}

TEST_F(ReconcilerTest, ABundleWaitsForThoseItDependsOnAndThenStays) {
  core::v1::Manifest app = link_.MakeManifest("app", {ConfigMap("app")});
  app.mutable_policy()->add_depends_on()->set_name("db");
  link_.Assign("app", 1, app);
  Settle();
  EXPECT_EQ(PhaseOf("app"), core::v1::PHASE_BLOCKED);
  EXPECT_NE(ProblemsOf("app").find("no bundles matching labels"),
            std::string::npos);
  Assign(1, {Deployment("db", 1)}, "db");
  EXPECT_FALSE(Exists(ConfigMap("app")));
  EXPECT_NE(ProblemsOf("app").find("are not ready: [db (NotReady)]"),
            std::string::npos);

  ASSERT_THAT(kube_.SetStatus(Key(Deployment("db", 1)), Ready(1)), IsOk());
  Settle();
  EXPECT_TRUE(Exists(ConfigMap("app")));
  EXPECT_EQ(PhaseOf("app"), core::v1::PHASE_HEALTHY) << ProblemsOf("app");

  Assign(2, {Deployment("db", 2)}, "db");
  EXPECT_EQ(PhaseOf("db"), core::v1::PHASE_VERIFYING);
  EXPECT_EQ(PhaseOf("app"), core::v1::PHASE_HEALTHY);
}

TEST_F(ReconcilerTest, TheReleaseNamespaceGoesLastWhereThatIsAsked) {
  const json shop = {{"apiVersion", "v1"},
                     {"kind", "Namespace"},
                     {"metadata", {{"name", "shop"}}}};
  ASSERT_THAT(kube_.CreateAs("x", shop), IsOk());
  json map = ConfigMap("a");
  map["metadata"]["namespace"] = "shop";
  core::v1::Manifest manifest = link_.MakeManifest("b", {map});
  manifest.mutable_policy()->set_release_namespace("shop");
  manifest.mutable_policy()->set_delete_namespace(true);
  link_.Assign("b", 1, manifest);
  Settle();
  link_.Tombstone("b", 2);
  Settle(absl::Seconds(5));

  EXPECT_FALSE(Exists(map));
  EXPECT_FALSE(Exists(shop));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_DELETED);
}

TEST_F(ReconcilerTest, LabelsOfTheReleaseNamespaceAreExactAndPutRight) {
  const json shop = {{"apiVersion", "v1"},
                     {"kind", "Namespace"},
                     {"metadata", {{"name", "shop"}, {"labels", {{"x", "1"}}}}}};
  ASSERT_THAT(kube_.CreateAs("x", shop), IsOk());
  const auto want = [&](const std::string& bundle, const std::string& team) {
    core::v1::Manifest manifest =
        link_.MakeManifest(bundle, {ConfigMap(bundle)});
    manifest.mutable_policy()->set_release_namespace("shop");
    core::v1::LabelPair* label =
        manifest.mutable_policy()->add_namespace_labels();
    label->set_key("team");
    label->set_value(team);
    link_.Assign(bundle, 1, manifest);
    Settle();
  };
  const auto labels = [&] {
    return (*kube_.Find(Key(shop)))["metadata"]["labels"];
  };
  want("b", "red");
  EXPECT_EQ(labels(), (json{{"team", "red"}}));
  EXPECT_TRUE(link_.drift().empty());
  const size_t writes = kube_.WriteCount();
  Settle(absl::Minutes(2));
  EXPECT_EQ(kube_.WriteCount(), writes);

  ASSERT_THAT(kube_.EditAs("x", Key(shop),
                           [](json& o) {
                             o["metadata"]["labels"]["team"] = "blue";
                           }),
              IsOk());
  Settle();
  EXPECT_EQ(labels(), (json{{"team", "red"}}));
  EXPECT_EQ(link_.drift().size(), 1u);

  want("c", "green");
  const size_t before = kube_.WriteCount();
  Settle(absl::Minutes(2));
  EXPECT_EQ(kube_.WriteCount(), before);
  for (const char* const bundle : {"b", "c"}) {
    EXPECT_EQ(PhaseOf(bundle), core::v1::PHASE_FAILED);
    EXPECT_NE(ProblemsOf(bundle).find("name different namespaceLabels"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace flotilla::agent
