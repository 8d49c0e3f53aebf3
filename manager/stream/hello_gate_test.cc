// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/hello_gate.h"

#include <string>

#include "absl/status/status.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using agent::v1::Hello;
using agent::v1::Reject;

TEST(JudgeHello, DecidesByWhatTheManagerKnows) {
  GateView good;
  good.ready = true;
  good.known = true;
  good.current_key = true;
  good.cluster_uid = "uid";
  Hello hello;
  hello.set_proto_min(1);
  hello.set_proto_max(1);
  hello.set_cluster_uid("uid");
  ASSERT_THAT(JudgeHello(hello, good), IsOk());
  EXPECT_FALSE(JudgeHello(hello, good)->has_value());

  const auto code = [](const Hello& said, const GateView& gate) {
    return (*JudgeHello(said, gate))->code();
  };
  GateView gate = good;
  gate.ready = false;
  gate.known = false;
  EXPECT_EQ(code(hello, gate), Reject::CODE_NOT_READY);
  gate = good;
  gate.known = false;
  EXPECT_EQ(code(hello, gate), Reject::CODE_UNKNOWN_CLUSTER);
  gate = good;
  gate.revoked = true;
  EXPECT_EQ(code(hello, gate), Reject::CODE_REVOKED);
  gate = good;
  gate.current_key = false;
  EXPECT_EQ(code(hello, gate), Reject::CODE_REVOKED);
  gate = good;
  gate.cluster_uid = "another";
  EXPECT_EQ(code(hello, gate), Reject::CODE_UID_MISMATCH);

  Hello newer = hello;
  newer.set_proto_min(2);
  newer.set_proto_max(3);
  EXPECT_EQ(code(newer, good), Reject::CODE_VERSION);
  Hello without;
  without.set_proto_max(1);
  EXPECT_EQ(code(without, good), Reject::CODE_UID_MISMATCH);
}

TEST(JudgeHello, RefusesMalformedOnes) {
  Hello hello;
  hello.set_boot_id(std::string(1000, 'x'));
  EXPECT_THAT(JudgeHello(hello, {}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  hello.Clear();
  hello.set_proto_min(2);
  hello.set_proto_max(1);
  EXPECT_THAT(JudgeHello(hello, {}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace flotilla::manager
