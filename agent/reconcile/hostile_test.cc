// SPDX-License-Identifier: Apache-2.0

// What no cluster should hold and no clock should say, and yet they do.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "flotilla/core/v1/core.pb.h"

#include "agent/testing/agent_world.h"
#include "common/kube/fake_kube_client.h"
#include "common/kube/object.h"
#include "common/status/status_matchers.h"

namespace flotilla::agent {
namespace {

using nlohmann::json;
using Verb = FakeKubeClient::Verb;

// Nearly as deep as ParseKubeJson() reads.
json Deep() {
  json value = 1;
  for (int depth = 0; depth < kMaxJsonDepth - 8; ++depth) {
    json outer = json::object();
    outer["a"] = std::move(value);
    value = std::move(outer);
  }
  return value;
}

class HostileTest : public AgentWorld {
 protected:
  std::string ValueOf(const std::string& name) {
    return (*kube_.Find(Key(ConfigMap(name))))["data"]["key"];
  }

  void Drift(const std::string& name) {
    ASSERT_THAT(kube_.EditAs("jane", Key(ConfigMap(name)),
                             [](json& o) { o["data"]["key"] = "drift"; }),
                IsOk());
    Settle(absl::Seconds(2));
  }
};

TEST_F(HostileTest, AClockThatJumpsChangesNothing) {
  Assign(1, {ConfigMap("a")});
  const absl::Time now = clock_.Now();
  uint64_t generation = 1;
  for (const absl::Time time :
       {absl::UnixEpoch(), now + absl::Hours(24 * 3650), absl::InfiniteFuture(),
        absl::InfinitePast(), now - absl::Hours(1), now}) {
    SCOPED_TRACE(absl::FormatTime(time));
    clock_.Set(time);
    Drift("a");
    EXPECT_EQ(ValueOf("a"), absl::StrCat(generation));

    ++generation;
    Assign(generation, {ConfigMap("a", absl::StrCat(generation))});
    EXPECT_EQ(ValueOf("a"), absl::StrCat(generation));
    EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
    Crash();
    Start();
    EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
    // Far enough apart that nobody fights.
    Settle(absl::Minutes(11));
  }
  EXPECT_EQ(kube_.CountOf(Verb::kDelete), 0u);
}

TEST_F(HostileTest, ObjectsOfOddShapesHoldUpNobodyElse) {
  const json odd = Deployment("odd", 1);
  Assign(1, {odd, ConfigMap("beside")}, "poisoned");
  Assign(1, {ConfigMap("a")}, "b");
  const std::string uid = UidOf(odd);
  const json before = *kube_.Find(Key(odd));
  int64_t generation = 1;
  const std::vector<std::function<void(json&)>> shapes = {
      [](json& o) { o["metadata"]["labels"] = json::array({1, json()}); },
      [](json& o) { o["metadata"]["annotations"] = 7; },
      [](json& o) { o["metadata"]["generation"] = -1; },
      [](json& o) { o["metadata"]["generation"] = "many"; },
      [](json& o) { o["metadata"]["finalizers"] = "x"; },
      [](json& o) { o["metadata"]["ownerReferences"] = {{"a", 1}}; },
      [](json& o) { o["spec"] = nullptr; },
      [](json& o) { o["spec"]["replicas"] = "three"; },
      [](json& o) { o["spec"]["template"] = json::array(); },
      [](json& o) { o["status"] = "a text"; },
      [](json& o) { o["status"] = {{"conditions", {{"type", 1}}}}; },
      [](json& o) { o["status"] = {{"conditions", {nullptr, 1, "x"}}}; },
      [](json& o) { o["status"] = {{"replicas", -9e300}}; },
      [](json& o) { o["spec"]["deep"] = Deep(); },
      [](json& o) { o["status"] = {{"deep", Deep()}}; },
      [](json& o) { o["data"] = std::string("\xff\xfe"); },
  };
  for (size_t shape = 0; shape < shapes.size(); ++shape) {
    SCOPED_TRACE(shape);
    ASSERT_THAT(kube_.EditAs("jane", Key(odd), shapes[shape]), IsOk());
    Settle(absl::Seconds(2));
    // As at a start, when the object is met anew.
    Crash();
    Start();

    ++generation;
    Assign(static_cast<uint64_t>(generation),
           {ConfigMap("a", absl::StrCat(generation))}, "b");
    EXPECT_EQ(ValueOf("a"), absl::StrCat(generation));
    EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
    EXPECT_EQ(UidOf(odd), uid);

    ASSERT_THAT(kube_.EditAs("jane", Key(odd),
                             [&](json& o) {
                               for (const char* part : {"spec", "status"}) {
                                 o.erase(part);
                                 if (before.contains(part)) {
                                   o[part] = before[part];
                                 }
                               }
                               o.erase("data");
                               for (const char* part :
                                    {"labels", "annotations", "finalizers",
                                     "ownerReferences"}) {
                                 o["metadata"].erase(part);
                               }
                             }),
                IsOk());
    Settle(absl::Minutes(11));
  }
  EXPECT_EQ(kube_.CountOf(Verb::kDelete), 0u);
  ASSERT_THAT(kube_.SetStatus(Key(odd), Ready(1)), IsOk());
  Settle(absl::Seconds(30));
  EXPECT_EQ(PhaseOf("poisoned"), core::v1::PHASE_HEALTHY)
      << ProblemsOf("poisoned");
}

}  // namespace
}  // namespace flotilla::agent
