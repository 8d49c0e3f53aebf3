// SPDX-License-Identifier: Apache-2.0

#include "common/log/log.h"

#include <string>

#include "absl/time/time.h"
#include "common/log/log_capture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Log, WritesWhatIsStreamedAtItsLevel) {
  LogCapture capture;

  FLOTILLA_LOG(INFO) << "listening on " << 8443;
  FLOTILLA_LOG(ERROR) << "disk full";

  EXPECT_THAT(capture.Messages(LogLevel::kInfo),
              ElementsAre("listening on 8443"));
  EXPECT_THAT(capture.Messages(LogLevel::kError), ElementsAre("disk full"));
}

TEST(Log, DoesNotEvaluateWhatIsBelowTheLevel) {
  LogCapture capture;
  int evaluated = 0;

  FLOTILLA_LOG(DEBUG) << ++evaluated;
  SetLogOptions({LogFormat::kText, LogLevel::kDebug});
  FLOTILLA_LOG(DEBUG) << ++evaluated;
  SetLogOptions({});

  EXPECT_EQ(evaluated, 1);
  EXPECT_THAT(capture.Messages(LogLevel::kDebug), ElementsAre("1"));
}

TEST(Log, WorksAsTheOnlyStatementOfABranch) {
  LogCapture capture;
  const bool yes = capture.entries().empty();

  if (yes)
    FLOTILLA_LOG(INFO) << "yes";
  else
    FLOTILLA_LOG(INFO) << "no";

  EXPECT_THAT(capture.Messages(LogLevel::kInfo), ElementsAre("yes"));
}

TEST(LogEvery, WritesOnceInAPeriodAndSaysWhatItLeftOut) {
  LogCapture capture;

  absl::Duration period = absl::Hours(1);
  for (int i = 0; i < 5; ++i) {
    FLOTILLA_LOG_EVERY(WARNING, period) << "slow " << i;
  }
  EXPECT_THAT(capture.Messages(LogLevel::kWarning), ElementsAre("slow 0"));

  internal::LogThrottle throttle;
  EXPECT_TRUE(throttle.Allow(absl::ZeroDuration()));
  EXPECT_TRUE(throttle.Allow(period));
  EXPECT_FALSE(throttle.Allow(period));
  EXPECT_EQ(throttle.TakeLeftOut(), 1);
}

TEST(Bug, CountsAndLogsWhenTheConditionIsFalse) {
  LogCapture capture;
  const int64_t before = BugCount();

  FLOTILLA_BUG(1 + 1 == 2) << "fine";
  EXPECT_THAT(capture.entries(), IsEmpty());

  FLOTILLA_BUG(1 + 1 == 3) << "sum=" << 2;
  EXPECT_EQ(BugCount(), before + 1);
  EXPECT_THAT(capture.Messages(LogLevel::kError),
              ElementsAre("BUG: not (1 + 1 == 3) sum=2"));
}

TEST(BugDeathTest, EndsTheProcessWhereBugsAreFatal) {
  EXPECT_DEATH(
      {
        SetBugsFatal(true);
        FLOTILLA_BUG(false) << "in a simulation";
      },
      HasSubstr("in a simulation"));
}

TEST(LogDeathTest, WritesOneLineToStderr) {
  EXPECT_DEATH(
      {
        SetLogOptions({LogFormat::kJson, LogLevel::kInfo});
        FLOTILLA_LOG(INFO) << "two\nlines";
        std::abort();
      },
      HasSubstr("\"message\":\"two\\\\nlines\"}"));
}

}  // namespace
}  // namespace flotilla
