// SPDX-License-Identifier: Apache-2.0

#include "common/crypto/private_file.h"

#include <sys/stat.h>

#include <cstdlib>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using ::testing::HasSubstr;

std::string InTestFolder(const std::string& name) {
  return absl::StrCat(getenv("TEST_TMPDIR"), "/", name);
}

TEST(PrivateFile, IsReadBackAndReadableByItsOwnerOnly) {
  const std::string path = InTestFolder("key");

  ASSERT_THAT(WritePrivateFile(path, "old"), IsOk());
  ASSERT_THAT(WritePrivateFile(path, "new"), IsOk());

  EXPECT_THAT(ReadPrivateFile(path), IsOkAndHolds(std::string("new")));
  struct stat about {};
  ASSERT_EQ(stat(path.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
}

TEST(PrivateFile, ThatIsAbsentIsNotFoundByName) {
  const std::string path = InTestFolder("absent");

  EXPECT_THAT(ReadPrivateFile(path),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(path)));
  EXPECT_THAT(WritePrivateFile(InTestFolder("no/folder"), "x"),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST(PrivateFolder, IsMadeWithThoseAboveIt) {
  const std::string path = InTestFolder("a/b/c");

  ASSERT_THAT(MakePrivateFolder(path), IsOk());
  ASSERT_THAT(MakePrivateFolder(path), IsOk());

  EXPECT_THAT(WritePrivateFile(path + "/f", "x"), IsOk());
}

TEST(PrivateFolder, IsNoFile) {
  const std::string path = InTestFolder("file");
  ASSERT_THAT(WritePrivateFile(path, "x"), IsOk());

  const absl::Status made = MakePrivateFolder(path);

  EXPECT_FALSE(made.ok());
  EXPECT_THAT(made.message(), HasSubstr(path));
  EXPECT_THAT(ReadPrivateFile(path), IsOkAndHolds("x"));
}

}  // namespace
}  // namespace flotilla
