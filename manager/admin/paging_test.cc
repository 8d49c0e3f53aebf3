// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/paging.h"

#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;

std::string Same(const std::string& item) { return item; }

TEST(Paging, GivesEachItemOnceAlsoWhenTheListChangesInBetween) {
  const auto first = TakePage<std::string>({"a", "c", "e"}, 2, "", Same);
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(first->items, ElementsAre("a", "c"));
  ASSERT_FALSE(first->next_token.empty());

  const auto second =
      TakePage<std::string>({"b", "d", "e"}, 2, first->next_token, Same);
  ASSERT_THAT(second, IsOk());
  EXPECT_THAT(second->items, ElementsAre("d", "e"));
  EXPECT_EQ(second->next_token, "");
}

TEST(Paging, RefusesAForeignToken) {
  EXPECT_THAT(TakePage<std::string>({"a"}, 1, "!", Same),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(Paging, BoundsThePageSize) {
  EXPECT_EQ(PageSize(0), 500u);
  EXPECT_EQ(PageSize(7), 7u);
  EXPECT_EQ(PageSize(100000), 500u);
}

}  // namespace
}  // namespace flotilla::manager
