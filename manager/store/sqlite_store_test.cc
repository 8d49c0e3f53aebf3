// SPDX-License-Identifier: Apache-2.0

#include "manager/store/sqlite_store.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/env/random.h"
#include "common/event/loop.h"
#include "common/event/real_loop.h"
#include "common/sqlite/database.h"
#include "common/status/status_matchers.h"
#include "manager/store/store.h"
#include "manager/store/store_contract.h"

namespace flotilla::manager {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Counts instead of choosing.
class CountingRandom : public Random {
 public:
  std::string Bytes(size_t count) override {
    return std::string(count, static_cast<char>(++count_));
  }
  uint64_t Uniform(uint64_t bound) override { return ++count_ % bound; }

 private:
  uint64_t count_ = 0;
};

std::unique_ptr<Store> OpenForContract(Loop& loop,
                                       const std::string& directory) {
  static CountingRandom* const random = new CountingRandom;
  fs::create_directories(directory);
  SqliteStore::Options options;
  options.kept_revisions = 20;
  auto store = SqliteStore::Open(loop, *random, directory + "/store.db",
                                 options);
  EXPECT_THAT(store, IsOk());
  return store.ok() ? *std::move(store) : nullptr;
}

INSTANTIATE_TEST_SUITE_P(Sqlite, StoreContractTest,
                         ::testing::Values(StoreEngine{
                             "sqlite", /*persistent=*/true,
                             /*kept_revisions=*/20, OpenForContract}));

class SqliteStoreTest : public ::testing::Test {
 protected:
  SqliteStoreTest()
      : directory_(absl::StrCat(
            ::testing::TempDir(), "/sqlite-",
            ::testing::UnitTest::GetInstance()->current_test_info()->name())),
        path_(directory_ + "/store.db") {
    fs::remove_all(directory_);
    fs::create_directories(directory_);
  }

  absl::StatusOr<std::unique_ptr<SqliteStore>> Open(
      SqliteStore::Options options = {}) {
    return SqliteStore::Open(loop_, random_, path_, options);
  }

  absl::StatusOr<int64_t> Put(SqliteStore& store, const std::string& key,
                              const std::string& value) {
    FamilyWriter writer(store, "/");
    std::optional<absl::StatusOr<int64_t>> result;
    writer.Txn({}, {Op::Put(key, value)}, [&](absl::StatusOr<int64_t> done) {
      result = std::move(done);
      loop_.Stop();
    });
    loop_.RunUntilStopped();
    return *std::move(result);
  }

  RealLoop loop_;
  CountingRandom random_;
  const std::string directory_;
  const std::string path_;
};

TEST_F(SqliteStoreTest, OnlyTheOwnerMayReadTheFile) {
  ASSERT_THAT(Open(), IsOk());
  struct stat st = {};
  ASSERT_EQ(stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST_F(SqliteStoreTest, ANewerStoreIsRefusedWithASentence) {
  SqliteStore::Options newer;
  newer.schema_version = 7;
  ASSERT_THAT(Open(newer), IsOk());
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               AllOf(HasSubstr("newer Flotilla"),
                                     HasSubstr("schema version 7"),
                                     HasSubstr(path_))));
  // It was not touched.
  EXPECT_THAT(Open(newer), IsOk());
}

TEST_F(SqliteStoreTest, AnOlderStoreIsCopiedThenMigrated) {
  std::string id;
  {
    auto store = Open();
    ASSERT_THAT(store, IsOk());
    id = (*store)->store_id();
    ASSERT_THAT(Put(**store, "/a", "old"), IsOk());
  }
  SqliteStore::Options newer;
  newer.schema_version = 3;
  newer.migrations = {"UPDATE kv SET value = value || x'32'",
                      "UPDATE kv SET value = value || x'33'"};
  {
    auto store = Open(newer);
    ASSERT_THAT(store, IsOk());
    EXPECT_EQ((*store)->store_id(), id);
    std::string value;
    (*store)->Range("/", [&](absl::StatusOr<RangeResult> result) {
      value = result->kvs.at(0).value;
      loop_.Stop();
    });
    loop_.RunUntilStopped();
    EXPECT_EQ(value, "old23");
  }
  auto copy = Database::Open(path_ + ".v1");
  ASSERT_THAT(copy, IsOk());
  std::string value;
  EXPECT_THAT((*copy)->Query("SELECT value FROM kv",
                             [&](const Row& row) { value = row.Blob(0); }),
              IsOk());
  EXPECT_EQ(value, "old");
}

TEST_F(SqliteStoreTest, AMigrationThatFailsChangesNothing) {
  {
    auto store = Open();
    ASSERT_THAT(store, IsOk());
    ASSERT_THAT(Put(**store, "/a", "old"), IsOk());
  }
  SqliteStore::Options newer;
  newer.schema_version = 3;
  newer.migrations = {"UPDATE kv SET value = x'32'", "no such statement"};
  EXPECT_THAT(Open(newer).status().message(),
              HasSubstr("schema version 2"));
  auto store = Open();
  ASSERT_THAT(store, IsOk());
  (*store)->Range("/", [&](absl::StatusOr<RangeResult> result) {
    EXPECT_EQ(result->kvs.at(0).value, "old");
    loop_.Stop();
  });
  loop_.RunUntilStopped();
}

TEST_F(SqliteStoreTest, ADatabaseOfSomethingElseIsRefused) {
  {
    auto db = Database::Open(path_);
    ASSERT_THAT(db, IsOk());
    ASSERT_THAT((*db)->Execute("CREATE TABLE t(x)"), IsOk());
  }
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("something else")));
}

TEST_F(SqliteStoreTest, ASecondProcessIsRefused) {
  auto first = Open();
  ASSERT_THAT(first, IsOk());
  EXPECT_FALSE(Open().ok());
}

TEST_F(SqliteStoreTest, ADiskErrorFailsTheRoundAndLeavesTheStoreUsable) {
  auto store = Open();
  ASSERT_THAT(store, IsOk());
  ASSERT_THAT(Put(**store, "/a", "1"), IsOk());
  {
    *store = nullptr;
    auto db = Database::Open(path_);
    ASSERT_THAT(db, IsOk());
    // Fires inside the transaction, as a disk error would.
    ASSERT_THAT((*db)->Execute("CREATE TRIGGER full BEFORE INSERT ON kv WHEN "
                               "NEW.key = x'2f66' BEGIN SELECT "
                               "RAISE(ROLLBACK, 'disk I/O error'); END"),
                IsOk());
  }
  store = Open();
  ASSERT_THAT(store, IsOk());
  FamilyWriter writer(**store, "/");
  std::vector<absl::StatusCode> codes;
  std::vector<std::string> keys;
  std::vector<int64_t> batches;
  const auto watch = (*store)->Watch(
      "/", 1,
      [&](const WatchBatch& batch) { batches.push_back(batch.revision); },
      [](absl::Status) { FAIL(); });
  const auto record = [&codes](absl::StatusOr<int64_t> done) {
    codes.push_back(done.status().code());
  };
  writer.Txn({}, {Op::Put("/f", "1")}, record);
  (*store)->Range("/", [&](absl::StatusOr<RangeResult> result) {
    ASSERT_THAT(result, IsOk());
    for (const KeyValue& kv : result->kvs) keys.push_back(kv.key);
    loop_.Stop();
  });
  loop_.RunUntilStopped();
  EXPECT_EQ(codes,
            std::vector<absl::StatusCode>{absl::StatusCode::kUnavailable});
  EXPECT_EQ(keys, std::vector<std::string>{"/a"});
  EXPECT_THAT(Put(**store, "/b", "1"), IsOkAndHolds(2));
  EXPECT_EQ(batches, std::vector<int64_t>{2});
}

}  // namespace
}  // namespace flotilla::manager
