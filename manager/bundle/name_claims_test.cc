// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/name_claims.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(NameClaims, KeepsWhoWaitsForAName) {
  NameClaims claims;
  claims.Set("a", "w", {"x", "y"});
  claims.Set("b", "w", {"x"});
  EXPECT_THAT(claims.WaitingFor("w", "x"), ElementsAre("a", "b"));
  EXPECT_THAT(claims.WaitingFor("other", "x"), IsEmpty());

  claims.Set("a", "w", {"y"});
  EXPECT_THAT(claims.WaitingFor("w", "x"), ElementsAre("b"));
  EXPECT_THAT(claims.WaitingFor("w", "y"), ElementsAre("a"));

  claims.Clear("a");
  claims.Clear("b");
  EXPECT_THAT(claims.WaitingFor("w", "x"), IsEmpty());
  EXPECT_THAT(claims.WaitingFor("w", "y"), IsEmpty());
}

}  // namespace
}  // namespace flotilla::manager
