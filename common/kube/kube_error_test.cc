// SPDX-License-Identifier: Apache-2.0

#include "common/kube/kube_error.h"

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

// Answers as Kubernetes 1.36 gives them.
constexpr char kAbsentObject[] = R"json({"kind":"Status","apiVersion":"v1",
  "metadata":{},"status":"Failure","message":"configmaps \"a\" not found",
  "reason":"NotFound","details":{"name":"a","kind":"configmaps"},
  "code":404})json";
constexpr char kAbsentNamespace[] = R"json({"kind":"Status","apiVersion":"v1",
  "status":"Failure","message":"namespaces \"x\" not found",
  "reason":"NotFound","details":{"name":"x","kind":"namespaces"},
  "code":404})json";
constexpr char kUnknownResource[] = R"json({"kind":"Status","apiVersion":"v1",
  "status":"Failure",
  "message":"the server could not find the requested resource",
  "reason":"NotFound","details":{},"code":404})json";
constexpr char kFieldConflict[] = R"json({"kind":"Status","apiVersion":"v1",
  "status":"Failure",
  "message":"Apply failed with 1 conflict: conflict with \"kubectl\" using v1: .data.a",
  "reason":"Conflict","details":{"causes":[{"reason":"FieldManagerConflict",
  "message":"conflict with \"kubectl\" using v1","field":".data.a"}]},
  "code":409})json";
constexpr char kImmutable[] = R"json({"kind":"Status","apiVersion":"v1",
  "status":"Failure",
  "message":"Deployment.apps \"d\" is invalid: spec.selector: Invalid value: {}: field is immutable",
  "reason":"Invalid","details":{"name":"d","group":"apps","kind":"Deployment",
  "causes":[{"reason":"FieldValueInvalid","message":"Invalid value: {}: field is immutable",
  "field":"spec.selector"}]},"code":422})json";

absl::Status StatusFor(int code, const std::string& body,
                       const std::string& retry_after = "") {
  return ToStatus(ParseKubeError(code, retry_after, body));
}

TEST(KubeErrorTest, CodesBecomeCanonical) {
  const struct {
    int http;
    absl::StatusCode code;
  } kCases[] = {
      {400, absl::StatusCode::kInvalidArgument},
      {401, absl::StatusCode::kUnauthenticated},
      {403, absl::StatusCode::kPermissionDenied},
      {404, absl::StatusCode::kNotFound},
      {409, absl::StatusCode::kAborted},
      {410, absl::StatusCode::kOutOfRange},
      {413, absl::StatusCode::kResourceExhausted},
      {422, absl::StatusCode::kInvalidArgument},
      {429, absl::StatusCode::kResourceExhausted},
      {500, absl::StatusCode::kInternal},
      {503, absl::StatusCode::kUnavailable},
      {504, absl::StatusCode::kDeadlineExceeded},
      {302, absl::StatusCode::kUnknown},
  };
  for (const auto& test : kCases) {
    EXPECT_EQ(StatusFor(test.http, "").code(), test.code) << test.http;
  }
  EXPECT_EQ(
      StatusFor(409, R"({"kind":"Status","reason":"AlreadyExists"})").code(),
      absl::StatusCode::kAlreadyExists);
}

TEST(KubeErrorTest, FourKindsOf404AreToldApart) {
  EXPECT_EQ(MissingWhat(StatusFor(404, kAbsentObject)),
            KubeError::Missing::kObject);
  EXPECT_EQ(MissingWhat(StatusFor(404, kAbsentNamespace)),
            KubeError::Missing::kNamespace);
  EXPECT_EQ(MissingWhat(StatusFor(404, kUnknownResource)),
            KubeError::Missing::kKind);
  EXPECT_EQ(MissingWhat(StatusFor(404, "404 page not found\n")),
            KubeError::Missing::kKind);
  EXPECT_EQ(MissingWhat(absl::NotFoundError("not a server's")),
            KubeError::Missing::kNothing);
}

TEST(KubeErrorTest, ConflictsNameTheirFields) {
  const absl::Status status = StatusFor(409, kFieldConflict);
  EXPECT_TRUE(IsFieldConflict(status));
  EXPECT_FALSE(IsTransient(status));
  const auto error = GetKubeError(status);
  ASSERT_TRUE(error.has_value());
  ASSERT_THAT(error->causes, SizeIs(1));
  EXPECT_EQ(error->causes[0].field, ".data.a");
  EXPECT_FALSE(IsFieldConflict(StatusFor(409, "")));
  EXPECT_TRUE(IsTransient(StatusFor(409, "")));
}

TEST(KubeErrorTest, ImmutableFieldsKeepTheServersText) {
  const absl::Status status = StatusFor(422, kImmutable);
  EXPECT_TRUE(IsImmutableField(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("spec.selector"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("field is immutable"));
  EXPECT_TRUE(IsImmutableField(StatusFor(
      422,
      R"json({"kind":"Status","reason":"Invalid","message":"StatefulSet.apps \"s\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden"})json")));
  EXPECT_FALSE(IsImmutableField(StatusFor(422, "no")));
}

TEST(KubeErrorTest, AnApplyThatDoesNotFitItsSchemaIsTheCallersFault) {
  const absl::Status status = StatusFor(
      500,
      R"json({"kind":"Status","message":"failed to create typed patch object (n/web; apps/v1, Kind=Deployment): .spec.replicas: expected numeric (int or float), got string"})json");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(IsTransient(status));
}

TEST(KubeErrorTest, RetryAfterComesFromHeaderOrBody) {
  EXPECT_EQ(RetryAfter(StatusFor(429, "", "3")), absl::Seconds(3));
  EXPECT_EQ(RetryAfter(StatusFor(
                503, R"({"kind":"Status","details":{"retryAfterSeconds":2}})")),
            absl::Seconds(2));
  EXPECT_EQ(RetryAfter(StatusFor(429, "", "99999999")), absl::Minutes(10));
  EXPECT_EQ(RetryAfter(StatusFor(429, "", "-5")), absl::ZeroDuration());
  EXPECT_EQ(RetryAfter(absl::UnavailableError("x")), absl::ZeroDuration());
  EXPECT_TRUE(IsTransient(StatusFor(429, "")));
}

TEST(KubeErrorTest, OddBodiesAreTaken) {
  for (const char* body :
       {"", "null", "[]", R"({"kind":"Status","message":7,"details":[1]})",
        R"({"kind":"Status","details":{"causes":{"a":1}}})",
        R"({"kind":"Status","details":{"causes":[1,null,{"field":2}]}})"}) {
    EXPECT_EQ(StatusFor(500, body).code(), absl::StatusCode::kInternal) << body;
  }
  EXPECT_THAT(
      std::string(StatusFor(502, "<html>\nsecret second line").message()),
      Not(HasSubstr("secret")));
  EXPECT_THAT(std::string(StatusFor(502, "bad\x1b[31m gateway").message()),
              Not(HasSubstr("\x1b")));
  const std::string long_message(100000, 'x');
  EXPECT_LE(
      StatusFor(500, R"({"kind":"Status","message":")" + long_message + "\"}")
          .message()
          .size(),
      4096u);
}

TEST(KubeErrorTest, LostAnswersAndConnectionsAreTransient) {
  EXPECT_TRUE(IsTransient(absl::UnknownError("reset")));
  EXPECT_TRUE(IsTransient(absl::UnavailableError("no route")));
  EXPECT_TRUE(IsTransient(absl::DeadlineExceededError("slow")));
  EXPECT_FALSE(IsTransient(absl::ResourceExhaustedError("too large")));
  EXPECT_FALSE(IsTransient(absl::PermissionDeniedError("no")));
  EXPECT_FALSE(IsTransient(absl::OkStatus()));
}

}  // namespace
}  // namespace flotilla
