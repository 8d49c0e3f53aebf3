// SPDX-License-Identifier: Apache-2.0

#include "manager/rollout/rollout_planner.h"

#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using core::v1::DeploymentState;
using storage::v1::Desired;
using storage::v1::Released;
using storage::v1::Rendered;

Desired Want(const std::string& revision, const std::string& commit = "c1") {
  Desired d;
  d.set_cluster_id("cluster");
  d.set_bundle_id("bundle");
  d.set_revision(revision);
  d.set_options_digest("o");
  d.set_workspace("fleet-default");
  d.set_bundle_name("app");
  d.mutable_commit()->set_id(commit);
  return d;
}

Rendered Render(const std::string& revision, const std::string& digest) {
  Rendered r;
  r.set_revision(revision);
  r.set_options_digest("o");
  r.set_manifest_digest(digest);
  r.set_manifest_size(7);
  r.set_manifest_revision(revision);
  r.add_blob_digests("blob-of-" + digest);
  return r;
}

Released Active(uint64_t generation, const std::string& digest) {
  Released r;
  r.set_generation(generation);
  r.set_state(Released::STATE_ACTIVE);
  r.set_manifest_digest(digest);
  r.add_blob_digests("blob-of-" + digest);
  return r;
}

Desired Unwanted(core::v1::DeleteCause cause, const std::string& by) {
  Desired d = Want("r1");
  d.set_removal(cause);
  d.set_removed_by(by);
  return d;
}

TEST(RolloutPlanner, NothingNewGoesOutWhilePaused) {
  const Rendered rendered = Render("r2", "m2");
  const Released released = Active(4, "m1");
  Desired want = Want("r2");
  want.set_paused(true);

  EXPECT_FALSE(PlanRelease(want, &rendered, nullptr, nullptr, {}).has_value());
  EXPECT_FALSE(
      PlanRelease(want, &rendered, &released, nullptr, {}).has_value());

  want.set_paused(false);
  EXPECT_TRUE(PlanRelease(want, &rendered, &released, nullptr, {}).has_value());
}

TEST(RolloutPlanner, OnlyAPersonDeletesWhatIsPaused) {
  const Released released = Active(4, "m1");
  for (const auto& [cause, goes] :
       {std::pair(core::v1::DELETE_CAUSE_GIT_REMOVED, false),
        std::pair(core::v1::DELETE_CAUSE_TARGET_CHANGED, false),
        std::pair(core::v1::DELETE_CAUSE_OPERATOR, true)}) {
    Desired unwanted = Unwanted(cause, "c2");
    unwanted.set_paused(true);
    EXPECT_EQ(PlanRelease(unwanted, nullptr, &released, nullptr, {})
                  .has_value(),
              goes);
  }
}

TEST(RolloutPlanner, ReleasesTheFirstManifestAsGenerationOne) {
  const Rendered rendered = Render("r1", "m1");

  auto next = PlanRelease(Want("r1"), &rendered, nullptr, nullptr, {});

  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->generation(), 1u);
  EXPECT_EQ(next->state(), Released::STATE_ACTIVE);
  EXPECT_EQ(next->manifest_digest(), "m1");
  EXPECT_EQ(next->bundle_name(), "app");
}

TEST(RolloutPlanner, SaysNothingWhileTheRenderIsOutstanding) {
  const Rendered old = Render("r1", "m1");
  const Released released = Active(3, "m1");

  EXPECT_FALSE(PlanRelease(Want("r2"), &old, &released, nullptr, {}));
  EXPECT_FALSE(PlanRelease(Want("r2"), nullptr, &released, nullptr, {}));
}

TEST(RolloutPlanner, KeepsTheLastGoodReleaseWhenTheRenderFails) {
  Rendered failed = Render("r2", "m1");
  failed.add_problems()->set_message("broken");
  const Released released = Active(3, "m1");

  EXPECT_FALSE(PlanRelease(Want("r2"), &failed, &released, nullptr, {}));
}

TEST(RolloutPlanner, DoesNotRaiseTheGenerationForTheSameManifest) {
  const Rendered rendered = Render("r2", "m1");
  const Released released = Active(3, "m1");

  EXPECT_FALSE(PlanRelease(Want("r2"), &rendered, &released, nullptr, {}));
}

TEST(RolloutPlanner, KeepsThePreviousBlobsReadable) {
  const Rendered rendered = Render("r2", "m2");
  const Released released = Active(3, "m1");

  auto next = PlanRelease(Want("r2"), &rendered, &released, nullptr, {});

  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->generation(), 4u);
  ASSERT_EQ(next->previous_blob_digests_size(), 1);
  EXPECT_EQ(next->previous_blob_digests(0), "blob-of-m1");
}

TEST(RolloutPlanner, MakesATombstoneOnlyFromARemoval) {
  const Released released = Active(3, "m1");

  auto next =
      PlanRelease(Unwanted(core::v1::DELETE_CAUSE_GIT_REMOVED, "c2"), nullptr,
                  &released, nullptr, {});

  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->state(), Released::STATE_DELETING);
  EXPECT_EQ(next->generation(), 4u);
  EXPECT_EQ(next->cause(), core::v1::DELETE_CAUSE_GIT_REMOVED);
  EXPECT_EQ(next->approved_by(), "c2");
  EXPECT_EQ(next->manifest_digest(), "m1");
}

TEST(RolloutPlanner, HoldsATombstoneWhileItsCommitOwesTheClusterSomething) {
  const Released released = Active(3, "m1");
  ClusterDebt debt;
  debt.commits.insert("c2");

  EXPECT_FALSE(PlanRelease(Unwanted(core::v1::DELETE_CAUSE_GIT_REMOVED, "c2"),
                           nullptr, &released, nullptr, debt));
  EXPECT_TRUE(PlanRelease(Unwanted(core::v1::DELETE_CAUSE_GIT_REMOVED, "c3"),
                          nullptr, &released, nullptr, debt));
  EXPECT_TRUE(PlanRelease(Unwanted(core::v1::DELETE_CAUSE_OPERATOR, "c2"),
                          nullptr, &released, nullptr, debt));
}

TEST(RolloutPlanner, HoldsAReplacementWhileItsCommitIsStillRendered) {
  const Rendered rendered = Render("r2", "m2");
  const Released active = Active(4, "m1");
  ClusterDebt debt;
  debt.rendering.insert("c2");

  EXPECT_FALSE(PlanRelease(Want("r2", "c2"), &rendered, &active, nullptr, debt)
                   .has_value());
  // What is new, or only adds, takes nothing from anybody.
  EXPECT_TRUE(PlanRelease(Want("r2", "c2"), &rendered, nullptr, nullptr, debt)
                  .has_value());
  Rendered more = rendered;
  more.add_blob_digests("blob-of-m1");
  EXPECT_TRUE(PlanRelease(Want("r2", "c2"), &more, &active, nullptr, debt)
                  .has_value());
  // Another commit's renders are not waited for, nor what has failed.
  EXPECT_TRUE(PlanRelease(Want("r2", "c3"), &rendered, &active, nullptr, debt)
                  .has_value());
  debt.rendering.clear();
  debt.commits.insert("c2");
  EXPECT_TRUE(PlanRelease(Want("r2", "c2"), &rendered, &active, nullptr, debt)
                  .has_value());
}

TEST(RolloutPlanner, IsGoneOnlyWhenTheAgentSaysSoOfThatGeneration) {
  Released deleting = Active(4, "m1");
  deleting.set_state(Released::STATE_DELETING);
  const Desired unwanted = Unwanted(core::v1::DELETE_CAUSE_OPERATOR, "x");
  DeploymentState observed;
  observed.set_generation(3);
  observed.set_phase(core::v1::PHASE_DELETED);

  EXPECT_FALSE(PlanRelease(unwanted, nullptr, &deleting, &observed, {}));
  observed.set_generation(4);
  auto gone = PlanRelease(unwanted, nullptr, &deleting, &observed, {});

  ASSERT_TRUE(gone.has_value());
  EXPECT_EQ(gone->state(), Released::STATE_GONE);
  EXPECT_EQ(gone->generation(), 4u);
  EXPECT_EQ(gone->blob_digests_size(), 0);
}

TEST(RolloutPlanner, RisesAboveTheTombstoneWhenTheBundleComesBack) {
  Released gone = Active(4, "m1");
  gone.set_state(Released::STATE_GONE);
  const Rendered rendered = Render("r1", "m1");

  auto next = PlanRelease(Want("r1"), &rendered, &gone, nullptr, {});

  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->generation(), 5u);
  EXPECT_EQ(next->state(), Released::STATE_ACTIVE);
}

TEST(RolloutPlanner, NeverDeletesWhatWasNeverReleased) {
  EXPECT_FALSE(PlanRelease(Unwanted(core::v1::DELETE_CAUSE_GIT_REMOVED, "c"),
                           nullptr, nullptr, nullptr, {}));
}

}  // namespace
}  // namespace flotilla::manager
