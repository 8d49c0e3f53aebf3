// SPDX-License-Identifier: Apache-2.0

#include "common/sqlite/database_damage.h"

#include <fstream>
#include <iterator>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/sqlite/database.h"
#include "common/status/status_matchers.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

TEST(DatabaseDamage, ADamagedFileIsSetAsideAndKept) {
  const std::string path = absl::StrCat(testing::TempDir(), "/aside.db");
  const std::string damaged(8192, 'x');
  std::ofstream(path, std::ios::binary | std::ios::trunc) << damaged;
  std::ofstream(path + "-wal", std::ios::binary | std::ios::trunc) << "log";
  ASSERT_THAT(Database::Open(path).status(),
              StatusIs(absl::StatusCode::kDataLoss));

  ASSERT_THAT(SetDamagedDatabaseAside(path), IsOk());

  const auto opened = Database::Open(path);
  ASSERT_THAT(opened, IsOk());
  EXPECT_THAT(FindDatabaseDamage(**opened), IsOk());
  std::ifstream kept(path + ".damaged", std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(kept), {}), damaged);
}

}  // namespace
}  // namespace flotilla
