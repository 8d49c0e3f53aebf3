// SPDX-License-Identifier: Apache-2.0

#include "common/status/status_macros.h"

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using ::testing::HasSubstr;

absl::Status Propagate(const absl::Status& status) {
  RETURN_IF_ERROR(status) << "opening " << 7;
  return absl::OkStatus();
}

absl::StatusOr<int> PropagateAsStatusOr(const absl::Status& status) {
  RETURN_IF_ERROR(status);
  return 1;
}

absl::StatusOr<int> Twice(absl::StatusOr<int> value) {
  ASSIGN_OR_RETURN(const int got, value);
  return 2 * got;
}

absl::StatusOr<int> TwiceWithContext(absl::StatusOr<int> value) {
  const std::string id = "b-1";
  ASSIGN_OR_RETURN(const int got, value, _ << "rendering " << id);
  return 2 * got;
}

absl::StatusOr<int> Sum(absl::StatusOr<std::unique_ptr<int>> a) {
  ASSIGN_OR_RETURN(std::unique_ptr<int> first, std::move(a));
  int second;
  ASSIGN_OR_RETURN(second, Twice(*first));
  return *first + second;
}

absl::Status Positive(int n) {
  RET_CHECK(n > 0) << "n is " << n;
  return absl::OkStatus();
}

TEST(ReturnIfError, GoesOnWhenOk) {
  EXPECT_THAT(Propagate(absl::OkStatus()), IsOk());
  EXPECT_THAT(PropagateAsStatusOr(absl::OkStatus()), IsOkAndHolds(1));
}

TEST(ReturnIfError, PutsContextBeforeTheMessageAndKeepsTheCode) {
  EXPECT_THAT(Propagate(absl::NotFoundError("no file")),
              StatusIs(absl::StatusCode::kNotFound, "opening 7: no file"));
}

TEST(ReturnIfError, KeepsTheErrorUntouchedWithoutContext) {
  EXPECT_THAT(PropagateAsStatusOr(absl::AbortedError("again")),
              StatusIs(absl::StatusCode::kAborted, "again"));
}

TEST(ReturnIfError, KeepsPayloads) {
  absl::Status error = absl::UnavailableError("not the leader");
  error.SetPayload("leader", absl::Cord("10.0.0.7"));

  const absl::Status result = Propagate(error);

  EXPECT_EQ(result.GetPayload("leader"), absl::Cord("10.0.0.7"));
}

TEST(ReturnIfError, LeavesTheElseOfTheCallerAlone) {
  auto f = [](bool checked) -> absl::Status {
    if (checked)
      RETURN_IF_ERROR(absl::OkStatus());
    else
      return absl::InternalError("the caller's else");
    return absl::OkStatus();
  };

  EXPECT_THAT(f(true), IsOk());
  EXPECT_THAT(f(false), StatusIs(absl::StatusCode::kInternal));
}

TEST(AssignOrReturn, AssignsMovesAndDeclares) {
  EXPECT_THAT(Twice(4), IsOkAndHolds(8));
  EXPECT_THAT(Sum(std::make_unique<int>(3)), IsOkAndHolds(9));
}

TEST(AssignOrReturn, ReturnsTheErrorWithContextWhenGiven) {
  EXPECT_THAT(Twice(absl::NotFoundError("x")),
              StatusIs(absl::StatusCode::kNotFound, "x"));
  EXPECT_THAT(
      TwiceWithContext(absl::NotFoundError("no chart")),
      StatusIs(absl::StatusCode::kNotFound, "rendering b-1: no chart"));
  EXPECT_THAT(TwiceWithContext(2), IsOkAndHolds(4));
}

TEST(RetCheck, NamesTheConditionAndTheContext) {
  EXPECT_THAT(Positive(1), IsOk());
  EXPECT_THAT(Positive(0),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("n > 0")));
  EXPECT_THAT(Positive(0),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("n is 0")));
}

}  // namespace
}  // namespace flotilla
