// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/request_lanes.h"

#include <string>
#include <utility>
#include <vector>

#include "common/event/simulated_loop.h"
#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

ObjectIdentity Id(const std::string& name) {
  return {"", "ConfigMap", "shop", name};
}

TEST(RequestLanes, BulkWorkLeavesRoomForUrgentWork) {
  SimulatedLoop loop;
  RequestLanes lanes(loop);
  std::vector<RequestLanes::Turn> turns;
  int urgent = 0;
  for (int i = 0; i < 100; ++i) {
    lanes.Enter(Lane::kBulk, Id(std::to_string(i)),
                [&](RequestLanes::Turn turn) {
                  turns.push_back(std::move(turn));
                });
  }
  loop.RunUntilIdle();
  EXPECT_EQ(turns.size(), 12u);

  lanes.Enter(Lane::kUrgent, Id("x"), [&](RequestLanes::Turn) { ++urgent; });
  loop.RunUntilIdle();

  EXPECT_EQ(urgent, 1);
  turns.clear();
  loop.RunUntilIdle();
  EXPECT_EQ(turns.size(), 12u);
}

TEST(RequestLanes, OneObjectHasOneRequestAtATime) {
  SimulatedLoop loop;
  RequestLanes lanes(loop);
  std::vector<RequestLanes::Turn> turns;
  int second = 0;
  lanes.Enter(Lane::kBulk, Id("a"), [&](RequestLanes::Turn turn) {
    turns.push_back(std::move(turn));
  });
  lanes.Enter(Lane::kBulk, Id("a"), [&](RequestLanes::Turn) { ++second; });
  loop.RunUntilIdle();
  EXPECT_EQ(second, 0);
  EXPECT_TRUE(lanes.Busy(Id("a")));

  turns.clear();
  loop.RunUntilIdle();

  EXPECT_EQ(second, 1);
  EXPECT_EQ(lanes.in_flight(), 0);
}

TEST(RequestLanes, TurnsOutliveTheLanes) {
  SimulatedLoop loop;
  std::vector<RequestLanes::Turn> turns;
  {
    RequestLanes lanes(loop);
    lanes.Enter(Lane::kBulk, Id("a"), [&](RequestLanes::Turn turn) {
      turns.push_back(std::move(turn));
    });
    loop.RunUntilIdle();
  }
  turns.clear();
  EXPECT_TRUE(turns.empty());
}

}  // namespace
}  // namespace flotilla::agent
