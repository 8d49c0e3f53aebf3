// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/regex.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::HasSubstr;

TEST(Regex, MatchesWhereTheAnchorSays) {
  EXPECT_TRUE(RegexMatches("b", "abc", RegexAnchor::kNone));
  EXPECT_FALSE(RegexMatches("b", "abc", RegexAnchor::kStart));
  EXPECT_TRUE(RegexMatches("ab", "abc", RegexAnchor::kStart));
  EXPECT_FALSE(RegexMatches("ab", "abc", RegexAnchor::kBoth));
  // Anchors hold for every alternative.
  EXPECT_FALSE(RegexMatches("x|b", "abc", RegexAnchor::kBoth));
  EXPECT_TRUE(RegexMatches("a.c", "abc", RegexAnchor::kBoth));
}

TEST(Regex, SaysWhatIsWrong) {
  EXPECT_EQ(RegexProblem("https://h/.*"), "");
  EXPECT_THAT(RegexProblem("a("), HasSubstr("is not a regular expression"));
  EXPECT_FALSE(RegexMatches("a(", "a(", RegexAnchor::kNone));
  EXPECT_THAT(RegexProblem(std::string(5000, 'a')), HasSubstr("4096"));
}

TEST(Regex, StandsHostilePatterns) {
  const std::string text(20000, 'a');
  EXPECT_FALSE(RegexMatches("(a*)*b", text, RegexAnchor::kBoth));
  EXPECT_FALSE(RegexMatches(std::string(2000, '(') + std::string(2000, ')'),
                            text, RegexAnchor::kBoth));
  EXPECT_NE(RegexProblem("(((a{100}){100}){100}){100}"), "");
}

}  // namespace
}  // namespace flotilla::manager
