// SPDX-License-Identifier: Apache-2.0

#include "common/text/cut_text.h"

#include <string>

#include "gtest/gtest.h"

namespace flotilla {
namespace {

TEST(CutText, NeverHalfACharacter) {
  // One, two, three and four bytes.
  const std::string text = "aé€😀z";
  const char* const wanted[] = {"",    "a",   "a",   "aé",   "aé",   "aé",
                                "aé€", "aé€", "aé€", "aé€", "aé€😀", "aé€😀z"};
  for (size_t max = 0; max <= text.size(); ++max) {
    EXPECT_EQ(CutText(text, max), wanted[max]) << max;
  }
  EXPECT_EQ(CutText(text, 1000), text);
  EXPECT_EQ(CutText("", 0), "");
}

TEST(CutText, BytesThatAreNoTextAreCutToo) {
  const std::string bytes(10, '\xff');
  EXPECT_EQ(CutText(bytes, 3), bytes.substr(0, 3));
  EXPECT_EQ(CutText(std::string(10, '\x80'), 3), "");
}

}  // namespace
}  // namespace flotilla
