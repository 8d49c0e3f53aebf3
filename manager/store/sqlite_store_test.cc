// SPDX-License-Identifier: Apache-2.0

#include "manager/store/sqlite_store.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/crypto/sealed_box.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "common/event/real_loop.h"
#include "common/sqlite/database.h"
#include "common/status/status_matchers.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/store/records.h"
#include "manager/store/store.h"
#include "manager/store/store_contract.h"

namespace flotilla::manager {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

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

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::unique_ptr<Store> OpenForContract(Loop& loop,
                                       const std::string& directory) {
  static CountingRandom* const random = new CountingRandom;
  static SealedBox* const box =
      SealedBox::Create(::testing::TempDir() + "/contract-key", *random)
          ->release();
  fs::create_directories(directory);
  SqliteStore::Options options;
  options.kept_revisions = 20;
  auto store = SqliteStore::Open(loop, *random, *box, directory + "/store.db",
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
    box_ = *SealedBox::Create(directory_ + "/key", random_);
  }

  absl::StatusOr<std::unique_ptr<SqliteStore>> Open(
      SqliteStore::Options options = {}) {
    return SqliteStore::Open(loop_, random_, *box_, path_, options);
  }

  // Every key with its value.
  std::map<std::string, std::string> All(SqliteStore& store) {
    std::map<std::string, std::string> all;
    store.Range("/", [&](absl::StatusOr<RangeResult> result) {
      EXPECT_THAT(result, IsOk());
      for (const KeyValue& kv : result->kvs) all[kv.key] = kv.value;
      loop_.Stop();
    });
    loop_.RunUntilStopped();
    return all;
  }

  // Names of files of the store, copies aside, that hold `text`.
  std::vector<std::string> FilesWith(const std::string& text) {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(directory_)) {
      const std::string name = entry.path().filename();
      if (absl::StrContains(name, ".v")) continue;
      if (absl::StrContains(ReadFile(entry.path()), text)) {
        found.push_back(name);
      }
    }
    return found;
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
  std::unique_ptr<SealedBox> box_;
};

TEST_F(SqliteStoreTest, OnlyTheOwnerMayReadTheFile) {
  ASSERT_THAT(Open(), IsOk());
  struct stat st = {};
  ASSERT_EQ(stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST_F(SqliteStoreTest, NoFileHoldsAValueInTheClear) {
  {
    auto store = Open();
    ASSERT_THAT(store, IsOk());
    ASSERT_THAT(Put(**store, "/a", "canary-1"), IsOk());
    EXPECT_EQ(FilesWith("canary"), std::vector<std::string>{});
    ASSERT_THAT(Put(**store, "/a", "canary-2"), IsOk());
    EXPECT_EQ(FilesWith("canary"), std::vector<std::string>{});
  }
  EXPECT_EQ(FilesWith("canary"), std::vector<std::string>{});
  // The search does find what is there.
  EXPECT_EQ(FilesWith("schema_version"),
            std::vector<std::string>{"store.db"});
}

TEST_F(SqliteStoreTest, AnotherKeyIsRefusedWithASentence) {
  {
    auto store = Open();
    ASSERT_THAT(store, IsOk());
    ASSERT_THAT(Put(**store, "/a", "1"), IsOk());
  }
  auto other = SealedBox::Create(directory_ + "/other-key", random_);
  ASSERT_THAT(other, IsOk());

  EXPECT_THAT(SqliteStore::Open(loop_, random_, **other, path_).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(path_), HasSubstr("/other-key"),
                             HasSubstr("backup"))));

  auto store = Open();
  ASSERT_THAT(store, IsOk());
  EXPECT_THAT(All(**store), ElementsAre(Pair("/a", "1")));
}

TEST_F(SqliteStoreTest, AValueThatCannotBeOpenedIsNotTakenForAbsent) {
  {
    auto store = Open();
    ASSERT_THAT(store, IsOk());
    ASSERT_THAT(Put(**store, "/a", "1"), IsOk());
    ASSERT_THAT(Put(**store, "/b", "2"), IsOk());
  }
  {
    auto db = Database::Open(path_);
    ASSERT_THAT(db, IsOk());
    // Also a value that was sealed for another key.
    ASSERT_THAT((*db)->Execute("UPDATE kv SET value = (SELECT value FROM kv "
                               "WHERE key = x'2f62') WHERE key = x'2f61'"),
                IsOk());
  }

  auto store = Open();
  ASSERT_THAT(store, IsOk());
  const auto all = All(**store);
  EXPECT_EQ(all.at("/b"), "2");
  EXPECT_THAT(ParseRecord<storage::v1::Source>("/a", all.at("/a")).status(),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(SqliteStoreTest, ANewerStoreIsRefusedWithASentence) {
  SqliteStore::Options newer;
  newer.more_migrations = {"", ""};
  ASSERT_THAT(Open(newer), IsOk());
  EXPECT_THAT(
      Open(),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("newer Flotilla"),
                     HasSubstr(absl::StrCat("version ", kSchemaVersion + 2)),
                     HasSubstr(path_))));
  // It was not touched.
  EXPECT_THAT(Open(newer), IsOk());
}

TEST_F(SqliteStoreTest, TheFirstVersionIsCopiedThenSealed) {
  {
    auto db = Database::Open(path_);
    ASSERT_THAT(db, IsOk());
    ASSERT_THAT((*db)->Execute(ReadFile("manager/store/testdata/store_v1.sql")),
                IsOk());
  }
  ASSERT_EQ(FilesWith("canary"), std::vector<std::string>{"store.db"});

  auto store = Open();

  ASSERT_THAT(store, IsOk());
  EXPECT_EQ((*store)->store_id(), "11111111-2222-4333-8444-555555555555");
  const auto all = All(**store);
  EXPECT_EQ(all.size(), 602u);
  EXPECT_EQ(all.at("/document/w/GitRepo/a"), "canary-document");
  EXPECT_EQ(all.at("/source/w/a"), "canary-source");
  EXPECT_EQ(all.at("/desired/c/0600"), "canary-600");
  EXPECT_EQ(FilesWith("canary"), std::vector<std::string>{});
  // Revisions go on, and a watch from before is told to read anew.
  EXPECT_THAT(Put(**store, "/b", "1"), IsOkAndHolds(606));
  bool lost = false;
  const auto watch = (*store)->Watch(
      "/", 600, [](const WatchBatch&) { FAIL(); },
      [&](absl::Status status) {
        lost = absl::IsOutOfRange(status);
        loop_.Stop();
      });
  loop_.RunUntilStopped();
  EXPECT_TRUE(lost);
  // For who must go back.
  struct stat st = {};
  ASSERT_EQ(stat((path_ + ".v1").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  auto copy = Database::Open(path_ + ".v1");
  ASSERT_THAT(copy, IsOk());
  std::string value;
  EXPECT_THAT((*copy)->Query("SELECT value FROM kv WHERE key = ?",
                             [&](const Row& row) { value = row.Blob(0); },
                             "/source/w/a"),
              IsOk());
  EXPECT_EQ(value, "canary-source");
}

TEST_F(SqliteStoreTest, RewritesTheFileWhenAnEarlierTryDidNotComeToIt) {
  ASSERT_THAT(Open(), IsOk());
  {
    auto db = Database::Open(path_);
    ASSERT_THAT(db, IsOk());
    ASSERT_THAT((*db)->Execute("PRAGMA secure_delete = OFF; CREATE TABLE "
                               "t(x); INSERT INTO t VALUES('canary'); DELETE "
                               "FROM t; INSERT INTO meta "
                               "VALUES('rewrite_due', '1')"),
                IsOk());
  }
  ASSERT_EQ(FilesWith("canary"), std::vector<std::string>{"store.db"});

  ASSERT_THAT(Open(), IsOk());

  EXPECT_EQ(FilesWith("canary"), std::vector<std::string>{});
  auto db = Database::Open(path_);
  ASSERT_THAT(db, IsOk());
  int64_t due = -1;
  EXPECT_THAT((*db)->Query("SELECT COUNT(*) FROM meta WHERE key = ?",
                           [&](const Row& row) { due = row.Int(0); },
                           SqlText{"rewrite_due"}),
              IsOk());
  EXPECT_EQ(due, 0);
}

TEST_F(SqliteStoreTest, AnOlderStoreIsCopiedThenMigrated) {
  std::string id;
  {
    auto store = Open();
    ASSERT_THAT(store, IsOk());
    id = (*store)->store_id();
    ASSERT_THAT(Put(**store, "/a", "old"), IsOk());
    ASSERT_THAT(Put(**store, "/b", "old"), IsOk());
  }
  SqliteStore::Options newer;
  newer.more_migrations = {"DELETE FROM kv WHERE key = x'2f61'",
                           "UPDATE kv SET create_revision = 7"};
  {
    auto store = Open(newer);
    ASSERT_THAT(store, IsOk());
    EXPECT_EQ((*store)->store_id(), id);
    (*store)->Range("/", [&](absl::StatusOr<RangeResult> result) {
      ASSERT_EQ(result->kvs.size(), 1u);
      EXPECT_EQ(result->kvs[0].key, "/b");
      EXPECT_EQ(result->kvs[0].value, "old");
      EXPECT_EQ(result->kvs[0].create_revision, 7);
      loop_.Stop();
    });
    loop_.RunUntilStopped();
  }
  auto copy =
      Database::Open(absl::StrCat(path_, ".v", kSchemaVersion));
  ASSERT_THAT(copy, IsOk());
  int64_t rows = 0;
  EXPECT_THAT((*copy)->Query("SELECT COUNT(*) FROM kv",
                             [&](const Row& row) { rows = row.Int(0); }),
              IsOk());
  EXPECT_EQ(rows, 2);
}

TEST_F(SqliteStoreTest, AMigrationThatFailsChangesNothing) {
  {
    auto store = Open();
    ASSERT_THAT(store, IsOk());
    ASSERT_THAT(Put(**store, "/a", "old"), IsOk());
  }
  SqliteStore::Options newer;
  newer.more_migrations = {"DELETE FROM kv", "no such statement"};
  EXPECT_THAT(
      Open(newer).status().message(),
      HasSubstr(absl::StrCat("schema version ", kSchemaVersion + 1)));
  auto store = Open();
  ASSERT_THAT(store, IsOk());
  EXPECT_THAT(All(**store), ElementsAre(Pair("/a", "old")));
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
