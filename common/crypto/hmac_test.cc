// SPDX-License-Identifier: Apache-2.0

#include "common/crypto/hmac.h"

#include <string>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

TEST(HmacTest, Sha1GivesTheVectorsOfRfc2202) {
  EXPECT_EQ(absl::BytesToHexString(HmacSha1(std::string(20, 0x0b), "Hi There")),
            "b617318655057264e28bc0b6fb378c8ef146be00");
  EXPECT_EQ(absl::BytesToHexString(
                HmacSha1("Jefe", "what do ya want for nothing?")),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
}

TEST(HmacTest, Sha256GivesTheVectorsOfRfc4231) {
  EXPECT_EQ(
      absl::BytesToHexString(HmacSha256(std::string(20, 0x0b), "Hi There")),
      "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(
      absl::BytesToHexString(
          HmacSha256("Jefe", "what do ya want for nothing?")),
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(HmacTest, AnEmptyKeyIsAKey) {
  EXPECT_EQ(HmacSha256("", "x"), HmacSha256("", "x"));
  EXPECT_NE(HmacSha256("", "x"), HmacSha256("k", "x"));
}

TEST(HmacTest, ComparesWholeStrings) {
  EXPECT_TRUE(EqualInConstantTime("", ""));
  EXPECT_TRUE(EqualInConstantTime("abc", "abc"));
  EXPECT_FALSE(EqualInConstantTime("abc", "abd"));
  EXPECT_FALSE(EqualInConstantTime("abc", "ab"));
  EXPECT_FALSE(EqualInConstantTime("", "a"));
}

}  // namespace
}  // namespace flotilla
