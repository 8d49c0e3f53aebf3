// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/group_tally.h"

#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Key;

MemberState Member(int rank, const std::string& word, uint32_t ready,
                   uint32_t desired) {
  MemberState state;
  state.ready = word == "Ready";
  state.rank = rank;
  state.word = word;
  state.deployments.set_ready(ready);
  state.deployments.set_not_ready(desired - ready);
  state.deployments.set_desired(desired);
  state.resources.set_ready(ready * 3);
  state.resources.set_desired(desired * 3);
  return state;
}

TEST(GroupTallyTest, SumsWhatIsThere) {
  GroupTally tally;
  tally.Set("b", Member(7, "NotReady", 1, 2));
  tally.Set("a", Member(7, "NotReady", 0, 2));
  tally.Set("c", Member(8, "Ready", 2, 2));
  tally.Set("d", Member(0, "ErrApplied", 0, 2));
  EXPECT_EQ(tally.size(), 4u);
  EXPECT_EQ(tally.deployments().ready(), 3u);
  EXPECT_EQ(tally.deployments().desired(), 8u);
  EXPECT_EQ(tally.resources().desired(), 24u);
  EXPECT_THAT(tally.not_ready(), ElementsAre("a", "b", "d"));
  EXPECT_THAT(tally.waiting(),
              ElementsAre(Key(std::pair(0, "ErrApplied")),
                          Key(std::pair(7, "NotReady"))));
  EXPECT_EQ(*tally.waiting().at({7, "NotReady"}).begin(), "a");
}

TEST(GroupTallyTest, WhatIsNewTakesThePlaceOfWhatWas) {
  GroupTally tally;
  tally.Set("a", Member(7, "NotReady", 0, 2));
  tally.Set("a", Member(8, "Ready", 2, 2));
  EXPECT_EQ(tally.size(), 1u);
  EXPECT_EQ(tally.deployments().ready(), 2u);
  EXPECT_EQ(tally.deployments().not_ready(), 0u);
  EXPECT_EQ(tally.resources().ready(), 6u);
  EXPECT_THAT(tally.not_ready(), IsEmpty());
  EXPECT_THAT(tally.waiting(), IsEmpty());
}

TEST(GroupTallyTest, OneThatGoesCountsNoMore) {
  GroupTally tally;
  tally.Set("a", Member(7, "NotReady", 1, 2));
  tally.Remove("a");
  tally.Remove("never there");
  EXPECT_EQ(tally.size(), 0u);
  EXPECT_EQ(tally.deployments().desired(), 0u);
  EXPECT_EQ(tally.resources().desired(), 0u);
  EXPECT_THAT(tally.waiting(), IsEmpty());
}

}  // namespace
}  // namespace flotilla::manager
