// SPDX-License-Identifier: Apache-2.0

// Fields that the API server refuses to change, without and with force.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "flotilla/core/v1/core.pb.h"

#include "agent/testing/agent_world.h"
#include "common/kube/fake_kube_client.h"
#include "common/status/status_matchers.h"

namespace flotilla::agent {
namespace {

using nlohmann::json;
using Verb = FakeKubeClient::Verb;

json Claim(const std::string& size) {
  return {{"apiVersion", "v1"},
          {"kind", "PersistentVolumeClaim"},
          {"metadata", {{"name", "data"}, {"namespace", "default"}}},
          {"spec", {{"size", size}}}};
}

class ForceTest : public AgentWorld {
 protected:
  ForceTest() {
    kube_.SetImmutable("apps", "Deployment", "spec.selector");
    kube_.SetImmutable("", "PersistentVolumeClaim", "spec.size");
  }

  json Other() {
    json changed = Deployment("web", 2);
    changed["spec"]["selector"]["matchLabels"]["app"] = "other";
    return changed;
  }

  void AssignForced(uint64_t generation, const std::vector<json>& objects) {
    core::v1::Manifest manifest = link_.MakeManifest("b", objects);
    manifest.mutable_policy()->set_force(true);
    link_.Assign("b", generation, manifest);
    Settle();
  }

  // The UIDs that deletions so far have asked for.
  std::vector<std::string> Deletions() {
    std::vector<std::string> uids;
    for (const FakeKubeClient::Request& request : kube_.requests()) {
      if (request.verb == Verb::kDelete) uids.push_back(request.uid);
    }
    return uids;
  }
};

TEST_F(ForceTest, WithoutItTheFieldIsNamedAndTheNextCommitGoesThrough) {
  const json web = Deployment("web", 2);
  Assign(1, {web});
  const std::string uid = UidOf(web);
  Assign(2, {Other()});

  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_FAILED);
  EXPECT_NE(ProblemsOf("b").find("field spec.selector is immutable"),
            std::string::npos);
  EXPECT_NE(ProblemsOf("b").find("helm.force: true"), std::string::npos);
  EXPECT_TRUE(Deletions().empty());

  Assign(3, {Deployment("web", 4)});
  EXPECT_EQ((*kube_.Find(Key(web)))["spec"]["replicas"], 4);
  EXPECT_EQ(UidOf(web), uid);
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_VERIFYING) << ProblemsOf("b");
}

TEST_F(ForceTest, DeletesExactlyThatObjectAndMakesItAnew) {
  const json web = Deployment("web", 2);
  AssignForced(1, {web, ConfigMap("a")});
  const std::string uid = UidOf(web);
  const std::string other = UidOf(ConfigMap("a"));

  AssignForced(2, {Other(), ConfigMap("a")});

  EXPECT_EQ(Deletions(), std::vector<std::string>{uid});
  EXPECT_NE(UidOf(web), uid);
  EXPECT_EQ(UidOf(ConfigMap("a")), other);
  EXPECT_EQ((*kube_.Find(Key(web)))["spec"]["selector"]["matchLabels"]["app"],
            "other");
  EXPECT_EQ(link_.Resource("b", "web")->uid(), UidOf(web));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_VERIFYING) << ProblemsOf("b");
}

TEST_F(ForceTest, ADriftThatCannotBePutBackIsMadeAnew) {
  const json web = Deployment("web", 2);
  AssignForced(1, {web});
  const std::string uid = UidOf(web);
  ASSERT_THAT(kube_.DeleteAs(Key(web)), IsOk());
  ASSERT_THAT(kube_.CreateAs("kubectl", Other()), IsOk());
  Settle(absl::Seconds(2));

  const std::vector<std::string> deleted = Deletions();
  ASSERT_EQ(deleted.size(), 1u);
  EXPECT_NE(deleted[0], uid);
  EXPECT_EQ((*kube_.Find(Key(web)))["spec"]["selector"]["matchLabels"]["app"],
            "web");
  EXPECT_EQ(link_.Resource("b", "web")->sync(), core::v1::SYNC_STATE_SYNCED);
}

TEST_F(ForceTest, AClaimIsNeverReplacedAndSaysWhy) {
  AssignForced(1, {Claim("1Gi")});
  const std::string uid = UidOf(Claim("1Gi"));
  AssignForced(2, {Claim("2Gi")});

  EXPECT_EQ(UidOf(Claim("1Gi")), uid);
  EXPECT_TRUE(Deletions().empty());
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_FAILED);
  EXPECT_NE(ProblemsOf("b").find("because its data would go with it"),
            std::string::npos)
      << ProblemsOf("b");
}

TEST_F(ForceTest, AForeignObjectIsNeverReplaced) {
  ASSERT_THAT(kube_.CreateAs("kubectl", Other()), IsOk());
  const std::string uid = UidOf(Other());
  core::v1::Manifest manifest = link_.MakeManifest("b", {Deployment("web", 2)});
  manifest.mutable_policy()->set_force(true);
  manifest.mutable_policy()->set_takeover(core::v1::TAKEOVER_ALWAYS);
  link_.Assign("b", 1, manifest);
  Settle();

  EXPECT_EQ(UidOf(Other()), uid);
  EXPECT_TRUE(Deletions().empty());
  EXPECT_NE(ProblemsOf("b").find("force does not replace it"),
            std::string::npos)
      << ProblemsOf("b");
}

TEST_F(ForceTest, AFinalizerThatNeverEndsIsNamedAndOthersGoOn) {
  json web = Deployment("web", 2);
  AssignForced(1, {web});
  ASSERT_THAT(
      kube_.EditAs("x", Key(web),
                   [](json& o) { o["metadata"]["finalizers"] = {"x/guard"}; }),
      IsOk());
  AssignForced(2, {Other(), ConfigMap("a")});
  Settle(absl::Seconds(12));

  EXPECT_TRUE(Exists(ConfigMap("a")));
  EXPECT_NE(ProblemsOf("b").find("waits for finalizers: x/guard"),
            std::string::npos)
      << ProblemsOf("b");

  ASSERT_THAT(kube_.RemoveFinalizers(Key(web)), IsOk());
  Settle(absl::Minutes(2));
  EXPECT_EQ((*kube_.Find(Key(web)))["spec"]["selector"]["matchLabels"]["app"],
            "other");
}

TEST_F(ForceTest, DeathAtEachStepLosesNothing) {
  const json web = Deployment("web", 2);
  uint64_t generation = 0;
  // Apply (refused), look, delete, apply; and what follows.
  for (size_t nth = 1; nth <= 5; ++nth) {
    AssignForced(++generation, {web});
    Settle(absl::Seconds(2));
    kube_.ClearRequests();
    core::v1::Manifest manifest = link_.MakeManifest("b", {Other()});
    manifest.mutable_policy()->set_force(true);
    link_.Assign("b", ++generation, manifest);
    loop_.RunUntil([&] { return kube_.requests().size() >= nth; },
                   absl::Seconds(1));
    Crash();
    Start();
    Settle(absl::Minutes(1));

    ASSERT_TRUE(Exists(web)) << "call " << nth;
    EXPECT_EQ((*kube_.Find(Key(web)))["spec"]["selector"]["matchLabels"]["app"],
              "other")
        << "call " << nth;
  }
}

}  // namespace
}  // namespace flotilla::agent
