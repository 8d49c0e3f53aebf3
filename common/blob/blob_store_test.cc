// SPDX-License-Identifier: Apache-2.0

#include "common/blob/blob_store.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/blob/digest.h"
#include "common/blob/directory_blob_store.h"
#include "common/blob/memory_blob_store.h"
#include "common/crypto/sealed_box.h"
#include "common/env/fake_random.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

std::string FreshFolder() {
  std::string pattern = absl::StrCat(::testing::TempDir(), "/blobs-XXXXXX");
  return ::mkdtemp(pattern.data());
}

std::string FileText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

bool FileExists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

// What every BlobStore promises.
class BlobStoreContract : public ::testing::TestWithParam<bool> {
 protected:
  BlobStoreContract() {
    if (GetParam()) {
      const std::string folder = FreshFolder();
      box_ = *SealedBox::Create(folder + "/key", random_);
      store_ = *DirectoryBlobStore::Open(folder + "/blobs", *box_);
    } else {
      store_ = std::make_unique<MemoryBlobStore>();
    }
  }

  FakeRandom random_;
  std::unique_ptr<SealedBox> box_;
  std::unique_ptr<BlobStore> store_;
};

TEST_P(BlobStoreContract, GivesBackWhatWasPut) {
  const auto digests =
      store_->PutAll({"plain", "secret", ""});

  ASSERT_THAT(digests, IsOkAndHolds(ElementsAre(
                           DigestOf("plain"), DigestOf("secret"),
                           DigestOf(""))));
  for (const std::string bytes : {"plain", "secret", ""}) {
    EXPECT_TRUE(store_->Contains(DigestOf(bytes)));
    EXPECT_THAT(store_->Get(DigestOf(bytes)), IsOkAndHolds(bytes));
  }
}

TEST_P(BlobStoreContract, KeepsTheSameBytesOnce) {
  ASSERT_THAT(store_->PutAll({"a", "a", "a"}),
              IsOk());
  ASSERT_THAT(store_->Put("a"), IsOk());

  EXPECT_THAT(store_->List(), IsOkAndHolds(ElementsAre(DigestOf("a"))));
}

TEST_P(BlobStoreContract, SaysNotFoundForWhatItDoesNotHold) {
  EXPECT_THAT(store_->Get(DigestOf("absent")),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr(DigestToHex(DigestOf("absent")))));
  EXPECT_FALSE(store_->Contains(DigestOf("absent")));
  EXPECT_FALSE(store_->Contains("short"));
}

TEST_P(BlobStoreContract, RemovesAndTakesAbsentForDone) {
  ASSERT_THAT(store_->PutAll({"a", "b"}), IsOk());

  EXPECT_THAT(store_->Remove(DigestOf("a")), IsOk());
  EXPECT_THAT(store_->Remove(DigestOf("a")), IsOk());
  EXPECT_THAT(store_->List(), IsOkAndHolds(ElementsAre(DigestOf("b"))));
  EXPECT_THAT(store_->Remove(DigestOf("b")), IsOk());
  EXPECT_THAT(store_->List(), IsOkAndHolds(IsEmpty()));
}

TEST_P(BlobStoreContract, TakesNothingAndManyAtOnce) {
  EXPECT_THAT(store_->PutAll({}), IsOkAndHolds(IsEmpty()));
  std::vector<std::string> many;
  for (int i = 0; i < 300; ++i) many.push_back(absl::StrCat(i));

  ASSERT_THAT(store_->PutAll(many), IsOk());

  EXPECT_EQ(store_->List()->size(), 300u);
  EXPECT_THAT(store_->Get(DigestOf("299")), IsOkAndHolds("299"));
}

TEST_P(BlobStoreContract, SweepsWhatNobodyNamesButNotAtOnce) {
  ASSERT_THAT(store_->PutAll({"named", "unnamed", "put again", "renewed"}),
              IsOk());
  const absl::flat_hash_set<std::string> named = {DigestOf("named")};

  EXPECT_THAT(store_->Sweep(named), IsOkAndHolds(0));
  ASSERT_THAT(store_->PutAll({"put again", "new"}), IsOk());
  EXPECT_TRUE(store_->Renew({DigestOf("renewed")}));
  EXPECT_THAT(store_->Sweep(named), IsOkAndHolds(1));

  EXPECT_THAT(store_->List(),
              IsOkAndHolds(UnorderedElementsAre(
                  DigestOf("named"), DigestOf("put again"), DigestOf("new"),
                  DigestOf("renewed"))));
  EXPECT_THAT(store_->Sweep(named), IsOkAndHolds(3));
  EXPECT_THAT(store_->List(), IsOkAndHolds(ElementsAre(DigestOf("named"))));
}

TEST_P(BlobStoreContract, ABlobThatWasNamedInBetweenWaitsAnew) {
  ASSERT_THAT(store_->Put("a"), IsOk());
  EXPECT_THAT(store_->Sweep({}), IsOkAndHolds(0));
  EXPECT_THAT(store_->Sweep({DigestOf("a")}), IsOkAndHolds(0));
  EXPECT_THAT(store_->Sweep({}), IsOkAndHolds(0));
  EXPECT_THAT(store_->Sweep({}), IsOkAndHolds(1));
  // So does one that is put after it was removed.
  ASSERT_THAT(store_->Put("a"), IsOk());
  EXPECT_THAT(store_->Sweep({}), IsOkAndHolds(0));
}

TEST_P(BlobStoreContract, RenewsNothingThatIsNotThere) {
  ASSERT_THAT(store_->Put("a"), IsOk());

  EXPECT_TRUE(store_->Renew({}));
  EXPECT_TRUE(store_->Renew({DigestOf("a")}));
  EXPECT_FALSE(store_->Renew({DigestOf("a"), DigestOf("b")}));
  EXPECT_FALSE(store_->Renew({"short"}));
}

TEST_P(BlobStoreContract, KnowsWhoseItIs) {
  EXPECT_THAT(store_->Owner(), IsOkAndHolds(""));

  EXPECT_THAT(store_->Claim("first"), IsOk());
  EXPECT_THAT(store_->Claim("second"), IsOk());

  EXPECT_THAT(store_->Owner(), IsOkAndHolds("second"));
  EXPECT_THAT(store_->List(), IsOkAndHolds(IsEmpty()));
}

INSTANTIATE_TEST_SUITE_P(Engines, BlobStoreContract, ::testing::Bool(),
                         [](const auto& engine) {
                           return engine.param ? "Directory" : "Memory";
                         });

class DirectoryBlobStoreTest : public ::testing::Test {
 protected:
  DirectoryBlobStoreTest() { Reopen(); }

  void Reopen() {
    box_ = *SealedBox::Create(folder_ + "/key", random_);
    auto store = DirectoryBlobStore::Open(folder_ + "/blobs", *box_);
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }
  std::string PathOf(absl::string_view bytes) const {
    const std::string hex = DigestToHex(DigestOf(bytes));
    return absl::StrCat(folder_, "/blobs/", hex.substr(0, 2), "/", hex,
                        ".sealed");
  }

  const std::string folder_ = FreshFolder();
  FakeRandom random_;
  std::unique_ptr<SealedBox> box_;
  std::unique_ptr<DirectoryBlobStore> store_;
};

TEST_F(DirectoryBlobStoreTest, KeepsBlobsOverARestart) {
  ASSERT_THAT(store_->PutAll({"plain", "secret"}), IsOk());

  Reopen();

  EXPECT_THAT(store_->Get(DigestOf("plain")), IsOkAndHolds("plain"));
  EXPECT_THAT(store_->Get(DigestOf("secret")), IsOkAndHolds("secret"));
}

TEST_F(DirectoryBlobStoreTest, TakesMoreBlobsThanFilesMayBeOpen) {
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 128;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  std::vector<std::string> blobs;
  for (int i = 0; i < 300; ++i) blobs.push_back(absl::StrCat("blob ", i));

  const auto digests = store_->PutAll(blobs);

  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_THAT(digests, IsOk());
  Reopen();
  for (size_t i = 0; i < blobs.size(); ++i) {
    EXPECT_THAT(store_->Get((*digests)[i]), IsOkAndHolds(blobs[i]));
  }
}

TEST_F(DirectoryBlobStoreTest, SealsEveryBlob) {
  ASSERT_THAT(store_->Put("password"), IsOk());

  EXPECT_THAT(FileText(PathOf("password")),
              AllOf(Not(IsEmpty()), Not(HasSubstr("password"))));
}

TEST_F(DirectoryBlobStoreTest, SealsWhatEarlierVersionsLeftInTheClear) {
  ASSERT_THAT(store_->Put("sealed"), IsOk());
  const auto plain = [this](absl::string_view bytes) {
    const std::string path = PathOf(bytes);
    return path.substr(0, path.rfind('.'));
  };
  for (const std::string bytes : {"password", "sealed", "damaged"}) {
    std::ofstream(plain(bytes)) << bytes;
  }
  std::ofstream(plain("damaged")) << "?";

  Reopen();

  EXPECT_THAT(store_->List(), IsOkAndHolds(UnorderedElementsAre(
                                  DigestOf("password"), DigestOf("sealed"))));
  for (const std::string bytes : {"password", "sealed", "damaged"}) {
    EXPECT_FALSE(FileExists(plain(bytes))) << bytes;
  }
  EXPECT_THAT(FileText(PathOf("password")), Not(HasSubstr("password")));
  EXPECT_THAT(store_->Get(DigestOf("password")), IsOkAndHolds("password"));
}

TEST_F(DirectoryBlobStoreTest, TakesADamagedBlobAgain) {
  ASSERT_THAT(store_->PutAll({"a", "b"}), IsOk());
  std::ofstream(PathOf("a")) << "garbage";
  // Sealed well, but as another blob.
  std::ofstream(PathOf("b")) << box_->Seal("c", DigestOf("b"));

  for (const std::string bytes : {"a", "b"}) {
    EXPECT_THAT(store_->Get(DigestOf(bytes)),
                StatusIs(absl::StatusCode::kDataLoss,
                         HasSubstr(DigestToHex(DigestOf(bytes)))));
    EXPECT_FALSE(store_->Contains(DigestOf(bytes)));
    EXPECT_FALSE(store_->Renew({DigestOf(bytes)}));
    ASSERT_THAT(store_->Put(bytes), IsOk());
    EXPECT_THAT(store_->Get(DigestOf(bytes)), IsOkAndHolds(bytes));
    EXPECT_TRUE(store_->Renew({DigestOf(bytes)}));
  }
}

// Reading it is an input/output error.
constexpr char kFailingFile[] = "/proc/self/mem";

TEST_F(DirectoryBlobStoreTest, RemovesNothingThatTheDiskFailsToRead) {
  ASSERT_THAT(store_->Put("a"), IsOk());
  const std::string aside = folder_ + "/aside";
  ASSERT_EQ(::rename(PathOf("a").c_str(), aside.c_str()), 0);
  ASSERT_EQ(::symlink(kFailingFile, PathOf("a").c_str()), 0);

  EXPECT_THAT(store_->Get(DigestOf("a")),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr(PathOf("a")),
                             HasSubstr("look at the disk"))));
  EXPECT_FALSE(store_->Contains(DigestOf("a")));
  EXPECT_THAT(store_->List(), IsOkAndHolds(ElementsAre(DigestOf("a"))));
  ASSERT_EQ(::rename(aside.c_str(), PathOf("a").c_str()), 0);
  EXPECT_THAT(store_->Get(DigestOf("a")), IsOkAndHolds("a"));
}

TEST_F(DirectoryBlobStoreTest, ReplacesWhatTheDiskFailsToRead) {
  ASSERT_EQ(::symlink(kFailingFile, PathOf("a").c_str()), 0);
  ASSERT_THAT(store_->Get(DigestOf("a")),
              StatusIs(absl::StatusCode::kUnavailable));

  ASSERT_THAT(store_->Put("a"), IsOk());

  EXPECT_THAT(store_->Get(DigestOf("a")), IsOkAndHolds("a"));
}

TEST_F(DirectoryBlobStoreTest, RemovesNothingThatAnotherKeySealed) {
  ASSERT_THAT(store_->Put("a"), IsOk());
  const std::string sealed = FileText(PathOf("a"));
  ASSERT_EQ(::rename((folder_ + "/key").c_str(), (folder_ + "/good").c_str()),
            0);
  Reopen();

  EXPECT_THAT(store_->Get(DigestOf("a")),
              StatusIs(absl::StatusCode::kDataLoss));

  EXPECT_EQ(FileText(PathOf("a")), sealed);
}

TEST_F(DirectoryBlobStoreTest, LeavesAloneWhatItCannotReadInTheClear) {
  const std::string sealed = PathOf("a");
  const std::string plain = sealed.substr(0, sealed.rfind('.'));
  ASSERT_EQ(::symlink(kFailingFile, plain.c_str()), 0);

  Reopen();

  EXPECT_TRUE(FileExists(plain));
}

TEST_F(DirectoryBlobStoreTest, KeepsItsOwnerOverARestart) {
  ASSERT_THAT(store_->Claim("store"), IsOk());

  Reopen();

  EXPECT_THAT(store_->Owner(), IsOkAndHolds("store"));
}

TEST_F(DirectoryBlobStoreTest, BeginsTheGraceAnewAfterARestart) {
  ASSERT_THAT(store_->Put("a"), IsOk());
  EXPECT_THAT(store_->Sweep({}), IsOkAndHolds(0));

  Reopen();

  EXPECT_THAT(store_->Sweep({}), IsOkAndHolds(0));
  EXPECT_TRUE(store_->Contains(DigestOf("a")));
  EXPECT_THAT(store_->Sweep({}), IsOkAndHolds(1));
  EXPECT_FALSE(store_->Contains(DigestOf("a")));
}

TEST_F(DirectoryBlobStoreTest, ForgetsWhatWasHalfWrittenAtACrash) {
  std::ofstream(folder_ + "/blobs/tmp/17") << "half";
  std::ofstream(folder_ + "/blobs/ab/not-a-digest") << "?";

  Reopen();

  EXPECT_FALSE(FileExists(folder_ + "/blobs/tmp/17"));
  EXPECT_THAT(store_->List(), IsOkAndHolds(IsEmpty()));
}

TEST_F(DirectoryBlobStoreTest, SaysWhatItCouldNotWriteAndHoldsNothingOfIt) {
  ASSERT_EQ(::rmdir((folder_ + "/blobs/tmp").c_str()), 0);

  EXPECT_THAT(store_->PutAll({"first"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/tmp/")));

  EXPECT_FALSE(store_->Contains(DigestOf("first")));
}

TEST(DirectoryBlobStore, SaysWhichFolderItCannotMake) {
  FakeRandom random;
  auto box = *SealedBox::Create(FreshFolder() + "/key", random);

  EXPECT_THAT(
      DirectoryBlobStore::Open("/nowhere/blobs", *box).status(),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/blobs")));
}

TEST(MemoryBlobStore, PlaysAFailingDisk) {
  MemoryBlobStore store;
  ASSERT_THAT(store.Put("a"), IsOk());

  store.Damage(DigestOf("a"));
  EXPECT_THAT(store.Get(DigestOf("a")), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_FALSE(store.Contains(DigestOf("a")));

  store.FailPuts(absl::ResourceExhaustedError("disk full"));
  EXPECT_THAT(store.Put("b"), StatusIs(absl::StatusCode::kResourceExhausted));
}

}  // namespace
}  // namespace flotilla
