// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/display_text.h"

#include <string>

#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

TEST(DisplayTextTest, PlainTextStaysAsItIs) {
  for (const char* text : {"", "a b~", "Grüße", "日本", "\xf0\x9f\x9a\xa2"}) {
    EXPECT_TRUE(IsPlainText(text)) << text;
    EXPECT_EQ(ToDisplayText(text, 100), text);
  }
}

TEST(DisplayTextTest, WhatCouldDeceiveBecomesQuestionMarks) {
  EXPECT_EQ(ToDisplayText("a\x1b[31mb\n", 100), "a?[31mb?");
  EXPECT_EQ(ToDisplayText(std::string("\0x", 2), 100), "?x");
  // Overlong, surrogate, cut off, stray continuation, C1, bidi override.
  for (const char* text : {"\xc0\xaf", "\xed\xa0\x80", "\xe6\x97", "\x80",
                           "\xc2\x9b", "\xe2\x80\xae", "\xff"}) {
    EXPECT_FALSE(IsPlainText(text));
    EXPECT_TRUE(IsPlainText(ToDisplayText(text, 100)));
  }
}

TEST(DisplayTextTest, LongTextIsCutBetweenCharacters) {
  EXPECT_EQ(ToDisplayText("abcdef", 6), "abcdef");
  EXPECT_EQ(ToDisplayText("abcdefg", 6), "abcdef...");
  EXPECT_EQ(ToDisplayText("aüü", 4), "aü...");
}

}  // namespace
}  // namespace flotilla::manager
