// SPDX-License-Identifier: Apache-2.0

#include "agent/drift/contest.h"

#include <string>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1000000);

TEST(Contest, TheSixthChangeWithinTenMinutesIsAFight) {
  agentstate::v1::InventoryEntry entry;
  for (int i = 0; i < 5; ++i) {
    const absl::Time now = kStart + absl::Minutes(i);
    NoteChange("x", now, &entry);
    EXPECT_LE(ContestedUntil("x", now, entry), now) << i;
  }
  const absl::Time now = kStart + absl::Minutes(6);

  NoteChange("x", now, &entry);

  EXPECT_EQ(ContestedUntil("x", now, entry), kStart + kContestWindow);
  EXPECT_LE(ContestedUntil("y", now, entry), now);
  EXPECT_LE(ContestedUntil("x", kStart + kContestWindow, entry),
            kStart + kContestWindow);
}

TEST(Contest, AChangeEveryThreeMinutesIsNoFight) {
  agentstate::v1::InventoryEntry entry;
  for (int i = 0; i < 100; ++i) {
    const absl::Time now = kStart + i * absl::Minutes(3);
    NoteChange("x", now, &entry);
    EXPECT_LE(ContestedUntil("x", now, entry), now) << i;
  }
  EXPECT_LE(entry.changes_size(), 4);
}

TEST(Contest, AFightThatGoesOnStaysOneAndEndsAfterItsLastChange) {
  agentstate::v1::InventoryEntry entry;
  absl::Time now = kStart;
  for (int i = 0; i < 10000; ++i, now += absl::Seconds(1)) {
    NoteChange("x", now, &entry);
    EXPECT_EQ(ContestedUntil("x", now, entry) > now, i >= 5) << i;
  }
  EXPECT_LE(entry.changes_size(), 6);
  EXPECT_LE(ContestedUntil("x", now, entry), now + kContestWindow);
}

TEST(Contest, ManyManagersAreBoundedAndTheClockMayJump) {
  agentstate::v1::InventoryEntry entry;
  for (int i = 0; i < 1000; ++i) NoteChange(std::to_string(i), kStart, &entry);
  EXPECT_LE(entry.changes_size(), 24);

  const absl::Time back = kStart - absl::Hours(24);
  NoteChange("999", back, &entry);
  EXPECT_EQ(entry.changes_size(), 1);
  EXPECT_LE(ContestedUntil("999", back, entry), back);
}

}  // namespace
}  // namespace flotilla::agent
