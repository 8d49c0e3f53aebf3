// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/refusal.h"

#include <string>

#include "absl/status/status.h"
#include "common/kube/kube_error.h"
#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

core::v1::ResourceKey Deployment() {
  core::v1::ResourceKey key;
  key.set_group("apps");
  key.set_version("v1");
  key.set_kind("Deployment");
  key.set_namespace_("shop");
  key.set_name("web");
  return key;
}

absl::Status Answer(int code, const std::string& reason,
                    const std::string& message,
                    std::vector<KubeErrorCause> causes = {}) {
  KubeError error;
  error.http_code = code;
  error.reason = reason;
  error.message = message;
  error.causes = std::move(causes);
  return ToStatus(error);
}

TEST(JudgeRefusal, SaysWhatEachAnswerMeans) {
  const struct {
    absl::Status status;
    Refusal::Kind kind;
    const char* words;
  } kCases[] = {
      {absl::UnavailableError("connection refused"),
       Refusal::Kind::kTransient, "API server cannot be reached: connection"},
      {Answer(429, "TooManyRequests", "slow down"), Refusal::Kind::kTransient,
       "API server refused deployment.apps shop/web for now (429)"},
      {Answer(500, "InternalError", "etcd is down"), Refusal::Kind::kTransient,
       "etcd is down"},
      {Answer(403, "Forbidden", "namespace shop is being terminated"),
       Refusal::Kind::kTransient, "being terminated"},
      {Answer(403, "Forbidden", "user x cannot patch"),
       Refusal::Kind::kRefused, "cannot patch"},
      {Answer(422, "Invalid", "spec.selector: field is immutable",
              {{"FieldValueInvalid", "spec.selector", "field is immutable"}}),
       Refusal::Kind::kRefused, "field spec.selector is immutable"},
      {Answer(409, "Conflict", "Apply failed with 1 conflict",
              {{"FieldManagerConflict", ".spec.replicas",
                "conflict with \"kubectl\""}}),
       Refusal::Kind::kConflict, "spec.replicas (conflict with \"kubectl\")"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.status.ToString());

    const Refusal refusal = JudgeRefusal(Deployment(), test.status, false);

    EXPECT_EQ(refusal.kind, test.kind) << refusal.message;
    EXPECT_NE(refusal.message.find(test.words), std::string::npos)
        << refusal.message;
    EXPECT_FALSE(refusal.reason.empty());
  }
}

TEST(JudgeRefusal, NeverQuotesASecret) {
  const Refusal refusal = JudgeRefusal(
      Deployment(),
      Answer(422, "Invalid", "data.key: Invalid value: hunter2",
             {{"FieldValueInvalid", "data.key", "Invalid value: hunter2"}}),
      /*secret=*/true);

  EXPECT_EQ(refusal.message.find("hunter2"), std::string::npos);
  EXPECT_NE(refusal.message.find("data.key"), std::string::npos);
}

TEST(JudgeRefusal, ASecretWithoutRightsIsNamed) {
  const Refusal refusal =
      JudgeRefusal(Deployment(), Answer(403, "Forbidden", "hunter2", {}),
                   /*secret=*/true);

  EXPECT_EQ(refusal.message.find("hunter2"), std::string::npos);
  for (const char* word : {"web", "403", "Forbidden", "rights"}) {
    EXPECT_NE(refusal.message.find(word), std::string::npos)
        << refusal.message;
  }
}

TEST(JudgeRefusal, TellsAMissingKindFromAMissingNamespace) {
  KubeError error;
  error.http_code = 404;
  error.missing = KubeError::Missing::kKind;
  EXPECT_EQ(JudgeRefusal(Deployment(), ToStatus(error), false).kind,
            Refusal::Kind::kKindMissing);
  error.http_code = 0;
  EXPECT_NE(JudgeRefusal(Deployment(), ToStatus(error), false).message, "");
  error.http_code = 404;
  error.missing = KubeError::Missing::kNamespace;
  EXPECT_EQ(JudgeRefusal(Deployment(), ToStatus(error), false).kind,
            Refusal::Kind::kNamespaceMissing);
}

}  // namespace
}  // namespace flotilla::agent
