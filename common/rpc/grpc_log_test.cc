// SPDX-License-Identifier: Apache-2.0

#include "common/rpc/grpc_log.h"

#include "common/log/log_capture.h"
#include "gmock/gmock.h"
#include "grpc/support/log.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

TEST(RouteGrpcLog, TurnsErrorsIntoWarningsAndDropsTheRest) {
  RouteGrpcLog();
  LogCapture capture;

  gpr_log(GPR_INFO, "chatter");
  gpr_log(GPR_ERROR, "handshake failed");

  EXPECT_THAT(capture.Messages(LogLevel::kWarning),
              ::testing::ElementsAre("gRPC: handshake failed"));
  EXPECT_EQ(capture.entries().size(), 1u);
}

}  // namespace
}  // namespace flotilla
