// SPDX-License-Identifier: Apache-2.0

#include "manager/rollout/rollout_controller.h"

#include <memory>
#include <string>

#include "common/event/simulated_loop.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gtest/gtest.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"

namespace flotilla::manager {
namespace {

using storage::v1::Released;

class RolloutControllerTest : public ::testing::Test {
 protected:
  RolloutControllerTest()
      : store_(loop_),
        released_(store_, kReleasedFamily),
        desired_writer_(store_, kDesiredFamily),
        rendered_writer_(store_, kRenderedFamily),
        observed_writer_(store_, kObservedFamily) {
    Start();
  }

  void Start() {
    controller_ = std::make_unique<RolloutController>(
        loop_, store_, FamilyWriter(store_, kReleasedFamily));
    loop_.RunUntilIdle();
  }

  template <typename T>
  void Put(FamilyWriter& writer, const std::string& key, const T& record) {
    writer.Txn({}, {Op::Put(key, SerializeRecord(record))},
               [](absl::StatusOr<int64_t> done) { ASSERT_TRUE(done.ok()); });
    loop_.RunUntilIdle();
  }

  void Want(const std::string& bundle, const std::string& revision,
            const std::string& commit, bool paused = false) {
    storage::v1::Desired d;
    d.set_paused(paused);
    d.set_revision(revision);
    d.mutable_commit()->set_id(commit);
    Put(desired_writer_, DesiredKey("c", bundle), d);
  }

  void Unwant(const std::string& bundle, core::v1::DeleteCause cause,
              const std::string& by) {
    storage::v1::Desired d;
    d.set_removal(cause);
    d.set_removed_by(by);
    Put(desired_writer_, DesiredKey("c", bundle), d);
  }

  void Render(const std::string& bundle, const std::string& revision) {
    storage::v1::Rendered r;
    r.set_revision(revision);
    r.set_manifest_digest("manifest of " + revision);
    Put(rendered_writer_, RenderedKey("c", bundle), r);
  }

  const Released* Get(const std::string& bundle) {
    return released_.Find(ReleasedKey("c", bundle));
  }

  SimulatedLoop loop_;
  MemoryStore store_;
  TypedMirror<Released> released_;
  FamilyWriter desired_writer_;
  FamilyWriter rendered_writer_;
  FamilyWriter observed_writer_;
  std::unique_ptr<RolloutController> controller_;
};

TEST_F(RolloutControllerTest, ReleasesWhatIsRenderedWithRisingVersions) {
  Want("a", "r1", "c1");
  EXPECT_EQ(Get("a"), nullptr);
  Render("a", "r1");
  Want("b", "r1", "c1");
  Render("b", "r1");

  ASSERT_NE(Get("a"), nullptr);
  ASSERT_NE(Get("b"), nullptr);
  EXPECT_EQ(Get("a")->generation(), 1u);
  EXPECT_EQ(Get("a")->av(), 1u);
  EXPECT_EQ(Get("b")->av(), 2u);
}

TEST_F(RolloutControllerTest, ARestartGoesOnWhereItWas) {
  Want("a", "r1", "c1");
  Render("a", "r1");
  controller_.reset();
  Want("a", "r2", "c2");
  Render("a", "r2");
  EXPECT_EQ(Get("a")->generation(), 1u);

  Start();

  EXPECT_EQ(Get("a")->generation(), 2u);
  EXPECT_EQ(Get("a")->av(), 2u);
}

TEST_F(RolloutControllerTest, ARenamedDirectoryIsBroughtBeforeTheOldOneGoes) {
  Want("old", "r1", "c1");
  Render("old", "r1");
  Want("new", "r2", "c2");
  Unwant("old", core::v1::DELETE_CAUSE_GIT_REMOVED, "c2");
  EXPECT_EQ(Get("old")->state(), Released::STATE_ACTIVE);

  Render("new", "r2");

  EXPECT_EQ(Get("old")->state(), Released::STATE_DELETING);
  EXPECT_EQ(Get("new")->state(), Released::STATE_ACTIVE);
}

TEST_F(RolloutControllerTest, WhatAPausedBundleReplacesStaysUntilItIsReleased) {
  Want("old", "r1", "c1");
  Render("old", "r1");
  Want("new", "r2", "c2", /*paused=*/true);
  Unwant("old", core::v1::DELETE_CAUSE_GIT_REMOVED, "c2");
  Render("new", "r2");
  EXPECT_EQ(Get("new"), nullptr);
  EXPECT_EQ(Get("old")->state(), Released::STATE_ACTIVE);

  Want("new", "r2", "c2");

  EXPECT_EQ(Get("new")->state(), Released::STATE_ACTIVE);
  EXPECT_EQ(Get("old")->state(), Released::STATE_DELETING);
}

TEST_F(RolloutControllerTest, WhatOneCommitReplacesIsReleasedTogether) {
  for (const char* bundle : {"a", "b"}) {
    Want(bundle, "r1", "c1");
    Render(bundle, "r1");
  }
  storage::v1::Released with_object = *Get("a");
  with_object.add_blob_digests("an object that moves");
  FamilyWriter released(store_, kReleasedFamily);
  Put(released, ReleasedKey("c", "a"), with_object);

  Want("a", "r2", "c2");
  Want("b", "r2", "c2");
  Render("a", "r2");
  EXPECT_EQ(Get("a")->generation(), 1u);
  Render("b", "r2");

  EXPECT_EQ(Get("a")->generation(), 2u);
  EXPECT_EQ(Get("b")->generation(), 2u);
}

TEST_F(RolloutControllerTest, ARemovedDesiredRecordDeletesNothing) {
  Want("a", "r1", "c1");
  Render("a", "r1");

  desired_writer_.Txn({}, {Op::Delete(DesiredKey("c", "a"))},
                      [](absl::StatusOr<int64_t>) {});
  loop_.RunUntilIdle();

  EXPECT_EQ(Get("a")->state(), Released::STATE_ACTIVE);
}

TEST_F(RolloutControllerTest, IsGoneWhenTheAgentHasConfirmed) {
  Want("a", "r1", "c1");
  Render("a", "r1");
  Unwant("a", core::v1::DELETE_CAUSE_OPERATOR, "GitRepo x");
  ASSERT_EQ(Get("a")->state(), Released::STATE_DELETING);

  storage::v1::Observed observed;
  observed.mutable_state()->set_generation(Get("a")->generation());
  observed.mutable_state()->set_phase(core::v1::PHASE_DELETED);
  Put(observed_writer_, ObservedKey("c", "a"), observed);

  EXPECT_EQ(Get("a")->state(), Released::STATE_GONE);
}

}  // namespace
}  // namespace flotilla::manager
