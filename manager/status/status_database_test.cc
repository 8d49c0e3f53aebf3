// SPDX-License-Identifier: Apache-2.0

#include "manager/status/status_database.h"

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/status/status_matchers.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

core::v1::ResourceStatus Status(const std::string& kind,
                                const std::string& name,
                                core::v1::Health health) {
  core::v1::ResourceStatus status;
  status.set_bundle_id("b");
  status.mutable_key()->set_kind(kind);
  status.mutable_key()->set_name(name);
  status.set_health(health);
  return status;
}

core::v1::DriftRecord Drift(const std::string& path, uint32_t count) {
  core::v1::DriftRecord record;
  record.set_bundle_id("b");
  record.mutable_key()->set_kind("ConfigMap");
  record.mutable_key()->set_name("c");
  record.set_path(path);
  record.set_operation(core::v1::DRIFT_OPERATION_CHANGED);
  record.set_count(count);
  return record;
}

class StatusDatabaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = absl::StrCat(
        ::testing::TempDir(), "/",
        ::testing::UnitTest::GetInstance()->current_test_info()->name(), ".db");
    for (const char* end : {"", "-wal", "-shm"}) {
      std::remove((path_ + end).c_str());
    }
    Reopen();
  }

  void Reopen() {
    db_.reset();
    auto opened = StatusDatabase::Open(path_);
    ASSERT_THAT(opened, IsOk());
    db_ = *std::move(opened);
  }

  std::string path_;
  std::unique_ptr<StatusDatabase> db_;
};

TEST_F(StatusDatabaseTest, KeepsTheLastStatusOfEachResourceOverARestart) {
  StatusDatabase::Batch batch;
  batch.resources = {
      {"c1", Status("Service", "s", core::v1::HEALTH_HEALTHY)},
      {"c1", Status("Deployment", "d", core::v1::HEALTH_PROGRESSING)},
      {"c2", Status("Deployment", "d", core::v1::HEALTH_DEGRADED)},
      {"c1", Status("Deployment", "d", core::v1::HEALTH_HEALTHY)}};
  ASSERT_THAT(db_->Write(batch), IsOk());

  Reopen();
  const auto rows = db_->Resources({"c1", "b"});

  ASSERT_THAT(rows, IsOk());
  ASSERT_EQ(rows->size(), 2u);
  EXPECT_EQ((*rows)[0].status.key().kind(), "Deployment");
  EXPECT_EQ((*rows)[0].status.health(), core::v1::HEALTH_HEALTHY);
}

TEST_F(StatusDatabaseTest, ForgetsARemovedResourceAndAGoneDeployment) {
  StatusDatabase::Batch batch;
  batch.resources = {{"c", Status("A", "x", core::v1::HEALTH_HEALTHY)},
                     {"c", Status("B", "x", core::v1::HEALTH_HEALTHY)}};
  batch.drift = {{"c", Drift("data.a", 1)}};
  ASSERT_THAT(db_->Write(batch), IsOk());

  StatusDatabase::Batch removal;
  removal.resources = {{"c", Status("A", "x", core::v1::HEALTH_HEALTHY)}};
  removal.resources[0].second.set_removed(true);
  ASSERT_THAT(db_->Write(removal), IsOk());
  EXPECT_EQ(db_->Resources({"c", "b"})->size(), 1u);

  StatusDatabase::Batch gone;
  gone.forget = {{"c", "b"}};
  ASSERT_THAT(db_->Write(gone), IsOk());
  EXPECT_EQ(db_->Resources({"c", "b"})->size(), 0u);
  EXPECT_EQ(db_->Drift("", 0, 10)->size(), 0u);
}

TEST_F(StatusDatabaseTest, ShowsDriftNewestFirstAndOncePerPath) {
  for (uint32_t i = 1; i <= 3; ++i) {
    StatusDatabase::Batch batch;
    batch.drift = {{"c", Drift("data.a", i)},
                   {"c", Drift(absl::StrCat("data.b", i), 1)}};
    ASSERT_THAT(db_->Write(batch), IsOk());
  }

  const auto first = db_->Drift("c", 0, 3);
  ASSERT_THAT(first, IsOk());
  ASSERT_EQ(first->size(), 3u);
  EXPECT_EQ((*first)[0].record.path(), "data.b3");
  EXPECT_EQ((*first)[1].record.path(), "data.a");
  EXPECT_EQ((*first)[1].record.count(), 3u);
  const auto rest = db_->Drift("c", first->back().id, 3);
  ASSERT_EQ(rest->size(), 1u);
  EXPECT_EQ((*rest)[0].record.path(), "data.b1");
}

TEST_F(StatusDatabaseTest, KeepsABoundedNumberOfDriftRecords) {
  StatusDatabase::Batch batch;
  for (int i = 0; i < StatusDatabase::kDriftPerCluster + 50; ++i) {
    batch.drift.emplace_back("c", Drift(absl::StrCat("data.", i), 1));
  }
  ASSERT_THAT(db_->Write(batch), IsOk());

  EXPECT_EQ(db_->Drift("c", 0, 5000)->size(),
            static_cast<size_t>(StatusDatabase::kDriftPerCluster));
}

TEST_F(StatusDatabaseTest, GivesEveryResourceOnceInPages) {
  StatusDatabase::Batch batch;
  for (int i = 0; i < 7; ++i) {
    batch.resources.emplace_back(
        absl::StrCat("cluster", i % 2),
        Status("Pod", absl::StrCat("p", i), core::v1::HEALTH_HEALTHY));
  }
  ASSERT_THAT(db_->Write(batch), IsOk());

  std::vector<std::string> names;
  std::vector<StatusDatabase::ResourceRow> page =
      *db_->ResourcesAfter(nullptr, 3);
  while (!page.empty()) {
    EXPECT_LE(page.size(), 3u);
    for (const auto& row : page) {
      names.push_back(absl::StrCat(row.deployment.cluster_id, " ",
                                   row.status.key().name()));
    }
    const StatusDatabase::ResourceRow last = page.back();
    page = *db_->ResourcesAfter(&last, 3);
  }

  EXPECT_EQ(names, (std::vector<std::string>{
                       "cluster0 p0", "cluster0 p2", "cluster0 p4",
                       "cluster0 p6", "cluster1 p1", "cluster1 p3",
                       "cluster1 p5"}));
}

}  // namespace
}  // namespace flotilla::manager
