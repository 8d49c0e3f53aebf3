// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/go_duration.h"

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

TEST(GoDuration, ReadsDurationsAsGoWritesThem) {
  EXPECT_THAT(ParseGoDuration("15s"), IsOkAndHolds(absl::Seconds(15)));
  EXPECT_THAT(ParseGoDuration("1h30m"), IsOkAndHolds(absl::Minutes(90)));
  EXPECT_THAT(ParseGoDuration("1.5s"),
              IsOkAndHolds(absl::Milliseconds(1500)));
  EXPECT_THAT(ParseGoDuration("3\xc2\xb5s"),
              IsOkAndHolds(absl::Microseconds(3)));
  EXPECT_THAT(ParseGoDuration("0"), IsOkAndHolds(absl::ZeroDuration()));
  for (const char* bad : {"", "5", "1d", "-1s", "inf", "s", "1s ", "1w",
                          "9999999999h"}) {
    EXPECT_THAT(ParseGoDuration(bad),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << bad;
  }
}

TEST(GoDuration, WritesDurationsAsGoDoes) {
  EXPECT_EQ(FormatGoDuration(absl::ZeroDuration()), "0s");
  EXPECT_EQ(FormatGoDuration(absl::Seconds(15)), "15s");
  EXPECT_EQ(FormatGoDuration(absl::Minutes(90)), "1h30m0s");
  EXPECT_EQ(FormatGoDuration(absl::Hours(24)), "24h0m0s");
  EXPECT_EQ(FormatGoDuration(absl::Milliseconds(1500)), "1.5s");
  EXPECT_EQ(FormatGoDuration(absl::Microseconds(1001)), "1.001ms");
  EXPECT_EQ(FormatGoDuration(absl::Nanoseconds(1500)), "1.5\xc2\xb5s");
  EXPECT_EQ(FormatGoDuration(absl::Nanoseconds(7)), "7ns");
}

TEST(GoDuration, ReadsWhatItWrites) {
  for (int64_t n = 1; n < 10000000000000; n = n * 7 + 3) {
    EXPECT_THAT(ParseGoDuration(FormatGoDuration(absl::Nanoseconds(n))),
                IsOkAndHolds(absl::Nanoseconds(n)));
  }
}

}  // namespace
}  // namespace flotilla::manager
