// SPDX-License-Identifier: Apache-2.0

#include "common/sqlite/database.h"

#include <sys/stat.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class DatabaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = absl::StrCat(
        ::testing::TempDir(), "/",
        ::testing::UnitTest::GetInstance()->current_test_info()->name(), ".db");
    for (const char* end : {"", "-wal", "-shm"}) {
      std::remove((path_ + end).c_str());
    }
    Reopen();
    ASSERT_THAT(db_->Execute("CREATE TABLE t(k BLOB PRIMARY KEY, v INT)"),
                IsOk());
  }

  void Reopen() {
    db_.reset();
    auto opened = Database::Open(path_);
    ASSERT_THAT(opened, IsOk());
    db_ = *std::move(opened);
  }

  std::vector<std::string> Keys() {
    std::vector<std::string> keys;
    EXPECT_THAT(
        db_->Query("SELECT k FROM t ORDER BY k",
                   [&](const Row& row) { keys.push_back(row.Blob(0)); }),
        IsOk());
    return keys;
  }

  std::string path_;
  std::unique_ptr<Database> db_;
};

TEST_F(DatabaseTest, KeepsBytesAndNumbersOverARestart) {
  const std::string bytes("a\0b\xff", 4);
  ASSERT_THAT(db_->Run("INSERT INTO t VALUES(?, ?)", bytes, int64_t{1} << 62),
              IsOk());

  Reopen();

  int64_t value = 0;
  ASSERT_THAT(db_->Query("SELECT v FROM t WHERE k = ?",
                         [&](const Row& row) { value = row.Int(0); }, bytes),
              IsOk());
  EXPECT_EQ(value, int64_t{1} << 62);
}

TEST_F(DatabaseTest, UndoesAFailedTransaction) {
  const absl::Status status = db_->Transaction([&]() -> absl::Status {
    EXPECT_THAT(db_->Run("INSERT INTO t VALUES(?, 1)", "x"), IsOk());
    return absl::CancelledError("no");
  });

  EXPECT_THAT(status, StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(Keys(), ElementsAre());
}

TEST_F(DatabaseTest, UndoesOnlyTheFailedSavepoint) {
  const absl::Status status = db_->Transaction([&]() -> absl::Status {
    EXPECT_THAT(db_->Savepoint([&] {
      return db_->Run("INSERT INTO t VALUES(?, 1)", "kept");
    }),
                IsOk());
    EXPECT_FALSE(db_->Savepoint([&]() -> absl::Status {
                      EXPECT_THAT(db_->Run("INSERT INTO t VALUES(?, 1)", "no"),
                                  IsOk());
                      return absl::CancelledError("no");
                    }).ok());
    return absl::OkStatus();
  });

  EXPECT_THAT(status, IsOk());
  EXPECT_THAT(Keys(), ElementsAre("kept"));
}

TEST_F(DatabaseTest, ASecondProcessIsRefusedWithWhatToDo) {
  Database::Options impatient;
  impatient.busy_timeout_ms = 1;

  const auto second = Database::Open(path_, impatient);

  EXPECT_THAT(second.status(),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr("another process holds it"));
}

TEST_F(DatabaseTest, ADirectoryThatIsNotThereSaysSo) {
  const auto opened = Database::Open(path_ + ".d/x.db");

  EXPECT_THAT(opened.status(), StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr("--data-dir"));
}

TEST_F(DatabaseTest, ADamagedFileIsDataLoss) {
  db_.reset();
  std::ofstream(path_, std::ios::binary | std::ios::trunc)
      << std::string(8192, 'x');

  EXPECT_THAT(Database::Open(path_).status(),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(DatabaseTest, NobodyElseCanReadTheFile) {
  struct stat info = {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

}  // namespace
}  // namespace flotilla
