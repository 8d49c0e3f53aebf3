// SPDX-License-Identifier: Apache-2.0

#include "common/crypto/server_trust.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/crypto/x509.h"
#include "common/status/status_matchers.h"

namespace flotilla {
namespace {

using ::testing::HasSubstr;

class ServerTrustTest : public ::testing::Test {
 protected:
  const absl::Time now_ = absl::FromUnixSeconds(1'800'000'000);
  const PrivateKey ca_key_ = PrivateKey::Generate().value();
  const Certificate ca_ =
      MakeCa(ca_key_, "test CA", now_, absl::Hours(1000)).value();
  const PrivateKey key_ = PrivateKey::Generate().value();
  const Certificate server_ =
      IssueServerCertificate(ca_, ca_key_, key_.public_key(),
                             {"git.example.com"}, now_, absl::Hours(100))
          .value();
};

TEST_F(ServerTrustTest, ACertificateOfTheCaIsTrusted) {
  EXPECT_THAT(VerifyServerCertificate(server_.ToDer(), "git.example.com",
                                      ca_.ToPem(), now_),
              IsOk());
  EXPECT_THAT(
      VerifyServerCertificate(server_.ToDer(), "git.example.com",
                              absl::StrCat("# ours\n", ca_.ToPem()), now_),
      IsOk());
}

TEST_F(ServerTrustTest, AnotherNameTimeOrCaIsNot) {
  const Certificate other_ca =
      MakeCa(PrivateKey::Generate().value(), "test CA", now_,
             absl::Hours(1000))
          .value();
  EXPECT_THAT(VerifyServerCertificate(server_.ToDer(), "evil.example.com",
                                      ca_.ToPem(), now_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("ostname")));
  EXPECT_THAT(VerifyServerCertificate(server_.ToDer(), "git.example.com",
                                      ca_.ToPem(), now_ + absl::Hours(200)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("expired")));
  EXPECT_THAT(VerifyServerCertificate(server_.ToDer(), "git.example.com",
                                      other_ca.ToPem(), now_),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(
      VerifyServerCertificate(server_.ToDer(), "", ca_.ToPem(), now_),
      StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(ServerTrustTest, GarbageIsRefused) {
  EXPECT_THAT(VerifyServerCertificate(server_.ToDer(), "git.example.com",
                                      "not PEM", now_),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(
      VerifyServerCertificate("x", "git.example.com", ca_.ToPem(), now_),
      StatusIs(absl::StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace flotilla
