// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/tree_path.h"

#include <string>

#include "absl/status/status.h"
#include "common/status/status_matchers.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

TEST(TreePath, IsNormalised) {
  EXPECT_THAT(NormalizeTreePath("./a//b/"), IsOkAndHolds("a/b"));
  EXPECT_THAT(NormalizeTreePath("a/../b"), IsOkAndHolds("b"));
  EXPECT_THAT(NormalizeTreePath("a/.."), IsOkAndHolds(""));
  EXPECT_THAT(JoinTreePath("a/b", "../c"), IsOkAndHolds("a/c"));
  EXPECT_THAT(JoinTreePath("", "c"), IsOkAndHolds("c"));
}

TEST(TreePath, LeavesNoTree) {
  for (const std::string& path :
       {std::string("/etc"), std::string("a/../.."), std::string("a\\b"),
        std::string("a\nb"), std::string("a\xff"), std::string(5000, 'a')}) {
    EXPECT_THAT(NormalizeTreePath(path),
                StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(JoinTreePath("", path),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_THAT(JoinTreePath("a", "../../b"),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(JoinTreePath("a", "/b"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(TreePath, ComesApartAndTogether) {
  EXPECT_EQ(TreeParent("a/b/c"), "a/b");
  EXPECT_EQ(TreeParent("a"), "");
  EXPECT_EQ(TreeName("a/b/c"), "c");
  EXPECT_EQ(TreeName("a"), "a");
  EXPECT_EQ(TreeChild("a/b", "c"), "a/b/c");
  EXPECT_EQ(TreeChild("", "c"), "c");
  EXPECT_EQ(RelativeTo("a", "a/b/c"), "b/c");
  EXPECT_EQ(RelativeTo("", "a"), "a");
}

TEST(TreePath, LiesWithinItsParents) {
  EXPECT_TRUE(IsWithin("", "a"));
  EXPECT_TRUE(IsWithin("a", "a"));
  EXPECT_TRUE(IsWithin("a", "a/b"));
  EXPECT_FALSE(IsWithin("a", "ab"));
  EXPECT_FALSE(IsWithin("a/b", "a"));
}

TEST(TreePath, IsHiddenByADotBeforeAnyPart) {
  EXPECT_TRUE(IsHiddenPath(".a"));
  EXPECT_TRUE(IsHiddenPath("a/.b/c"));
  EXPECT_FALSE(IsHiddenPath("a.b/c."));
}

}  // namespace
}  // namespace flotilla::manager
