// SPDX-License-Identifier: Apache-2.0

#include "common/enrolment/join_token.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

JoinToken Sample() {
  return {"0123456789abcdef", std::string(32, '\xfe'), "\x30\x82 der"};
}

TEST(JoinToken, SurvivesItsText) {
  const std::string text = FormatJoinToken(Sample());

  auto parsed = ParseJoinToken(absl::StrCat("  ", text, "\n"));

  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(parsed->id, Sample().id);
  EXPECT_EQ(parsed->secret, Sample().secret);
  EXPECT_EQ(parsed->ca_der, Sample().ca_der);
  EXPECT_EQ(text.substr(0, 21), "flt.0123456789abcdef.");
}

TEST(JoinToken, IsRefusedWhenCutOrAltered) {
  const std::string good = FormatJoinToken(Sample());
  for (const std::string& bad :
       {std::string(), std::string("flt"), std::string("flt..."),
        good.substr(1), good + ".x", good.substr(0, 40),
        "flt.0123456789ABCDEF" + good.substr(20),
        "flt.short" + good.substr(20), std::string(100000, 'x')}) {
    auto parsed = ParseJoinToken(bad);
    EXPECT_THAT(parsed, StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("flotilla token create")))
        << bad;
  }
}

TEST(JoinToken, IsNotRepeatedInTheError) {
  auto parsed = ParseJoinToken("flt.0123456789abcdef.canarysecret.x");

  EXPECT_THAT(parsed.status().ToString(), Not(HasSubstr("canarysecret")));
}

}  // namespace
}  // namespace flotilla
