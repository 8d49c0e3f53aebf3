// SPDX-License-Identifier: Apache-2.0

#include "common/crypto/sealed_box.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/env/fake_random.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class SealedBoxTest : public ::testing::Test {
 protected:
  std::string Path(absl::string_view name) {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    return absl::StrCat(::testing::TempDir(), "/", info->name(), "-", name);
  }
  std::unique_ptr<SealedBox> Box(absl::string_view name) {
    auto box = SealedBox::Create(Path(name), random_);
    EXPECT_THAT(box, IsOk());
    return *std::move(box);
  }

  FakeRandom random_;
};

TEST_F(SealedBoxTest, OpensWhatItSealedAlsoAfterARestart) {
  const std::string sealed = Box("key")->Seal("password", "ctx");

  EXPECT_THAT(sealed, Not(HasSubstr("password")));
  EXPECT_THAT(Box("key")->Open(sealed, "ctx"), IsOkAndHolds("password"));
}

TEST_F(SealedBoxTest, SealsEmptyAndLargeValues) {
  auto box = Box("key");
  const std::string large(1 << 20, 'x');

  EXPECT_THAT(box->Open(box->Seal("", ""), ""), IsOkAndHolds(""));
  EXPECT_THAT(box->Open(box->Seal(large, ""), ""), IsOkAndHolds(large));
}

TEST_F(SealedBoxTest, NeverSealsTheSameTwice) {
  auto box = Box("key");

  EXPECT_NE(box->Seal("a", "c"), box->Seal("a", "c"));
}

TEST_F(SealedBoxTest, RefusesAnyChangedByte) {
  auto box = Box("key");
  const std::string sealed = box->Seal("password", "ctx");

  for (size_t i = 0; i < sealed.size(); ++i) {
    std::string changed = sealed;
    changed[i] ^= 1;
    EXPECT_THAT(box->Open(changed, "ctx"),
                StatusIs(absl::StatusCode::kDataLoss));
  }
  for (size_t n = 0; n < sealed.size(); ++n) {
    EXPECT_THAT(box->Open(sealed.substr(0, n), "ctx"),
                StatusIs(absl::StatusCode::kDataLoss));
  }
}

TEST_F(SealedBoxTest, RefusesAnotherContextAndAnotherKey) {
  const std::string sealed = Box("key")->Seal("password", "ctx");

  EXPECT_THAT(Box("key")->Open(sealed, "other"),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(Box("other")->Open(sealed, "ctx"),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(SealedBoxTest, MakesAKeyFileThatOnlyItsOwnerCanRead) {
  Box("key");

  struct stat info;
  ASSERT_EQ(::stat(Path("key").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(info.st_size, 32);
}

TEST_F(SealedBoxTest, RefusesAKeyFileThatOthersCanRead) {
  Box("key");
  ASSERT_EQ(::chmod(Path("key").c_str(), 0644), 0);

  EXPECT_THAT(
      SealedBox::Create(Path("key"), random_).status(),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("chmod 600")));
}

TEST_F(SealedBoxTest, RefusesAKeyFileOfTheWrongSizeAndKeepsIt) {
  std::ofstream(Path("key")) << "short";
  ASSERT_EQ(::chmod(Path("key").c_str(), 0600), 0);

  EXPECT_THAT(SealedBox::Create(Path("key"), random_).status(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("backup")));
  std::string kept;
  std::ifstream(Path("key")) >> kept;
  EXPECT_EQ(kept, "short");
}

TEST_F(SealedBoxTest, MakesNoNewKeyBesideWhatAnOldOneSealed) {
  std::ofstream(Path("data")) << "sealed";

  EXPECT_THAT(SealedBox::Create(Path("key"), random_,
                                {Path("absent"), Path("data")})
                  .status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(Path("key")), HasSubstr(Path("data")),
                             HasSubstr("backup"))));
  EXPECT_NE(::access(Path("key").c_str(), F_OK), 0);
  EXPECT_THAT(
      SealedBox::Create(Path("key"), random_, {Path("absent")}).status(),
      IsOk());
  EXPECT_THAT(SealedBox::Create(Path("key"), random_, {Path("data")}).status(),
              IsOk());
}

TEST_F(SealedBoxTest, SaysWhichFileItCannotMake) {
  EXPECT_THAT(SealedBox::Create("/nowhere/at/all/key", random_).status(),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("/nowhere/at/all/key")));
}

}  // namespace
}  // namespace flotilla
