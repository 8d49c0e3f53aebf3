// SPDX-License-Identifier: Apache-2.0

#include "common/status/status_matchers.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using ::testing::_;
using ::testing::AnyOf;
using ::testing::DescribeMatcher;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pointee;

TEST(IsOk, MatchesStatusAndStatusOr) {
  EXPECT_THAT(absl::OkStatus(), IsOk());
  EXPECT_THAT(absl::StatusOr<int>(1), IsOk());
  EXPECT_THAT(absl::UnknownError(""), Not(IsOk()));
  EXPECT_THAT(absl::StatusOr<int>(absl::UnknownError("")), Not(IsOk()));
}

TEST(IsOkAndHolds, MatchesTheValue) {
  const absl::StatusOr<std::vector<int>> list = std::vector<int>{1, 2};

  EXPECT_THAT(list, IsOkAndHolds(ElementsAre(1, 2)));
  EXPECT_THAT(list, Not(IsOkAndHolds(ElementsAre(1))));
  EXPECT_THAT(absl::StatusOr<std::string>("a"), IsOkAndHolds("a"));
  EXPECT_THAT(absl::StatusOr<int>(absl::UnknownError("")),
              Not(IsOkAndHolds(_)));
}

TEST(IsOkAndHolds, MatchesWhatCannotBeCopied) {
  absl::StatusOr<std::unique_ptr<int>> moved = std::make_unique<int>(3);

  EXPECT_THAT(moved, IsOkAndHolds(Pointee(3)));
}

TEST(StatusIs, MatchesCodeAndMessage) {
  const absl::Status error = absl::NotFoundError("no such bundle");

  EXPECT_THAT(error, StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(error, StatusIs(absl::StatusCode::kNotFound, HasSubstr("such")));
  EXPECT_THAT(error, StatusIs(AnyOf(absl::StatusCode::kNotFound,
                                    absl::StatusCode::kAborted)));
  EXPECT_THAT(error, Not(StatusIs(absl::StatusCode::kAborted)));
  EXPECT_THAT(error, Not(StatusIs(absl::StatusCode::kNotFound, "other")));
  EXPECT_THAT(absl::StatusOr<int>(error), StatusIs(_, HasSubstr("bundle")));
}

TEST(StatusIs, DescribesItself) {
  EXPECT_EQ(DescribeMatcher<absl::Status>(IsOk()), "is OK");
  EXPECT_EQ(DescribeMatcher<absl::StatusOr<int>>(IsOkAndHolds(1)),
            "is OK and has a value that is equal to 1");
}

}  // namespace
}  // namespace flotilla
