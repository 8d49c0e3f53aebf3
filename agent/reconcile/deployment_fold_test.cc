// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/deployment_fold.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/health/health_verdict.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using core::v1::Health;
using core::v1::SyncState;

ObjectState Object(const std::string& name, SyncState sync, Health health) {
  ObjectState object;
  object.want.mutable_key()->set_version("v1");
  object.want.mutable_key()->set_kind("ConfigMap");
  object.want.mutable_key()->set_name(name);
  object.sync = sync;
  object.health.health = health;
  if (health != core::v1::HEALTH_HEALTHY) object.health.message = "unwell";
  if (sync != core::v1::SYNC_STATE_SYNCED) object.message = "not in sync";
  return object;
}

ObjectStates Only(ObjectState object) {
  ObjectStates states;
  const ObjectIdentity id = IdentityOf(object.want.key());
  states[id] = std::move(object);
  return states;
}

bool IsQuiet(const ObjectsView& view) {
  return !view.error && !view.waiting && !view.unhealthy && !view.unfinished;
}

TEST(DeploymentFold, OnlyWhatWorksAndIsInSyncIsQuiet) {
  const Health kGood[] = {core::v1::HEALTH_HEALTHY, core::v1::HEALTH_SUSPENDED,
                          core::v1::HEALTH_NOT_TRACKABLE};
  for (int sync = 0; sync < core::v1::SyncState_ARRAYSIZE; ++sync) {
    if (sync == core::v1::SYNC_STATE_PRUNING) continue;
    for (int health = 0; health < core::v1::Health_ARRAYSIZE; ++health) {
      const DeploymentFold fold = FoldObjects(
          Only(Object("a", static_cast<SyncState>(sync),
                      static_cast<Health>(health))));
      const bool good =
          sync == core::v1::SYNC_STATE_SYNCED &&
          std::find(std::begin(kGood), std::end(kGood),
                    static_cast<Health>(health)) != std::end(kGood);
      EXPECT_EQ(IsQuiet(fold.view), good) << sync << " " << health;
      EXPECT_EQ(fold.counts.ready(), good ? 1u : 0u) << sync << " " << health;
      EXPECT_EQ(fold.counts.desired(), 1u);
    }
  }
}

TEST(DeploymentFold, CountsWhatIsGoingApart) {
  const DeploymentFold fold = FoldObjects(Only(Object(
      "a", core::v1::SYNC_STATE_PRUNING, core::v1::HEALTH_HEALTHY)));

  EXPECT_EQ(fold.counts.pruning(), 1u);
  EXPECT_EQ(fold.counts.desired(), 0u);
}

TEST(DeploymentFold, ANamespaceThatIsOnlyToBeThereCountsWhenItFails) {
  ObjectState object = Object("ns", core::v1::SYNC_STATE_SYNCED,
                              core::v1::HEALTH_UNSPECIFIED);
  object.want.set_ensure_namespace(true);
  EXPECT_EQ(FoldObjects(Only(object)).counts.desired(), 0u);
  EXPECT_TRUE(IsQuiet(FoldObjects(Only(object)).view));

  object.sync = core::v1::SYNC_STATE_ERROR;
  EXPECT_TRUE(FoldObjects(Only(object)).view.error);
  EXPECT_EQ(FoldObjects(Only(object)).problems.size(), 1u);
}

TEST(DeploymentFold, TellsTheWorstFirstAndAtMostTen) {
  ObjectStates states = Only(Object("drifted", core::v1::SYNC_STATE_DRIFTED,
                                    core::v1::HEALTH_HEALTHY));
  states.merge(Only(Object("refused", core::v1::SYNC_STATE_ERROR,
                           core::v1::HEALTH_HEALTHY)));
  states.merge(Only(Object("sick", core::v1::SYNC_STATE_SYNCED,
                           core::v1::HEALTH_DEGRADED)));
  DeploymentFold fold = FoldObjects(states);
  ASSERT_EQ(fold.problems.size(), 3u);
  EXPECT_THAT(fold.problems[0].subject(), ::testing::HasSubstr("refused"));
  EXPECT_THAT(fold.problems[1].subject(), ::testing::HasSubstr("sick"));
  EXPECT_EQ(fold.problems[1].message(), "unwell");
  EXPECT_THAT(fold.problems[2].subject(), ::testing::HasSubstr("drifted"));

  for (int i = 0; i < 20; ++i) {
    states.merge(Only(Object(absl::StrCat("more-", i),
                             core::v1::SYNC_STATE_ERROR,
                             core::v1::HEALTH_HEALTHY)));
  }
  EXPECT_EQ(FoldObjects(states).problems.size(), 10u);
}

TEST(DeploymentFold, APodThatFailsMakesItsWorkloadDegraded) {
  ObjectState object = Object("web", core::v1::SYNC_STATE_SYNCED,
                              core::v1::HEALTH_PROGRESSING);
  object.pods = Degraded("PodFailing", "pod web-1: CrashLoopBackOff");

  EXPECT_TRUE(FoldObjects(Only(object)).view.unhealthy);
  core::v1::ResourceStatus status = StatusOf("b", object);
  EXPECT_EQ(status.health(), core::v1::HEALTH_DEGRADED);
  EXPECT_EQ(status.message(), "pod web-1: CrashLoopBackOff");

  object.health.health = core::v1::HEALTH_DEGRADED;
  status = StatusOf("b", object);
  EXPECT_EQ(status.message(), "unwell; pod web-1: CrashLoopBackOff");
}

TEST(DeploymentFold, APodThatWaitsForANodeSaysSoAndNoMore) {
  ObjectState object = Object("web", core::v1::SYNC_STATE_SYNCED,
                              core::v1::HEALTH_PROGRESSING);
  object.pods = Progressing("Unschedulable", "pod web-1: no node");

  EXPECT_FALSE(FoldObjects(Only(object)).view.unhealthy);
  EXPECT_TRUE(FoldObjects(Only(object)).view.unfinished);
  const core::v1::ResourceStatus status = StatusOf("b", object);
  EXPECT_EQ(status.health(), core::v1::HEALTH_PROGRESSING);
  EXPECT_EQ(status.reason(), "Unschedulable");
  EXPECT_EQ(status.message(), "pod web-1: no node");
}

TEST(DeploymentFold, CountsWhatIsSuspendedOrNotTrackableAndReady) {
  ObjectStates states = Only(Object("a", core::v1::SYNC_STATE_SYNCED,
                                    core::v1::HEALTH_SUSPENDED));
  states.merge(Only(Object("b", core::v1::SYNC_STATE_SYNCED,
                           core::v1::HEALTH_NOT_TRACKABLE)));
  states.merge(Only(Object("c", core::v1::SYNC_STATE_SYNCED,
                           core::v1::HEALTH_HEALTHY)));

  const DeploymentFold fold = FoldObjects(states);

  EXPECT_EQ(fold.counts.ready(), 3u);
  EXPECT_EQ(fold.counts.suspended(), 1u);
  EXPECT_EQ(fold.counts.not_trackable(), 1u);
  EXPECT_TRUE(fold.problems.empty());
}

TEST(DeploymentFold, AnUnknownHealthIsAProblemAndNeverReady) {
  const DeploymentFold fold = FoldObjects(Only(Object(
      "a", core::v1::SYNC_STATE_SYNCED, core::v1::HEALTH_UNKNOWN)));

  EXPECT_TRUE(fold.view.unfinished);
  EXPECT_EQ(fold.counts.unknown(), 1u);
  ASSERT_EQ(fold.problems.size(), 1u);
  EXPECT_EQ(fold.problems[0].code(), "UNKNOWN");
  EXPECT_EQ(fold.problems[0].message(), "unwell");
}

TEST(StatusOf, CutsALongMessageBetweenCharacters) {
  ObjectState object = Object("a", core::v1::SYNC_STATE_ERROR,
                              core::v1::HEALTH_HEALTHY);
  object.message = std::string(999, 'x') + "\xc3\xa4 and more";

  EXPECT_EQ(StatusOf("b", object).message(), std::string(999, 'x'));
}

}  // namespace
}  // namespace flotilla::agent
