// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/git_poller.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "flotilla/storage/v1/storage.pb.h"

#include "common/env/fake_clock.h"
#include "common/env/fake_random.h"
#include "common/event/simulated_loop.h"
#include "common/status/status_matchers.h"
#include "manager/gitsync/fake_git_repository.h"
#include "manager/gitsync/git_repository.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"
#include "manager/store/store.h"

namespace flotilla::manager {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kUrl[] = "https://git.example.com/fleet";

class GitPollerTest : public ::testing::Test {
 protected:
  GitPollerTest() { git_.SetCommit(kUrl, "c1"); }

  void Start() {
    poller_ = std::make_unique<GitPoller>(
        loop_, store_, writer_, git_, clock_, random_,
        [](const storage::v1::SecretSpec& secret)
            -> absl::StatusOr<std::string> {
          if (secret.sealed() == "damaged") {
            return absl::DataLossError("wrong key");
          }
          return secret.sealed();
        },
        options_);
    loop_.RunUntilIdle();
  }

  static storage::v1::Document GitRepo(const std::string& name,
                                       int64_t generation = 1) {
    storage::v1::Document document;
    document.set_workspace("w");
    document.set_kind("GitRepo");
    document.set_name(name);
    document.set_generation(generation);
    document.mutable_git_repo()->set_repo(kUrl);
    return document;
  }

  static storage::v1::Document Secret(const std::string& name,
                                      const std::string& type,
                                      const std::string& key,
                                      const std::string& value) {
    storage::v1::Document document;
    document.set_workspace("w");
    document.set_kind("Secret");
    document.set_name(name);
    document.mutable_secret()->set_type(type);
    storage::v1::SecretData data;
    storage::v1::SecretEntry* entry = data.add_entries();
    entry->set_key(key);
    entry->set_value(value);
    document.mutable_secret()->set_sealed(SerializeRecord(data));
    return document;
  }

  void Put(const storage::v1::Document& document) {
    store_.Put(
        DocumentKey(document.workspace(), document.kind(), document.name()),
        SerializeRecord(document));
    loop_.RunUntilIdle();
  }

  storage::v1::Source Source(const std::string& name) {
    const KeyValue* found = store_.Find(SourceKey("w", name));
    if (found == nullptr) return {};
    auto source = ParseRecord<storage::v1::Source>(found->key, found->value);
    EXPECT_THAT(source, IsOk());
    return *source;
  }

  SimulatedLoop loop_;
  MemoryStore store_{loop_};
  FamilyWriter writer_{store_, kSourceFamily};
  FakeGitRepository git_{loop_};
  FakeClock clock_;
  FakeRandom random_;
  GitPoller::Options options_;
  std::unique_ptr<GitPoller> poller_;
};

TEST_F(GitPollerTest, FetchesAtOnceAndWritesTheCommit) {
  Put(GitRepo("a", 3));
  Start();
  const storage::v1::Source source = Source("a");
  EXPECT_EQ(source.workspace(), "w");
  EXPECT_EQ(source.name(), "a");
  EXPECT_EQ(source.commit().id(), "c1");
  EXPECT_EQ(source.commit().summary(), "commit c1");
  EXPECT_EQ(source.commit().repo(), kUrl);
  EXPECT_EQ(source.tree_id(), "tree-of-c1");
  EXPECT_EQ(source.clone_id(), kUrl);
  EXPECT_EQ(source.document_generation(), 3);
  EXPECT_FALSE(source.has_problem());
}

TEST_F(GitPollerTest, PollsEveryFifteenSecondsAndALittle) {
  Put(GitRepo("a"));
  Start();
  EXPECT_EQ(git_.fetches().size(), 1u);
  loop_.Advance(absl::Seconds(14.9));
  EXPECT_EQ(git_.fetches().size(), 1u);
  loop_.Advance(absl::Seconds(1.7));
  EXPECT_EQ(git_.fetches().size(), 2u);
  loop_.Advance(absl::Minutes(10));
  EXPECT_GE(git_.fetches().size(), 36u);
  EXPECT_LE(git_.fetches().size(), 43u);
}

TEST_F(GitPollerTest, WritesNothingWhenNothingIsNew) {
  Put(GitRepo("a"));
  Start();
  const int64_t revision = store_.revision();
  loop_.Advance(absl::Minutes(5));
  EXPECT_EQ(store_.revision(), revision);
  git_.SetCommit(kUrl, "c2");
  loop_.Advance(absl::Seconds(17));
  EXPECT_EQ(Source("a").commit().id(), "c2");
  EXPECT_EQ(store_.revision(), revision + 1);
}

TEST_F(GitPollerTest, AnErrorKeepsTheCommitAndGoesWhenItIsOver) {
  Put(GitRepo("a"));
  Start();
  git_.SetError(kUrl, absl::UnavailableError("cannot reach it"));
  loop_.Advance(absl::Seconds(17));
  EXPECT_EQ(Source("a").commit().id(), "c1");
  EXPECT_EQ(Source("a").problem().code(), "UNAVAILABLE");
  EXPECT_EQ(Source("a").problem().message(), "cannot reach it");
  EXPECT_EQ(Source("a").problem().subject(), "GitRepo w/a");
  const int64_t revision = store_.revision();
  loop_.Advance(absl::Minutes(3));
  EXPECT_EQ(store_.revision(), revision) << "the same error again";
  git_.SetError(kUrl, absl::OkStatus());
  loop_.Advance(absl::Minutes(6));
  EXPECT_FALSE(Source("a").has_problem());
  EXPECT_EQ(Source("a").commit().id(), "c1");
}

TEST_F(GitPollerTest, ErrorsMakePollsRarerUpToFiveMinutes) {
  git_.SetError(kUrl, absl::UnavailableError("x"));
  Put(GitRepo("a"));
  Start();
  // 30, 60, 120, 240, 300, 300 seconds and up to a tenth more.
  loop_.Advance(absl::Seconds(29));
  EXPECT_EQ(git_.fetches().size(), 1u);
  loop_.Advance(absl::Hours(1));
  EXPECT_LE(git_.fetches().size(), 16u);
  EXPECT_GE(git_.fetches().size(), 13u);
  const auto state = poller_->StateOf("w", "a");
  ASSERT_TRUE(state.has_value());
  EXPECT_GE(state->failures, 12);
  EXPECT_LE(*state->next_poll_in, absl::Seconds(330));
}

TEST_F(GitPollerTest, ASyncRetriesAtOnceAndTellsWhatItFound) {
  git_.SetError(kUrl, absl::UnavailableError("x"));
  Put(GitRepo("a"));
  Start();
  std::vector<std::string> told;
  const auto tell = [&told](absl::StatusOr<GitPoller::SyncResult> result) {
    told.push_back(result.ok() ? absl::StrCat(result->commit_id, " ",
                                              result->changed ? "new" : "old")
                               : std::string(result.status().message()));
  };
  poller_->SyncNow("w", "a", tell);
  EXPECT_THAT(told, IsEmpty());
  loop_.RunUntilIdle();
  EXPECT_THAT(told, ElementsAre("x"));
  git_.SetError(kUrl, absl::OkStatus());
  poller_->SyncNow("w", "a", tell);
  loop_.RunUntilIdle();
  poller_->SyncNow("w", "a", tell);
  loop_.RunUntilIdle();
  EXPECT_THAT(told, ElementsAre("x", "c1 new", "c1 old"));
  EXPECT_EQ(Source("a").commit().id(), "c1");
  EXPECT_EQ(poller_->StateOf("w", "a")->failures, 0);
}

TEST_F(GitPollerTest, ASyncDuringAPollWaitsForTheNextOne) {
  Put(GitRepo("a"));
  git_.Hold();
  Start();
  ASSERT_EQ(git_.held(), 1u);
  std::vector<std::string> told;
  poller_->SyncNow("w", "a",
                   [&told](absl::StatusOr<GitPoller::SyncResult> result) {
                     told.push_back(result.ok() ? result->commit_id : "error");
                   });
  loop_.RunUntilIdle();
  git_.ReleaseOne();
  git_.SetCommit(kUrl, "c2");
  loop_.RunUntilIdle();
  EXPECT_THAT(told, IsEmpty()) << "the first fetch may have looked too early";
  ASSERT_EQ(git_.held(), 1u);
  git_.ReleaseAll();
  loop_.RunUntilIdle();
  EXPECT_THAT(told, ElementsAre("c2"));
}

TEST_F(GitPollerTest, ASyncOfNothingIsAnError) {
  std::vector<absl::Status> told;
  const auto tell = [&told](absl::StatusOr<GitPoller::SyncResult> result) {
    told.push_back(result.status());
  };
  poller_ = nullptr;
  Start();
  poller_->SyncNow("w", "nope", tell);
  loop_.RunUntilIdle();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_THAT(told[0], StatusIs(absl::StatusCode::kNotFound,
                                HasSubstr("w/nope")));
}

TEST_F(GitPollerTest, AChangeOfTheDocumentIsFetchedAtOnce) {
  Put(GitRepo("a"));
  Start();
  storage::v1::Document changed = GitRepo("a", 2);
  changed.mutable_git_repo()->set_branch("dev");
  Put(changed);
  ASSERT_EQ(git_.fetches().size(), 2u);
  EXPECT_EQ(git_.fetches()[1].branch, "dev");
  EXPECT_EQ(Source("a").document_generation(), 2);
  // Labels do not matter.
  changed.add_labels()->set_key("x");
  Put(changed);
  EXPECT_EQ(git_.fetches().size(), 2u);
}

TEST_F(GitPollerTest, AFetchForAnOldDocumentIsNotWritten) {
  Put(GitRepo("a"));
  git_.Hold();
  Start();
  Put(GitRepo("a", 2));
  git_.ReleaseOne();
  loop_.RunUntilIdle();
  EXPECT_FALSE(Source("a").has_commit());
  git_.ReleaseAll();
  loop_.RunUntilIdle();
  EXPECT_EQ(Source("a").commit().id(), "c1");
  EXPECT_EQ(Source("a").document_generation(), 2);
}

TEST_F(GitPollerTest, ADeletedDocumentTakesItsSourceAlong) {
  Put(GitRepo("a"));
  Start();
  storage::v1::Document leaving = GitRepo("a");
  leaving.mutable_delete_time()->set_seconds(1);
  Put(leaving);
  EXPECT_TRUE(Source("a").has_commit()) << "still being taken down";
  loop_.Advance(absl::Minutes(1));
  EXPECT_EQ(git_.fetches().size(), 1u);
  store_.Delete(DocumentKey("w", "GitRepo", "a"));
  loop_.RunUntilIdle();
  EXPECT_THAT(store_.Keys(kSourceFamily), IsEmpty());
  EXPECT_FALSE(poller_->StateOf("w", "a").has_value());
  EXPECT_THAT(git_.retained().back(), IsEmpty());
}

TEST_F(GitPollerTest, ADocumentDeletedDuringAFetchIsNotWritten) {
  Put(GitRepo("a"));
  git_.Hold();
  Start();
  std::vector<absl::Status> told;
  poller_->SyncNow("w", "a",
                   [&told](absl::StatusOr<GitPoller::SyncResult> result) {
                     told.push_back(result.status());
                   });
  loop_.RunUntilIdle();
  store_.Delete(DocumentKey("w", "GitRepo", "a"));
  loop_.RunUntilIdle();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_THAT(told[0], StatusIs(absl::StatusCode::kNotFound));
  git_.ReleaseAll();
  loop_.RunUntilIdle();
  EXPECT_THAT(store_.Keys(kSourceFamily), IsEmpty());
}

TEST_F(GitPollerTest, ASourceWhoseDocumentWentInTheNightIsRemoved) {
  Put(GitRepo("a"));
  Start();
  poller_ = nullptr;
  store_.Delete(DocumentKey("w", "GitRepo", "a"));
  loop_.RunUntilIdle();
  Start();
  EXPECT_THAT(store_.Keys(kSourceFamily), IsEmpty());
}

TEST_F(GitPollerTest, WithoutPollingOnlyChangesAndSyncsFetch) {
  storage::v1::Document document = GitRepo("a");
  document.mutable_git_repo()->set_disable_polling(true);
  Put(document);
  Start();
  EXPECT_EQ(git_.fetches().size(), 1u);
  loop_.Advance(absl::Hours(1));
  EXPECT_EQ(git_.fetches().size(), 1u);
  poller_ = nullptr;
  Start();
  EXPECT_EQ(git_.fetches().size(), 1u) << "a restart is no reason";
  poller_->SyncNow("w", "a", [](absl::StatusOr<GitPoller::SyncResult>) {});
  loop_.RunUntilIdle();
  EXPECT_EQ(git_.fetches().size(), 2u);
}

TEST_F(GitPollerTest, TheIntervalOfTheDocumentCounts) {
  storage::v1::Document document = GitRepo("a");
  document.mutable_git_repo()->mutable_polling_interval()->set_seconds(3600);
  Put(document);
  Start();
  loop_.Advance(absl::Minutes(59));
  EXPECT_EQ(git_.fetches().size(), 1u);
  loop_.Advance(absl::Minutes(8));
  EXPECT_EQ(git_.fetches().size(), 2u);
}

TEST_F(GitPollerTest, UsesTheSecretThatTheDocumentNames) {
  Put(Secret("creds", "kubernetes.io/basic-auth", "password", "canary"));
  storage::v1::Document document = GitRepo("a");
  document.mutable_git_repo()->set_client_secret_name("creds");
  Put(document);
  Start();
  ASSERT_EQ(git_.fetches().size(), 1u);
  EXPECT_EQ(git_.fetches()[0].credentials.password, "canary");
  EXPECT_EQ(git_.fetches()[0].credentials_name, "Secret w/creds");
  // A new password is tried at once, and the old clone goes.
  Put(Secret("creds", "kubernetes.io/basic-auth", "password", "canary2"));
  ASSERT_EQ(git_.fetches().size(), 2u);
  EXPECT_EQ(git_.fetches()[1].credentials.password, "canary2");
  for (const std::string& key : store_.Keys(kSourceFamily)) {
    EXPECT_THAT(store_.Find(key)->value, ::testing::Not(HasSubstr("canary")));
  }
}

TEST_F(GitPollerTest, UsesTheDefaultSecretWhenThereIsOne) {
  Put(GitRepo("a"));
  Start();
  EXPECT_EQ(git_.fetches()[0].credentials_name, "");
  Put(Secret("gitcredential", "kubernetes.io/ssh-auth", "ssh-privatekey",
             "key"));
  ASSERT_EQ(git_.fetches().size(), 2u);
  EXPECT_EQ(git_.fetches()[1].credentials.ssh_private_key, "key");
}

TEST_F(GitPollerTest, RulesOfTheWorkspaceForbidAndFillIn) {
  Put(Secret("team", "kubernetes.io/ssh-auth", "ssh-privatekey", "team-key"));
  Put(GitRepo("a"));
  Start();
  ASSERT_EQ(git_.fetches().size(), 1u);
  EXPECT_EQ(git_.fetches()[0].credentials.ssh_private_key, "");

  storage::v1::Document rule;
  rule.set_workspace("w");
  rule.set_kind("GitRepoRestriction");
  rule.set_name("rule");
  rule.mutable_git_repo_restriction()->set_default_client_secret_name("team");
  Put(rule);
  ASSERT_EQ(git_.fetches().size(), 2u);
  EXPECT_EQ(git_.fetches()[1].credentials.ssh_private_key, "team-key");

  rule.mutable_git_repo_restriction()->add_allowed_repo_patterns(
      "https://allowed\\.example/.*");
  Put(rule);
  EXPECT_EQ(git_.fetches().size(), 2u);
  EXPECT_THAT(Source("a").problem().message(),
              AllOf(HasSubstr("PolicyViolation"), HasSubstr("rule")));
  // What is deployed stays.
  EXPECT_EQ(Source("a").commit().id(), "c1");

  rule.mutable_git_repo_restriction()->clear_allowed_repo_patterns();
  Put(rule);
  EXPECT_FALSE(Source("a").has_problem());
}

TEST_F(GitPollerTest, KnownHostsOfTheSystemFillIn) {
  storage::v1::Document map;
  map.set_workspace("cattle-fleet-system");
  map.set_kind("ConfigMap");
  map.set_name("known-hosts");
  core::v1::LabelPair* entry = map.mutable_config_map()->add_data();
  entry->set_key("known_hosts");
  entry->set_value("git.example.com ssh-ed25519 AAAA");
  Put(map);
  Put(Secret("gitcredential", "kubernetes.io/ssh-auth", "ssh-privatekey", "k"));
  Put(GitRepo("a"));
  Start();
  ASSERT_FALSE(git_.fetches().empty());
  EXPECT_EQ(git_.fetches().back().credentials.known_hosts,
            "git.example.com ssh-ed25519 AAAA");

  // A change has everything fetched again.
  const size_t before = git_.fetches().size();
  map.mutable_config_map()->mutable_data(0)->set_value("other");
  Put(map);
  loop_.RunUntilIdle();
  ASSERT_GT(git_.fetches().size(), before);
  EXPECT_EQ(git_.fetches().back().credentials.known_hosts, "other");
}

TEST_F(GitPollerTest, ASecretThatIsMissingOrWrongIsSaid) {
  storage::v1::Document document = GitRepo("a");
  document.mutable_git_repo()->set_client_secret_name("creds");
  Put(document);
  Start();
  EXPECT_THAT(git_.fetches(), IsEmpty());
  EXPECT_THAT(Source("a").problem().message(),
              AllOf(HasSubstr("Secret w/creds"), HasSubstr("does not exist")));
  Put(Secret("creds", "Opaque", "password", "x"));
  EXPECT_THAT(Source("a").problem().message(), HasSubstr("Opaque"));
  Put(Secret("creds", "kubernetes.io/basic-auth", "username", "x"));
  EXPECT_THAT(Source("a").problem().message(), HasSubstr("password"));
  Put(Secret("creds", "kubernetes.io/ssh-auth", "username", "x"));
  EXPECT_THAT(Source("a").problem().message(), HasSubstr("ssh-privatekey"));
  storage::v1::Document damaged =
      Secret("creds", "kubernetes.io/basic-auth", "password", "x");
  damaged.mutable_secret()->set_sealed("damaged");
  Put(damaged);
  EXPECT_THAT(Source("a").problem().message(), HasSubstr("apply it again"));
  Put(Secret("creds", "kubernetes.io/basic-auth", "password", "x"));
  EXPECT_FALSE(Source("a").has_problem());
  EXPECT_EQ(Source("a").commit().id(), "c1");
}

TEST_F(GitPollerTest, FewFetchesAreUnderWayAtOnce) {
  options_.max_concurrent = 4;
  git_.Hold();
  for (int i = 0; i < 20; ++i) Put(GitRepo(absl::StrCat("a", i)));
  Start();
  EXPECT_EQ(git_.held(), 4u);
  git_.ReleaseOne();
  loop_.RunUntilIdle();
  EXPECT_EQ(git_.held(), 4u);
  git_.ReleaseAll();
  loop_.RunUntilIdle();
  EXPECT_EQ(store_.Keys(kSourceFamily).size(), 20u);
}

TEST_F(GitPollerTest, AFullDiskIsTriedAgain) {
  store_.FailTxn(1, absl::ResourceExhaustedError("disk full"));
  Put(GitRepo("a"));
  Start();
  EXPECT_FALSE(Source("a").has_commit());
  EXPECT_THAT(poller_->StateOf("w", "a")->last_status,
              StatusIs(absl::StatusCode::kResourceExhausted));
  loop_.Advance(absl::Seconds(40));
  EXPECT_EQ(Source("a").commit().id(), "c1");
}

TEST_F(GitPollerTest, NothingHappensBeforeTheStoreIsRead) {
  Put(GitRepo("a"));
  store_.FailRange(1, absl::UnavailableError("disk"));
  Start();
  EXPECT_FALSE(poller_->loaded());
  EXPECT_THAT(git_.fetches(), IsEmpty());
  loop_.Advance(absl::Seconds(2));
  EXPECT_TRUE(poller_->loaded());
  EXPECT_EQ(git_.fetches().size(), 1u);
}

TEST_F(GitPollerTest, NothingRunsAfterItIsGone) {
  Put(GitRepo("a"));
  git_.Hold();
  Start();
  poller_ = nullptr;
  git_.ReleaseAll();
  loop_.Advance(absl::Minutes(1));
  EXPECT_THAT(store_.Keys(kSourceFamily), IsEmpty());
}

TEST_F(GitPollerTest, TellsWhenItLastPolled) {
  Put(GitRepo("a"));
  Start();
  const auto state = poller_->StateOf("w", "a");
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->last_poll_time, clock_.Now());
  EXPECT_EQ(state->last_success_time, clock_.Now());
  EXPECT_FALSE(state->polling);
  EXPECT_THAT(state->last_status, IsOk());
  EXPECT_GE(*state->next_poll_in, absl::Seconds(15));
}

}  // namespace
}  // namespace flotilla::manager
