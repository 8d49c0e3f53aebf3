// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/prune_run.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "agent/testing/agent_world.h"
#include "common/kube/fake_kube_client.h"
#include "common/kube/kube_error.h"
#include "common/status/status_matchers.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

using nlohmann::json;
using Verb = FakeKubeClient::Verb;

json Object(const std::string& api_version, const std::string& kind,
            const std::string& ns, const std::string& name,
            const json& annotations = json::object()) {
  json object = {{"apiVersion", api_version},
                 {"kind", kind},
                 {"metadata", {{"name", name}, {"annotations", annotations}}}};
  if (!ns.empty()) object["metadata"]["namespace"] = ns;
  return object;
}

json Crd() {
  json crd = Object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "",
                    "toys.example.org");
  crd["spec"] = {{"group", "example.org"},
                 {"scope", "Namespaced"},
                 {"names", {{"kind", "Toy"}, {"plural", "toys"}}},
                 {"versions", {{{"name", "v1"}, {"served", true}}}}};
  return crd;
}

json Toy(const std::string& name) {
  return Object("example.org/v1", "Toy", "default", name);
}

class PruneRunTest : public AgentWorld {
 protected:
  // The names in the order in which they were asked to be deleted.
  std::vector<std::string> Deleted() {
    std::vector<std::string> names;
    for (const FakeKubeClient::Request& request : kube_.requests()) {
      if (request.verb != Verb::kDelete) continue;
      EXPECT_FALSE(request.uid.empty()) << request.key.name();
      names.push_back(request.key.name());
    }
    return names;
  }
  void GiveFinalizer(const json& object) {
    ASSERT_THAT(kube_.EditAs("x", Key(object),
                             [](json& o) {
                               o["metadata"]["finalizers"] = {"x/guard"};
                             }),
                IsOk());
    Settle();
  }
  bool Notes(const std::string& words, const std::string& bundle = "b") {
    const auto& notes = link_.states().at(bundle).notes();
    return std::any_of(notes.begin(), notes.end(),
                       [&](const std::string& note) {
                         return absl::StrContains(note, words);
                       });
  }
};

TEST_F(PruneRunTest, WhatTheWatchVouchesForIsDeletedWithoutALook) {
  Assign(1, {ConfigMap("a"), ConfigMap("b"), ConfigMap("c")});
  kube_.ClearRequests();
  Assign(2, {ConfigMap("a")});

  EXPECT_EQ(Deleted(), (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(kube_.CountOf(Verb::kGet), 0u);
}

TEST_F(PruneRunTest, WhatIsNoLongerOursStays) {
  Assign(1, {ConfigMap("a"), ConfigMap("b"), ConfigMap("c"), ConfigMap("d")});
  core::v1::Manifest reported = link_.MakeManifest(
      "b", {ConfigMap("a"), ConfigMap("b"), ConfigMap("c"), ConfigMap("d")});
  reported.mutable_policy()->set_correct_drift(false);
  link_.Assign("b", 2, reported);
  Settle();
  // Somebody lets go of b, marks c, and makes d anew.
  ASSERT_THAT(kube_.EditAs("x", Key(ConfigMap("b")),
                           [](json& o) {
                             o["metadata"].erase("labels");
                             o["metadata"].erase("annotations");
                             o["data"] = {{"other", "2"}};
                           }),
              IsOk());
  ASSERT_THAT(
      kube_.EditAs("x", Key(ConfigMap("c")),
                   [](json& o) {
                     o["metadata"]["annotations"]["helm.sh/resource-policy"] =
                         "keep";
                   }),
      IsOk());
  ASSERT_THAT(kube_.DeleteAs(Key(ConfigMap("d"))), IsOk());
  ASSERT_THAT(kube_.CreateAs("x", ConfigMap("d")), IsOk());
  Settle();
  kube_.ClearRequests();
  Assign(3, {ConfigMap("a")});

  EXPECT_TRUE(Deleted().empty());
  EXPECT_TRUE(Exists(ConfigMap("b")));
  EXPECT_TRUE(Exists(ConfigMap("c")));
  EXPECT_TRUE(Exists(ConfigMap("d")));
  EXPECT_TRUE(Notes("default/b stays: it is no longer Flotilla's"));
  EXPECT_TRUE(Notes("default/c stays: it is marked to be kept"));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
}

TEST_F(PruneRunTest, DataStaysUnlessGitGaveItUp) {
  const json data = Object("v1", "PersistentVolumeClaim", "default", "data");
  const json scratch =
      Object("v1", "PersistentVolumeClaim", "default", "scratch",
             {{"flotilla.dev/on-remove", "delete"}});
  Assign(1, {data, scratch, ConfigMap("a")});
  Assign(2, {ConfigMap("a")});

  EXPECT_TRUE(Exists(data));
  EXPECT_FALSE(Exists(scratch));
  EXPECT_TRUE(Notes("default/data stays: its data would go with it"));
}

TEST_F(PruneRunTest, ANamespaceGoesOnlyWhenNothingOfOthersIsInIt) {
  const json ns = Object("v1", "Namespace", "", "shop");
  const json member = Object("v1", "ConfigMap", "shop", "m");
  const json foreign = Object("v1", "ConfigMap", "shop", "foreign");
  Assign(1, {ns, member, ConfigMap("a")});
  ASSERT_THAT(kube_.CreateAs("x", foreign), IsOk());
  Assign(2, {ConfigMap("a")});

  EXPECT_FALSE(Exists(member));
  EXPECT_TRUE(Exists(ns));
  EXPECT_TRUE(Notes("namespace shop stays: with it would go configmap "
                    "shop/foreign"))
      << ProblemsOf("b");

  const json asked = Object("v1", "Namespace", "", "shop",
                            {{"flotilla.dev/on-remove", "delete"}});
  Assign(3, {asked, ConfigMap("a")});
  Assign(4, {ConfigMap("a")});
  EXPECT_FALSE(Exists(ns));
}

TEST_F(PruneRunTest, AnEmptyNamespaceGoes) {
  const json ns = Object("v1", "Namespace", "", "shop");
  Assign(1, {ns, Object("v1", "ConfigMap", "shop", "m"), ConfigMap("a")});
  ASSERT_THAT(
      kube_.CreateAs("x", Object("v1", "ConfigMap", "shop",
                                 "kube-root-ca.crt")),
      IsOk());
  Assign(2, {ConfigMap("a")});

  EXPECT_FALSE(Exists(ns));
}

TEST_F(PruneRunTest, AKindGoesOnlyWhenNoObjectOfItIsLeft) {
  Assign(1, {Crd(), Toy("ours"), ConfigMap("a")});
  ASSERT_TRUE(Exists(Toy("ours"))) << ProblemsOf("b");
  ASSERT_THAT(kube_.CreateAs("x", Toy("theirs")), IsOk());
  Assign(2, {ConfigMap("a")});
  Settle();

  EXPECT_FALSE(Exists(Toy("ours")));
  EXPECT_TRUE(Exists(Toy("theirs")));
  EXPECT_TRUE(Exists(Crd()));
  EXPECT_TRUE(Notes("stays: with it would go toy.example.org default/theirs"))
      << ProblemsOf("b");

  Assign(3, {Crd(), ConfigMap("a")});
  ASSERT_THAT(kube_.DeleteAs(Key(Toy("theirs"))), IsOk());
  Assign(4, {ConfigMap("a")});
  EXPECT_FALSE(Exists(Crd())) << ProblemsOf("b");
}

TEST_F(PruneRunTest, AKindThatIsNotServedCannotBeSeenToBeEmpty) {
  Assign(1, {Crd(), ConfigMap("a")});
  ASSERT_THAT(kube_.CreateAs("x", Toy("theirs")), IsOk());
  kube_.RemoveKind("example.org", "Toy");
  Assign(2, {ConfigMap("a")});

  EXPECT_TRUE(Exists(Crd()));
  EXPECT_NE(ProblemsOf("b").find("its objects cannot be seen"),
            std::string::npos)
      << ProblemsOf("b");
}

TEST_F(PruneRunTest, WithoutTheWholePictureNothingGoes) {
  const json ns = Object("v1", "Namespace", "", "shop");
  Assign(1, {ns, ConfigMap("a")});
  KubeError error;
  error.http_code = 403;
  error.reason = "Forbidden";
  error.message = "secrets is forbidden";
  kube_.FailNth(Verb::kList, 1, ToStatus(error));
  kube_.ClearRequests();
  Assign(2, {ConfigMap("a")});

  EXPECT_TRUE(Exists(ns));
  EXPECT_TRUE(Deleted().empty());
  EXPECT_TRUE(absl::StrContains(ProblemsOf("b"), "cannot see whether"))
      << ProblemsOf("b");
  Settle(absl::Minutes(2));
  EXPECT_FALSE(Exists(ns));
}

TEST_F(PruneRunTest, AFinalizerThatNeverEndsIsNamedAndOthersGoOn) {
  const json ns = Object("v1", "Namespace", "", "shop");
  const json stuck = Object("v1", "Service", "shop", "stuck");
  const json role = Object("rbac.authorization.k8s.io/v1", "ClusterRole", "",
                           "later");
  Assign(1, {ns, stuck, role, ConfigMap("a")});
  GiveFinalizer(stuck);
  Assign(2, {ConfigMap("a")});
  EXPECT_TRUE(Exists(role));
  Settle(absl::Minutes(1));

  EXPECT_FALSE(Exists(role));
  EXPECT_TRUE(Exists(ns));
  EXPECT_TRUE(absl::StrContains(
      ProblemsOf("b"),
      "service shop/stuck is being deleted; waits for finalizers: x/guard"))
      << ProblemsOf("b");
  // The bundle is kept right meanwhile.
  ASSERT_THAT(kube_.EditAs("x", Key(ConfigMap("a")),
                           [](json& o) { o["data"]["key"] = "2"; }),
              IsOk());
  Settle();
  EXPECT_EQ((*kube_.Find(Key(ConfigMap("a"))))["data"]["key"], "1");

  ASSERT_THAT(kube_.RemoveFinalizers(Key(stuck)), IsOk());
  Settle();
  EXPECT_FALSE(Exists(ns));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
}

TEST_F(PruneRunTest, AnOperatorOutlivesWhatItHasToLetGo) {
  Assign(1, {Crd(), Toy("ours"), Deployment("operator", 1), ConfigMap("a")});
  GiveFinalizer(Toy("ours"));
  link_.Tombstone("b", 2);
  Settle(absl::Minutes(5));

  EXPECT_TRUE(Exists(Deployment("operator", 1)));
  EXPECT_TRUE(Exists(ConfigMap("a")));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_DELETING);
  EXPECT_TRUE(absl::StrContains(ProblemsOf("b"), "x/guard"))
      << ProblemsOf("b");

  ASSERT_THAT(kube_.RemoveFinalizers(Key(Toy("ours"))), IsOk());
  Settle();
  EXPECT_FALSE(Exists(Deployment("operator", 1)));
  EXPECT_FALSE(Exists(Crd()));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_DELETED);
}

TEST_F(PruneRunTest, AnObjectThatHasAnotherNameNowIsNotDeleted) {
  Assign(1, {ConfigMap("old"), ConfigMap("new")});
  // As with an Ingress that moved to another API group: one object, two names.
  Inventory::Entry entry = *cache_->inventory().Find(Key(ConfigMap("new")));
  entry.set_uid(UidOf(ConfigMap("old")));
  cache_->PutInventory({entry}, [](absl::Status) {});
  kube_.ClearRequests();
  Assign(2, {ConfigMap("new")});

  EXPECT_TRUE(Deleted().empty());
  EXPECT_TRUE(Exists(ConfigMap("old")));
}

TEST_F(PruneRunTest, DeathAtEachStepLeavesNothingBehindAndTakesNothingElse) {
  const json ns = Object("v1", "Namespace", "", "shop");
  const json member = Object("v1", "ConfigMap", "shop", "m");
  uint64_t generation = 0;
  for (size_t nth = 1; nth <= 8; ++nth) {
    Assign(++generation, {ns, member, Deployment("web", 1), ConfigMap("a")});
    Settle(absl::Seconds(2));
    ASSERT_TRUE(Exists(member)) << ProblemsOf("b");
    const std::string uid = UidOf(ConfigMap("a"));
    kube_.ClearRequests();
    link_.Assign("b", ++generation, link_.MakeManifest("b", {ConfigMap("a")}));
    loop_.RunUntil([&] { return kube_.requests().size() >= nth; },
                   absl::Seconds(1));
    Crash();
    Start();
    Settle(absl::Minutes(2));

    EXPECT_FALSE(Exists(member)) << "call " << nth;
    EXPECT_FALSE(Exists(ns)) << "call " << nth;
    EXPECT_FALSE(Exists(Deployment("web", 1))) << "call " << nth;
    EXPECT_EQ(UidOf(ConfigMap("a")), uid) << "call " << nth;
    EXPECT_EQ(cache_->inventory().size(), 1u) << "call " << nth;
  }
}

}  // namespace
}  // namespace flotilla::agent
