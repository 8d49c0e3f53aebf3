// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/hook_plan.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using agentstate::v1::HookProgress;
using core::v1::Hook;
using core::v1::Manifest;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Manifest Of(const std::string& name) {
  Manifest manifest;
  core::v1::ManifestEntry* hook = manifest.add_hooks();
  hook->mutable_key()->set_kind("Pod");
  hook->mutable_key()->set_name(name);
  hook->mutable_hook()->add_events(Hook::EVENT_PRE_INSTALL);
  hook->mutable_hook()->add_events(Hook::EVENT_POST_UPGRADE);
  *manifest.add_hooks() = *hook;
  manifest.mutable_hooks(1)->mutable_hook()->clear_events();
  manifest.mutable_hooks(1)->mutable_hook()->add_events(
      Hook::EVENT_POST_UPGRADE);
  return manifest;
}

TEST(HookPlan, FindsTheHooksOfAnEvent) {
  EXPECT_THAT(HooksOf(Of("a"), Hook::EVENT_PRE_INSTALL), ElementsAre(0));
  EXPECT_THAT(HooksOf(Of("a"), Hook::EVENT_POST_UPGRADE), ElementsAre(0, 1));
  EXPECT_THAT(HooksOf(Of("a"), Hook::EVENT_PRE_DELETE), IsEmpty());
}

TEST(HookPlan, IsAnUpgradeWhereTheBundleWasBefore) {
  HookProgress ever;
  ever.set_ever(true);
  const struct {
    HookProgress before;
    bool has_objects;
    bool upgrade;
  } kCases[] = {
      {HookProgress(), false, false},
      {HookProgress(), true, true},
      {ever, false, true},
  };
  for (const auto& test : kCases) {
    EXPECT_EQ(ProgressOf(test.before, Of("a"), test.has_objects).upgrade(),
              test.upgrade);
  }
}

TEST(HookPlan, GoesOnWithTheSameRelease) {
  HookProgress progress = ProgressOf(HookProgress(), Of("a"), false);
  progress.add_done("pre-install");
  progress.set_failure("it failed");
  Manifest labelled = Of("a");
  labelled.mutable_policy()->add_bundle_labels()->set_key("x");

  const HookProgress same = ProgressOf(progress, labelled, true);
  EXPECT_EQ(same.SerializeAsString(), progress.SerializeAsString());
  EXPECT_TRUE(HookEventIsOver(same, Hook::EVENT_PRE_INSTALL));
  EXPECT_FALSE(HookEventIsOver(same, Hook::EVENT_POST_INSTALL));

  const HookProgress next = ProgressOf(progress, Of("b"), true);
  EXPECT_THAT(next.done(), IsEmpty());
  EXPECT_EQ(next.failure(), "");
}

TEST(HookPlan, NamesHooksAsHelmDoes) {
  EXPECT_EQ(HookText(Hook::EVENT_PRE_INSTALL, Of("a").hooks(0)),
            "pre-install hook pod a");
}

}  // namespace
}  // namespace flotilla::agent
