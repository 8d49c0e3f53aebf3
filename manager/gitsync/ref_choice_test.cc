// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/ref_choice.h"

#include <string>

#include "absl/status/status.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Id(char digit) { return std::string(40, digit); }

RemoteRefs Refs() {
  return RemoteRefs({{"HEAD", Id('1')},
                     {"refs/heads/dev", Id('2')},
                     {"refs/heads/main", Id('1')},
                     {"refs/pull/1/head", Id('5')},
                     {"refs/tags/v1", Id('3')},
                     {"refs/tags/v1^{}", Id('4')}},
                    "refs/heads/main");
}

TEST(RefChoiceTest, ABranchIsItsHead) {
  const auto choice = Refs().Choose("dev", "", "r");
  ASSERT_THAT(choice, IsOk());
  EXPECT_THAT(choice->refs, ElementsAre("refs/heads/dev"));
  EXPECT_EQ(choice->id, Id('2'));
}

TEST(RefChoiceTest, ARevisionWinsOverTheBranch) {
  const auto choice = Refs().Choose("dev", "v1", "r");
  ASSERT_THAT(choice, IsOk());
  EXPECT_THAT(choice->refs, ElementsAre("refs/tags/v1"));
  EXPECT_EQ(choice->id, Id('3'));
}

TEST(RefChoiceTest, ACommitThatARefNamesIsFetchedByIt) {
  EXPECT_THAT(Refs().Choose("", Id('5'), "r")->refs,
              ElementsAre("refs/pull/1/head"));
}

TEST(RefChoiceTest, AnyOtherCommitMayBeAnywhereTheDefaultBranchFirst) {
  const auto choice = Refs().Choose("", Id('9'), "r");
  ASSERT_THAT(choice, IsOk());
  EXPECT_THAT(choice->refs,
              ElementsAre("refs/heads/main", "refs/heads/dev", "refs/tags/v1"));
  EXPECT_EQ(choice->id, Id('9'));
}

TEST(RefChoiceTest, AnyRefIsATagACommitOrABranch) {
  EXPECT_EQ(Refs().ChooseAny("v1", "r")->id, Id('3'));
  EXPECT_EQ(Refs().ChooseAny("dev", "r")->id, Id('2'));
  EXPECT_EQ(Refs().ChooseAny(Id('9'), "r")->id, Id('9'));
  EXPECT_EQ(Refs().ChooseAny("", "r")->id, Id('1'));
  EXPECT_THAT(Refs().ChooseAny("v2", "r"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("neither a tag nor a branch \"v2\"")));
  EXPECT_THAT(RemoteRefs({{"refs/heads/dev", Id('2')}}, "").ChooseAny("", "r"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("?ref=")));
  EXPECT_THAT(RemoteRefs().ChooseAny("", "r"),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(RefChoiceTest, SaysWhatThereIsInstead) {
  EXPECT_THAT(Refs().Choose("", "", "r"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("spec.branch is not set")));
  EXPECT_THAT(Refs().Choose("prod", "", "r"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("it has \"main\", \"dev\"")));
  EXPECT_THAT(Refs().Choose("", "dev", "r"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("write it as spec.branch")));
  EXPECT_THAT(RemoteRefs().Choose("main", "", "r"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("is empty")));
}

TEST(RefChoiceTest, RefusesNamesThatNoRefHas) {
  EXPECT_THAT(Refs().Choose("a..b", "", "r"),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Refs().Choose("", "-x", "r"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace flotilla::manager
