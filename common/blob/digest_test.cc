// SPDX-License-Identifier: Apache-2.0

#include "common/blob/digest.h"

#include <string>

#include "absl/status/status.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

constexpr char kEmpty[] =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(Digest, IsSha256) {
  EXPECT_EQ(DigestToHex(DigestOf("")), kEmpty);
  EXPECT_TRUE(DigestIsValid(DigestOf("x")));
}

TEST(Digest, ReadsBackItsHexForm) {
  EXPECT_THAT(DigestFromHex(kEmpty), IsOkAndHolds(DigestOf("")));
}

TEST(Digest, RefusesWhatIsNotOne) {
  for (const std::string& hex :
       {std::string(), std::string(64, 'g'), std::string(63, 'a'),
        std::string(64, 'A'), std::string("../../etc/passwd")}) {
    EXPECT_THAT(DigestFromHex(hex),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << hex;
  }
}

}  // namespace
}  // namespace flotilla
