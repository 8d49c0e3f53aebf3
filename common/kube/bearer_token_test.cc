// SPDX-License-Identifier: Apache-2.0

#include "common/kube/bearer_token.h"

#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/status/status_matchers.h"

namespace flotilla {
namespace {

using ::testing::HasSubstr;

class BearerTokenTest : public ::testing::Test {
 protected:
  void Write(const std::string& text) { std::ofstream(path_) << text; }
  void After(int seconds) { now_ += std::chrono::seconds(seconds); }

  const std::string path_ = absl::StrCat(
      ::testing::TempDir(), "/",
      ::testing::UnitTest::GetInstance()->current_test_info()->name());
  BearerToken::SteadyTime now_{std::chrono::hours(1)};
};

TEST_F(BearerTokenTest, IsTheOneThatWasGiven) {
  BearerToken token("abc", "");
  EXPECT_THAT(token.Get(now_), IsOkAndHolds("abc"));

  After(10);
  token.OnRefused(now_);
  EXPECT_THAT(token.Get(now_), IsOkAndHolds("abc"));
  EXPECT_THAT(BearerToken("", "").Get(now_), IsOkAndHolds(""));
}

TEST_F(BearerTokenTest, IsReadAgainEachMinute) {
  Write("first\n");
  BearerToken token("unused", path_);
  EXPECT_THAT(token.Get(now_), IsOkAndHolds("first"));

  Write("second\n");
  After(30);
  EXPECT_THAT(token.Get(now_), IsOkAndHolds("first"));
  After(31);
  EXPECT_THAT(token.Get(now_), IsOkAndHolds("second"));
}

TEST_F(BearerTokenTest, IsReadAgainWhenItIsRefused) {
  Write("first");
  BearerToken token("", path_);
  EXPECT_THAT(token.Get(now_), IsOkAndHolds("first"));

  Write("second");
  token.OnRefused(now_);
  EXPECT_THAT(token.Get(now_), IsOkAndHolds("first"));
  After(2);
  token.OnRefused(now_);
  EXPECT_THAT(token.Get(now_), IsOkAndHolds("second"));
}

TEST_F(BearerTokenTest, StaysWhenItsFileGoes) {
  Write("first");
  BearerToken token("", path_);
  EXPECT_THAT(token.Get(now_), IsOkAndHolds("first"));

  std::remove(path_.c_str());
  After(61);
  EXPECT_THAT(token.Get(now_), IsOkAndHolds("first"));
}

TEST_F(BearerTokenTest, NamesTheFileThatHoldsNone) {
  Write("a\r\nX-Evil: 1");
  EXPECT_THAT(BearerToken("", path_).Get(now_),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr(path_)));
}

}  // namespace
}  // namespace flotilla
