// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "agent/testing/agent_world.h"

namespace flotilla::agent {
namespace {

using core::v1::Hook;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HookRunTest : public AgentWorld {
 protected:
  HookRunTest() {
    kube_.AddKind({"batch", "v1", "Job", "jobs", true, {}});
    kube_.AddKind({"", "v1", "Pod", "pods", true, {}});
  }

  struct Wanted {
    json object;
    std::vector<Hook::Event> events;
    bool before = true;
    bool succeeded = false;
    bool failed = false;
  };

  static json Job(const std::string& name) {
    return {{"apiVersion", "batch/v1"},
            {"kind", "Job"},
            {"metadata", {{"name", name}, {"namespace", "default"}}},
            {"spec", json::object()}};
  }

  core::v1::Manifest WithHooks(const std::vector<json>& objects,
                               const std::vector<Wanted>& hooks) {
    core::v1::Manifest manifest = link_.MakeManifest("b", objects);
    for (const Wanted& wanted : hooks) {
      core::v1::ManifestEntry* entry = manifest.add_hooks();
      *entry = link_.MakeManifest("b", {wanted.object}).entries(0);
      for (const Hook::Event event : wanted.events) {
        entry->mutable_hook()->add_events(event);
      }
      entry->mutable_hook()->set_delete_before(wanted.before);
      entry->mutable_hook()->set_delete_succeeded(wanted.succeeded);
      entry->mutable_hook()->set_delete_failed(wanted.failed);
    }
    return manifest;
  }

  void AssignHooks(uint64_t generation, const std::vector<json>& objects,
                   const std::vector<Wanted>& hooks) {
    link_.Assign("b", generation, WithHooks(objects, hooks));
    Settle();
  }

  void End(const std::string& job, const std::string& type,
           const std::string& message = "") {
    ASSERT_THAT(
        kube_.SetStatus(
            Key(Job(job)),
            {{"conditions",
              {{{"type", type}, {"status", "True"}, {"message", message}}}}}),
        IsOk());
    Settle();
  }

  const json map_ = ConfigMap("a");
};

TEST_F(HookRunTest, RunsThoseBeforeAndAfterAnInstall) {
  AssignHooks(1, {map_},
              {{Job("first"), {Hook::EVENT_PRE_INSTALL}},
               {Job("second"), {Hook::EVENT_PRE_INSTALL}},
               {Job("upgrade"), {Hook::EVENT_PRE_UPGRADE}},
               {Job("after"), {Hook::EVENT_POST_INSTALL}}});

  EXPECT_TRUE(Exists(Job("first")));
  EXPECT_FALSE(Exists(Job("second")));
  EXPECT_FALSE(Exists(map_));
  EXPECT_THAT(ProblemsOf("b"),
              HasSubstr("pre-install hook job.batch default/first"));
  End("first", "Complete");
  EXPECT_TRUE(Exists(Job("second")));
  EXPECT_FALSE(Exists(map_));
  End("second", "Complete");
  EXPECT_TRUE(Exists(map_));
  EXPECT_TRUE(Exists(Job("after")));
  EXPECT_NE(PhaseOf("b"), core::v1::PHASE_HEALTHY);
  End("after", "Complete");
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY);
  EXPECT_FALSE(Exists(Job("upgrade")));
  // What ran is no drift when it goes.
  ASSERT_THAT(kube_.DeleteAs(Key(Job("first"))), IsOk());
  Settle(absl::Minutes(2));
  EXPECT_FALSE(Exists(Job("first")));
}

TEST_F(HookRunTest, ALaterManifestIsAnUpgradeAndMakesItsHooksAnew) {
  const Wanted hook = {Job("m"),
                       {Hook::EVENT_PRE_INSTALL, Hook::EVENT_PRE_UPGRADE}};
  AssignHooks(1, {map_}, {hook});
  End("m", "Complete");
  const std::string uid = UidOf(Job("m"));
  ASSERT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY);

  AssignHooks(2, {map_}, {hook});
  EXPECT_EQ(UidOf(Job("m")), uid) << "the manifest is the same";
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY);

  AssignHooks(3, {ConfigMap("a", "2")}, {hook});
  EXPECT_NE(UidOf(Job("m")), uid);
  EXPECT_EQ((*kube_.Find(Key(map_)))["data"]["key"], "1");
  End("m", "Complete");
  EXPECT_EQ((*kube_.Find(Key(map_)))["data"]["key"], "2");
}

TEST_F(HookRunTest, AFailureStopsTheReleaseAndIsNotRepeated) {
  AssignHooks(1, {map_}, {{Job("m"), {Hook::EVENT_PRE_INSTALL}}});
  End("m", "Failed", "Job has reached the specified backoff limit");

  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_FAILED);
  EXPECT_THAT(ProblemsOf("b"),
              HasSubstr("pre-install hook job.batch default/m failed: Job has "
                        "reached the specified backoff limit"));
  EXPECT_FALSE(Exists(map_));
  const std::string uid = UidOf(Job("m"));
  Settle(absl::Minutes(5));
  Crash();
  Start();
  Settle(absl::Minutes(5));
  EXPECT_EQ(UidOf(Job("m")), uid);
  EXPECT_FALSE(Exists(map_));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_FAILED);

  AssignHooks(2, {ConfigMap("a", "2")},
              {{Job("m"), {Hook::EVENT_PRE_INSTALL}}});
  EXPECT_NE(UidOf(Job("m")), uid);
  End("m", "Complete");
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY);
}

TEST_F(HookRunTest, AnObjectWaitsUntilWhatItDependsOnIsHealthy) {
  const json web = Deployment("web", 1);
  core::v1::Manifest manifest = link_.MakeManifest("b", {map_, web});
  for (core::v1::ManifestEntry& entry : *manifest.mutable_entries()) {
    if (entry.key().kind() == "ConfigMap") {
      *entry.add_depends_on() = Key(web);
    }
  }
  link_.Assign("b", 1, manifest);
  Settle(absl::Minutes(1));

  EXPECT_TRUE(Exists(web));
  EXPECT_FALSE(Exists(map_));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_BLOCKED);
  EXPECT_THAT(ProblemsOf("b"),
              HasSubstr("waits for deployment.apps default/web, which is not "
                        "healthy yet"));
  ASSERT_THAT(kube_.SetStatus(Key(web), Ready(1)), IsOk());
  Settle(absl::Milliseconds(100));
  EXPECT_TRUE(Exists(map_));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY);
}

TEST_F(HookRunTest, TimeBoundsAHook) {
  core::v1::Manifest manifest =
      WithHooks({map_}, {{Job("m"), {Hook::EVENT_PRE_INSTALL}}});
  manifest.mutable_policy()->mutable_wait()->set_seconds(20);
  link_.Assign("b", 1, manifest);
  Settle(absl::Seconds(19));
  EXPECT_NE(PhaseOf("b"), core::v1::PHASE_FAILED);
  Settle(absl::Seconds(2));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_FAILED);
  EXPECT_THAT(ProblemsOf("b"), HasSubstr("is not done after 20s"));
}

TEST_F(HookRunTest, ANewGenerationPreEmptsAHook) {
  AssignHooks(1, {map_}, {{Job("m"), {Hook::EVENT_PRE_INSTALL}}});
  ASSERT_FALSE(Exists(map_));

  AssignHooks(2, {map_}, {});

  EXPECT_TRUE(Exists(map_));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY);
}

TEST_F(HookRunTest, DeletesByPolicy) {
  AssignHooks(1, {map_},
              {{Job("gone"), {Hook::EVENT_PRE_INSTALL}, true, true},
               {Job("kept"), {Hook::EVENT_PRE_INSTALL}, true, false, true},
               {Job("bad"), {Hook::EVENT_POST_INSTALL}, true, true, true}});
  End("gone", "Complete");
  EXPECT_TRUE(Exists(Job("gone"))) << "until all of the event are done";
  End("kept", "Complete");
  EXPECT_FALSE(Exists(Job("gone")));
  EXPECT_TRUE(Exists(Job("kept")));
  End("bad", "Failed");
  EXPECT_FALSE(Exists(Job("bad")));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_FAILED);
}

TEST_F(HookRunTest, LeavesObjectsOfOthersAlone) {
  ASSERT_THAT(kube_.CreateAs("x", Job("m")), IsOk());
  const std::string uid = UidOf(Job("m"));

  AssignHooks(1, {map_}, {{Job("m"), {Hook::EVENT_PRE_INSTALL}}});

  EXPECT_EQ(UidOf(Job("m")), uid);
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_FAILED);
  EXPECT_THAT(ProblemsOf("b"), HasSubstr("that is no hook"));
}

TEST_F(HookRunTest, RunsThoseAroundADeletion) {
  AssignHooks(1, {map_},
              {{Job("before"), {Hook::EVENT_PRE_DELETE}},
               {Job("after"), {Hook::EVENT_POST_DELETE}}});
  ASSERT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY);
  link_.Tombstone("b", 2);
  Settle();

  EXPECT_TRUE(Exists(map_));
  End("before", "Failed", "no");
  EXPECT_THAT(ProblemsOf("b"),
              HasSubstr("pre-delete hook job.batch default/before"));
  EXPECT_TRUE(Exists(map_)) << "a failing hook holds the deletion";
  Crash();
  Start();
  Settle(absl::Minutes(2));
  // It is tried again, from the start.
  EXPECT_TRUE(Exists(map_));
  End("before", "Complete");
  EXPECT_FALSE(Exists(map_));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_DELETING);
  End("after", "Complete");
  Settle(absl::Minutes(2));
  EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_DELETED);
}

TEST_F(HookRunTest, DeathAtEachStepRepeatsNoHookThatWasDone) {
  for (size_t nth = 1; nth <= 8; ++nth) {
    link_.Tombstone("b", 10 * nth);
    Settle(absl::Minutes(1));
    kube_.ClearRequests();
    const Wanted one = {Job(absl::StrCat("one", nth)),
                        {Hook::EVENT_PRE_INSTALL, Hook::EVENT_PRE_UPGRADE}};
    const Wanted two = {Job(absl::StrCat("two", nth)),
                        {Hook::EVENT_PRE_INSTALL, Hook::EVENT_PRE_UPGRADE}};
    link_.Assign("b", 10 * nth + 1, WithHooks({map_}, {one, two}));
    std::string done_uid;
    const auto dies = [&] { return kube_.requests().size() >= nth; };
    loop_.RunUntil(dies, absl::Seconds(1));
    if (Exists(one.object)) {
      ASSERT_THAT(
          kube_.SetStatus(
              Key(one.object),
              {{"conditions", {{{"type", "Complete"}, {"status", "True"}}}}}),
          IsOk());
      loop_.RunUntil([&] { return Exists(two.object); }, absl::Seconds(1));
      if (Exists(two.object)) done_uid = UidOf(one.object);
    }
    Crash();
    // What was being written is over before the disk is opened again.
    Settle(absl::Milliseconds(1));
    Start();
    Settle(absl::Seconds(5));

    ASSERT_TRUE(Exists(one.object)) << "call " << nth;
    if (!done_uid.empty()) {
      EXPECT_EQ(UidOf(one.object), done_uid) << "call " << nth;
    }
    EXPECT_FALSE(Exists(map_)) << "call " << nth;
    End(absl::StrCat("one", nth), "Complete");
    ASSERT_TRUE(Exists(two.object)) << "call " << nth;
    EXPECT_FALSE(Exists(map_)) << "call " << nth;
    End(absl::StrCat("two", nth), "Complete");
    EXPECT_TRUE(Exists(map_)) << "call " << nth;
    EXPECT_EQ(PhaseOf("b"), core::v1::PHASE_HEALTHY) << ProblemsOf("b");
  }
}

}  // namespace
}  // namespace flotilla::agent
