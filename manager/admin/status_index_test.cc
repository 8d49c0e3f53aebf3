// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/status_index.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/env/fake_clock.h"
#include "common/event/simulated_loop.h"
#include "common/status/status_matchers.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/admin/fleet_status.h"
#include "manager/admin/read_model.h"
#include "manager/status/status_source.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// GitRepo "web" with bundle "web" (id b) in workspace "w"; cluster "dev" (id c)
// in workspace "far", which a mapping reaches.
class StatusIndexTest : public ::testing::Test {
 protected:
  StatusIndexTest() {
    presence_.online = true;
    presence_.last_seen = clock_.Now();
    ReadModelSources sources;
    sources.presence = [this](const std::string&) { return presence_; };
    sources.last_poll = [](const std::string&, const std::string&) {
      return std::optional<absl::Time>();
    };
    sources.rejection = [](const std::string&, const std::string&) {
      return std::optional<core::v1::Problem>();
    };
    sources.changed = [this](const StatusSubject& subject) {
      if (index_ != nullptr) index_->OnChange(subject);
    };
    model_ = std::make_unique<ReadModel>(store_, clock_, sources);
    index_ = std::make_unique<StatusIndex>(loop_, clock_, *model_);
    index_->OnResourcesLoaded();

    storage::v1::Document repo;
    repo.set_workspace("w");
    repo.set_kind("GitRepo");
    repo.set_name("web");
    repo.set_generation(4);
    repo.mutable_git_repo()->set_repo("https://host/r.git");
    Put(kDocumentFamily, DocumentKey("w", "GitRepo", "web"), repo);
    storage::v1::Document cluster;
    cluster.set_workspace("far");
    cluster.set_kind("Cluster");
    cluster.set_name("dev");
    cluster.mutable_cluster();
    Put(kDocumentFamily, DocumentKey("far", "Cluster", "dev"), cluster);
    storage::v1::ClusterIdentity identity;
    identity.set_cluster_id("c");
    identity.set_workspace("far");
    identity.set_name("dev");
    Put(kClusterFamily, ClusterIdentityKey("c"), identity);
    storage::v1::BundleHead head;
    head.set_bundle_id("b");
    head.set_workspace("w");
    head.set_name("web");
    head.set_git_repo("web");
    Put(kBundleFamily, BundleHeadKey("b"), head);
  }

  template <typename T>
  void Put(const char* family, const std::string& key, const T& record) {
    FamilyWriter(store_, family)
        .Txn({}, {Op::Put(key, SerializeRecord(record))},
             [](absl::StatusOr<int64_t> done) { ASSERT_THAT(done, IsOk()); });
    loop_.RunUntilIdle();
  }

  void Deploy(core::v1::Phase phase) {
    storage::v1::Desired desired;
    desired.set_cluster_id("c");
    desired.set_bundle_id("b");
    desired.set_workspace("w");
    desired.set_bundle_name("web");
    desired.set_cluster_name("dev");
    desired.set_cluster_workspace("far");
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

  void Listen() {
    index_->Listen([this](const StatusSubject& subject) {
      told_.push_back(absl::StrCat(subject.kind, " ", subject.workspace, "/",
                                   subject.name));
    });
    loop_.RunUntilIdle();
  }

  std::vector<std::string> Told() {
    std::vector<std::string> told;
    told.swap(told_);
    return told;
  }

  SimulatedLoop loop_;
  FakeClock clock_;
  MemoryStore store_{loop_};
  AgentPresence presence_;
  std::unique_ptr<StatusIndex> index_;
  std::unique_ptr<ReadModel> model_;
  std::vector<std::string> told_;
};

TEST_F(StatusIndexTest, TellsEachObjectOnceThenOnlyWhatChanges) {
  Deploy(core::v1::PHASE_VERIFYING);
  Listen();
  EXPECT_THAT(Told(), ElementsAre("Bundle w/web", "Cluster far/dev",
                                  "GitRepo w/web"));

  // A burst is one.
  Deploy(core::v1::PHASE_DEGRADED);
  Deploy(core::v1::PHASE_HEALTHY);
  EXPECT_THAT(Told(), IsEmpty());
  loop_.Advance(StatusIndex::kDelay);
  EXPECT_THAT(Told(), ElementsAre("Bundle w/web", "Cluster far/dev",
                                  "GitRepo w/web"));

  // The same again is nothing, and so is time.
  Deploy(core::v1::PHASE_HEALTHY);
  loop_.Advance(absl::Minutes(5));
  EXPECT_THAT(Told(), IsEmpty());
}

TEST_F(StatusIndexTest, AnAgentThatIsThereIsSeenAgainEachQuarterOfAnHour) {
  Deploy(core::v1::PHASE_HEALTHY);
  Listen();
  Told();

  clock_.Advance(kCheckIn);
  loop_.Advance(kCheckIn + StatusIndex::kDelay);

  EXPECT_THAT(Told(), ElementsAre("Cluster far/dev"));
}

TEST_F(StatusIndexTest, WhatIsNotFoldedYetIsComputedWhenItIsAsked) {
  Deploy(core::v1::PHASE_HEALTHY);
  const StatusSubject web = {"GitRepo", "w", "web"};

  index_->Listen([](const StatusSubject&) {});

  EXPECT_TRUE(index_->ready());
  const nlohmann::json early = index_->StatusOf(web);
  EXPECT_FALSE(early.is_null());
  loop_.RunUntilIdle();
  EXPECT_EQ(index_->StatusOf(web), early);
  EXPECT_TRUE(index_->StatusOf({"GitRepo", "w", "other"}).is_null());
}

TEST_F(StatusIndexTest, ANewRevisionIsNotReadyBeforeItIsAssigned) {
  Deploy(core::v1::PHASE_HEALTHY);
  const auto ready = [this] {
    return index_->StatusOf({"GitRepo", "w", "web"})["summary"].value("ready",
                                                                      0);
  };
  ASSERT_EQ(ready(), 1);

  storage::v1::BundleHead head;
  head.set_bundle_id("b");
  head.set_workspace("w");
  head.set_name("web");
  head.set_git_repo("web");
  head.set_revision("new");
  Put(kBundleFamily, BundleHeadKey("b"), head);

  EXPECT_EQ(ready(), 0);
}

TEST_F(StatusIndexTest, NobodyIsToldAfterTheListenerHasLeft) {
  Deploy(core::v1::PHASE_HEALTHY);
  Listen();
  Told();
  Deploy(core::v1::PHASE_DEGRADED);

  index_->Listen(nullptr);
  loop_.Advance(kCheckIn + StatusIndex::kDelay);

  EXPECT_THAT(Told(), IsEmpty());
  EXPECT_FALSE(index_->StatusOf({"GitRepo", "w", "web"}).is_null());
}

TEST_F(StatusIndexTest, NothingIsSaidBeforeResourcesAreKnown) {
  StatusIndex index(loop_, clock_, *model_);
  int told = 0;
  index.Listen([&told](const StatusSubject&) { ++told; });
  loop_.Advance(StatusIndex::kDelay);
  EXPECT_FALSE(index.ready());
  EXPECT_TRUE(index.StatusOf({"GitRepo", "w", "web"}).is_null());
  EXPECT_EQ(told, 0);

  index.OnResourcesLoaded();
  loop_.RunUntilIdle();
  EXPECT_GT(told, 0);
}

TEST_F(StatusIndexTest, ObjectsAreThoseOfTheSource) {
  Deploy(core::v1::PHASE_HEALTHY);
  Listen();
  Told();
  core::v1::ResourceStatus status;
  status.set_bundle_id("b");
  status.mutable_key()->set_version("v1");
  status.mutable_key()->set_kind("ConfigMap");
  status.mutable_key()->set_name("settings");
  status.set_health(core::v1::HEALTH_HEALTHY);
  status.set_sync(core::v1::SYNC_STATE_SYNCED);
  model_->OnResource("c", status);
  loop_.Advance(StatusIndex::kDelay);

  EXPECT_THAT(Told(), ElementsAre("GitRepo w/web"));
  EXPECT_EQ(index_->StatusOf({"GitRepo", "w", "web"})["resources"][0]
                ["perClusterState"],
            nlohmann::json({{"ready", {"far/dev"}}}));

  model_->OnForgotten("c", "b");
  loop_.Advance(StatusIndex::kDelay);
  EXPECT_THAT(Told(), ElementsAre("GitRepo w/web"));
}

TEST_F(StatusIndexTest, ClustersAndGroupsCountWhatAnotherWorkspaceBrings) {
  storage::v1::Document group;
  group.set_workspace("far");
  group.set_kind("ClusterGroup");
  group.set_name("all");
  group.mutable_cluster_group()->mutable_selector();
  Put(kDocumentFamily, DocumentKey("far", "ClusterGroup", "all"), group);
  Deploy(core::v1::PHASE_HEALTHY);
  Listen();

  const nlohmann::json cluster = index_->StatusOf({"Cluster", "far", "dev"});
  EXPECT_EQ(cluster["readyGitRepos"], 1);
  EXPECT_EQ(cluster["desiredReadyGitRepos"], 1);
  EXPECT_EQ(
      index_->StatusOf({"ClusterGroup", "far", "all"})["display"],
      nlohmann::json({{"readyBundles", "1/1"}, {"readyClusters", "1/1"}}));
  EXPECT_EQ(index_->StatusOf({"GitRepo", "w", "web"})
                ["perClusterResourceCounts"].count("far/dev"),
            1u);
  EXPECT_EQ(index_->StatusOf({"Cluster", "far", "dev"})["display"],
            nlohmann::json({{"readyBundles", "1/1"}}));
  EXPECT_EQ(index_->StatusOf({"GitRepo", "w", "web"})["observedGeneration"], 4);
  EXPECT_TRUE(index_->StatusOf({"GitRepo", "w", "none"}).is_null());
}

TEST_F(StatusIndexTest, AnAgentThatGoesIsNoticedWithoutARecord) {
  Deploy(core::v1::PHASE_HEALTHY);
  Listen();
  Told();

  presence_.online = false;
  model_->OnPresence("c");
  loop_.Advance(StatusIndex::kDelay);
  EXPECT_THAT(Told(), ElementsAre("Bundle w/web", "Cluster far/dev",
                                  "GitRepo w/web"));
  EXPECT_EQ(index_->StatusOf({"Cluster", "far", "dev"})["display"]["state"],
            "NotReady");

  // Being away longer changes nothing that is written.
  clock_.Advance(absl::Hours(2));
  loop_.Advance(absl::Minutes(5));
  EXPECT_THAT(Told(), IsEmpty());
}

TEST_F(StatusIndexTest, WhatIsGoneIsToldOnce) {
  Listen();
  Told();
  store_.Delete(DocumentKey("w", "GitRepo", "web"));
  loop_.Advance(StatusIndex::kDelay);
  EXPECT_THAT(Told(), ElementsAre("GitRepo w/web"));
  EXPECT_TRUE(index_->StatusOf({"GitRepo", "w", "web"}).is_null());
}

TEST_F(StatusIndexTest, WithoutAListenerItAnswersAllTheSame) {
  Deploy(core::v1::PHASE_HEALTHY);
  EXPECT_EQ(index_->StatusOf({"Bundle", "w", "web"})["display"],
            nlohmann::json({{"readyClusters", "1/1"}}));
}

// Records of a small fleet, any of them at any time. What the index keeps is
// compared with what a new one makes of the same store.
class RandomFleetTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  static constexpr int kClusters = 4;
  static constexpr int kBundles = 4;

  RandomFleetTest() : random_(GetParam()) {
    model_ = std::make_unique<ReadModel>(store_, clock_, Sources(true));
    index_ = std::make_unique<StatusIndex>(loop_, clock_, *model_);
    index_->OnResourcesLoaded();
    index_->Listen([this](const StatusSubject& subject) {
      const std::string now = index_->StatusOf(subject).dump();
      EXPECT_NE(told_[subject], now) << "told without a change";
      told_[subject] = now;
    });
    loop_.RunUntilIdle();
  }

  ReadModelSources Sources(bool tell) {
    ReadModelSources sources;
    sources.presence = [this](const std::string& cluster) {
      AgentPresence presence;
      presence.online = online_.count(cluster) > 0;
      return presence;
    };
    sources.last_poll = [](const std::string&, const std::string&) {
      return std::optional<absl::Time>();
    };
    sources.rejection = [this](const std::string& cluster,
                               const std::string& bundle) {
      std::optional<core::v1::Problem> problem;
      if (rejected_.count({cluster, bundle}) > 0) {
        problem.emplace().set_message("refused");
      }
      return problem;
    };
    if (tell) {
      sources.changed = [this](const StatusSubject& subject) {
        if (index_ != nullptr) index_->OnChange(subject);
      };
    }
    return sources;
  }

  uint32_t Pick(uint32_t n) { return random_() % n; }

  template <typename T>
  void Write(const char* family, const std::string& key, const T& record) {
    if (Pick(4) == 0) {
      FamilyWriter(store_, family)
          .Txn({}, {Op::Delete(key)}, [](absl::StatusOr<int64_t>) {});
    } else {
      FamilyWriter(store_, family)
          .Txn({}, {Op::Put(key, SerializeRecord(record))},
               [](absl::StatusOr<int64_t>) {});
    }
    loop_.RunUntilIdle();
  }

  void WriteDocument(const char* kind, const std::string& name,
                     storage::v1::Document document) {
    document.set_workspace(Pick(4) == 0 ? "far" : "w");
    document.set_kind(kind);
    document.set_name(name);
    document.set_generation(1);
    Write(kDocumentFamily, DocumentKey(document.workspace(), kind, name),
          document);
  }

  void Step() {
    const std::string cluster = absl::StrCat("c", Pick(kClusters));
    const std::string bundle = absl::StrCat("b", Pick(kBundles));
    const std::string source = absl::StrCat("s", Pick(2));
    switch (Pick(16)) {
      case 0: {
        storage::v1::Document repo;
        repo.mutable_git_repo()->set_repo("https://host/r.git");
        return WriteDocument("GitRepo", source, repo);
      }
      case 1: {
        storage::v1::Document document;
        if (Pick(2) == 0) {
          document.mutable_helm_op();
          return WriteDocument("HelmOp", source, document);
        }
        document.mutable_bundle();
        return WriteDocument("Bundle", absl::StrCat("n", Pick(3)), document);
      }
      case 2: {
        storage::v1::Document document;
        document.mutable_cluster();
        core::v1::LabelPair& label = *document.add_labels();
        label.set_key("env");
        label.set_value(absl::StrCat(Pick(2)));
        return WriteDocument("Cluster", cluster, document);
      }
      case 3: {
        storage::v1::Document group;
        core::v1::LabelSelector& selector =
            *group.mutable_cluster_group()->mutable_selector();
        if (Pick(2) == 0) {
          core::v1::LabelPair& label = *selector.add_match_labels();
          label.set_key("env");
          label.set_value(absl::StrCat(Pick(2)));
        }
        return WriteDocument("ClusterGroup", absl::StrCat("g", Pick(2)), group);
      }
      case 4: {
        storage::v1::ClusterIdentity identity;
        identity.set_cluster_id(cluster);
        identity.set_workspace(Pick(4) == 0 ? "far" : "w");
        // Two identities may claim one name.
        identity.set_name(absl::StrCat("c", Pick(kClusters)));
        identity.set_revoked(Pick(4) == 0);
        return Write(kClusterFamily, ClusterIdentityKey(cluster), identity);
      }
      case 5: {
        storage::v1::BundleHead head;
        head.set_bundle_id(bundle);
        head.set_workspace("w");
        // Two bundles may have one name.
        head.set_name(absl::StrCat("n", Pick(3)));
        if (Pick(3) == 0) {
          head.set_helm_op(source);
        } else if (Pick(3) != 0) {
          head.set_git_repo(source);
        }
        if (Pick(4) == 0) head.add_problems()->set_message("wrong");
        if (Pick(4) == 0) head.set_removal(core::v1::DELETE_CAUSE_GIT_REMOVED);
        return Write(kBundleFamily, BundleHeadKey(bundle), head);
      }
      case 6: {
        storage::v1::Source record;
        record.mutable_commit()->set_id(Pick(2) == 0 ? "c1" : "");
        if (Pick(4) == 0) record.mutable_problem()->set_message("no route");
        return Write(kSourceFamily, SourceKey("w", source), record);
      }
      case 7: {
        storage::v1::BundleBuild build;
        build.set_commit_id("c1");
        build.set_document_generation(1);
        if (Pick(4) == 0) build.add_warnings()->set_message("unknown key");
        if (Pick(4) == 0) build.add_problems()->set_message("wrong values");
        const char* kind = Pick(3) == 0   ? "Bundle"
                           : Pick(2) == 0 ? "HelmOp"
                                          : "GitRepo";
        const std::string name =
            kind == std::string("Bundle") ? absl::StrCat("n", Pick(3)) : source;
        return Write(kBundleFamily,
                     BundleBuildKey("w", BundleBuildName(kind, name)), build);
      }
      case 8: {
        storage::v1::ChartSource chart;
        chart.set_version("1.2.3");
        chart.set_document_generation(Pick(2));
        return Write(kChartFamily, ChartKey("w", source), chart);
      }
      case 9:
        return Write(kFactsFamily, FactsKey(cluster), storage::v1::Facts());
      case 10: {
        if (!online_.erase(cluster)) online_.insert(cluster);
        return model_->OnPresence(cluster);
      }
      case 11: {
        if (!rejected_.erase({cluster, bundle})) {
          rejected_.insert({cluster, bundle});
        }
        return model_->OnRejection(cluster, bundle);
      }
      case 12: {
        core::v1::ResourceStatus status;
        status.set_bundle_id(bundle);
        status.mutable_key()->set_version(absl::StrCat("v", Pick(2)));
        status.mutable_key()->set_kind("ConfigMap");
        status.mutable_key()->set_name(absl::StrCat("o", Pick(3)));
        status.set_sync(Pick(3) == 0 ? core::v1::SYNC_STATE_DRIFTED
                                     : core::v1::SYNC_STATE_SYNCED);
        status.set_health(core::v1::HEALTH_HEALTHY);
        status.set_removed(Pick(4) == 0);
        reports_[{cluster, bundle, status.key().name()}] = status;
        return model_->OnResource(cluster, status);
      }
      default:
        return WriteDeployment(cluster, bundle);
    }
  }

  void WriteDeployment(const std::string& cluster, const std::string& bundle) {
    switch (Pick(4)) {
      case 0: {
        storage::v1::Desired desired;
        desired.set_cluster_id(cluster);
        desired.set_bundle_id(bundle);
        desired.set_workspace("w");
        desired.set_bundle_name(absl::StrCat("n", Pick(3)));
        desired.set_cluster_name(cluster);
        if (Pick(4) == 0) desired.set_cluster_workspace("far");
        if (Pick(5) == 0) {
          desired.set_removal(core::v1::DELETE_CAUSE_OPERATOR);
        }
        desired.set_paused(Pick(4) == 0);
        return Write(kDesiredFamily, DesiredKey(cluster, bundle), desired);
      }
      case 1: {
        storage::v1::Rendered rendered;
        rendered.set_manifest_digest(Pick(4) == 0 ? "n" : "m");
        if (Pick(5) == 0) rendered.add_problems()->set_message("nil pointer");
        return Write(kRenderedFamily, RenderedKey(cluster, bundle), rendered);
      }
      case 2: {
        storage::v1::Released released;
        released.set_state(Pick(5) == 0 ? storage::v1::Released::STATE_GONE
                                        : storage::v1::Released::STATE_ACTIVE);
        released.set_manifest_digest("m");
        released.set_generation(1 + Pick(2));
        return Write(kReleasedFamily, ReleasedKey(cluster, bundle), released);
      }
      default: {
        storage::v1::Observed observed;
        observed.mutable_state()->set_generation(1);
        observed.mutable_state()->set_phase(
            static_cast<core::v1::Phase>(5 + Pick(5)));
        core::v1::ResourceCounts& counts =
            *observed.mutable_state()->mutable_counts();
        counts.set_desired(3);
        counts.set_ready(2 + Pick(2));
        return Write(kObservedFamily, ObservedKey(cluster, bundle), observed);
      }
    }
  }

  // What a manager says that starts now.
  std::map<StatusSubject, std::string> FromNothing() {
    ReadModel model(store_, clock_, Sources(false));
    loop_.RunUntilIdle();
    for (const auto& [key, status] : reports_) {
      model.OnResource(std::get<0>(key), status);
    }
    StatusIndex index(loop_, clock_, model);
    index.OnResourcesLoaded();
    std::map<StatusSubject, std::string> out;
    for (const StatusSubject& subject : model.Subjects()) {
      out[subject] = index.StatusOf(subject).dump();
    }
    return out;
  }

  std::mt19937 random_;
  SimulatedLoop loop_;
  FakeClock clock_;
  MemoryStore store_{loop_};
  std::set<std::string> online_;
  std::set<std::pair<std::string, std::string>> rejected_;
  std::map<std::tuple<std::string, std::string, std::string>,
           core::v1::ResourceStatus>
      reports_;
  std::map<StatusSubject, std::string> told_;
  std::unique_ptr<StatusIndex> index_;
  std::unique_ptr<ReadModel> model_;
};

TEST_P(RandomFleetTest, WhatIsKeptIsWhatAFoldFromNothingGives) {
  size_t most = 0;
  for (int round = 0; round < 80; ++round) {
    for (uint32_t i = 0; i < 1 + Pick(6); ++i) Step();
    loop_.Advance(StatusIndex::kDelay);

    std::map<StatusSubject, std::string> told;
    for (const auto& [subject, text] : told_) {
      if (text != "null") told[subject] = text;
    }
    const auto fresh = FromNothing();
    ASSERT_EQ(told.size(), fresh.size()) << "round " << round;
    for (const auto& [subject, text] : fresh) {
      ASSERT_EQ(told[subject], text)
          << "round " << round << ": " << subject.kind << " "
          << subject.workspace << "/" << subject.name;
    }
    most = std::max(most, fresh.size());
  }
  EXPECT_GT(most, 8u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomFleetTest, ::testing::Range(1u, 9u));

}  // namespace
}  // namespace flotilla::manager
