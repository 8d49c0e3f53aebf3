// SPDX-License-Identifier: Apache-2.0

#include "common/crypto/hmac_sha1.h"

#include <string>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

TEST(HmacSha1Test, GivesTheVectorsOfRfc2202) {
  EXPECT_EQ(absl::BytesToHexString(HmacSha1(std::string(20, 0x0b), "Hi There")),
            "b617318655057264e28bc0b6fb378c8ef146be00");
  EXPECT_EQ(absl::BytesToHexString(
                HmacSha1("Jefe", "what do ya want for nothing?")),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
}

}  // namespace
}  // namespace flotilla
