// SPDX-License-Identifier: Apache-2.0

#include "agent/values/values_answer.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "common/assignment/values_digest.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using core::v1::ValuesRef;
using ::testing::HasSubstr;
using ::testing::Not;

ValuesRef Ref(ValuesRef::Kind kind = ValuesRef::KIND_SECRET) {
  ValuesRef ref;
  ref.set_kind(kind);
  ref.set_namespace_("ns");
  ref.set_name("n");
  ref.set_key("values.yaml");
  return ref;
}

TEST(ValuesAnswer, ReadsTheNamedKey) {
  EXPECT_THAT(ValueIn(Ref(), R"({"data":{"values.yaml":"YTogMQ=="}})"),
              IsOkAndHolds("a: 1"));
  EXPECT_THAT(ValueIn(Ref(ValuesRef::KIND_CONFIG_MAP),
                      R"({"data":{"values.yaml":"a: 1"}})"),
              IsOkAndHolds("a: 1"));
}

TEST(ValuesAnswer, SaysWhatIsMissingAndNeverAValue) {
  struct Case {
    std::string object;
    std::string says;
  };
  const std::vector<Case> cases = {
      {R"({"data":{"other":"canary"}})",
       "Secret ns/n has no key values.yaml"},
      {R"({"data":{"values.yaml":{"a":"canary"}}})", "has no key"},
      {R"({"data":"canary"})", "has no key"},
      {"{}", "has no key"},
      {"canary", "cannot be read"},
      {R"(["canary"])", "cannot be read"},
      {R"({"data":{"values.yaml":"canary: no base64"}})", "is not base64"},
  };
  for (const Case& one : cases) {
    const auto value = ValueIn(Ref(), one.object);
    ASSERT_EQ(value.status().code(), absl::StatusCode::kFailedPrecondition)
        << one.object;
    EXPECT_THAT(std::string(value.status().message()), HasSubstr(one.says));
    EXPECT_THAT(std::string(value.status().message()),
                Not(HasSubstr("canary")));
  }
}

TEST(ValuesAnswer, TellsRefusalsFromAServerThatIsAway) {
  struct Case {
    absl::Status failed;
    absl::StatusCode code;
    std::string says;
  };
  const std::vector<Case> cases = {
      {absl::NotFoundError("canary"), absl::StatusCode::kFailedPrecondition,
       "Secret ns/n does not exist in this cluster; create it with key "
       "values.yaml"},
      {absl::PermissionDeniedError("canary"),
       absl::StatusCode::kPermissionDenied,
       "may not be read by system:serviceaccount:a:b"},
      {absl::InvalidArgumentError("canary"),
       absl::StatusCode::kFailedPrecondition, "INVALID_ARGUMENT"},
      {absl::UnavailableError("canary"), absl::StatusCode::kUnavailable, ""},
      {absl::UnknownError("canary"), absl::StatusCode::kUnavailable, ""},
      {absl::ResourceExhaustedError("canary"), absl::StatusCode::kUnavailable,
       ""},
  };
  for (const Case& one : cases) {
    const absl::Status problem =
        ReadProblem(Ref(), one.failed, "system:serviceaccount:a:b");
    EXPECT_EQ(problem.code(), one.code) << one.failed;
    EXPECT_THAT(std::string(problem.message()), HasSubstr(one.says));
    EXPECT_THAT(std::string(problem.message()), Not(HasSubstr("canary")));
  }
}

TEST(ValuesAnswer, RefusesNamesThatCouldMeanSomethingElse) {
  EXPECT_THAT(CheckRef(Ref()), IsOk());
  for (const char* name : {"", "../x", "a/b", "a,metadata.name=b", "A", ".."}) {
    ValuesRef ref = Ref();
    ref.set_name(name);
    EXPECT_EQ(CheckRef(ref).code(), absl::StatusCode::kInvalidArgument) << name;
  }
  ValuesRef ref = Ref();
  ref.set_namespace_("a.b");
  EXPECT_EQ(CheckRef(ref).code(), absl::StatusCode::kInvalidArgument);
  ref = Ref(ValuesRef::KIND_UNSPECIFIED);
  EXPECT_EQ(CheckRef(ref).code(), absl::StatusCode::kInvalidArgument);
}

TEST(ValuesAnswer, IsTheContentsOrAProblem) {
  agent::v1::ValuesRequest request;
  request.set_bundle_id("b");
  *request.add_refs() = Ref();
  request.set_service_account("sa");

  const agent::v1::ValuesReport good =
      AnswerTo(request, std::vector<std::string>{"a: 1"});
  EXPECT_EQ(good.bundle_id(), "b");
  EXPECT_EQ(good.service_account(), "sa");
  EXPECT_EQ(good.contents(0), "a: 1");
  EXPECT_FALSE(good.has_problem());
  EXPECT_EQ(good.digest(), ValuesDigest(good));

  const agent::v1::ValuesReport large = AnswerTo(
      request, std::vector<std::string>{std::string(kMaxValuesBytes, 'x'),
                                        "y"});
  EXPECT_EQ(large.contents_size(), 0);
  EXPECT_EQ(large.problem().code(), "RESOURCE_EXHAUSTED");
  EXPECT_THAT(large.problem().message(), HasSubstr("1048577 bytes"));
}

}  // namespace
}  // namespace flotilla::agent
