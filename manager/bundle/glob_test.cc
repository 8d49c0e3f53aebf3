// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/glob.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/status/status_matchers.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

TEST(Glob, MatchesAsAShellDoes) {
  EXPECT_TRUE(GlobMatches("*.yaml", "a.yaml"));
  EXPECT_TRUE(GlobMatches("*", ""));
  EXPECT_TRUE(GlobMatches("a*b*c", "axxbyyc"));
  EXPECT_FALSE(GlobMatches("a*b*c", "axxbyy"));
  EXPECT_TRUE(GlobMatches("?", "\xc3\xa4"));
  EXPECT_FALSE(GlobMatches("?", "ab"));
  EXPECT_TRUE(GlobMatches("[a-c]x", "bx"));
  EXPECT_FALSE(GlobMatches("[^a-c]x", "bx"));
  EXPECT_TRUE(GlobMatches("\\*", "*"));
  EXPECT_FALSE(GlobMatches("\\*", "a"));
  EXPECT_TRUE(GlobMatches("\\#x", "#x"));
}

TEST(Glob, MatchesNothingWhenMalformed) {
  for (const char* pattern : {"[", "[a", "[]a]", "[-a]", "a\\", "[a-"}) {
    EXPECT_FALSE(GlobMatches(pattern, "a")) << pattern;
  }
}

TEST(Glob, StaysFastOnPatternsThatTryToBeSlow) {
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "*a";
  EXPECT_FALSE(GlobMatches(pattern + "b", std::string(4000, 'a')));
}

TEST(IgnoreRules, CountForTheirDirectoryAndBelowOnly) {
  uint64_t steps = 1000;
  IgnoreRules rules(steps);
  ASSERT_THAT(rules.AddFile("app", "x.yaml\n# comment\n\n  \nkeep\\ \n"),
              IsOk());

  EXPECT_THAT(rules.Ignores("app/x.yaml", false), IsOkAndHolds(true));
  EXPECT_THAT(rules.Ignores("app/sub/x.yaml", false), IsOkAndHolds(true));
  EXPECT_THAT(rules.Ignores("app/keep ", false), IsOkAndHolds(true));
  EXPECT_THAT(rules.Ignores("app2/x.yaml", false), IsOkAndHolds(false));
  EXPECT_THAT(rules.Ignores("x.yaml", false), IsOkAndHolds(false));
  EXPECT_THAT(rules.Ignores("app/# comment", false), IsOkAndHolds(false));
}

TEST(IgnoreRules, DropDirectoriesByASlashAndStar) {
  uint64_t steps = 1000;
  IgnoreRules rules(steps);
  ASSERT_THAT(rules.AddFile("", "foo/*\n"), IsOk());

  EXPECT_THAT(rules.Ignores("foo", true), IsOkAndHolds(true));
  EXPECT_THAT(rules.Ignores("bar/foo", true), IsOkAndHolds(true));
  EXPECT_THAT(rules.Ignores("foo", false), IsOkAndHolds(false));
}

TEST(IgnoreRules, HaveALimitOfRulesAndBytes) {
  for (const auto& [count, rule] :
       {std::pair<int, std::string>(10'001, "a\n"),
        std::pair<int, std::string>(3, std::string(100'000, 'a') + "\n")}) {
    uint64_t steps = 1000;
    IgnoreRules rules(steps);
    absl::Status added;
    for (int i = 0; i < count; ++i) added = rules.AddFile("", rule);
    EXPECT_THAT(added, StatusIs(absl::StatusCode::kResourceExhausted));
  }
}

TEST(IgnoreRules, MatchWithinABudget) {
  uint64_t steps = 100'000;
  IgnoreRules rules(steps);
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "*a*a*a*b\n";
  ASSERT_THAT(rules.AddFile("", text), IsOk());

  EXPECT_THAT(rules.Ignores(std::string(200, 'a'), false),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(steps, 0u);
}

TEST(IgnoreRules, OfOtherDirectoriesCostNothing) {
  uint64_t steps = 1000;
  IgnoreRules rules(steps);
  for (int i = 0; i < 5000; ++i) {
    ASSERT_THAT(rules.AddFile(absl::StrCat("d", i), "x.yaml\n"), IsOk());
  }

  EXPECT_THAT(rules.Ignores("other/x.yaml", false), IsOkAndHolds(false));
  EXPECT_EQ(steps, 1000u);
}

}  // namespace
}  // namespace flotilla::manager
