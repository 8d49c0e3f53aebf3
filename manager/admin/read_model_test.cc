// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/read_model.h"

#include <memory>

#include "common/env/fake_clock.h"
#include "common/event/simulated_loop.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// GitRepo "web" at commit c1 with bundle "web" (id b) on cluster "dev" (id c).
class ReadModelTest : public ::testing::Test {
 protected:
  ReadModelTest() : store_(loop_) {
    ReadModelSources sources;
    sources.presence = [this](const std::string&) { return presence_; };
    sources.last_poll = [](const std::string&, const std::string&) {
      return std::optional<absl::Time>();
    };
    sources.rejection = [](const std::string&, const std::string&) {
      return std::optional<core::v1::Problem>();
    };
    presence_.online = true;
    presence_.last_seen = clock_.Now();
    model_ = std::make_unique<ReadModel>(store_, clock_, sources);
    EXPECT_FALSE(model_->loaded());
    loop_.RunUntilIdle();
    EXPECT_TRUE(model_->loaded());

    document_.set_workspace("w");
    document_.set_kind("GitRepo");
    document_.set_name("web");
    document_.set_generation(1);
    document_.mutable_git_repo()->set_repo("https://me:secret@host/r.git");
    Put(kDocumentFamily, DocumentKey("w", "GitRepo", "web"), document_);
  }

  template <typename T>
  void Put(const char* family, const std::string& key, const T& record) {
    FamilyWriter(store_, family)
        .Txn({}, {Op::Put(key, SerializeRecord(record))},
             [](absl::StatusOr<int64_t> done) { ASSERT_THAT(done, IsOk()); });
    loop_.RunUntilIdle();
  }

  void Fetch() {
    storage::v1::Source source;
    source.mutable_commit()->set_id("c1");
    Put(kSourceFamily, SourceKey("w", "web"), source);
  }

  void Build() {
    storage::v1::BundleBuild build;
    build.set_commit_id("c1");
    build.set_document_generation(1);
    build.set_bundle_count(1);
    Put(kBundleFamily, BundleBuildKey("w", "web"), build);
    storage::v1::BundleHead head;
    head.set_bundle_id("b");
    head.set_workspace("w");
    head.set_name("web");
    head.set_git_repo("web");
    Put(kBundleFamily, BundleHeadKey("b"), head);
  }

  void Deploy(core::v1::Phase phase) {
    storage::v1::Desired desired;
    desired.set_cluster_id("c");
    desired.set_bundle_id("b");
    desired.set_workspace("w");
    desired.set_bundle_name("web");
    desired.set_cluster_name("dev");
    Put(kDesiredFamily, DesiredKey("c", "b"), desired);
    storage::v1::Rendered rendered;
    rendered.set_manifest_digest("m");
    Put(kRenderedFamily, RenderedKey("c", "b"), rendered);
    storage::v1::Released released;
    released.set_state(storage::v1::Released::STATE_ACTIVE);
    released.set_manifest_digest("m");
    released.set_generation(1);
    Put(kReleasedFamily, ReleasedKey("c", "b"), released);
    storage::v1::Observed observed;
    observed.mutable_state()->set_generation(1);
    observed.mutable_state()->set_phase(phase);
    Put(kObservedFamily, ObservedKey("c", "b"), observed);
  }

  admin::v1::GitRepo Web() {
    const auto repos = model_->GitRepos("", "");
    EXPECT_EQ(repos.size(), 1u);
    return repos.empty() ? admin::v1::GitRepo() : repos[0];
  }

  SimulatedLoop loop_;
  FakeClock clock_;
  MemoryStore store_;
  AgentPresence presence_;
  storage::v1::Document document_;
  std::unique_ptr<ReadModel> model_;
};

TEST_F(ReadModelTest, SaysThatClustersWithoutAnAgentAreNotCounted) {
  Fetch();
  Build();
  storage::v1::Document cluster;
  cluster.set_workspace("w");
  cluster.set_kind("Cluster");
  cluster.set_name("dev");
  Put(kDocumentFamily, DocumentKey("w", "Cluster", "dev"), cluster);

  EXPECT_THAT(Web().message(),
              HasSubstr("1 cluster without an enrolled agent not counted"));
  EXPECT_THAT(model_->Bundles("", "", "")[0].message(),
              HasSubstr("1 cluster without an enrolled agent not counted"));

  storage::v1::ClusterIdentity identity;
  identity.set_cluster_id("c");
  identity.set_workspace("w");
  identity.set_name("dev");
  Put(kClusterFamily, ClusterIdentityKey("c"), identity);

  EXPECT_THAT(Web().message(), Not(HasSubstr("not counted")));
}

TEST_F(ReadModelTest, ShowsEveryStepOfAGitRepoUntilItIsReady) {
  EXPECT_EQ(Web().state(), "Pending");
  Fetch();
  EXPECT_EQ(Web().state(), "GitUpdating");
  Build();
  EXPECT_EQ(Web().state(), "NotReady");
  EXPECT_THAT(Web().message(), HasSubstr("0 clusters match"));
  Deploy(core::v1::PHASE_VERIFYING);
  EXPECT_EQ(Web().state(), "NotReady");
  EXPECT_THAT(Web().message(), HasSubstr("Bundle web on dev"));
  Deploy(core::v1::PHASE_HEALTHY);
  EXPECT_EQ(Web().state(), "Ready");
  EXPECT_EQ(Web().message(), "");
  EXPECT_EQ(Web().deployments().ready(), 1u);
}

TEST_F(ReadModelTest, NamesTheObjectsThatABundleWaitsFor) {
  Fetch();
  Build();
  Deploy(core::v1::PHASE_VERIFYING);
  const auto say = [this](const std::string& name, core::v1::Health health,
                          const std::string& message) {
    core::v1::ResourceStatus status;
    status.set_bundle_id("b");
    status.mutable_key()->set_group("apps");
    status.mutable_key()->set_version("v1");
    status.mutable_key()->set_kind("Deployment");
    status.mutable_key()->set_namespace_("shop");
    status.mutable_key()->set_name(name);
    status.set_health(health);
    status.set_sync(core::v1::SYNC_STATE_SYNCED);
    status.set_message(message);
    model_->OnResource("c", status);
  };
  const auto text = [this] { return model_->Bundles("", "", "")[0].message(); };
  EXPECT_THAT(text(), HasSubstr("0 of 0 resources are ready"));

  say("a", core::v1::HEALTH_PROGRESSING, "Available: 1/3");
  say("b", core::v1::HEALTH_HEALTHY, "");
  EXPECT_EQ(text(),
            "NotReady(1) [Cluster dev: deployment.apps shop/a: Available: "
            "1/3]");
  EXPECT_EQ(Web().message(),
            "NotReady(1) [Bundle web on dev: deployment.apps shop/a: "
            "Available: 1/3]");
  EXPECT_EQ(model_->Deployments({})[0].message(),
            "deployment.apps shop/a: Available: 1/3");

  for (const char* name : {"c", "d", "e", "f"}) {
    say(name, core::v1::HEALTH_PROGRESSING, "");
  }
  EXPECT_THAT(text(), HasSubstr("deployment.apps shop/e: in progress"));
  EXPECT_THAT(text(), Not(HasSubstr("shop/f")));

  // What is wrong comes first.
  storage::v1::Observed observed;
  observed.mutable_state()->set_generation(1);
  observed.mutable_state()->set_phase(core::v1::PHASE_DEGRADED);
  core::v1::Problem& problem = *observed.mutable_state()->add_problems();
  problem.set_subject("pod shop/x");
  problem.set_message("image not found");
  Put(kObservedFamily, ObservedKey("c", "b"), observed);
  EXPECT_THAT(text(), HasSubstr("[Cluster dev: pod shop/x: image not found; "
                                "deployment.apps shop/a: Available: 1/3; "));

  presence_.online = false;
  model_->OnPresence("c");
  EXPECT_THAT(text(), Not(HasSubstr("shop/a")));
}

TEST_F(ReadModelTest, ShowsARepositoryErrorBeforeEverythingElse) {
  Fetch();
  Build();
  Deploy(core::v1::PHASE_HEALTHY);
  storage::v1::Source source;
  source.mutable_commit()->set_id("c1");
  source.mutable_problem()->set_message("no route to host");
  Put(kSourceFamily, SourceKey("w", "web"), source);

  EXPECT_EQ(Web().state(), "Error");
  EXPECT_EQ(Web().message(), "no route to host");
}

TEST_F(ReadModelTest, AnOfflineClusterIsNotReadyAnywhere) {
  Fetch();
  Build();
  Deploy(core::v1::PHASE_HEALTHY);
  presence_.online = false;
  model_->OnPresence("c");
  clock_.Advance(absl::Seconds(40));

  EXPECT_EQ(Web().state(), "Offline");
  EXPECT_EQ(model_->Bundles("", "", "")[0].state(), "Offline");
  EXPECT_THAT(model_->Deployments({})[0].message(), HasSubstr("40s"));
}

TEST_F(ReadModelTest, NeverShowsCredentialsOfAUrl) {
  EXPECT_EQ(Web().repo(), "https://host/r.git");
}

TEST_F(ReadModelTest, AClusterWithoutAnAgentSaysHowToGetOne) {
  storage::v1::Document cluster;
  cluster.set_workspace("w");
  cluster.set_kind("Cluster");
  cluster.set_name("dev");
  cluster.mutable_cluster();
  Put(kDocumentFamily, DocumentKey("w", "Cluster", "dev"), cluster);

  const auto clusters = model_->Clusters("", "");

  ASSERT_EQ(clusters.size(), 1u);
  EXPECT_EQ(clusters[0].state(), "WaitCheckIn");
  EXPECT_THAT(clusters[0].message(), HasSubstr("flotilla token create"));
}

TEST_F(ReadModelTest, AHelmOpIsNotReadyForWhatItWantedBefore) {
  storage::v1::Document op;
  op.set_workspace("w");
  op.set_kind("HelmOp");
  op.set_name("chart");
  op.set_generation(1);
  op.mutable_helm_op();
  Put(kDocumentFamily, DocumentKey("w", "HelmOp", "chart"), op);
  storage::v1::ChartSource chart;
  chart.set_version("1.0.0");
  chart.set_document_generation(1);
  Put(kChartFamily, ChartKey("w", "chart"), chart);
  storage::v1::BundleHead head;
  head.set_bundle_id("b");
  head.set_workspace("w");
  head.set_name("chart");
  head.set_helm_op("chart");
  Put(kBundleFamily, BundleHeadKey("b"), head);
  Deploy(core::v1::PHASE_HEALTHY);
  EXPECT_EQ(model_->HelmOps("", "")[0].state(), "Pending");
  storage::v1::BundleBuild build;
  build.set_document_generation(1);
  Put(kBundleFamily, BundleBuildKey("w", BundleBuildName("HelmOp", "chart")),
      build);
  EXPECT_EQ(model_->HelmOps("", "")[0].state(), "Ready");

  op.set_generation(2);
  Put(kDocumentFamily, DocumentKey("w", "HelmOp", "chart"), op);

  EXPECT_EQ(model_->HelmOps("", "")[0].state(), "Pending");
}

// Else an older revision that runs would make them Ready.
TEST_F(ReadModelTest, ABuildThatFailedIsShownOnItsOwnDocument) {
  Fetch();
  Build();
  storage::v1::Document op;
  op.set_workspace("w");
  op.set_kind("HelmOp");
  op.set_name("web");
  op.mutable_helm_op();
  Put(kDocumentFamily, DocumentKey("w", "HelmOp", "web"), op);
  storage::v1::Document bundle;
  bundle.set_workspace("w");
  bundle.set_kind("Bundle");
  bundle.set_name("refused");
  bundle.mutable_bundle();
  Put(kDocumentFamily, DocumentKey("w", "Bundle", "refused"), bundle);
  EXPECT_EQ(model_->Bundles("", "refused", "")[0].state(), "Pending");

  storage::v1::BundleBuild build;
  build.add_problems()->set_message("values are wrong");
  Put(kBundleFamily, BundleBuildKey("w", BundleBuildName("HelmOp", "web")),
      build);
  Put(kBundleFamily, BundleBuildKey("w", BundleBuildName("Bundle", "refused")),
      build);

  EXPECT_EQ(model_->HelmOps("", "")[0].message(), "values are wrong");
  EXPECT_EQ(model_->Bundles("", "refused", "")[0].state(), "ErrApplied");
  EXPECT_EQ(model_->Bundles("", "refused", "")[0].message(),
            "values are wrong");
  EXPECT_NE(Web().state(), "Error");
}

TEST_F(ReadModelTest, ClustersOfOneNameAreToldApart) {
  Fetch();
  Build();
  Deploy(core::v1::PHASE_HEALTHY);
  storage::v1::Desired desired;
  desired.set_cluster_id("d");
  desired.set_bundle_id("b");
  desired.set_workspace("w");
  desired.set_bundle_name("web");
  desired.set_cluster_name("dev");
  desired.set_cluster_workspace("far");
  Put(kDesiredFamily, DesiredKey("d", "b"), desired);

  const auto deployments = model_->Deployments({});
  ASSERT_EQ(deployments.size(), 2u);
  EXPECT_EQ(deployments[0].cluster_workspace(), "far");
  EXPECT_EQ(deployments[1].cluster_workspace(), "");
  EXPECT_THAT(Web().message(), HasSubstr("Bundle web on far/dev"));
  EXPECT_EQ(Web().clusters(), 2u);
}

}  // namespace
}  // namespace flotilla::manager
