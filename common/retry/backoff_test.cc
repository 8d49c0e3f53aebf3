// SPDX-License-Identifier: Apache-2.0

#include "common/retry/backoff.h"

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

constexpr uint64_t kMost = Backoff::kRandomBound - 1;

Backoff::Options Seconds(int minimum, int initial, int maximum) {
  Backoff::Options options;
  options.minimum = absl::Seconds(minimum);
  options.initial = absl::Seconds(initial);
  options.maximum = absl::Seconds(maximum);
  return options;
}

absl::Duration Rounded(absl::Duration d) {
  return absl::Ceil(d, absl::Milliseconds(1));
}

TEST(Backoff, DoublesItsCeilingUpToTheMaximum) {
  Backoff backoff(Seconds(0, 1, 5));

  EXPECT_EQ(Rounded(backoff.Next(kMost)), absl::Seconds(1));
  EXPECT_EQ(Rounded(backoff.Next(kMost)), absl::Seconds(2));
  EXPECT_EQ(Rounded(backoff.Next(kMost)), absl::Seconds(4));
  EXPECT_EQ(Rounded(backoff.Next(kMost)), absl::Seconds(5));
  EXPECT_EQ(Rounded(backoff.Next(kMost)), absl::Seconds(5));
}

TEST(Backoff, SpreadsTheWaitFromTheMinimumToTheCeiling) {
  Backoff backoff(Seconds(1, 3, 3));

  EXPECT_EQ(backoff.Next(0), absl::Seconds(1));
  EXPECT_EQ(backoff.Next(Backoff::kRandomBound / 2), absl::Seconds(2));
  EXPECT_LT(backoff.Next(kMost), absl::Seconds(3));
}

TEST(Backoff, NeverOverflowsHoweverOftenItFails) {
  Backoff backoff(Seconds(0, 1, 60));

  for (int i = 0; i < 10000; ++i) {
    EXPECT_LE(backoff.Next(kMost), absl::Seconds(60));
  }
}

TEST(Backoff, BeginsAgainAfterASuccess) {
  Backoff backoff(Seconds(0, 1, 60));
  backoff.Next(kMost);
  backoff.Next(kMost);
  EXPECT_EQ(backoff.attempts(), 2);

  backoff.Reset();

  EXPECT_EQ(backoff.attempts(), 0);
  EXPECT_EQ(Rounded(backoff.Next(kMost)), absl::Seconds(1));
}

}  // namespace
}  // namespace flotilla
