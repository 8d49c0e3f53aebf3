// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/deployment_machine.h"

#include <string>

#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using Action = DeploymentMachine::Action;

std::string Text(const DeploymentMachine::Actions& actions) {
  std::string text;
  for (const Action action : actions) {
    switch (action) {
      case Action::kFetchManifest: text += "manifest "; break;
      case Action::kFetchBlobs: text += "blobs "; break;
      case Action::kRun: text += "run "; break;
      case Action::kCancelRun: text += "cancel "; break;
      case Action::kMarkDeleted: text += "deleted "; break;
    }
  }
  return text;
}

const ObjectsView kFine;

TEST(DeploymentMachine, FetchesAppliesAndIsHealthy) {
  DeploymentMachine machine;
  EXPECT_EQ(Text(machine.Ready(true)), "");
  EXPECT_EQ(Text(machine.Assigned(1, false, false, false)), "manifest ");
  EXPECT_EQ(machine.PhaseOf(kFine), core::v1::PHASE_FETCHING);
  EXPECT_EQ(Text(machine.ManifestHere(1)), "blobs ");
  EXPECT_EQ(Text(machine.BlobsHere(1)), "run ");
  EXPECT_EQ(machine.PhaseOf(kFine), core::v1::PHASE_APPLYING);
  EXPECT_EQ(Text(machine.RunEnded(RunEnd::kClean)), "");
  EXPECT_EQ(machine.PhaseOf(kFine), core::v1::PHASE_HEALTHY);
}

TEST(DeploymentMachine, WaitsUntilTheClusterIsKnown) {
  DeploymentMachine machine;
  EXPECT_EQ(Text(machine.Assigned(1, false, false, true)), "");
  EXPECT_EQ(machine.PhaseOf(kFine), core::v1::PHASE_READY);
  EXPECT_EQ(Text(machine.Ready(true)), "run ");
}

TEST(DeploymentMachine, ANewGenerationPreemptsWhenItIsComplete) {
  DeploymentMachine machine;
  machine.Ready(true);
  machine.Assigned(1, false, false, true);
  EXPECT_TRUE(machine.running());

  EXPECT_EQ(Text(machine.Assigned(2, false, false, false)), "manifest ");
  EXPECT_TRUE(machine.running());
  EXPECT_EQ(Text(machine.ManifestHere(1)), "");
  EXPECT_EQ(Text(machine.ManifestHere(2)), "blobs ");
  EXPECT_EQ(Text(machine.BlobsHere(2)), "cancel run ");
}

TEST(DeploymentMachine, TheOlderGenerationGoesOnWhileTheNewerIsFetched) {
  DeploymentMachine machine;
  machine.Ready(true);
  machine.Assigned(1, false, false, true);
  machine.RunEnded(RunEnd::kBlocked);
  machine.Assigned(2, false, false, false);

  EXPECT_EQ(Text(machine.Replan()), "run ");
  EXPECT_EQ(machine.PhaseOf(kFine), core::v1::PHASE_FETCHING);
}

TEST(DeploymentMachine, ATombstoneEndsInDeletedAndIsStoredFirst) {
  DeploymentMachine machine;
  machine.Ready(true);
  machine.Assigned(1, false, false, true);

  EXPECT_EQ(Text(machine.Assigned(2, true, false, false)), "cancel run ");
  EXPECT_EQ(machine.PhaseOf(kFine), core::v1::PHASE_DELETING);
  EXPECT_EQ(Text(machine.RunEnded(RunEnd::kBlocked)), "");
  EXPECT_EQ(Text(machine.Replan()), "run ");
  EXPECT_EQ(Text(machine.RunEnded(RunEnd::kClean)), "deleted ");
  EXPECT_EQ(machine.PhaseOf(kFine), core::v1::PHASE_DELETING);
  machine.DeletionStored(2);
  EXPECT_EQ(machine.PhaseOf(kFine), core::v1::PHASE_DELETED);
  EXPECT_EQ(Text(machine.Replan()), "");
}

TEST(DeploymentMachine, ADeletionThatCouldNotBeStoredIsStoredAgain) {
  DeploymentMachine machine;
  machine.Ready(true);
  machine.Assigned(1, true, false, false);
  EXPECT_EQ(Text(machine.RunEnded(RunEnd::kClean)), "deleted ");

  EXPECT_EQ(Text(machine.Replan()), "deleted ");
}

TEST(DeploymentMachine, IsNotHealthyWhileSomethingWaitsToBeDeleted) {
  DeploymentMachine machine;
  machine.Ready(true);
  machine.Assigned(1, false, false, true);
  machine.RunEnded(RunEnd::kWaiting);

  EXPECT_EQ(machine.PhaseOf(kFine), core::v1::PHASE_BLOCKED);
}

TEST(DeploymentMachine, RunsAgainWhenSomethingChangedMeanwhile) {
  DeploymentMachine machine;
  machine.Ready(true);
  machine.Assigned(1, false, false, true);
  EXPECT_EQ(Text(machine.Replan()), "");
  EXPECT_EQ(Text(machine.RunEnded(RunEnd::kClean)), "run ");
}

TEST(DeploymentMachine, SaysTheWorstOfItsObjects) {
  DeploymentMachine machine;
  machine.Ready(true);
  machine.Assigned(1, false, false, true);
  machine.RunEnded(RunEnd::kClean);
  ObjectsView view;
  view.unfinished = true;
  EXPECT_EQ(machine.PhaseOf(view), core::v1::PHASE_VERIFYING);
  view.unhealthy = true;
  EXPECT_EQ(machine.PhaseOf(view), core::v1::PHASE_DEGRADED);
  view.waiting = true;
  EXPECT_EQ(machine.PhaseOf(view), core::v1::PHASE_BLOCKED);
  view.error = true;
  EXPECT_EQ(machine.PhaseOf(view), core::v1::PHASE_FAILED);
}

TEST(DeploymentMachine, AnOlderGenerationIsIgnored) {
  DeploymentMachine machine;
  machine.Assigned(3, false, false, false);
  EXPECT_EQ(Text(machine.Assigned(2, true, false, false)), "");
  EXPECT_FALSE(machine.tombstone());
}

}  // namespace
}  // namespace flotilla::agent
