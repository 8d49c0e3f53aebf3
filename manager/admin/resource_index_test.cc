// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/resource_index.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/admin/status_text.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr char kSource[] = "GitRepo/w/web";
constexpr size_t kPlenty = 1 << 20;

core::v1::ResourceStatus Status(
    const std::string& name, core::v1::Health health,
    core::v1::SyncState sync = core::v1::SYNC_STATE_SYNCED,
    const std::string& message = "") {
  core::v1::ResourceStatus status;
  status.set_bundle_id("b");
  status.mutable_key()->set_group("apps");
  status.mutable_key()->set_version("v1");
  status.mutable_key()->set_kind("Deployment");
  status.mutable_key()->set_namespace_("shop");
  status.mutable_key()->set_name(name);
  status.set_health(health);
  status.set_sync(sync);
  status.set_message(message);
  return status;
}

class ResourceIndexTest : public ::testing::Test {
 protected:
  const DeploymentEntry& Place(const std::string& cluster,
                               FoldedState state = FoldedState::kReady,
                               const std::string& bundle = "b") {
    auto entry = std::make_unique<DeploymentEntry>();
    entry->name.bundle_id = entry->name.bundle = bundle;
    entry->name.cluster_id = entry->name.cluster = cluster;
    entry->name.workspace = entry->name.cluster_workspace = "w";
    entry->state = state;
    index_.Place(*entry, kSource);
    entries_.push_back(std::move(entry));
    return *entries_.back();
  }

  json Only() {
    const ResourceList list = index_.Resources(kSource, kPlenty);
    EXPECT_EQ(list.shown.size(), 1u);
    return list.shown.empty() ? json() : list.shown[0];
  }

  std::vector<std::unique_ptr<DeploymentEntry>> entries_;
  ResourceIndex index_;
};

TEST_F(ResourceIndexTest, AnObjectIsAsFleetWritesIt) {
  Place("dev");
  index_.Report("dev", Status("web", core::v1::HEALTH_HEALTHY));
  // Reports may come first.
  index_.Report("prod", Status("web", core::v1::HEALTH_PROGRESSING,
                               core::v1::SYNC_STATE_SYNCED, "1 of 2 pods"));
  Place("prod", FoldedState::kNotReady);

  EXPECT_EQ(Only(), json({{"apiVersion", "apps/v1"},
                          {"kind", "Deployment"},
                          {"type", "apps.deployment"},
                          {"id", "shop/web"},
                          {"namespace", "shop"},
                          {"name", "web"},
                          {"state", "NotReady"},
                          {"transitioning", true},
                          {"message", "1 of 2 pods"},
                          {"perClusterState",
                           {{"ready", {"w/dev"}}, {"notReady", {"w/prod"}}}}}));
}

TEST_F(ResourceIndexTest, EveryWordHasItsList) {
  const struct {
    core::v1::SyncState sync;
    core::v1::Health health;
    const char* state;
    const char* list;
  } kRows[] = {
      {core::v1::SYNC_STATE_SYNCED, core::v1::HEALTH_HEALTHY, "Ready", "ready"},
      {core::v1::SYNC_STATE_SYNCED, core::v1::HEALTH_SUSPENDED, "Ready",
       "ready"},
      {core::v1::SYNC_STATE_SYNCED, core::v1::HEALTH_NOT_TRACKABLE, "Ready",
       "ready"},
      {core::v1::SYNC_STATE_SYNCED, core::v1::HEALTH_UNSPECIFIED, "Unknown",
       "unknown"},
      {core::v1::SYNC_STATE_SYNCED, core::v1::HEALTH_UNKNOWN, "Unknown",
       "unknown"},
      {core::v1::SYNC_STATE_SYNCED, core::v1::HEALTH_DEGRADED, "NotReady",
       "notReady"},
      {core::v1::SYNC_STATE_SYNCED, core::v1::HEALTH_PROGRESSING, "NotReady",
       "notReady"},
      {core::v1::SYNC_STATE_SYNCED, core::v1::HEALTH_MISSING, "Missing",
       "missing"},
      {core::v1::SYNC_STATE_UNSPECIFIED, core::v1::HEALTH_HEALTHY,
       "WaitApplied", "waitApplied"},
      {core::v1::SYNC_STATE_DRIFTED, core::v1::HEALTH_HEALTHY, "Modified",
       "modified"},
      {core::v1::SYNC_STATE_MISSING, core::v1::HEALTH_HEALTHY, "Missing",
       "missing"},
      {core::v1::SYNC_STATE_CONFLICT, core::v1::HEALTH_HEALTHY, "NotReady",
       "notReady"},
      {core::v1::SYNC_STATE_ERROR, core::v1::HEALTH_HEALTHY, "NotReady",
       "notReady"},
      {core::v1::SYNC_STATE_WAIT_APPLIED, core::v1::HEALTH_HEALTHY,
       "WaitApplied", "waitApplied"},
      {core::v1::SYNC_STATE_PRUNING, core::v1::HEALTH_HEALTHY, "Orphaned",
       "orphaned"},
  };
  Place("dev");
  for (const auto& row : kRows) {
    index_.Report("dev", Status("web", row.health, row.sync));
    const json shown = Only();
    EXPECT_EQ(shown["state"], row.state) << core::v1::SyncState_Name(row.sync);
    EXPECT_EQ(shown["perClusterState"], json({{row.list, {"w/dev"}}}));
  }
}

TEST_F(ResourceIndexTest, NoObjectIsBetterThanItsDeployment) {
  const struct {
    FoldedState state;
    const char* word;
  } kRows[] = {
      {FoldedState::kReady, "Ready"},
      {FoldedState::kNotReady, "Ready"},
      {FoldedState::kModified, "Ready"},
      {FoldedState::kOffline, "Unknown"},
      {FoldedState::kErrApplied, "WaitApplied"},
      {FoldedState::kWaitApplied, "WaitApplied"},
      {FoldedState::kOutOfSync, "Pending"},
      {FoldedState::kPending, "Pending"},
      {FoldedState::kDeleting, "Pending"},
  };
  index_.Report("dev", Status("web", core::v1::HEALTH_HEALTHY));
  for (const auto& row : kRows) {
    const DeploymentEntry& entry = Place("dev", row.state);
    EXPECT_EQ(Only()["state"], row.word) << StateWord(row.state);
    index_.Displace(entry);
  }
  EXPECT_EQ(index_.Resources(kSource, kPlenty).all, 0u);
}

TEST_F(ResourceIndexTest, WhatIsRemovedOrForgottenIsGone) {
  Place("dev");
  index_.Report("dev", Status("web", core::v1::HEALTH_HEALTHY));
  index_.Report("dev", Status("api", core::v1::HEALTH_HEALTHY));
  core::v1::ResourceStatus removed =
      Status("web", core::v1::HEALTH_UNSPECIFIED);
  removed.set_removed(true);
  index_.Report("dev", removed);
  EXPECT_EQ(Only()["name"], "api");

  // Another version is the same object.
  core::v1::ResourceStatus newer = Status("api", core::v1::HEALTH_HEALTHY);
  newer.mutable_key()->set_version("v2");
  index_.Report("dev", newer);
  EXPECT_EQ(Only()["apiVersion"], "apps/v2");

  index_.Forget("dev", "b");
  EXPECT_EQ(index_.Resources(kSource, kPlenty).all, 0u);
}

TEST_F(ResourceIndexTest, TheWorstStayWhenThereIsNoRoom) {
  for (int c = 0; c < 200; ++c) {
    const std::string cluster = absl::StrCat("cluster-", 1000 + c);
    Place(cluster);
    for (int i = 0; i < 50; ++i) {
      const bool bad = i == 30 && c == 150;
      index_.Report(cluster,
                    Status(absl::StrCat("web-", 100 + i),
                           bad ? core::v1::HEALTH_DEGRADED
                               : core::v1::HEALTH_HEALTHY,
                           core::v1::SYNC_STATE_SYNCED, bad ? "crashes" : ""));
    }
  }

  const ResourceList list = index_.Resources(kSource, 6000);

  EXPECT_EQ(list.all, 50u);
  EXPECT_LE(JsonSize(list.shown), 6000u);
  EXPECT_GT(JsonSize(list.shown), 3000u);
  EXPECT_LT(list.shown.size(), 50u);
  EXPECT_GT(list.shown.size(), 5u);
  const json& last = list.shown.back();
  EXPECT_EQ(last["name"], "web-130");
  EXPECT_EQ(last["message"], "crashes");
  EXPECT_EQ(last["error"], true);
  EXPECT_EQ(last["incompleteState"], true);
  EXPECT_EQ(last["perClusterState"]["notReady"], json({"w/cluster-1150"}));
  EXPECT_EQ(list.shown[0]["perClusterState"]["ready"][0], "w/cluster-1000");
  EXPECT_EQ(index_.Resources(kSource, 6000).shown, list.shown);
  // However little there is.
  for (size_t budget : {0, 10, 300, 1000}) {
    EXPECT_LE(JsonSize(index_.Resources(kSource, budget).shown), budget + 2);
  }
}

TEST_F(ResourceIndexTest, AnAgentCannotFillTheMemory) {
  Place("dev");
  for (size_t i = 0; i < ResourceIndex::kMaxObjects + 10; ++i) {
    index_.Report("dev", Status(absl::StrCat("web-", 100000 + i),
                                core::v1::HEALTH_DEGRADED,
                                core::v1::SYNC_STATE_SYNCED,
                                std::string(5000, 'x')));
  }

  const ResourceList list = index_.Resources(kSource, kPlenty);

  EXPECT_EQ(list.all, ResourceIndex::kMaxObjects);
  EXPECT_EQ(list.shown[0]["incompleteState"], true);
  EXPECT_LE(list.shown[0]["message"].get<std::string>().size(),
            ResourceIndex::kMaxMessage);
  EXPECT_THAT(list.shown[0]["message"].get<std::string>(), HasSubstr("..."));
}

}  // namespace
}  // namespace flotilla::manager
