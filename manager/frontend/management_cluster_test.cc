// SPDX-License-Identifier: Apache-2.0

#include "manager/frontend/management_cluster.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/blob/memory_blob_store.h"
#include "common/crypto/sealed_box.h"
#include "common/env/fake_clock.h"
#include "common/env/fake_random.h"
#include "common/event/inline_worker_pool.h"
#include "common/event/simulated_loop.h"
#include "common/kube/fake_kube_client.h"
#include "common/kube/kube_error.h"
#include "common/status/status_matchers.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/documents/document_registry.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;
using storage::v1::Document;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Verb = FakeKubeClient::Verb;

// Says what tests tell it to.
//
// Loop-affine.
class FakeStatusSource : public StatusSource {
 public:
  bool ready() const override { return true; }
  json StatusOf(const StatusSubject& subject) const override {
    const auto found = statuses_.find(subject.name);
    return found == statuses_.end() ? json() : found->second;
  }
  void Listen(OnChange on_change) override {
    on_change_ = std::move(on_change);
  }
  void Set(const std::string& kind, const std::string& workspace,
           const std::string& name, json status) {
    statuses_[name] = std::move(status);
    if (on_change_ != nullptr) on_change_({kind, workspace, name});
  }

 private:
  std::map<std::string, json> statuses_;
  OnChange on_change_;
};

core::v1::ResourceKey KeyFor(const std::string& kind, const std::string& name,
                             const std::string& ns = "fleet-local") {
  core::v1::ResourceKey key;
  key.set_kind(kind);
  key.set_name(name);
  key.set_version("v1");
  if (kind == "CustomResourceDefinition") {
    key.set_group("apiextensions.k8s.io");
  } else if (kind == "Deployment") {
    key.set_group("apps");
    key.set_namespace_(ns);
  } else if (kind == "Secret" || kind == "Event") {
    key.set_namespace_(ns);
  } else if (kind != "Namespace") {
    key.set_group("fleet.cattle.io");
    key.set_version("v1alpha1");
    key.set_namespace_(ns);
  }
  return key;
}

json Object(const std::string& kind, const std::string& name,
            json spec = json::object(), const std::string& ns = "fleet-local") {
  return {{"apiVersion", "fleet.cattle.io/v1alpha1"},
          {"kind", kind},
          {"metadata", {{"name", name}, {"namespace", ns}}},
          {"spec", std::move(spec)}};
}

json GitRepo(const std::string& name, const std::string& url = "https://h/r") {
  return Object("GitRepo", name, {{"repo", url}});
}

json Secret(const std::string& name) {
  return {{"apiVersion", "v1"},
          {"kind", "Secret"},
          {"type", "kubernetes.io/basic-auth"},
          {"metadata", {{"name", name}, {"namespace", "fleet-local"}}},
          {"data", {{"username", "dQ=="}, {"password", "cA=="}}}};
}

class ManagementClusterTest : public ::testing::Test {
 protected:
  ManagementClusterTest() : kube_(loop_) {
    kube_.AddKind({"", "v1", "Event", "events", true, {}});
    box_ = *SealedBox::Create(
        absl::StrCat(::testing::TempDir(), "/frontend-key-",
                     ::testing::UnitTest::GetInstance()
                         ->current_test_info()
                         ->name()),
        random_);
  }

  void Start() {
    registry_ = std::make_unique<DocumentRegistry>(
        loop_, workers_, store_, FamilyWriter(store_, kDocumentFamily), blobs_,
        *box_, clock_, random_);
    ManagementCluster::Options options;
    options.agent_address = "manager.example:7443";
    options.notice = [this](const std::string& text) {
      notices_.push_back(text);
    };
    options.mint = [this](MintRequest request, auto done) {
      minted_.push_back(request);
      loop_.Post([this, done = std::move(done)]() mutable {
        done(absl::StrCat("token-", minted_.size()));
      });
    };
    frontend_ = std::make_unique<ManagementCluster>(
        ManagementCluster::Collaborators{loop_, workers_, clock_, random_,
                                         store_, *registry_, kube_, &source_},
        std::move(options));
    Settle();
  }

  void Stop() {
    frontend_.reset();
    registry_.reset();
  }

  void Restart() {
    Stop();
    Start();
  }

  void Settle() { loop_.Advance(absl::Seconds(10)); }

  void Create(json object) {
    ASSERT_THAT(kube_.CreateAs("kubectl", std::move(object)), IsOk());
    Settle();
  }

  void Edit(const core::v1::ResourceKey& key,
            const std::function<void(json&)>& edit) {
    ASSERT_THAT(kube_.EditAs("kubectl", key, edit), IsOk());
    Settle();
  }

  const Document* Find(const std::string& kind, const std::string& name,
                       const std::string& workspace = "fleet-local") {
    return registry_->Find(kind, workspace, name);
  }

  json Live(const std::string& kind, const std::string& name,
            const std::string& ns = "fleet-local") {
    return kube_.Find(KeyFor(kind, name, ns)).value_or(json());
  }

  bool HasFinalizer(const std::string& kind, const std::string& name) {
    return absl::StrContains(Live(kind, name)["metadata"].dump(), kFinalizer);
  }

  int Writes() {
    int writes = 0;
    for (const auto& request : kube_.requests()) {
      if (request.verb == Verb::kApply || request.verb == Verb::kDelete) {
        ++writes;
      }
    }
    return writes;
  }

  std::vector<std::string> Events() {
    std::vector<std::string> reasons;
    for (const auto& request : kube_.requests()) {
      if (request.verb != Verb::kApply || request.key.kind() != "Event") {
        continue;
      }
      reasons.push_back(
          json::parse(request.body, nullptr, false)["reason"]);
    }
    return reasons;
  }

  // What bundles of that GitRepo would hold up.
  void PutHead(const std::string& repo) {
    storage::v1::BundleHead head;
    head.set_bundle_id("b-1");
    head.set_workspace("fleet-local");
    head.set_name("b");
    head.set_git_repo(repo);
    store_.Put(BundleHeadKey("b-1"), SerializeRecord(head));
  }

  void FleetController(int ready) {
    if (!kube_.Find(KeyFor("Namespace", "cattle-fleet-system"))) {
      Create({{"apiVersion", "v1"},
              {"kind", "Namespace"},
              {"metadata", {{"name", "cattle-fleet-system"}}}});
      Create({{"apiVersion", "apps/v1"},
              {"kind", "Deployment"},
              {"metadata",
               {{"name", "fleet-controller"},
                {"namespace", "cattle-fleet-system"}}},
              {"spec", {{"replicas", 1}}}});
    }
    ASSERT_THAT(kube_.SetStatus(KeyFor("Deployment", "fleet-controller",
                                       "cattle-fleet-system"),
                                {{"readyReplicas", ready}}),
                IsOk());
    Settle();
  }

  SimulatedLoop loop_;
  InlineWorkerPool workers_{loop_};
  // As the fake API server has it.
  FakeClock clock_{absl::FromUnixSeconds(1'767'225'600)};
  FakeRandom random_;
  MemoryStore store_{loop_};
  MemoryBlobStore blobs_;
  std::unique_ptr<SealedBox> box_;
  FakeStatusSource source_;
  FakeKubeClient kube_;
  std::vector<std::string> notices_;
  std::vector<MintRequest> minted_;
  std::unique_ptr<DocumentRegistry> registry_;
  std::unique_ptr<ManagementCluster> frontend_;
};

TEST_F(ManagementClusterTest, KindsNamespacesAndTheLocalGroupAreThereAtStart) {
  Start();
  EXPECT_TRUE(frontend_->synced()) << frontend_->DebugString();
  EXPECT_FALSE(Live("CustomResourceDefinition", "gitrepos.fleet.cattle.io")
                   .is_null());
  EXPECT_FALSE(Live("Namespace", "fleet-default").is_null());
  EXPECT_FALSE(Live("ClusterGroup", "default").is_null());
  EXPECT_EQ(Find("ClusterGroup", "default")->door(),
            Document::DOOR_MANAGEMENT_CLUSTER);
}

TEST_F(ManagementClusterTest, ARestartWritesNothing) {
  Start();
  Create(GitRepo("r"));
  kube_.ClearRequests();
  Restart();
  EXPECT_EQ(Writes(), 0);
  EXPECT_FALSE(Find("GitRepo", "r")->source_missing());
}

TEST_F(ManagementClusterTest, AnObjectIsMarkedTakenAndAnswered) {
  Start();
  Create(GitRepo("r"));
  const Document* document = Find("GitRepo", "r");
  ASSERT_NE(document, nullptr);
  EXPECT_EQ(document->door(), Document::DOOR_MANAGEMENT_CLUSTER);
  EXPECT_EQ(document->uid(),
            Live("GitRepo", "r")["metadata"]["uid"].get<std::string>());
  EXPECT_TRUE(HasFinalizer("GitRepo", "r"));
  EXPECT_EQ(Live("GitRepo", "r")["status"]["observedGeneration"], 1);

  source_.Set("GitRepo", "fleet-local", "r", {{"commit", "abc"}});
  Settle();
  EXPECT_EQ(Live("GitRepo", "r")["status"]["commit"], "abc");
  EXPECT_THAT(Events(), ::testing::Contains("GotNewCommit"));
}

TEST_F(ManagementClusterTest, NothingIsWrittenWithoutAChange) {
  Start();
  Create(GitRepo("r"));
  source_.Set("GitRepo", "fleet-local", "r", {{"commit", "abc"}});
  Settle();
  kube_.ClearRequests();
  source_.Set("GitRepo", "fleet-local", "r", {{"commit", "abc"}});
  Settle();
  Edit(KeyFor("GitRepo", "r"), [](json& object) {
    object["metadata"]["annotations"]
          ["kubectl.kubernetes.io/last-applied-configuration"] = "{}";
  });
  kube_.CloseWatches(absl::OkStatus());
  loop_.Advance(absl::Minutes(10));
  EXPECT_EQ(Writes(), 0);
}

TEST_F(ManagementClusterTest, AStatusThatSomebodyWroteIsPutRight) {
  Start();
  Create(GitRepo("r"));
  source_.Set("GitRepo", "fleet-local", "r", {{"commit", "abc"}});
  Settle();
  ASSERT_THAT(kube_.SetStatus(KeyFor("GitRepo", "r"), {{"commit", "x"}}),
              IsOk());
  Settle();
  EXPECT_EQ(Live("GitRepo", "r")["status"]["commit"], "abc");
}

TEST_F(ManagementClusterTest, ABadDocumentGetsAConditionAndTheOldOneGoesOn) {
  Start();
  Create(GitRepo("r"));
  source_.Set("GitRepo", "fleet-local", "r", {{"commit", "abc"}});
  Edit(KeyFor("GitRepo", "r"), [](json& object) {
    object["spec"]["paths"] = {"../outside"};
  });
  const json status = Live("GitRepo", "r")["status"];
  EXPECT_EQ(ConditionOf(status, "Accepted")["status"], "False");
  EXPECT_THAT(ConditionOf(status, "Accepted")["message"].get<std::string>(),
              HasSubstr("spec.paths"));
  EXPECT_EQ(status["commit"], "abc");
  EXPECT_EQ(status["observedGeneration"], 2);
  EXPECT_EQ(Find("GitRepo", "r")->git_repo().paths_size(), 0);
  EXPECT_THAT(Events(), ::testing::Contains("Failed"));

  Edit(KeyFor("GitRepo", "r"), [](json& object) {
    object["spec"]["paths"] = {"inside"};
  });
  EXPECT_EQ(ConditionOf(Live("GitRepo", "r")["status"], "Accepted")["status"],
            "True");
  EXPECT_EQ(Find("GitRepo", "r")->git_repo().paths(0), "inside");
}

TEST_F(ManagementClusterTest, DeletingWaitsForWhatItMade) {
  Start();
  Create(GitRepo("r"));
  PutHead("r");
  ASSERT_THAT(kube_.DeleteAs(KeyFor("GitRepo", "r")), IsOk());
  Settle();
  EXPECT_TRUE(Find("GitRepo", "r")->has_delete_time());
  EXPECT_TRUE(HasFinalizer("GitRepo", "r"));

  store_.Delete(BundleHeadKey("b-1"));
  Settle();
  EXPECT_EQ(Find("GitRepo", "r"), nullptr);
  EXPECT_TRUE(Live("GitRepo", "r").is_null());
}

TEST_F(ManagementClusterTest, FinalizersOfOthersStay) {
  Start();
  json object = GitRepo("r");
  object["metadata"]["finalizers"] = {"example.com/other"};
  Create(object);
  ASSERT_THAT(kube_.DeleteAs(KeyFor("GitRepo", "r")), IsOk());
  Settle();
  EXPECT_EQ(Find("GitRepo", "r"), nullptr);
  EXPECT_EQ(Live("GitRepo", "r")["metadata"]["finalizers"],
            json({"example.com/other"}));
}

TEST_F(ManagementClusterTest, WhatIsAbsentAfterARestartStays) {
  Start();
  Create(GitRepo("r"));
  Stop();
  ASSERT_THAT(kube_.RemoveFinalizers(KeyFor("GitRepo", "r")), IsOk());
  ASSERT_THAT(kube_.DeleteAs(KeyFor("GitRepo", "r")), IsOk());
  Start();
  ASSERT_NE(Find("GitRepo", "r"), nullptr);
  EXPECT_TRUE(Find("GitRepo", "r")->source_missing());
  EXPECT_FALSE(Find("GitRepo", "r")->has_delete_time());

  Create(GitRepo("r"));
  EXPECT_FALSE(Find("GitRepo", "r")->source_missing());
}

TEST_F(ManagementClusterTest, AFinalizerTakenOffByHandMakesItMissing) {
  Start();
  Create(GitRepo("r"));
  // The API server forgets it in one step: a backup was restored.
  ASSERT_THAT(kube_.EditAs("kubectl", KeyFor("GitRepo", "r"),
                           [](json& object) {
                             object["metadata"].erase("finalizers");
                           }),
              IsOk());
  ASSERT_THAT(kube_.DeleteAs(KeyFor("GitRepo", "r")), IsOk());
  Settle();
  ASSERT_NE(Find("GitRepo", "r"), nullptr);
  EXPECT_TRUE(Find("GitRepo", "r")->source_missing());
}

TEST_F(ManagementClusterTest, AKindThatGoesTakesNothingWithIt) {
  Start();
  Create(GitRepo("r"));
  Create(Object("ClusterGroup", "g", {{"selector", json::object()}}));
  for (const char* crd :
       {"gitrepos.fleet.cattle.io", "clustergroups.fleet.cattle.io"}) {
    ASSERT_THAT(kube_.DeleteAs(KeyFor("CustomResourceDefinition", crd)),
                IsOk());
  }
  Settle();
  EXPECT_TRUE(Find("GitRepo", "r")->source_missing());
  ASSERT_NE(Find("ClusterGroup", "g"), nullptr);
  EXPECT_TRUE(Find("ClusterGroup", "g")->source_missing());
}

TEST_F(ManagementClusterTest, ASmallKindIsDeletedWhenTheWatchSawIt) {
  Start();
  Create(Object("ClusterGroup", "g", {{"selector", json::object()}}));
  ASSERT_NE(Find("ClusterGroup", "g"), nullptr);
  ASSERT_THAT(kube_.DeleteAs(KeyFor("ClusterGroup", "g")), IsOk());
  Settle();
  EXPECT_EQ(Find("ClusterGroup", "g"), nullptr);
}

TEST_F(ManagementClusterTest, OnlySecretsThatAreNamedAreWatched) {
  Start();
  Create(Secret("mine"));
  Create(Secret("other"));
  json object = GitRepo("r");
  object["spec"]["clientSecretName"] = "mine";
  Create(object);
  ASSERT_NE(Find("Secret", "mine"), nullptr);
  EXPECT_EQ(Find("Secret", "other"), nullptr);
  for (const auto& request : kube_.requests()) {
    if (request.key.kind() != "Secret") continue;
    EXPECT_EQ(request.verb, Verb::kWatch);
    EXPECT_FALSE(request.key.namespace_().empty());
  }

  Edit(KeyFor("GitRepo", "r"), [](json& repo) {
    repo["spec"]["clientSecretName"] = "other";
  });
  EXPECT_EQ(Find("Secret", "mine"), nullptr);
  EXPECT_NE(Find("Secret", "other"), nullptr);
}

TEST_F(ManagementClusterTest, ASecretThatVanishedWhileWeWereAwayIsKept) {
  Start();
  Create(Secret("mine"));
  json object = GitRepo("r");
  object["spec"]["clientSecretName"] = "mine";
  Create(object);
  Stop();
  ASSERT_THAT(kube_.DeleteAs(KeyFor("Secret", "mine")), IsOk());
  Start();
  ASSERT_NE(Find("Secret", "mine"), nullptr);
  EXPECT_TRUE(Find("Secret", "mine")->source_missing());
}

TEST_F(ManagementClusterTest, WhileFleetIsActiveNothingIsTaken) {
  Start();
  FleetController(1);
  kube_.ClearRequests();
  Create(GitRepo("r"));
  EXPECT_EQ(Find("GitRepo", "r"), nullptr);
  EXPECT_FALSE(HasFinalizer("GitRepo", "r"));
  EXPECT_TRUE(Live("GitRepo", "r")["status"].is_null());
  EXPECT_THAT(Events(), ::testing::ElementsAre("NotTaken"));
  EXPECT_THAT(notices_,
              ::testing::Contains(HasSubstr("controller of Fleet is active")));

  FleetController(0);
  EXPECT_NE(Find("GitRepo", "r"), nullptr);
}

TEST_F(ManagementClusterTest, ForeignKindsAreLeftAlone) {
  Start();
  json crd = Live("CustomResourceDefinition", "gitrepos.fleet.cattle.io");
  Stop();
  crd["metadata"] = {{"name", "gitrepos.fleet.cattle.io"}};
  crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
     ["properties"]
         .erase("webhookSecret");
  ASSERT_THAT(kube_.DeleteAs(KeyFor("CustomResourceDefinition",
                                    "gitrepos.fleet.cattle.io")),
              IsOk());
  ASSERT_THAT(kube_.CreateAs("fleet", crd), IsOk());
  kube_.ClearRequests();
  Start();
  for (const auto& request : kube_.requests()) {
    EXPECT_FALSE(request.verb == Verb::kApply &&
                 request.key.kind() == "CustomResourceDefinition");
  }
  EXPECT_THAT(notices_,
              ::testing::Contains(HasSubstr("it lacks spec.webhookSecret")));
  Create(GitRepo("r"));
  EXPECT_NE(Find("GitRepo", "r"), nullptr);
}

TEST_F(ManagementClusterTest, AnEnrolledClusterIsShownAndThenDeletedByKubectl) {
  Start();
  storage::v1::ClusterIdentity identity;
  identity.set_cluster_id("id-1");
  identity.set_workspace("team-a");
  identity.set_name("c");
  auto* label = identity.add_token_labels();
  label->set_key("env");
  label->set_value("prod");
  store_.Put(ClusterIdentityKey("id-1"), SerializeRecord(identity));
  Settle();
  json live = Live("Cluster", "c", "team-a");
  EXPECT_EQ(live["metadata"]["labels"]["env"], "prod");
  EXPECT_EQ(Find("Cluster", "c", "team-a")->door(),
            Document::DOOR_MANAGEMENT_CLUSTER);
  // Labels belong to the object from now on.
  Edit(KeyFor("Cluster", "c", "team-a"), [](json& object) {
    object["metadata"]["labels"]["env"] = "dev";
  });
  EXPECT_EQ(Find("Cluster", "c", "team-a")->labels(0).value(), "dev");

  ASSERT_THAT(kube_.DeleteAs(KeyFor("Cluster", "c", "team-a")), IsOk());
  Settle();
  EXPECT_TRUE(Find("Cluster", "c", "team-a")->has_delete_time());
  identity.set_revoked(true);
  store_.Put(ClusterIdentityKey("id-1"), SerializeRecord(identity));
  Settle();
  EXPECT_TRUE(Live("Cluster", "c", "team-a").is_null());
}

TEST_F(ManagementClusterTest, ATokenIsMintedOnceAndEndsWithItsTime) {
  Start();
  Create(Object("ClusterRegistrationToken", "t", {{"ttl", "1h"}}));
  ASSERT_EQ(minted_.size(), 1);
  EXPECT_EQ(minted_[0].name, "t");
  const json secret = Live("Secret", "t");
  EXPECT_EQ(secret["stringData"]["token"], "token-1");
  EXPECT_THAT(secret["stringData"]["values"].get<std::string>(),
              HasSubstr("managerAddress: 'manager.example:7443'"));
  EXPECT_EQ(Live("ClusterRegistrationToken", "t")["status"]["secretName"],
            "t");
  Restart();
  EXPECT_EQ(minted_.size(), 1);

  clock_.Advance(absl::Hours(24 * 365 * 30));
  loop_.Advance(absl::Hours(2));
  EXPECT_TRUE(Live("ClusterRegistrationToken", "t").is_null());
}

TEST_F(ManagementClusterTest, ALabelOfANamespaceIsADocument) {
  Start();
  Create({{"apiVersion", "v1"},
          {"kind", "Namespace"},
          {"metadata", {{"name", "team-a"}, {"labels", {{"tier", "x"}}}}}});
  EXPECT_EQ(Find("Namespace", "team-a", "team-a"), nullptr);
  Create(Object("Cluster", "c", json::object(), "team-a"));
  ASSERT_NE(Find("Namespace", "team-a", "team-a"), nullptr);
  EXPECT_EQ(Find("Namespace", "team-a", "team-a")->labels(0).value(), "x");
}

TEST_F(ManagementClusterTest, AServerThatIsAwayChangesNothing) {
  Start();
  Create(GitRepo("r"));
  kube_.SetDown(true);
  loop_.Advance(absl::Minutes(5));
  EXPECT_FALSE(Find("GitRepo", "r")->source_missing());
  source_.Set("GitRepo", "fleet-local", "r", {{"commit", "abc"}});
  loop_.Advance(absl::Minutes(1));
  kube_.SetDown(false);
  loop_.Advance(absl::Minutes(1));
  EXPECT_EQ(Live("GitRepo", "r")["status"]["commit"], "abc");
  EXPECT_FALSE(Find("GitRepo", "r")->source_missing());
}

TEST_F(ManagementClusterTest, ItComesUpWhenTheServerDoes) {
  kube_.SetDown(true);
  Start();
  EXPECT_FALSE(frontend_->synced());
  kube_.SetDown(false);
  loop_.Advance(absl::Minutes(2));
  EXPECT_TRUE(frontend_->synced()) << frontend_->DebugString();
}

}  // namespace
}  // namespace flotilla::manager
