// SPDX-License-Identifier: Apache-2.0

#include "agent/values/values_reader.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "agent/apply/service_accounts.h"
#include "common/env/fake_random.h"
#include "common/event/simulated_loop.h"
#include "common/kube/fake_kube_client.h"
#include "common/kube/kube_client.h"
#include "common/status/status_matchers.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

using ::testing::HasSubstr;
using nlohmann::json;
using Verb = FakeKubeClient::Verb;

json Object(const std::string& kind, const std::string& name) {
  return {{"apiVersion", "v1"},
          {"kind", kind},
          {"metadata", {{"name", name}, {"namespace", "default"}}}};
}

json ConfigMap(const std::string& value) {
  json object = Object("ConfigMap", "c");
  object["data"]["values.yaml"] = value;
  return object;
}

core::v1::ResourceKey ConfigMapKey() {
  core::v1::ResourceKey key;
  key.set_version("v1");
  key.set_kind("ConfigMap");
  key.set_namespace_("default");
  key.set_name("c");
  return key;
}

class ValuesReaderTest : public testing::Test {
 protected:
  void Settle(absl::Duration duration = absl::Seconds(1)) {
    loop_.Advance(duration);
  }

  agent::v1::ValuesRequest Request(const std::string& account = "") {
    agent::v1::ValuesRequest request;
    request.set_bundle_id("b");
    core::v1::ValuesRef& ref = *request.add_refs();
    ref.set_kind(core::v1::ValuesRef::KIND_CONFIG_MAP);
    ref.set_namespace_("default");
    ref.set_name("c");
    ref.set_key("values.yaml");
    request.set_service_account(account);
    return request;
  }

  SimulatedLoop loop_;
  FakeRandom random_;
  FakeKubeClient kube_{loop_};
  std::vector<agent::v1::ValuesReport> sent_;
  bool takes_ = true;
  ValuesReader* told_ = nullptr;
  ServiceAccounts accounts_{kube_, loop_, random_, "default", [this] {
                              if (told_ != nullptr) told_->OnAccountsChanged();
                            }};
  ValuesReader reader_{kube_, loop_, random_, accounts_,
                       [this](agent::v1::ValuesReport report) {
                         if (!takes_) return false;
                         sent_.push_back(std::move(report));
                         return true;
                       }};
};

TEST_F(ValuesReaderTest, SaysWhatIsMissingThenWhatIsThereThenWhatChanges) {
  told_ = &reader_;
  reader_.OnRequest(Request());
  Settle();
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_THAT(sent_[0].problem().message(),
              HasSubstr("ConfigMap default/c does not exist"));

  ASSERT_THAT(kube_.CreateAs("x", ConfigMap("a: 1")), IsOk());
  Settle();
  ASSERT_EQ(sent_.size(), 2u);
  EXPECT_EQ(sent_[1].contents(0), "a: 1");

  ASSERT_THAT(kube_.EditAs("x", ConfigMapKey(),
                           [](json& object) {
                             object["data"]["values.yaml"] = "a: 2";
                           }),
              IsOk());
  Settle();
  ASSERT_EQ(sent_.size(), 3u);
  EXPECT_EQ(sent_[2].contents(0), "a: 2");

  // What does not change the answer is not told, and nothing is asked in peace.
  ASSERT_THAT(kube_.EditAs("x", ConfigMapKey(),
                           [](json& object) { object["data"]["o"] = "1"; }),
              IsOk());
  Settle();
  const size_t gets = kube_.CountOf(Verb::kGet);
  Settle(absl::Minutes(5));
  EXPECT_EQ(sent_.size(), 3u);
  EXPECT_EQ(kube_.CountOf(Verb::kGet), gets);
}

TEST_F(ValuesReaderTest, AnswersNothingThatTheManagerHas) {
  told_ = &reader_;
  ASSERT_THAT(kube_.CreateAs("x", ConfigMap("a: 1")), IsOk());
  reader_.OnRequest(Request());
  Settle();
  ASSERT_EQ(sent_.size(), 1u);
  reader_.OnSessionEnded();
  EXPECT_EQ(reader_.watches(), 0u);

  agent::v1::ValuesRequest request = Request();
  request.set_known_digest(sent_[0].digest());
  reader_.OnRequest(request);
  Settle();
  EXPECT_EQ(sent_.size(), 1u);
  EXPECT_EQ(reader_.watches(), 1u);
  request.clear_refs();
  reader_.OnRequest(request);
  EXPECT_EQ(reader_.watches(), 0u);
}

TEST_F(ValuesReaderTest, ReadsAsTheServiceAccountOnceItIsThere) {
  told_ = &reader_;
  ASSERT_THAT(kube_.CreateAs("x", ConfigMap("a: 1")), IsOk());
  reader_.OnRequest(Request("deployer"));
  Settle();
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_THAT(sent_[0].problem().message(),
              HasSubstr("service account deployer does not exist"));
  EXPECT_EQ(kube_.CountOf(Verb::kGet), 0u);

  ASSERT_THAT(kube_.CreateAs("x", Object("ServiceAccount", "deployer")),
              IsOk());
  Settle();
  ASSERT_EQ(sent_.size(), 2u);
  EXPECT_EQ(sent_[1].contents(0), "a: 1");
  for (const FakeKubeClient::Request& request : kube_.requests()) {
    if (request.verb != Verb::kGet) continue;
    EXPECT_EQ(request.impersonate, "system:serviceaccount:default:deployer");
  }
}

TEST_F(ValuesReaderTest, SaysWhenItMayNotAndAsksAgain) {
  told_ = &reader_;
  ASSERT_THAT(kube_.CreateAs("x", ConfigMap("a: 1")), IsOk());
  kube_.FailKey(Verb::kGet, ConfigMapKey(),
                absl::PermissionDeniedError("no"));
  reader_.OnRequest(Request());
  Settle();
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].problem().code(), "PERMISSION_DENIED");
  kube_.ClearFaults();
  Settle(absl::Seconds(16));
  ASSERT_EQ(sent_.size(), 2u);
  EXPECT_EQ(sent_[1].contents(0), "a: 1");
}

TEST_F(ValuesReaderTest, SaysNothingWhileTheServerIsAwayOrTheLinkIsFull) {
  told_ = &reader_;
  ASSERT_THAT(kube_.CreateAs("x", ConfigMap("a: 1")), IsOk());
  Settle();
  kube_.SetDown(true);
  takes_ = false;
  reader_.OnRequest(Request());
  Settle(absl::Minutes(1));
  EXPECT_EQ(sent_.size(), 0u);
  kube_.SetDown(false);
  Settle(absl::Minutes(1));
  EXPECT_EQ(sent_.size(), 0u);
  takes_ = true;
  Settle(absl::Minutes(1));
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].contents(0), "a: 1");
}

}  // namespace
}  // namespace flotilla::agent
