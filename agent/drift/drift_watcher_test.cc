// SPDX-License-Identifier: Apache-2.0

#include "agent/drift/drift_watcher.h"

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/env/fake_random.h"
#include "common/event/simulated_loop.h"
#include "common/kube/fake_kube_client.h"
#include "common/status/status_matchers.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

class Recorder : public DriftEvents {
 public:
  void OnObject(const ObjectIdentity& id, KubeObject) override {
    log.push_back("object " + std::get<3>(id));
  }
  void OnLeft(const ObjectIdentity& id, KubeObject) override {
    log.push_back("left " + std::get<3>(id));
  }
  void OnListed(const std::string&, const std::string& kind,
                const std::set<ObjectIdentity>& present) override {
    log.push_back("listed " + kind + " " + std::to_string(present.size()));
  }
  void OnWatchUp(const std::string&, const std::string&) override {}
  void OnWatchFailed(const std::string&, const std::string&,
                     const absl::Status&) override {
    log.push_back("failed");
  }
  std::vector<std::string> Take() {
    std::vector<std::string> taken;
    taken.swap(log);
    return taken;
  }
  std::vector<std::string> log;
};

nlohmann::json ConfigMap(const std::string& name, bool ours = true) {
  nlohmann::json object = {
      {"apiVersion", "v1"},
      {"kind", "ConfigMap"},
      {"metadata", {{"name", name}, {"namespace", "default"}}}};
  if (ours) object["metadata"]["labels"]["flotilla.dev/managed"] = "true";
  return object;
}

core::v1::ResourceKey Key(const std::string& name) {
  core::v1::ResourceKey key;
  key.set_version("v1");
  key.set_kind("ConfigMap");
  key.set_namespace_("default");
  key.set_name(name);
  return key;
}

using Log = std::vector<std::string>;

class DriftWatcherTest : public testing::Test {
 protected:
  SimulatedLoop loop_;
  FakeKubeClient kube_{loop_};
  FakeRandom random_;
  Recorder events_;
  DriftWatcher watcher_{kube_, loop_, random_, events_};
};

TEST_F(DriftWatcherTest, TellsTheWholeSetThenChanges) {
  ASSERT_THAT(kube_.CreateAs("x", ConfigMap("a")), IsOk());
  ASSERT_THAT(kube_.CreateAs("x", ConfigMap("theirs", false)), IsOk());
  watcher_.Watch("", "v1", "ConfigMap", false);
  loop_.RunUntilIdle();
  EXPECT_EQ(events_.Take(), (Log{"object a", "listed ConfigMap 1"}));

  ASSERT_THAT(kube_.CreateAs("x", ConfigMap("b")), IsOk());
  ASSERT_THAT(kube_.DeleteAs(Key("a")), IsOk());
  loop_.RunUntilIdle();

  EXPECT_EQ(events_.Take(), (Log{"object b", "left a"}));
  EXPECT_TRUE(watcher_.Listed("", "ConfigMap"));
}

TEST_F(DriftWatcherTest, GoesOnWhereARoutineEndLeftIt) {
  watcher_.Watch("", "v1", "ConfigMap", false);
  loop_.RunUntilIdle();
  events_.Take();

  kube_.CloseWatches(absl::OkStatus());
  ASSERT_THAT(kube_.CreateAs("x", ConfigMap("b")), IsOk());
  loop_.Advance(absl::Seconds(1));

  EXPECT_EQ(events_.Take(), (Log{"object b"}));
}

TEST_F(DriftWatcherTest, ListsAgainWhenItsVersionIsTooOld) {
  watcher_.Watch("", "v1", "ConfigMap", false);
  loop_.RunUntilIdle();
  events_.Take();

  kube_.CloseWatches(absl::OutOfRangeError("too old"));
  loop_.Advance(absl::Seconds(1));

  EXPECT_EQ(events_.Take(), (Log{"listed ConfigMap 0"}));
}

TEST_F(DriftWatcherTest, TriesAgainUntilTheServerIsBack) {
  kube_.SetDown(true);
  watcher_.Watch("", "v1", "ConfigMap", false);
  loop_.Advance(absl::Seconds(5));
  EXPECT_FALSE(watcher_.Listed("", "ConfigMap"));
  EXPECT_EQ(events_.Take()[0], "failed");

  kube_.SetDown(false);
  loop_.Advance(absl::Seconds(15));

  EXPECT_TRUE(watcher_.Listed("", "ConfigMap"));
}

TEST_F(DriftWatcherTest, AKindThatIsNotServedIsAnEmptySet) {
  watcher_.Watch("example.com", "v1", "Widget", true);
  loop_.RunUntilIdle();

  EXPECT_EQ(events_.Take(), (Log{"listed Widget 0"}));
}

}  // namespace
}  // namespace flotilla::agent
