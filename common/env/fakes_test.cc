// SPDX-License-Identifier: Apache-2.0

#include "absl/time/time.h"
#include "common/env/fake_clock.h"
#include "common/env/fake_random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using ::testing::MatchesRegex;

TEST(FakeClock, MovesOnlyWhenTold) {
  FakeClock clock;
  const absl::Time start = clock.Now();
  EXPECT_EQ(absl::FormatTime(start, absl::UTCTimeZone()),
            "2030-06-01T12:00:00+00:00");

  clock.Advance(absl::Minutes(5));
  EXPECT_EQ(clock.Now() - start, absl::Minutes(5));

  clock.Set(absl::UnixEpoch());
  EXPECT_EQ(clock.Now(), absl::UnixEpoch());
}

TEST(FakeRandom, RepeatsItselfFromTheSameSeed) {
  FakeRandom a(7), b(7), other(8);

  EXPECT_EQ(a.Bytes(16), b.Bytes(16));
  EXPECT_EQ(a.Uniform(1000), b.Uniform(1000));
  EXPECT_NE(a.Bytes(16), other.Bytes(16));
}

TEST(FakeRandom, StaysBelowTheBound) {
  FakeRandom random;
  for (int i = 0; i < 1000; ++i) EXPECT_LT(random.Uniform(3), 3u);
  EXPECT_EQ(random.Uniform(1), 0u);
}

TEST(Random, MakesVersionFourUuids) {
  FakeRandom random;

  EXPECT_THAT(random.Uuid(), MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}"
                                          "-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_NE(random.Uuid(), random.Uuid());
}

}  // namespace
}  // namespace flotilla
