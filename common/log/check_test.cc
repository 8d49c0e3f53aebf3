// SPDX-License-Identifier: Apache-2.0

#include "common/log/check.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

TEST(Check, GoesOnWhenTheConditionHolds) {
  int evaluated = 0;
  CHECK(1 + 1 == 2) << ++evaluated;
  DCHECK(true) << ++evaluated;

  EXPECT_EQ(evaluated, 0);
}

TEST(CheckDeathTest, NamesPlaceConditionAndText) {
  EXPECT_DEATH(CHECK(1 + 1 == 3) << "sum is " << 2,
               "check_test.cc:.*1 \\+ 1 == 3.*sum is 2");
  EXPECT_DEATH(DCHECK(false), "CHECK failed: false");
}

}  // namespace
}  // namespace flotilla
