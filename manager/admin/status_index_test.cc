// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/status_index.h"

#include <memory>
#include <optional>
#include <string>
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
    sources.changed = [this] {
      if (index_ != nullptr) index_->OnChange();
    };
    model_ = std::make_unique<ReadModel>(store_, clock_, sources);
    index_ = std::make_unique<StatusIndex>(loop_, *model_);

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

TEST_F(StatusIndexTest, ACountsWhatAnotherWorkspaceBrings) {
  Deploy(core::v1::PHASE_HEALTHY);
  Listen();

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
  loop_.Advance(StatusIndex::kGlance);
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

}  // namespace
}  // namespace flotilla::manager
