// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/service_accounts.h"

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/env/fake_random.h"
#include "common/event/simulated_loop.h"
#include "common/kube/fake_kube_client.h"
#include "common/kube/object.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

using ::testing::HasSubstr;
using nlohmann::json;

json Account(const std::string& name, const std::string& ns = "default") {
  return {{"apiVersion", "v1"},
          {"kind", "ServiceAccount"},
          {"metadata", {{"name", name}, {"namespace", ns}}}};
}

class ServiceAccountsTest : public testing::Test {
 protected:
  void Settle() { loop_.Advance(absl::Seconds(1)); }

  SimulatedLoop loop_;
  FakeRandom random_;
  FakeKubeClient kube_{loop_};
  int changes_ = 0;
  ServiceAccounts accounts_{kube_, loop_, random_, "default",
                            [this] { ++changes_; }};
};

TEST_F(ServiceAccountsTest, NothingIsSaidBeforeTheyAreListed) {
  EXPECT_THAT(accounts_.Resolve(""),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("not known yet")));
  EXPECT_FALSE(accounts_.settled());
  Settle();
  EXPECT_TRUE(accounts_.settled());
  EXPECT_EQ(changes_, 1);
}

TEST_F(ServiceAccountsTest, WithoutANameTheAgentActsUnlessThereIsADefault) {
  Settle();
  EXPECT_THAT(accounts_.Resolve(""), IsOkAndHolds(""));

  ASSERT_THAT(kube_.CreateAs("x", Account("fleet-default")), IsOk());
  Settle();
  EXPECT_THAT(accounts_.Resolve(""),
              IsOkAndHolds("system:serviceaccount:default:fleet-default"));
  EXPECT_EQ(changes_, 2);
}

TEST_F(ServiceAccountsTest, ANamedOneMustExistAndIsSeenToComeAndGo) {
  ASSERT_THAT(kube_.CreateAs("x", Account("other", "kube-system")), IsOk());
  Settle();
  for (const char* const name : {"tenant", "other"}) {
    EXPECT_THAT(accounts_.Resolve(name),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         HasSubstr(absl::StrCat("service account ", name,
                                                " does not exist"))));
  }
  ASSERT_THAT(kube_.CreateAs("x", Account("tenant")), IsOk());
  Settle();
  EXPECT_THAT(accounts_.Resolve("tenant"),
              IsOkAndHolds("system:serviceaccount:default:tenant"));
  ASSERT_THAT(kube_.DeleteAs(*KeyOf(Account("tenant"))), IsOk());
  Settle();
  EXPECT_FALSE(accounts_.Resolve("tenant").ok());
}

TEST_F(ServiceAccountsTest, WhatIsNoNameIsRefusedAndNeverMeansTheDefault) {
  ASSERT_THAT(kube_.CreateAs("x", Account("fleet-default")), IsOk());
  Settle();
  const std::string names[] = {" ",    "\t",  "a b",  "A",   "a\r\nX: y",
                               "a:b",  "-a",  "a.",   "a/b", std::string(254, 'a'),
                               std::string("a\0b", 3)};
  for (const std::string& name : names) {
    EXPECT_THAT(accounts_.Resolve(name),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         HasSubstr("no name of a service account")))
        << name;
  }
}

TEST_F(ServiceAccountsTest, AnAgentThatMayNotListThemSaysSoAndTriesAgain) {
  core::v1::ResourceKey kind;
  kind.set_version("v1");
  kind.set_kind("ServiceAccount");
  kind.set_namespace_("default");
  kube_.FailKey(FakeKubeClient::Verb::kWatch, kind,
                absl::PermissionDeniedError("forbidden by test"));
  Settle();
  EXPECT_TRUE(accounts_.settled());
  EXPECT_THAT(accounts_.Resolve(""),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("forbidden by test")));
  kube_.ClearFaults();
  loop_.Advance(absl::Minutes(1));
  EXPECT_THAT(accounts_.Resolve(""), IsOkAndHolds(""));
}

TEST_F(ServiceAccountsTest, WhatIsKnownOutlivesALostWatch) {
  ASSERT_THAT(kube_.CreateAs("x", Account("tenant")), IsOk());
  Settle();
  kube_.SetDown(true);
  Settle();
  EXPECT_THAT(accounts_.Resolve("tenant"), IsOk());
  kube_.SetDown(false);
  loop_.Advance(absl::Minutes(1));
  EXPECT_THAT(accounts_.Resolve("tenant"), IsOk());
  EXPECT_EQ(changes_, 1);
}

}  // namespace
}  // namespace flotilla::agent
