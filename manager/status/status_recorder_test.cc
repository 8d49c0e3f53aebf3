// SPDX-License-Identifier: Apache-2.0

#include "manager/status/status_recorder.h"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/env/fake_clock.h"
#include "common/event/inline_worker_pool.h"
#include "common/event/simulated_loop.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;

class StatusRecorderTest : public ::testing::Test {
 protected:
  StatusRecorderTest()
      : pool_(loop_),
        store_(loop_),
        observed_(store_, kObservedFamily),
        released_writer_(store_, kReleasedFamily) {
    const std::string path = absl::StrCat(
        ::testing::TempDir(), "/recorder-",
        ::testing::UnitTest::GetInstance()->current_test_info()->name(), ".db");
    for (const char* end : {"", "-wal", "-shm"}) {
      std::remove((path + end).c_str());
    }
    database_ = *StatusDatabase::Open(path);
    recorder_ = std::make_unique<StatusRecorder>(
        loop_, pool_, clock_, store_, FamilyWriter(store_, kObservedFamily),
        *database_, Listener());
    Release(1, storage::v1::Released::STATE_ACTIVE);
  }

  StatusListener Listener() {
    StatusListener listener;
    listener.on_resource = [this](const std::string& cluster,
                                  const core::v1::ResourceStatus& status) {
      told_.push_back(absl::StrCat(cluster, "/", status.bundle_id(), " ",
                                   status.key().name()));
    };
    listener.on_forgotten = [this](const std::string& cluster,
                                   const std::string& bundle) {
      told_.push_back(absl::StrCat("forgotten ", cluster, "/", bundle));
    };
    listener.on_rejection = [this](const std::string& cluster,
                                   const std::string& bundle) {
      told_.push_back(absl::StrCat("rejection ", cluster, "/", bundle));
    };
    listener.on_loaded = [this] { told_.push_back("loaded"); };
    return listener;
  }

  void Release(uint64_t generation, storage::v1::Released::State state) {
    storage::v1::Released released;
    released.set_generation(generation);
    released.set_state(state);
    released_writer_.Txn(
        {}, {Op::Put(ReleasedKey("c", "b"), SerializeRecord(released))},
        [](absl::StatusOr<int64_t> done) { ASSERT_THAT(done, IsOk()); });
    loop_.RunUntilIdle();
  }

  core::v1::DeploymentState State(const std::string& bundle,
                                  core::v1::Phase phase) {
    core::v1::DeploymentState state;
    state.set_bundle_id(bundle);
    state.set_generation(1);
    state.set_phase(phase);
    return state;
  }

  SimulatedLoop loop_;
  InlineWorkerPool pool_;
  FakeClock clock_;
  MemoryStore store_;
  TypedMirror<storage::v1::Observed> observed_;
  FamilyWriter released_writer_;
  std::vector<std::string> told_;
  std::unique_ptr<StatusDatabase> database_;
  std::unique_ptr<StatusRecorder> recorder_;
};

TEST_F(StatusRecorderTest, SaysDoneOnlyWhenResourcesAndStateAreDurable) {
  int done = 0;
  core::v1::ResourceStatus resource;
  resource.set_bundle_id("b");
  resource.mutable_key()->set_kind("Service");
  recorder_->OnResources("c", 7, {resource}, [&](absl::Status status) {
    EXPECT_THAT(status, IsOk());
    EXPECT_EQ(database_->Resources({"c", "b"})->size(), 1u);
    ++done;
  });
  recorder_->OnState("c", 7, State("b", core::v1::PHASE_HEALTHY),
                     [&](absl::Status status) {
                       EXPECT_THAT(status, IsOk());
                       ++done;
                     });
  EXPECT_EQ(done, 0);

  loop_.RunUntilIdle();

  EXPECT_EQ(done, 2);
  ASSERT_NE(observed_.Find(ObservedKey("c", "b")), nullptr);
  EXPECT_EQ(observed_.Find(ObservedKey("c", "b"))->epoch(), 7u);
}

TEST_F(StatusRecorderTest, RefusesABundleThatTheClusterNeverHad) {
  absl::Status said;
  recorder_->OnState("c", 7, State("foreign", core::v1::PHASE_HEALTHY),
                     [&](absl::Status status) { said = status; });
  loop_.RunUntilIdle();

  EXPECT_THAT(said, StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_EQ(observed_.Find(ObservedKey("c", "foreign")), nullptr);
}

TEST_F(StatusRecorderTest, ForgetsTheResourcesOfADeploymentThatIsGone) {
  core::v1::ResourceStatus resource;
  resource.set_bundle_id("b");
  recorder_->OnResources("c", 7, {resource}, [](absl::Status) {});
  loop_.RunUntilIdle();
  ASSERT_EQ(database_->Resources({"c", "b"})->size(), 1u);

  Release(1, storage::v1::Released::STATE_GONE);

  EXPECT_EQ(database_->Resources({"c", "b"})->size(), 0u);
}

TEST_F(StatusRecorderTest, ForgetsTheResourcesOfAClusterThatIsRevoked) {
  core::v1::ResourceStatus resource;
  resource.set_bundle_id("b");
  recorder_->OnResources("c", 7, {resource}, [](absl::Status) {});
  loop_.RunUntilIdle();
  storage::v1::ClusterIdentity identity;
  FamilyWriter writer(store_, kClusterFamily);
  const auto put = [&] {
    writer.Txn({},
               {Op::Put(ClusterIdentityKey(identity.cluster_id()),
                        SerializeRecord(identity))},
               [](absl::StatusOr<int64_t> done) { ASSERT_THAT(done, IsOk()); });
    loop_.RunUntilIdle();
  };

  // Another one, and one that is there.
  identity.set_cluster_id("c2");
  identity.set_revoked(true);
  put();
  identity.set_cluster_id("c");
  identity.set_revoked(false);
  put();
  EXPECT_EQ(database_->Resources({"c", "b"})->size(), 1u);
  identity.set_revoked(true);
  put();

  EXPECT_EQ(database_->Resources({"c", "b"})->size(), 0u);
}

TEST_F(StatusRecorderTest, ARejectionStandsUntilANewerGeneration) {
  core::v1::Problem problem;
  problem.set_message("too large");
  recorder_->OnRejected("c", 7, "b", 1, problem);
  EXPECT_TRUE(recorder_->Rejection("c", "b").has_value());

  Release(2, storage::v1::Released::STATE_ACTIVE);

  EXPECT_FALSE(recorder_->Rejection("c", "b").has_value());
}

TEST_F(StatusRecorderTest, TellsOfResourcesWhenTheyAreDurable) {
  EXPECT_THAT(told_, ElementsAre("loaded"));
  core::v1::ResourceStatus status;
  status.set_bundle_id("b");
  status.mutable_key()->set_name("web");
  recorder_->OnResources("c", 1, {status}, [](absl::Status) {});
  loop_.RunUntilIdle();
  EXPECT_THAT(told_, ElementsAre("loaded", "c/b web"));

  // Those of a former run come before anything else is written.
  told_.clear();
  recorder_ = std::make_unique<StatusRecorder>(
      loop_, pool_, clock_, store_, FamilyWriter(store_, kObservedFamily),
      *database_, Listener());
  loop_.RunUntilIdle();
  EXPECT_THAT(told_, ElementsAre("c/b web", "loaded"));

  Release(2, storage::v1::Released::STATE_GONE);
  EXPECT_THAT(told_, ElementsAre("c/b web", "loaded", "forgotten c/b"));
}

TEST_F(StatusRecorderTest, TellsWhenARejectionComesAndGoes) {
  told_.clear();
  recorder_->OnRejected("c", 1, "b", 1, core::v1::Problem());
  EXPECT_THAT(told_, ElementsAre("rejection c/b"));

  recorder_->OnState("c", 1, State("b", core::v1::PHASE_HEALTHY),
                     [](absl::Status) {});
  EXPECT_THAT(told_, ElementsAre("rejection c/b", "rejection c/b"));
}

}  // namespace
}  // namespace flotilla::manager
