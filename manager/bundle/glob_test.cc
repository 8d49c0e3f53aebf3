// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/glob.h"

#include <string>

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
  IgnoreRules rules;
  rules.AddFile("app", "x.yaml\n# comment\n\n  \nkeep\\ \n");

  EXPECT_TRUE(rules.Ignores("app/x.yaml", false));
  EXPECT_TRUE(rules.Ignores("app/sub/x.yaml", false));
  EXPECT_TRUE(rules.Ignores("app/keep ", false));
  EXPECT_FALSE(rules.Ignores("app2/x.yaml", false));
  EXPECT_FALSE(rules.Ignores("x.yaml", false));
  EXPECT_FALSE(rules.Ignores("app/# comment", false));
}

TEST(IgnoreRules, DropDirectoriesByASlashAndStar) {
  IgnoreRules rules;
  rules.AddFile("", "foo/*\n");

  EXPECT_TRUE(rules.Ignores("foo", true));
  EXPECT_TRUE(rules.Ignores("bar/foo", true));
  EXPECT_FALSE(rules.Ignores("foo", false));
}

}  // namespace
}  // namespace flotilla::manager
