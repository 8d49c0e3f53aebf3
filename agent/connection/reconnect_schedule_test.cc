// SPDX-License-Identifier: Apache-2.0

#include "agent/connection/reconnect_schedule.h"

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using Ending = ReconnectSchedule::Ending;

constexpr absl::Duration kNow = absl::Hours(1);
constexpr absl::Duration kNone = absl::ZeroDuration();

TEST(ReconnectSchedule, DoublesUpToItsLimitWithFullJitter) {
  ReconnectSchedule schedule({});
  for (const double seconds : {0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0,
                               60.0}) {
    EXPECT_EQ(schedule.OnEnded(Ending::kFailed, kNow, 0.5, kNone),
              absl::Seconds(seconds / 2));
  }
  EXPECT_EQ(schedule.OnEnded(Ending::kFailed, kNow, 0, kNone), kNone);
  for (int i = 0; i < 100; ++i) {
    EXPECT_LE(schedule.OnEnded(Ending::kFailed, kNow, 0.99, kNone),
              absl::Seconds(60));
  }
}

TEST(ReconnectSchedule, StartsAnewOnlyAfterAMinuteOfLife) {
  ReconnectSchedule schedule({});
  for (int i = 0; i < 10; ++i) {
    schedule.OnEnded(Ending::kFailed, kNow, 0.5, kNone);
  }
  schedule.OnLive(kNow);
  EXPECT_EQ(schedule.OnEnded(Ending::kFailed, kNow + absl::Seconds(59), 0.5,
                             kNone),
            absl::Seconds(30));
  schedule.OnLive(kNow);
  EXPECT_EQ(schedule.OnEnded(Ending::kFailed, kNow + absl::Seconds(60), 0.5,
                             kNone),
            absl::Milliseconds(250));
}

TEST(ReconnectSchedule, WaitsAtLeastAsLongAsTheManagerAsked) {
  ReconnectSchedule schedule({});
  EXPECT_EQ(schedule.OnEnded(Ending::kFailed, kNow, 0, absl::Seconds(10)),
            absl::Seconds(10));
  EXPECT_EQ(schedule.OnEnded(Ending::kFailed, kNow, 0.5, absl::Seconds(8)),
            absl::Seconds(9));
}

TEST(ReconnectSchedule, ComesBackSoonWhenAskedTo) {
  ReconnectSchedule schedule({});
  for (int i = 0; i < 10; ++i) {
    EXPECT_LT(schedule.OnEnded(Ending::kAsked, kNow, 0.9, kNone),
              absl::Seconds(1));
  }
}

TEST(ReconnectSchedule, YieldsLongerEachTimeItIsSuperseded) {
  ReconnectSchedule schedule({});
  EXPECT_EQ(schedule.OnEnded(Ending::kSuperseded, kNow, 0, kNone),
            absl::Seconds(60));
  EXPECT_EQ(schedule.OnEnded(Ending::kSuperseded, kNow, 0, kNone),
            absl::Seconds(120));
  for (int i = 0; i < 100; ++i) {
    schedule.OnEnded(Ending::kSuperseded, kNow, 0, kNone);
  }
  EXPECT_EQ(schedule.OnEnded(Ending::kSuperseded, kNow, 0, kNone),
            absl::Minutes(16));
}

TEST(ReconnectSchedule, AsksOnceInAMinuteWhenRefused) {
  ReconnectSchedule schedule({});
  const absl::Duration wait =
      schedule.OnEnded(Ending::kRefused, kNow, 0.5, kNone);
  EXPECT_GE(wait, absl::Seconds(30));
  EXPECT_LE(wait, absl::Seconds(60));
  EXPECT_EQ(schedule.OnEnded(Ending::kRefused, kNow, 0, absl::Minutes(5)),
            absl::Minutes(5));
}

}  // namespace
}  // namespace flotilla::agent
