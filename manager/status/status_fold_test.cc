// SPDX-License-Identifier: Apache-2.0

#include "manager/status/status_fold.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::HasSubstr;
using storage::v1::Released;

// A deployment that is rendered, released as generation 2 and healthy.
class StatusFoldTest : public ::testing::Test {
 protected:
  StatusFoldTest() {
    desired_.set_revision("r1");
    desired_.set_options_digest("o");
    rendered_.set_revision("r1");
    rendered_.set_options_digest("o");
    rendered_.set_manifest_digest("m");
    released_.set_generation(2);
    released_.set_state(Released::STATE_ACTIVE);
    released_.set_manifest_digest("m");
    observed_.mutable_state()->set_generation(2);
    observed_.mutable_state()->set_phase(core::v1::PHASE_HEALTHY);
    facts_.desired = &desired_;
    facts_.rendered = &rendered_;
    facts_.released = &released_;
    facts_.observed = &observed_;
    facts_.online = true;
    facts_.silent_for = absl::ZeroDuration();
    facts_.has_facts = true;
  }

  void Observe(core::v1::Phase phase, const std::string& problem = "") {
    observed_.mutable_state()->set_phase(phase);
    observed_.mutable_state()->clear_problems();
    if (!problem.empty()) {
      observed_.mutable_state()->add_problems()->set_message(problem);
    }
  }

  storage::v1::Desired desired_;
  storage::v1::Rendered rendered_;
  storage::v1::Released released_;
  storage::v1::Observed observed_;
  DeploymentFacts facts_;
};

TEST_F(StatusFoldTest, HealthyOfTheReleasedGenerationIsReady) {
  const DeploymentVerdict verdict = FoldDeployment(facts_);

  EXPECT_EQ(verdict.state, FoldedState::kReady);
  EXPECT_EQ(verdict.message, "");
}

TEST_F(StatusFoldTest, HealthyOfAnOlderGenerationIsNotReady) {
  released_.set_generation(3);

  EXPECT_EQ(FoldDeployment(facts_).state, FoldedState::kWaitApplied);
}

TEST_F(StatusFoldTest, AnOlderRevisionThanItsBundleHasIsNotReady) {
  facts_.outdated = true;
  const DeploymentVerdict verdict = FoldDeployment(facts_);
  EXPECT_EQ(verdict.state, FoldedState::kWaitApplied);
  EXPECT_EQ(verdict.counts.ready(), 0u);

  desired_.set_paused(true);
  EXPECT_EQ(FoldDeployment(facts_).state, FoldedState::kOutOfSync);
}

TEST_F(StatusFoldTest, EveryPhaseHasItsState) {
  const struct {
    core::v1::Phase phase;
    FoldedState state;
  } kRows[] = {
      {core::v1::PHASE_UNSPECIFIED, FoldedState::kWaitApplied},
      {core::v1::PHASE_STORED, FoldedState::kWaitApplied},
      {core::v1::PHASE_FETCHING, FoldedState::kWaitApplied},
      {core::v1::PHASE_READY, FoldedState::kWaitApplied},
      {core::v1::PHASE_BLOCKED, FoldedState::kWaitApplied},
      {core::v1::PHASE_APPLYING, FoldedState::kWaitApplied},
      {core::v1::PHASE_VERIFYING, FoldedState::kNotReady},
      {core::v1::PHASE_HEALTHY, FoldedState::kReady},
      {core::v1::PHASE_DEGRADED, FoldedState::kNotReady},
      {core::v1::PHASE_FAILED, FoldedState::kErrApplied},
      {core::v1::PHASE_DELETING, FoldedState::kDeleting},
      {core::v1::PHASE_DELETED, FoldedState::kDeleting},
  };
  for (const auto& row : kRows) {
    Observe(row.phase, "why");
    const DeploymentVerdict verdict = FoldDeployment(facts_);
    EXPECT_EQ(verdict.state, row.state) << core::v1::Phase_Name(row.phase);
    if (row.state != FoldedState::kReady) {
      EXPECT_EQ(verdict.message, "why");
    }
  }
}

TEST_F(StatusFoldTest, DriftThatStandsIsModified) {
  observed_.mutable_state()->mutable_counts()->set_modified(1);

  EXPECT_EQ(FoldDeployment(facts_).state, FoldedState::kModified);
}

TEST_F(StatusFoldTest, AnOfflineClusterIsNeverReadyAndSaysSinceWhen) {
  facts_.online = false;
  facts_.silent_for = absl::Seconds(185);

  const DeploymentVerdict verdict = FoldDeployment(facts_);

  EXPECT_EQ(verdict.state, FoldedState::kOffline);
  EXPECT_EQ(verdict.message,
            "no contact with the agent for 3m5s; last known: Ready");

  facts_.silent_for = absl::Milliseconds(300);
  EXPECT_EQ(FoldDeployment(facts_).message,
            "no contact with the agent for 0s; last known: Ready");
}

TEST_F(StatusFoldTest, ARenderErrorComesFirstWithFileAndLine) {
  core::v1::Problem* problem = rendered_.add_problems();
  problem->set_file("app/templates/web.yaml");
  problem->set_line(12);
  problem->set_message("nil pointer");
  Observe(core::v1::PHASE_FAILED, "other");

  const DeploymentVerdict verdict = FoldDeployment(facts_);

  EXPECT_EQ(verdict.state, FoldedState::kErrApplied);
  EXPECT_EQ(verdict.message, "app/templates/web.yaml:12: nil pointer");
  EXPECT_EQ(verdict.problems.size(), 2u);
}

TEST_F(StatusFoldTest, WhatIsNotRenderedIsPending) {
  desired_.set_revision("r2");
  EXPECT_EQ(FoldDeployment(facts_).state, FoldedState::kPending);

  facts_.has_facts = false;
  EXPECT_THAT(FoldDeployment(facts_).message, HasSubstr("what it serves"));
}

TEST_F(StatusFoldTest, ARemovalIsDeletingUntilTheAgentConfirms) {
  desired_.set_removal(core::v1::DELETE_CAUSE_OPERATOR);
  EXPECT_EQ(FoldDeployment(facts_).state, FoldedState::kDeleting);

  released_.set_state(Released::STATE_DELETING);
  released_.set_generation(3);
  EXPECT_THAT(FoldDeployment(facts_).message, HasSubstr("not confirmed"));
}

TEST_F(StatusFoldTest, CountsOfWhatIsNotKnownAreNotReady) {
  core::v1::ResourceCounts& counts =
      *observed_.mutable_state()->mutable_counts();
  counts.set_desired(3);
  counts.set_ready(3);
  EXPECT_EQ(FoldDeployment(facts_).counts.ready(), 3u);

  facts_.online = false;
  EXPECT_EQ(FoldDeployment(facts_).counts.ready(), 0u);
  EXPECT_EQ(FoldDeployment(facts_).counts.unknown(), 3u);

  facts_.online = true;
  released_.set_generation(3);
  EXPECT_EQ(FoldDeployment(facts_).counts.ready(), 0u);
  EXPECT_EQ(FoldDeployment(facts_).counts.wait_applied(), 3u);
}

TEST_F(StatusFoldTest, HealthyIsNotBelievedAgainstTheCounts) {
  observed_.mutable_state()->mutable_counts()->set_desired(3);
  observed_.mutable_state()->mutable_counts()->set_ready(2);

  EXPECT_EQ(FoldDeployment(facts_).state, FoldedState::kNotReady);
}

TEST(Counts, WhatWasAddedCanBeTakenAway) {
  core::v1::ResourceCounts one;
  const auto* descriptor = core::v1::ResourceCounts::descriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    one.GetReflection()->SetUInt32(&one, descriptor->field(i),
                                   static_cast<uint32_t>(i + 1));
  }
  core::v1::ResourceCounts sum = one;

  AddCounts(one, sum);
  SubtractCounts(one, sum);

  EXPECT_EQ(sum.SerializeAsString(), one.SerializeAsString());
}

TEST(ProblemText, NamesTheObjectWhereTheFileHasNoLine) {
  core::v1::Problem problem;
  problem.set_subject("configmap shop/settings");
  problem.set_message("is immutable");
  EXPECT_EQ(ProblemText(problem), "configmap shop/settings: is immutable");

  problem.set_file("app/all.yaml");
  EXPECT_EQ(ProblemText(problem),
            "app/all.yaml: configmap shop/settings: is immutable");

  problem.set_line(7);
  EXPECT_EQ(ProblemText(problem), "app/all.yaml:7: is immutable");
}

TEST(AgeText, IsRoundedForReading) {
  EXPECT_EQ(AgeText(absl::Milliseconds(1500)), "1s");
  EXPECT_EQ(AgeText(absl::Minutes(61)), "1h1m");
  EXPECT_EQ(AgeText(absl::Hours(49)), "49h");
  EXPECT_EQ(AgeText(absl::Hours(24 * 30)), "30d");
  EXPECT_EQ(AgeText(-absl::Seconds(3)), "0s");
}

}  // namespace
}  // namespace flotilla::manager
