// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/enrolment_rules.h"

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/crypto/sha256.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class JudgeEnrolmentTest : public ::testing::Test {
 protected:
  JudgeEnrolmentTest() {
    token.set_token_id("t");
    token.set_secret_digest(Sha256("secret"));
    token.set_workspace("ws");
    token.set_cluster_name("prod");
    token.mutable_create_time()->set_seconds(1000);
    token.mutable_expire_time()->set_seconds(4600);
    identity.set_cluster_id("id");
    identity.set_workspace("ws");
    identity.set_name("prod");
    identity.set_cluster_uid("uid");
    identity.set_public_key_digest("old key");
    identity.mutable_token_create_time()->set_seconds(500);
    question.token = &token;
    question.secret_digest = Sha256("secret");
    question.key_digest = "key";
    question.cluster_uid = "uid";
    question.now = absl::FromUnixSeconds(2000);
  }

  void Use(const std::string& key) {
    token.set_used_by_cluster_id("id");
    token.set_used_by_key_digest(key);
    identity.set_public_key_digest(key);
    *identity.mutable_token_create_time() = token.create_time();
    question.identity = &identity;
  }

  storage::v1::JoinToken token;
  storage::v1::ClusterIdentity identity;
  EnrolmentQuestion question;
};

TEST_F(JudgeEnrolmentTest, LetsANewClusterIn) {
  auto answer = JudgeEnrolment(question);
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->cluster_id, "");
  EXPECT_TRUE(answer->first_use);
}

TEST_F(JudgeEnrolmentTest, SaysTheSameOfAWrongSecretAndAnUnknownToken) {
  question.secret_digest = Sha256("guess");
  auto wrong = JudgeEnrolment(question);
  question.token = nullptr;
  auto unknown = JudgeEnrolment(question);

  EXPECT_THAT(wrong, StatusIs(absl::StatusCode::kUnauthenticated,
                              HasSubstr("unknown")));
  EXPECT_EQ(wrong.status(), unknown.status());
}

TEST_F(JudgeEnrolmentTest, RefusesAnExpiredToken) {
  question.now = absl::FromUnixSeconds(4600);
  EXPECT_THAT(JudgeEnrolment(question),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       AllOf(HasSubstr("expired at 1970-01-01T01:16:40"),
                             HasSubstr("flotilla token create"))));
}

TEST_F(JudgeEnrolmentTest, GivesTheSameKeyTheSameIdentityAgain) {
  Use("key");
  question.now = absl::FromUnixSeconds(99999);
  auto answer = JudgeEnrolment(question);
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->cluster_id, "id");
  EXPECT_FALSE(answer->first_use);
}

TEST_F(JudgeEnrolmentTest, GoesOnAfterACrashBetweenTokenAndIdentity) {
  // The token is marked, the identity was not written yet: it is absent, or
  // that of the token before.
  Use("key");
  question.identity = nullptr;
  EXPECT_THAT(JudgeEnrolment(question), IsOk());
  identity.mutable_token_create_time()->set_seconds(500);
  identity.set_public_key_digest("old key");
  question.identity = &identity;
  EXPECT_THAT(JudgeEnrolment(question), IsOk());
}

TEST_F(JudgeEnrolmentTest, RefusesAUsedTokenForAnotherKeyOrCluster) {
  Use("another key");
  EXPECT_THAT(JudgeEnrolment(question),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       HasSubstr("already used by cluster ws/prod")));
  Use("key");
  question.cluster_uid = "another cluster";
  EXPECT_THAT(JudgeEnrolment(question),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       HasSubstr("copied")));
}

TEST_F(JudgeEnrolmentTest, ReinstallsUnderTheSameIdentity) {
  question.identity = &identity;
  question.cluster_uid = "rebuilt cluster";
  auto answer = JudgeEnrolment(question);
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->cluster_id, "id");
  EXPECT_TRUE(answer->first_use);
}

TEST_F(JudgeEnrolmentTest, DoesNotBringAnOlderKeyBack) {
  Use("key");
  identity.set_public_key_digest("newer key");
  identity.mutable_token_create_time()->set_seconds(3000);
  EXPECT_THAT(JudgeEnrolment(question),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       HasSubstr("newer join token")));
}

TEST_F(JudgeEnrolmentTest, RefusesWhileOrAfterTheClusterIsDeleted) {
  question.deletion_pending = true;
  EXPECT_THAT(JudgeEnrolment(question),
              StatusIs(absl::StatusCode::kUnavailable));
  question.deletion_pending = false;
  Use("key");
  identity.set_revoked(true);
  EXPECT_THAT(JudgeEnrolment(question),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       HasSubstr("deleted")));
}

}  // namespace
}  // namespace flotilla::manager
