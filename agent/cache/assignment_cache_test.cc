// SPDX-License-Identifier: Apache-2.0

#include "agent/cache/assignment_cache.h"

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/blob/memory_blob_store.h"
#include "common/env/fake_random.h"
#include "common/event/inline_worker_pool.h"
#include "common/event/simulated_loop.h"
#include "common/status/status_matchers.h"
#include "flotilla/core/v1/core.pb.h"
#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using agent::v1::Assign;
using agent::v1::AssignItem;

class AssignmentCacheTest : public testing::Test {
 protected:
  AssignmentCacheTest() { Restart(); }

  // As after a crash: only the file is left.
  void Restart() {
    cache_.reset();
    auto database = Database::Open(path_);
    ASSERT_THAT(database, IsOk());
    auto cache = AssignmentCache::Open(*std::move(database), blobs_, pool_,
                                       random_);
    ASSERT_THAT(cache, IsOk());
    cache_ = *std::move(cache);
  }

  AssignmentCache::Stored Store(const Assign& assign) {
    AssignmentCache::Stored result;
    cache_->Store(assign, [&](AssignmentCache::Stored stored) {
      result = std::move(stored);
    });
    loop_.RunUntilIdle();
    return result;
  }

  static Assign Upsert(const std::string& bundle, uint64_t generation,
                       uint64_t av) {
    Assign assign;
    assign.set_av_to(av);
    auto* upsert = assign.add_upserts();
    upsert->set_bundle_id(bundle);
    upsert->set_generation(generation);
    upsert->set_manifest_digest(std::string(32, 'a'));
    upsert->set_manifest_size(1);
    return assign;
  }

  const std::string path_ = absl::StrCat(
      getenv("TEST_TMPDIR"), "/",
      testing::UnitTest::GetInstance()->current_test_info()->name(), ".db");
  SimulatedLoop loop_;
  InlineWorkerPool pool_{loop_};
  MemoryBlobStore blobs_;
  FakeRandom random_;
  std::unique_ptr<AssignmentCache> cache_;
};

TEST_F(AssignmentCacheTest, WhatWasAcknowledgedSurvivesACrash) {
  const AssignmentCache::Stored stored = Store(Upsert("b", 1, 7));
  EXPECT_TRUE(stored.refused.empty());
  EXPECT_EQ(stored.av, 7u);
  const std::string instance = cache_->instance_id();

  Restart();

  ASSERT_NE(cache_->Find("b"), nullptr);
  EXPECT_EQ(cache_->Find("b")->generation(), 1u);
  EXPECT_EQ(cache_->av(), 7u);
  EXPECT_EQ(cache_->instance_id(), instance);
  EXPECT_EQ(SetDigest(cache_->Items()), stored.set_digest);
}

TEST_F(AssignmentCacheTest, AssignsInOneTransactionSeeOneAnother) {
  AssignmentCache::Stored first;
  AssignmentCache::Stored second;
  AssignmentCache::Stored third;
  cache_->Store(Upsert("b", 2, 1),
                [&](AssignmentCache::Stored s) { first = std::move(s); });
  cache_->Store(Upsert("b", 1, 2),
                [&](AssignmentCache::Stored s) { second = std::move(s); });
  cache_->Store(Upsert("c", 1, 3),
                [&](AssignmentCache::Stored s) { third = std::move(s); });
  loop_.RunUntilIdle();

  ASSERT_EQ(second.refused.size(), 1u);
  EXPECT_EQ(second.refused[0].code(), AssignItem::CODE_STALE_GENERATION);
  EXPECT_EQ(first.set_digest, second.set_digest);
  EXPECT_NE(second.set_digest, third.set_digest);
  EXPECT_LT(cache_->Find("b")->order(), cache_->Find("c")->order());
}

TEST_F(AssignmentCacheTest, AFullDiskIsAnAnswerAndChangesNothing) {
  blobs_.FailPuts(absl::ResourceExhaustedError("disk is full"));
  absl::Status put;
  AssignmentCache::Stored stored;
  // The first write is alone in its batch; the others share one.
  cache_->SetSession("store", 1);
  cache_->PutBlobs({"bytes"}, [&](absl::Status s) { put = s; });
  cache_->Store(Upsert("b", 1, 7), [&](AssignmentCache::Stored s) {
    stored = std::move(s);
  });
  loop_.RunUntilIdle();

  EXPECT_THAT(put, StatusIs(absl::StatusCode::kResourceExhausted));
  ASSERT_EQ(stored.refused.size(), 1u);
  EXPECT_EQ(stored.refused[0].code(), AssignItem::CODE_STORE_FULL);
  EXPECT_TRUE(stored.refused[0].retryable());
  EXPECT_EQ(cache_->Find("b"), nullptr);
  EXPECT_EQ(stored.av, 0u);
  Restart();
  EXPECT_EQ(cache_->Find("b"), nullptr);
}

TEST_F(AssignmentCacheTest, ATombstoneStaysUntilTheManagerKnowsThatItIsDone) {
  Store(Upsert("b", 1, 1));
  Assign assign;
  auto* tombstone = assign.add_tombstones();
  tombstone->set_bundle_id("b");
  tombstone->set_generation(2);
  tombstone->set_cause(core::v1::DELETE_CAUSE_GIT_REMOVED);
  Store(assign);
  cache_->DropTombstone("b", 2);
  loop_.RunUntilIdle();
  ASSERT_NE(cache_->Find("b"), nullptr);

  cache_->MarkDeleted("b", 2, [](absl::Status) {});
  cache_->DropTombstone("b", 2);
  loop_.RunUntilIdle();

  EXPECT_EQ(cache_->Find("b"), nullptr);
  Restart();
  EXPECT_EQ(cache_->Find("b"), nullptr);
}

TEST_F(AssignmentCacheTest, TheInventorySurvivesACrash) {
  Inventory::Entry entry;
  entry.mutable_key()->set_kind("ConfigMap");
  entry.mutable_key()->set_name("a");
  entry.set_uid("u");
  Inventory::Entry other = entry;
  other.mutable_key()->set_name("b");
  cache_->PutInventory({entry, other}, [](absl::Status) {});
  cache_->RemoveInventory({IdentityOf(other.key())}, [](absl::Status) {});
  loop_.RunUntilIdle();

  Restart();

  EXPECT_EQ(cache_->inventory().size(), 1u);
  ASSERT_NE(cache_->inventory().Find(entry.key()), nullptr);
}

TEST_F(AssignmentCacheTest, ANewerSchemaIsRefusedWithASentence) {
  cache_.reset();
  auto database = Database::Open(path_);
  ASSERT_THAT(database, IsOk());
  ASSERT_THAT((*database)->Run("UPDATE setting SET value = '9' WHERE key = "
                               "'schema_version'"),
              IsOk());

  const auto cache =
      AssignmentCache::Open(*std::move(database), blobs_, pool_, random_);

  EXPECT_EQ(cache.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(cache.status().message().find("newer agent"), std::string::npos);
}

TEST_F(AssignmentCacheTest, EveryByteOfWhatWasWrittenCounts) {
  Store(Upsert("b", 1, 7));
  cache_->SetSession("store", 3);
  Inventory::Entry entry;
  entry.mutable_key()->set_kind("ConfigMap");
  entry.mutable_key()->set_name("a");
  cache_->PutInventory({entry}, [](absl::Status) {});
  loop_.RunUntilIdle();
  cache_.reset();

  for (const std::string column :
       {"assignment SET record", "assignment SET bundle_id",
        "inventory SET record", "inventory SET kind", "inventory SET name",
        "setting SET value"}) {
    const std::string table = column.substr(0, column.find(' '));
    const std::string name = column.substr(column.rfind(' ') + 1);
    std::string value;
    const auto change = [&](const std::string& to) {
      auto database = Database::Open(path_);
      ASSERT_THAT(database, IsOk());
      ASSERT_THAT((*database)->Run(
                      absl::StrCat("UPDATE ", column, " = ?",
                                   table == "setting" ? " WHERE key = 'epoch'"
                                                      : ""),
                      to),
                  IsOk());
    };
    {
      auto database = Database::Open(path_);
      ASSERT_THAT(database, IsOk());
      ASSERT_THAT((*database)->Query(
                      absl::StrCat("SELECT ", name, " FROM ", table,
                                   table == "setting" ? " WHERE key = 'epoch'"
                                                      : ""),
                      [&](const Row& row) { value = row.Blob(0); }),
                  IsOk());
    }
    ASSERT_FALSE(value.empty());
    for (size_t at = 0; at < value.size(); ++at) {
      std::string other = value;
      other[at] = static_cast<char>(other[at] ^ 1);
      change(other);

      auto database = Database::Open(path_);
      ASSERT_THAT(database, IsOk());
      EXPECT_THAT(AssignmentCache::Open(*std::move(database), blobs_, pool_,
                                        random_)
                      .status(),
                  StatusIs(absl::StatusCode::kDataLoss))
          << column << " byte " << at;
    }
    change(value);
  }
  Restart();
  EXPECT_NE(cache_->Find("b"), nullptr);
}

TEST_F(AssignmentCacheTest, RecordsOfTheFirstSchemaAreReadAndWrittenAnew) {
  Store(Upsert("b", 4, 7));
  const std::string instance = cache_->instance_id();
  const std::string record = cache_->Find("b")->SerializeAsString();
  cache_.reset();
  {
    auto database = Database::Open(path_);
    ASSERT_THAT(database, IsOk());
    const auto set = [&](absl::string_view key, absl::string_view value) {
      ASSERT_THAT((*database)->Run("UPDATE setting SET value = ? WHERE key = ?",
                                   value, SqlText{key}),
                  IsOk());
    };
    set("schema_version", "1");
    set("instance_id", instance);
    set("av", "7");
    ASSERT_THAT((*database)->Run("UPDATE assignment SET record = ?", record),
                IsOk());
  }

  for (int start = 0; start < 2; ++start) {
    Restart();
    ASSERT_NE(cache_->Find("b"), nullptr);
    EXPECT_EQ(cache_->Find("b")->generation(), 4u);
    EXPECT_EQ(cache_->av(), 7u);
    EXPECT_EQ(cache_->instance_id(), instance);
  }
}

TEST_F(AssignmentCacheTest, SweepsBlobsThatNobodyNeeds) {
  cache_->PutBlobs({"one", "two"}, [](absl::Status) {});
  loop_.RunUntilIdle();
  auto held = blobs_.List();
  ASSERT_EQ(held->size(), 2u);

  cache_->SweepBlobs({(*held)[0]});
  loop_.RunUntilIdle();

  EXPECT_TRUE(blobs_.Contains((*held)[0]));
  EXPECT_FALSE(blobs_.Contains((*held)[1]));
}

}  // namespace
}  // namespace flotilla::agent
