// SPDX-License-Identifier: Apache-2.0

#include "common/event/simulated_loop.h"

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

TEST(SimulatedLoop, RunsNothingUntilTold) {
  SimulatedLoop loop;
  std::string seen;
  loop.Post([&] {
    seen += "a";
    loop.Post([&] { seen += "b"; });
  });
  EXPECT_EQ(seen, "");

  loop.RunUntilIdle();

  EXPECT_EQ(seen, "ab");
}

TEST(SimulatedLoop, KeepsTimeStillWhileRunningUntilIdle) {
  SimulatedLoop loop;
  const absl::Duration start = loop.MonotonicNow();
  std::string seen;
  auto now = loop.CreateTimer([&] { seen += "now"; });
  auto later = loop.CreateTimer([&] { seen += "later"; });
  now->Arm(absl::ZeroDuration());
  later->Arm(absl::Nanoseconds(1));

  loop.RunUntilIdle();

  EXPECT_EQ(seen, "now");
  EXPECT_EQ(loop.MonotonicNow(), start);
}

TEST(SimulatedLoop, AdvancesThroughEachTimerInOrder) {
  SimulatedLoop loop;
  const absl::Duration start = loop.MonotonicNow();
  std::string seen;
  std::unique_ptr<Timer> tick;
  tick = loop.CreateTimer([&] {
    seen += absl::FormatDuration(loop.MonotonicNow() - start) + " ";
    loop.Post([&] { seen += "posted "; });
    tick->Arm(absl::Seconds(2));
  });
  tick->Arm(absl::Seconds(2));

  loop.Advance(absl::Seconds(5));

  EXPECT_EQ(seen, "2s posted 4s posted ");
  EXPECT_EQ(loop.MonotonicNow() - start, absl::Seconds(5));
}

TEST(SimulatedLoop, RunsUntilAConditionHoldsOrTheLimitIsReached) {
  SimulatedLoop loop;
  const absl::Duration start = loop.MonotonicNow();
  int ticks = 0;
  std::unique_ptr<Timer> tick;
  tick = loop.CreateTimer([&] {
    ++ticks;
    tick->Arm(absl::Seconds(1));
  });
  tick->Arm(absl::Seconds(1));

  EXPECT_TRUE(loop.RunUntil([&] { return ticks == 3; }, absl::Minutes(1)));
  EXPECT_EQ(loop.MonotonicNow() - start, absl::Seconds(3));
  EXPECT_FALSE(loop.RunUntil([&] { return ticks == 9; }, absl::Seconds(2)));
  EXPECT_EQ(loop.MonotonicNow() - start, absl::Seconds(5));
}

}  // namespace
}  // namespace flotilla
