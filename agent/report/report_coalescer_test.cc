// SPDX-License-Identifier: Apache-2.0

#include "agent/report/report_coalescer.h"

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using core::v1::DeploymentState;
using core::v1::DriftRecord;
using core::v1::ResourceStatus;

DeploymentState State(core::v1::Phase phase, uint32_t ready = 0) {
  DeploymentState state;
  state.set_bundle_id("b");
  state.set_generation(1);
  state.set_phase(phase);
  state.mutable_counts()->set_ready(ready);
  return state;
}

ResourceStatus Resource(const std::string& name, core::v1::Health health) {
  ResourceStatus status;
  status.set_bundle_id("b");
  status.mutable_key()->set_kind("ConfigMap");
  status.mutable_key()->set_name(name);
  status.set_health(health);
  return status;
}

class ReportCoalescerTest : public testing::Test {
 protected:
  size_t Resources() { return coalescer_.TakeResources(now_, 100).size(); }
  std::vector<DeploymentState> States() {
    return coalescer_.TakeStates(now_, 100);
  }

  absl::Duration now_ = absl::Seconds(1000);
  ReportCoalescer coalescer_;
};

TEST_F(ReportCoalescerTest, SaysEachThingOnceAndNothingWithoutAChange) {
  coalescer_.Open({}, 1);
  coalescer_.SetResource(Resource("a", core::v1::HEALTH_HEALTHY));
  coalescer_.SetState(State(core::v1::PHASE_HEALTHY, 1));
  EXPECT_EQ(Resources(), 1u);
  EXPECT_EQ(States().size(), 1u);

  coalescer_.SetResource(Resource("a", core::v1::HEALTH_HEALTHY));
  coalescer_.SetState(State(core::v1::PHASE_HEALTHY, 1));

  EXPECT_EQ(Resources(), 0u);
  EXPECT_EQ(States().size(), 0u);
  EXPECT_EQ(coalescer_.NextDue(now_), absl::InfiniteDuration());
}

TEST_F(ReportCoalescerTest, ACorrectionIsToldWithoutANewState) {
  coalescer_.Open({}, 1);
  coalescer_.SetResource(Resource("a", core::v1::HEALTH_HEALTHY));
  coalescer_.SetState(State(core::v1::PHASE_HEALTHY, 1));
  Resources();
  States();
  ResourceStatus corrected = Resource("a", core::v1::HEALTH_HEALTHY);
  corrected.set_corrections(1);

  coalescer_.SetResource(corrected);

  EXPECT_EQ(Resources(), 1u);
  EXPECT_EQ(States().size(), 0u);
}

TEST_F(ReportCoalescerTest, LimitsFlappingButNeverAPhase) {
  coalescer_.Open({}, 1);
  size_t sent = 0;
  size_t states = 0;
  for (int i = 0; i < 20; ++i) {
    const bool odd = i % 2 == 1;
    coalescer_.SetResource(Resource(
        "a", odd ? core::v1::HEALTH_HEALTHY : core::v1::HEALTH_PROGRESSING));
    coalescer_.SetState(
        State(odd ? core::v1::PHASE_HEALTHY : core::v1::PHASE_VERIFYING));
    sent += Resources();
    states += States().size();
  }
  EXPECT_EQ(sent, 5u);
  EXPECT_EQ(states, 20u);

  now_ += absl::Seconds(2);
  coalescer_.SetResource(Resource("a", core::v1::HEALTH_DEGRADED));
  EXPECT_EQ(Resources(), 1u);
}

TEST_F(ReportCoalescerTest, AnUnchangedClusterCostsNoFrameAfterARestart) {
  coalescer_.Open({}, 1);
  coalescer_.SetResource(Resource("a", core::v1::HEALTH_HEALTHY));
  coalescer_.SetState(State(core::v1::PHASE_HEALTHY, 1));
  Resources();
  const std::string digest = States()[0].state_digest();

  for (const bool welcome_first : {true, false}) {
    SCOPED_TRACE(welcome_first);
    ReportCoalescer restarted;
    if (welcome_first) restarted.Open({{"b", digest}}, 2);
    restarted.SetResource(Resource("a", core::v1::HEALTH_HEALTHY));
    restarted.SetState(State(core::v1::PHASE_HEALTHY, 1));
    if (!welcome_first) restarted.Open({{"b", digest}}, 2);

    EXPECT_TRUE(restarted.TakeResources(now_, 100).empty());
    EXPECT_TRUE(restarted.TakeStates(now_, 100).empty());
  }
}

TEST_F(ReportCoalescerTest, ADigestCoversOnlyWhatWasSent) {
  coalescer_.Open({}, 1);
  coalescer_.SetResource(Resource("a", core::v1::HEALTH_PROGRESSING));
  coalescer_.SetState(State(core::v1::PHASE_VERIFYING));
  Resources();
  const std::string before = States()[0].state_digest();

  // The resource changes; the connection ends before that is sent.
  coalescer_.SetResource(Resource("a", core::v1::HEALTH_HEALTHY));
  coalescer_.Open({{"b", before}}, 2);

  EXPECT_EQ(Resources(), 1u);
  EXPECT_EQ(States().size(), 1u);
}

TEST_F(ReportCoalescerTest, NothingIsSaidOfABundleThatIsNotJudged) {
  coalescer_.Open({}, 1);
  coalescer_.SetResource(Resource("a", core::v1::HEALTH_UNKNOWN));

  EXPECT_EQ(Resources(), 0u);
  EXPECT_EQ(States().size(), 0u);
}

TEST_F(ReportCoalescerTest, ARemovalIsRepeatedUntilItIsAcknowledged) {
  coalescer_.Open({}, 1);
  coalescer_.SetResource(Resource("a", core::v1::HEALTH_HEALTHY));
  coalescer_.SetState(State(core::v1::PHASE_HEALTHY));
  Resources();
  States();
  coalescer_.RemoveResource("b",
                            Resource("a", core::v1::HEALTH_HEALTHY).key());
  std::vector<ResourceStatus> taken = coalescer_.TakeResources(now_, 100);
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_TRUE(taken[0].removed());
  coalescer_.Sent(1);

  coalescer_.Open({}, 2);
  EXPECT_EQ(Resources(), 1u);
  coalescer_.Sent(1);
  coalescer_.Acknowledge(1);
  coalescer_.Open({}, 3);
  EXPECT_EQ(Resources(), 0u);
}

TEST_F(ReportCoalescerTest, DriftIsCountedAndSurvivesADisconnect) {
  DriftRecord record;
  record.set_bundle_id("b");
  record.set_path("spec.replicas");
  record.set_field_manager("kubectl");
  coalescer_.AddDrift(record);
  coalescer_.AddDrift(record);
  coalescer_.Open({}, 1);
  std::vector<DriftRecord> taken = coalescer_.TakeDrift(now_, 10);
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(taken[0].count(), 2u);
  coalescer_.Sent(4);

  coalescer_.Close();
  coalescer_.Open({}, 2);
  EXPECT_EQ(coalescer_.TakeDrift(now_, 10).size(), 1u);
  coalescer_.Sent(1);
  coalescer_.Acknowledge(1);

  coalescer_.Close();
  coalescer_.Open({}, 3);
  EXPECT_TRUE(coalescer_.TakeDrift(now_, 10).empty());
}

}  // namespace
}  // namespace flotilla::agent
