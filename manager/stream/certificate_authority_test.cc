// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/certificate_authority.h"

#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/crypto/private_file.h"
#include "common/crypto/sealed_box.h"
#include "common/crypto/x509.h"
#include "common/env/fake_random.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const absl::Time kNow = absl::FromUnixSeconds(1795570800);

class CertificateAuthorityTest : public ::testing::Test {
 protected:
  CertificateAuthorityTest()
      : root(absl::StrCat(
            getenv("TEST_TMPDIR"), "/",
            ::testing::UnitTest::GetInstance()->current_test_info()->name())),
        folder(root + "/ca") {
    EXPECT_THAT(MakePrivateFolder(root), IsOk());
    box = *SealedBox::Create(root + "/key", random);
  }

  auto Load() { return CertificateAuthority::LoadOrCreate(folder, *box, kNow); }

  const std::string root;
  const std::string folder;
  FakeRandom random;
  std::unique_ptr<SealedBox> box;
};

TEST_F(CertificateAuthorityTest, IsTheSameAfterARestart) {
  auto first = Load();
  ASSERT_THAT(first, IsOk());
  auto second = Load();
  ASSERT_THAT(second, IsOk());

  EXPECT_EQ((*first)->certificate().ToDer(), (*second)->certificate().ToDer());
}

TEST_F(CertificateAuthorityTest, KeepsItsKeySealed) {
  ASSERT_THAT(Load(), IsOk());

  EXPECT_THAT(*ReadPrivateFile(folder + "/ca.key.sealed"),
              Not(HasSubstr("PRIVATE KEY")));
}

TEST_F(CertificateAuthorityTest, CertifiesServersAndClusters) {
  auto ca = *Load();
  auto server = *ca->MakeServerIdentity(kNow);
  PrivateKey key = *PrivateKey::Generate();
  auto client =
      *ca->IssueForCluster(key.public_key(),
                           "3f0c8a52-77d4-4b0e-9a42-0d6f8a1b2c3d", kNow,
                           absl::Hours(1));

  EXPECT_THAT(VerifyCertificate(*Certificate::FromPem(server.certificate_pem),
                                ca->certificate(),
                                CertificatePurpose::kServer, kNow),
              IsOk());
  EXPECT_THAT(VerifyCertificate(client, ca->certificate(),
                                CertificatePurpose::kClient, kNow),
              IsOk());
  EXPECT_THAT(VerifyCertificate(client, ca->certificate(),
                                CertificatePurpose::kServer, kNow),
              Not(IsOk()));
}

TEST_F(CertificateAuthorityTest, RefusesToReplaceALostKey) {
  ASSERT_THAT(Load(), IsOk());
  ASSERT_EQ(unlink((folder + "/ca.key.sealed").c_str()), 0);

  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kDataLoss,
                               AllOf(HasSubstr("ca.key.sealed"),
                                     HasSubstr("backup"))));
}

TEST_F(CertificateAuthorityTest, RefusesDamagedFiles) {
  ASSERT_THAT(Load(), IsOk());
  const std::string sealed = *ReadPrivateFile(folder + "/ca.key.sealed");
  for (const std::string& bad : {std::string(), sealed.substr(1),
                                 sealed + "x", std::string("garbage")}) {
    ASSERT_THAT(WritePrivateFile(folder + "/ca.key.sealed", bad), IsOk());
    EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                 AllOf(HasSubstr("sealed with another key"),
                                       HasSubstr("ca.key.sealed"),
                                       HasSubstr("/key"),
                                       HasSubstr("backup"))));
  }
  ASSERT_THAT(WritePrivateFile(folder + "/ca.key.sealed", sealed), IsOk());
  EXPECT_THAT(Load(), IsOk());
  PrivateKey other = *PrivateKey::Generate();
  ASSERT_THAT(
      WritePrivateFile(
          folder + "/ca.crt",
          MakeCa(other, "other", kNow, absl::Hours(1))->ToPem()),
      IsOk());
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kDataLoss,
                               HasSubstr("does not belong")));
}

TEST_F(CertificateAuthorityTest, IsLoadedWithoutAnythingBeingWritten) {
  const auto absent = CertificateAuthority::Load(folder, *box);
  ASSERT_THAT(absent, IsOk());
  EXPECT_EQ(*absent, nullptr);
  EXPECT_THAT(ReadPrivateFile(folder + "/ca.crt"),
              StatusIs(absl::StatusCode::kNotFound));

  const auto made = Load();
  ASSERT_THAT(made, IsOk());
  const auto loaded = CertificateAuthority::Load(folder, *box);

  ASSERT_THAT(loaded, IsOk());
  EXPECT_EQ((*loaded)->certificate().ToPem(),
            (*made)->certificate().ToPem());
}

TEST_F(CertificateAuthorityTest, BeginsAgainAfterACrashBeforeItsFirstUse) {
  ASSERT_THAT(MakePrivateFolder(folder), IsOk());
  ASSERT_THAT(WritePrivateFile(folder + "/ca.key.sealed", "half"), IsOk());

  EXPECT_THAT(Load(), IsOk());
}

}  // namespace
}  // namespace flotilla::manager
