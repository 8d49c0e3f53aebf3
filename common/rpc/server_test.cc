// SPDX-License-Identifier: Apache-2.0

#include "common/rpc/server.h"

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/event/real_loop.h"
#include "common/rpc/channel.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using ::testing::HasSubstr;

ServerOptions OnLoopback() {
  ServerOptions options;
  options.address = "127.0.0.1:0";
  return options;
}

TEST(RpcServer, AnswersHealthChecks) {
  RealLoop loop;
  auto server = RpcServer::Start(loop, OnLoopback(), {});
  ASSERT_THAT(server, IsOk());
  auto channel = MakePlainChannel(
      absl::StrCat("127.0.0.1:", (*server)->port()), 1 << 20);
  auto health = grpc::health::v1::Health::NewStub(channel);

  for (const bool serving : {true, false}) {
    (*server)->SetServing(serving);
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckResponse response;
    grpc::Status status = health->Check(&context, {}, &response);

    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.status(),
              serving ? grpc::health::v1::HealthCheckResponse::SERVING
                      : grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  }

  bool done = false;
  (*server)->Shutdown(absl::Seconds(1), [&] {
    done = true;
    loop.Stop();
  });
  loop.RunUntilStopped();
  EXPECT_TRUE(done);
}

TEST(RpcServer, NamesTheAddressWhosePortIsInUse) {
  RealLoop loop;
  auto first = RpcServer::Start(loop, OnLoopback(), {});
  ASSERT_THAT(first, IsOk());
  ServerOptions options;
  options.address = absl::StrCat("127.0.0.1:", (*first)->port());

  auto second = RpcServer::Start(loop, options, {});

  EXPECT_THAT(second, StatusIs(absl::StatusCode::kUnavailable,
                               HasSubstr("port is in use")));
  EXPECT_THAT(second.status().ToString(), HasSubstr(options.address));
}

TEST(RpcServer, RefusesAPlainListenerThatIsNotLoopback) {
  RealLoop loop;
  for (const char* address : {"0.0.0.0:0", "10.0.0.1:0", "[::]:0",
                              "example.com:0", "128.0.0.1:0"}) {
    ServerOptions options;
    options.address = address;

    EXPECT_THAT(RpcServer::Start(loop, options, {}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("loopback")))
        << address;
  }
}

TEST(RpcServer, SaysWhatAnAddressLooksLike) {
  RealLoop loop;
  for (const char* address :
       {"", ":", "127.0.0.1", ":80", "127.0.0.1:http", "::1:80",
        "127.0.0.1:99999", "[::1:80"}) {
    ServerOptions options;
    options.address = address;

    EXPECT_THAT(RpcServer::Start(loop, options, {}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("host:port")))
        << address;
  }
}

TEST(IsLoopbackAddress, KnowsTheWholeNetwork) {
  for (const char* address :
       {"127.0.0.1:1", "127.255.255.254:1", "localhost:1", "[::1]:1"}) {
    EXPECT_TRUE(IsLoopbackAddress(address)) << address;
  }
  for (const char* address :
       {"127.0.0.1.example.com:1", "127.0.0:1", "127.0.0.1.1:1", "127.1:1",
        "127.0.0.256:1", "1270.0.0.1:1", "0.0.0.0:1", "[::2]:1",
        "localhost.evil:1", "127.0.0.1"}) {
    EXPECT_FALSE(IsLoopbackAddress(address)) << address;
  }
}

}  // namespace
}  // namespace flotilla
