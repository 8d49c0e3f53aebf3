// SPDX-License-Identifier: Apache-2.0

#include "manager/webhook/webhook_receiver.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/crypto/hmac.h"
#include "common/event/inline_worker_pool.h"
#include "common/event/simulated_loop.h"
#include "common/status/status_matchers.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class WebhookReceiverTest : public ::testing::Test {
 protected:
  void SetUp() override {
    receiver_ = std::make_unique<WebhookReceiver>(
        loop_, store_, workers_,
        [](const storage::v1::SecretSpec& secret)
            -> absl::StatusOr<std::string> { return secret.sealed(); },
        [this](const std::string& workspace, const std::string& name) {
          polled_.push_back(absl::StrCat(workspace, "/", name));
        });
    loop_.RunUntilIdle();
  }

  void Put(const storage::v1::Document& document) {
    writer_.Txn(
        {},
        {Op::Put(
            DocumentKey(document.workspace(), document.kind(), document.name()),
            SerializeRecord(document))},
        [](absl::StatusOr<int64_t> done) { EXPECT_THAT(done, IsOk()); });
    loop_.RunUntilIdle();
  }

  void PutGitRepo(const std::string& workspace, const std::string& name,
                  const std::string& branch, const std::string& secret = "",
                  const std::string& revision = "") {
    storage::v1::Document document;
    document.set_workspace(workspace);
    document.set_kind("GitRepo");
    document.set_name(name);
    document.mutable_git_repo()->set_repo("https://git.example/org/fleet");
    document.mutable_git_repo()->set_branch(branch);
    document.mutable_git_repo()->set_revision(revision);
    document.mutable_git_repo()->set_webhook_secret(secret);
    Put(document);
  }

  void PutSecret(const std::string& workspace, const std::string& name,
                 const std::string& value) {
    storage::v1::Document document;
    document.set_workspace(workspace);
    document.set_kind("Secret");
    document.set_name(name);
    storage::v1::SecretData data;
    storage::v1::SecretEntry* entry = data.add_entries();
    entry->set_key("github");
    entry->set_value(value);
    document.mutable_secret()->set_sealed(data.SerializeAsString());
    Put(document);
  }

  void PutGlobalSecret() {
    PutSecret("cattle-fleet-system", "gitjob-webhook", "global");
  }

  WebhookAnswer Receive(WebhookHeaders headers, std::string body) {
    WebhookAnswer out{0, "no answer"};
    receiver_->Receive(std::move(headers), std::move(body),
                       [&out](WebhookAnswer answer) { out = answer; });
    loop_.RunUntilIdle();
    return out;
  }

  // A GitHub push of `branch`, signed with `key`.
  WebhookAnswer Push(const std::string& branch, const std::string& key) {
    const std::string body = absl::StrCat(
        R"({"ref":"refs/heads/)", branch, R"(","after":"badbad","repository":)",
        R"({"html_url":"https://git.example/org/fleet"}})");
    return Receive(
        {{"x-github-event", "push"},
         {"x-hub-signature-256",
          "sha256=" + absl::BytesToHexString(HmacSha256(key, body))}},
        body);
  }

  SimulatedLoop loop_;
  InlineWorkerPool workers_{loop_};
  MemoryStore store_{loop_};
  FamilyWriter writer_{store_, kDocumentFamily};
  std::vector<std::string> polled_;
  std::unique_ptr<WebhookReceiver> receiver_;
};

TEST_F(WebhookReceiverTest, PollsTheGitReposOfTheBranch) {
  PutGlobalSecret();
  PutGitRepo("w", "main", "main");
  PutGitRepo("v", "also-main", "main");
  PutGitRepo("w", "dev", "dev");
  PutGitRepo("w", "fixed", "main", "", std::string(40, 'a'));

  EXPECT_EQ(Push("main", "global").status, 200);

  EXPECT_THAT(polled_, UnorderedElementsAre("w/main", "v/also-main"));
}

TEST_F(WebhookReceiverTest, WithoutASecretNothingIsTaken) {
  PutGitRepo("w", "main", "main");

  const WebhookAnswer answer = Push("main", "");

  EXPECT_EQ(answer.status, 401);
  EXPECT_THAT(answer.text, HasSubstr("cattle-fleet-system/gitjob-webhook"));
  EXPECT_THAT(polled_, IsEmpty());
}

TEST_F(WebhookReceiverTest, AWrongSecretIsRefused) {
  PutGlobalSecret();
  PutGitRepo("w", "main", "main");

  EXPECT_EQ(Push("main", "guess").status, 401);
  EXPECT_THAT(polled_, IsEmpty());
}

TEST_F(WebhookReceiverTest, ASecretOpensTheGitReposThatUseItAndNoOther) {
  PutGlobalSecret();
  PutSecret("w", "own", "mine");
  PutGitRepo("w", "own", "main", "own");
  PutGitRepo("w", "global", "main");
  // The same name in another workspace is another Secret, which is not there.
  PutGitRepo("v", "other", "main", "own");

  EXPECT_EQ(Push("main", "mine").status, 200);
  EXPECT_THAT(polled_, ElementsAre("w/own"));

  polled_.clear();
  loop_.Advance(absl::Seconds(5));
  EXPECT_EQ(Push("main", "global").status, 200);
  EXPECT_THAT(polled_, ElementsAre("w/global"));
}

TEST_F(WebhookReceiverTest, AFloodComesToOnePollASecond) {
  PutGlobalSecret();
  PutGitRepo("w", "main", "main");

  for (int i = 0; i < 100; ++i) Push("main", "global");
  EXPECT_THAT(polled_, ElementsAre("w/main"));

  // What came meanwhile is not forgotten: the last push may be newer.
  loop_.Advance(absl::Seconds(1));
  EXPECT_THAT(polled_, ElementsAre("w/main", "w/main"));
  loop_.Advance(absl::Seconds(10));
  EXPECT_EQ(polled_.size(), 2);
}

TEST_F(WebhookReceiverTest, TheLoopIsNotHeldUpByABody) {
  PutGlobalSecret();
  int answers = 0;

  receiver_->Receive({{"x-github-event", "push"}}, std::string(1 << 20, 'x'),
                     [&answers](const WebhookAnswer& answer) {
                       EXPECT_EQ(answer.status, 401);
                       ++answers;
                     });
  EXPECT_EQ(answers, 0);

  loop_.RunUntilIdle();
  EXPECT_EQ(answers, 1);
}

TEST_F(WebhookReceiverTest, FewBodiesWaitInMemory) {
  PutGlobalSecret();
  std::vector<int> answers;

  for (int i = 0; i < 40; ++i) {
    receiver_->Receive({{"x-github-event", "push"}}, "{}",
                       [&answers](const WebhookAnswer& answer) {
                         answers.push_back(answer.status);
                       });
  }
  EXPECT_THAT(answers, AllOf(SizeIs(8), Each(503)));

  loop_.RunUntilIdle();
  EXPECT_THAT(answers, SizeIs(40));
  EXPECT_EQ(Push("main", "global").status, 200);
}

TEST_F(WebhookReceiverTest, NothingIsAnsweredWhenItIsGone) {
  PutGlobalSecret();
  receiver_->Receive({{"x-github-event", "push"}}, "{}",
                     [](const WebhookAnswer&) { FAIL(); });

  receiver_ = nullptr;

  loop_.RunUntilIdle();
}

TEST_F(WebhookReceiverTest, SaysWhatIsNoWebhook) {
  PutGlobalSecret();

  EXPECT_EQ(Receive({{"host", "x"}}, "{}").status, 400);
}

}  // namespace
}  // namespace flotilla::manager
