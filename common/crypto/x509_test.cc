// SPDX-License-Identifier: Apache-2.0

#include "common/crypto/x509.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kCluster[] = "3f0c8a52-77d4-4b0e-9a42-0d6f8a1b2c3d";
const absl::Time kNow = absl::FromUnixSeconds(1795570800);

// A CA with its key.
struct Authority {
  PrivateKey key;
  Certificate certificate;
};

Authority MakeAuthority() {
  PrivateKey key = *PrivateKey::Generate();
  Certificate certificate = *MakeCa(key, "test CA", kNow, absl::Hours(100));
  return {key, certificate};
}

Certificate ClusterCertificate(const Authority& ca) {
  return *IssueClusterCertificate(ca.certificate, ca.key,
                                  PrivateKey::Generate()->public_key(),
                                  kCluster, kNow, absl::Hours(10));
}

TEST(PrivateKey, SurvivesItsPem) {
  PrivateKey key = *PrivateKey::Generate();

  auto again = PrivateKey::FromPem(*key.ToPem());

  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->public_key().Digest(), key.public_key().Digest());
  EXPECT_EQ(key.public_key().Digest().size(), 32u);
}

TEST(PrivateKey, RefusesWhatIsNotOneInPem) {
  for (const char* pem : {"", "garbage", "-----BEGIN PRIVATE KEY-----\n",
                          "-----BEGIN PRIVATE KEY-----\nAAAA\n"
                          "-----END PRIVATE KEY-----\n"}) {
    EXPECT_THAT(PrivateKey::FromPem(pem),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(Certificate, CarriesOneClusterIdThroughPemAndDer) {
  Certificate cert = ClusterCertificate(MakeAuthority());

  EXPECT_THAT(cert.ClusterId(), IsOkAndHolds(std::string(kCluster)));
  EXPECT_THAT(Certificate::FromPem(cert.ToPem())->ClusterId(),
              IsOkAndHolds(std::string(kCluster)));
  EXPECT_THAT(Certificate::FromDer(cert.ToDer())->ClusterId(),
              IsOkAndHolds(std::string(kCluster)));
  EXPECT_EQ(cert.not_before(), kNow - absl::Hours(1));
  EXPECT_EQ(cert.not_after(), kNow + absl::Hours(10));
}

TEST(Certificate, OfAServerIsNoClusterIdentity) {
  Authority ca = MakeAuthority();
  PublicKey key = PrivateKey::Generate()->public_key();
  Certificate server =
      *IssueServerCertificate(ca.certificate, ca.key, key,
                              {"flotilla-manager"}, kNow, absl::Hours(1));

  EXPECT_THAT(server.ClusterId(),
              StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(ca.certificate.ClusterId(),
              StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST(Certificate, IsNotIssuedForAnIdThatIsNoUuid) {
  Authority ca = MakeAuthority();
  PublicKey key = PrivateKey::Generate()->public_key();

  for (const std::string& id :
       {std::string(), std::string("prod"),
        std::string("3F0C8A52-77D4-4B0E-9A42-0D6F8A1B2C3D"),
        absl::StrCat(kCluster, ","), absl::StrCat(kCluster, ",URI:x"),
        std::string("3f0c8a52-77d4-4b0e-9a42-0d6f8a1b2c3")}) {
    EXPECT_THAT(IssueClusterCertificate(ca.certificate, ca.key, key, id, kNow,
                                        absl::Hours(1)),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << id;
  }
}

TEST(Certificate, RefusesGarbage) {
  Certificate cert = ClusterCertificate(MakeAuthority());
  EXPECT_THAT(Certificate::FromDer(""), Not(IsOk()));
  EXPECT_THAT(Certificate::FromDer(cert.ToDer() + "x"), Not(IsOk()));
  EXPECT_THAT(Certificate::FromPem("-----BEGIN CERTIFICATE-----\nAA==\n"),
              Not(IsOk()));
}

TEST(SigningRequest, GivesOnlyTheKey) {
  PrivateKey key = *PrivateKey::Generate();

  auto parsed = ParseSigningRequest(*MakeSigningRequest(key));

  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(parsed->Digest(), key.public_key().Digest());
}

TEST(SigningRequest, IsRefusedWhenDamaged) {
  std::string good = *MakeSigningRequest(*PrivateKey::Generate());

  EXPECT_THAT(ParseSigningRequest(""), Not(IsOk()));
  EXPECT_THAT(ParseSigningRequest(good + "x"), Not(IsOk()));
  EXPECT_THAT(ParseSigningRequest(std::string(9000, 'x')), Not(IsOk()));
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x20);
    EXPECT_THAT(ParseSigningRequest(bad),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << "byte " << i;
  }
}

TEST(VerifyCertificate, TellsPurposeSignerAndTime) {
  Authority ca = MakeAuthority();
  Authority other = MakeAuthority();
  Certificate client = ClusterCertificate(ca);

  EXPECT_THAT(VerifyCertificate(client, ca.certificate,
                                CertificatePurpose::kClient, kNow),
              IsOk());
  EXPECT_THAT(VerifyCertificate(client, ca.certificate,
                                CertificatePurpose::kServer, kNow),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       HasSubstr("purpose")));
  EXPECT_THAT(VerifyCertificate(client, other.certificate,
                                CertificatePurpose::kClient, kNow),
              StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(
      VerifyCertificate(client, ca.certificate, CertificatePurpose::kClient,
                        kNow + absl::Hours(11)),
      StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("expired")));
  EXPECT_THAT(
      VerifyCertificate(client, ca.certificate, CertificatePurpose::kClient,
                        kNow - absl::Hours(2)),
      StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("not yet")));
}

}  // namespace
}  // namespace flotilla
