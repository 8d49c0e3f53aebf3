// SPDX-License-Identifier: Apache-2.0

#include <set>

#include "absl/time/time.h"
#include "common/env/posix/posix_clock.h"
#include "common/env/posix/posix_random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

TEST(PosixClock, TellsATimeAfterThisWasWritten) {
  EXPECT_GT(PosixClock().Now(), absl::FromUnixSeconds(1700000000));
}

TEST(PosixRandom, GivesAsManyBytesAsAsked) {
  PosixRandom random;

  EXPECT_EQ(random.Bytes(0), "");
  EXPECT_EQ(random.Bytes(1000).size(), 1000u);
  EXPECT_NE(random.Bytes(32), random.Bytes(32));
}

TEST(PosixRandom, ReachesEveryValueBelowTheBound) {
  PosixRandom random;
  std::set<uint64_t> seen;

  for (int i = 0; i < 1000; ++i) seen.insert(random.Uniform(3));

  EXPECT_THAT(seen, ::testing::ElementsAre(0, 1, 2));
}

}  // namespace
}  // namespace flotilla
