// SPDX-License-Identifier: Apache-2.0

#include "common/status/grpc_status.h"

#include <string>

#include "absl/status/status.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

TEST(GrpcStatus, MapsEveryCodeThereAndBack) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "why");

    EXPECT_EQ(FromGrpcStatus(ToGrpcStatus(status)), status);
  }
  EXPECT_THAT(FromGrpcStatus(ToGrpcStatus(absl::OkStatus())), IsOk());
}

TEST(GrpcStatus, KeepsNames) {
  EXPECT_EQ(ToGrpcStatus(absl::NotFoundError("")).error_code(),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ToGrpcStatus(absl::UnauthenticatedError("")).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
}

TEST(GrpcStatus, TurnsAnUnheardOfCodeIntoUnknown) {
  const grpc::Status odd(static_cast<grpc::StatusCode>(99), "odd");

  EXPECT_THAT(FromGrpcStatus(odd),
              StatusIs(absl::StatusCode::kUnknown, "odd"));
}

TEST(GrpcStatus, CutsALongMessageBetweenCharacters) {
  std::string text(2047, 'a');
  text += "äöü and so on";

  const std::string cut =
      ToGrpcStatus(absl::InternalError(text)).error_message();

  EXPECT_EQ(cut, std::string(2047, 'a') + "… (cut)");
}

}  // namespace
}  // namespace flotilla
