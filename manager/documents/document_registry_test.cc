// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/document_registry.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/blob/memory_blob_store.h"
#include "common/crypto/sealed_box.h"
#include "common/env/fake_clock.h"
#include "common/env/fake_random.h"
#include "common/event/inline_worker_pool.h"
#include "common/event/simulated_loop.h"
#include "common/status/status_matchers.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/documents/documents.h"
#include "manager/documents/secret_seal.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using storage::v1::BundleHead;
using storage::v1::ClusterIdentity;
using storage::v1::Document;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kRepo[] =
    "apiVersion: fleet.cattle.io/v1alpha1\nkind: GitRepo\n"
    "metadata: {name: r}\nspec: {repo: 'https://h/r'}\n";

class DocumentRegistryTest : public ::testing::Test {
 protected:
  DocumentRegistryTest() {
    box_ = *SealedBox::Create(
        absl::StrCat(::testing::TempDir(), "/key-",
                     ::testing::UnitTest::GetInstance()
                         ->current_test_info()
                         ->name()),
        random_);
    Start();
  }

  void Start() {
    registry_ = std::make_unique<DocumentRegistry>(
        loop_, workers_, store_, FamilyWriter(store_, kDocumentFamily), blobs_,
        *box_, clock_, random_);
    loop_.RunUntilIdle();
  }

  absl::StatusOr<std::vector<std::string>> Apply(absl::string_view text) {
    ParsedDocuments parsed = ParseDocuments({{"f", std::string(text)}}, "");
    EXPECT_EQ(DescribeProblems(parsed.errors), "");
    std::optional<absl::StatusOr<std::vector<AppliedDocument>>> applied;
    registry_->Apply(std::move(parsed.documents),
                     [&](auto result) { applied = std::move(result); });
    EXPECT_FALSE(applied.has_value()) << "completed inside the call";
    loop_.RunUntilIdle();
    if (!applied.has_value()) return absl::UnavailableError("no answer");
    if (!applied->ok()) return applied->status();
    std::vector<std::string> words;
    for (const AppliedDocument& document : **applied) {
      const char* outcome[] = {"created", "configured", "unchanged"};
      words.push_back(absl::StrCat(
          document.id.name, " ",
          outcome[static_cast<int>(document.outcome)]));
    }
    return words;
  }

  absl::Status Delete(std::vector<DocumentId> ids, bool ignore = false) {
    std::optional<absl::StatusOr<std::vector<DocumentId>>> deleted;
    registry_->Delete(std::move(ids), ignore,
                      [&](auto result) { deleted = std::move(result); });
    loop_.RunUntilIdle();
    return deleted.has_value() ? deleted->status()
                               : absl::UnavailableError("no answer");
  }

  const Document* Find(absl::string_view kind, absl::string_view name,
                       absl::string_view workspace = "fleet-default") {
    return registry_->Find(kind, workspace, name);
  }

  void PutIdentity(const std::string& id, const std::string& name,
                   bool revoked = false) {
    ClusterIdentity identity;
    identity.set_cluster_id(id);
    identity.set_workspace("fleet-default");
    identity.set_name(name);
    identity.set_revoked(revoked);
    auto* label = identity.add_token_labels();
    label->set_key("env");
    label->set_value("token");
    store_.Put(ClusterIdentityKey(id), SerializeRecord(identity));
    loop_.RunUntilIdle();
  }

  void PutHead(const std::string& id, const std::string& repo) {
    BundleHead head;
    head.set_bundle_id(id);
    head.set_workspace("fleet-default");
    head.set_name("b");
    head.set_git_repo(repo);
    store_.Put(BundleHeadKey(id), SerializeRecord(head));
    loop_.RunUntilIdle();
  }

  SimulatedLoop loop_;
  InlineWorkerPool workers_{loop_};
  MemoryStore store_{loop_};
  MemoryBlobStore blobs_;
  FakeClock clock_;
  FakeRandom random_;
  std::unique_ptr<SealedBox> box_;
  std::unique_ptr<DocumentRegistry> registry_;
};

TEST_F(DocumentRegistryTest, SaysWhatBecameOfEachDocument) {
  EXPECT_THAT(Apply(kRepo), IsOkAndHolds(ElementsAre("r created")));
  EXPECT_THAT(Apply(kRepo), IsOkAndHolds(ElementsAre("r unchanged")));
  const int64_t revision = store_.revision();
  EXPECT_THAT(Apply(kRepo), IsOkAndHolds(ElementsAre("r unchanged")));
  EXPECT_EQ(store_.revision(), revision);
  EXPECT_EQ(Find("GitRepo", "r")->generation(), 1);
  const std::string uid = Find("GitRepo", "r")->uid();

  EXPECT_THAT(Apply(absl::StrCat(kRepo, "---\n",
                                 "apiVersion: fleet.cattle.io/v1alpha1\n"
                                 "kind: ClusterGroup\nmetadata: {name: g}\n"
                                 "spec: {selector: {}}\n")),
              IsOkAndHolds(ElementsAre("r unchanged", "g created")));
  EXPECT_THAT(Apply("apiVersion: fleet.cattle.io/v1alpha1\nkind: GitRepo\n"
                    "metadata: {name: r, labels: {a: b}}\n"
                    "spec: {repo: 'https://h/r'}\n"),
              IsOkAndHolds(ElementsAre("r configured")));
  EXPECT_EQ(Find("GitRepo", "r")->generation(), 2);
  EXPECT_EQ(Find("GitRepo", "r")->uid(), uid);
}

TEST_F(DocumentRegistryTest, MakesGroupDefaultOfTheLocalWorkspaceOnly) {
  ASSERT_NE(Find("ClusterGroup", "default", "fleet-local"), nullptr);
  EXPECT_TRUE(Find("ClusterGroup", "default", "fleet-local")
                  ->cluster_group()
                  .has_selector());
  EXPECT_EQ(Find("ClusterGroup", "default", "fleet-default"), nullptr);
}

TEST_F(DocumentRegistryTest, SealsSecretsAndKnowsWhenTheyAreTheSame) {
  constexpr char kSecret[] =
      "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
      "type: kubernetes.io/basic-auth\nstringData: {username: u, password: "
      "canary}\n";

  EXPECT_THAT(Apply(kSecret), IsOkAndHolds(ElementsAre("s created")));
  EXPECT_THAT(Apply(kSecret), IsOkAndHolds(ElementsAre("s unchanged")));

  for (const std::string& key : store_.Keys("/")) {
    EXPECT_THAT(store_.Find(key)->value, Not(HasSubstr("canary")));
  }
  const absl::StatusOr<std::string> opened =
      OpenSecret(*box_, Find("Secret", "s")->secret());
  ASSERT_THAT(opened, IsOk());
  storage::v1::SecretData data;
  ASSERT_TRUE(data.ParseFromString(*opened));
  EXPECT_EQ(data.entries(0).value(), "canary");
  EXPECT_THAT(Apply("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
                    "type: kubernetes.io/basic-auth\n"
                    "stringData: {username: u, password: other}\n"),
              IsOkAndHolds(ElementsAre("s configured")));
}

TEST_F(DocumentRegistryTest, StoresTheFilesOfABundle) {
  constexpr char kBundle[] =
      "apiVersion: fleet.cattle.io/v1alpha1\nkind: Bundle\n"
      "metadata: {name: b}\nspec:\n  resources:\n"
      "  - {name: a.yaml, content: 'kind: A'}\n"
      "  - {name: b.yaml, content: 'kind: B'}\n";

  EXPECT_THAT(Apply(kBundle), IsOkAndHolds(ElementsAre("b created")));
  EXPECT_THAT(Apply(kBundle), IsOkAndHolds(ElementsAre("b unchanged")));

  const storage::v1::BundleSpec& spec = Find("Bundle", "b")->bundle();
  EXPECT_THAT(blobs_.Get(spec.resources(0).blob_digest()),
              IsOkAndHolds("kind: A"));
  EXPECT_THAT(blobs_.Get(spec.resources(1).blob_digest()),
              IsOkAndHolds("kind: B"));
  blobs_.FailPuts(absl::ResourceExhaustedError("disk full"));
  EXPECT_THAT(Apply(kBundle),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(DocumentRegistryTest, KeepsADocumentUntilItsBundlesAreGone) {
  ASSERT_THAT(Apply(kRepo), IsOk());
  PutHead("id-1", "r");
  PutHead("id-2", "other");

  EXPECT_THAT(Delete({{"GitRepo", "fleet-default", "r"}}), IsOk());
  ASSERT_NE(Find("GitRepo", "r"), nullptr);
  EXPECT_TRUE(Find("GitRepo", "r")->has_delete_time());
  EXPECT_EQ(Find("GitRepo", "r")->generation(), 2);
  // Again changes nothing.
  EXPECT_THAT(Delete({{"GitRepo", "fleet-default", "r"}}), IsOk());
  EXPECT_EQ(Find("GitRepo", "r")->generation(), 2);

  store_.Delete(BundleHeadKey("id-1"));
  loop_.RunUntilIdle();

  EXPECT_EQ(Find("GitRepo", "r"), nullptr);
}

TEST_F(DocumentRegistryTest, RemovesADocumentWithoutBundlesAtOnce) {
  ASSERT_THAT(Apply(kRepo), IsOk());

  EXPECT_THAT(Delete({{"GitRepo", "fleet-default", "r"}}), IsOk());

  EXPECT_EQ(Find("GitRepo", "r"), nullptr);
}

TEST_F(DocumentRegistryTest, FinishesADeletionAfterARestart) {
  ASSERT_THAT(Apply(kRepo), IsOk());
  PutHead("id-1", "r");
  ASSERT_THAT(Delete({{"GitRepo", "fleet-default", "r"}}), IsOk());
  registry_.reset();
  store_.Delete(BundleHeadKey("id-1"));

  Start();

  EXPECT_EQ(Find("GitRepo", "r"), nullptr);
}

TEST_F(DocumentRegistryTest, KeepsADocumentThatIsAppliedWhileItLeaves) {
  ASSERT_THAT(Apply(kRepo), IsOk());
  PutHead("id-1", "r");
  ASSERT_THAT(Delete({{"GitRepo", "fleet-default", "r"}}), IsOk());

  EXPECT_THAT(Apply(kRepo), IsOkAndHolds(ElementsAre("r configured")));
  store_.Delete(BundleHeadKey("id-1"));
  loop_.RunUntilIdle();

  ASSERT_NE(Find("GitRepo", "r"), nullptr);
  EXPECT_FALSE(Find("GitRepo", "r")->has_delete_time());
  EXPECT_EQ(Find("GitRepo", "r")->generation(), 3);
}

TEST_F(DocumentRegistryTest, DeletesAllOrNone) {
  ASSERT_THAT(Apply(kRepo), IsOk());

  EXPECT_THAT(Delete({{"GitRepo", "fleet-default", "r"},
                      {"GitRepo", "fleet-default", "nope"}}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nope")));
  ASSERT_NE(Find("GitRepo", "r"), nullptr);
  EXPECT_THAT(Delete({{"GitRepo", "fleet-default", "nope"}}, true), IsOk());
}

TEST_F(DocumentRegistryTest, MakesTheClusterDocumentOfAnEnrolledCluster) {
  PutIdentity("c1", "dev");

  ASSERT_NE(Find("Cluster", "dev"), nullptr);
  EXPECT_EQ(Find("Cluster", "dev")->labels(0).value(), "token");

  ASSERT_THAT(Apply("apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\n"
                    "metadata: {name: dev, labels: {env: mine}}\n"),
              IsOkAndHolds(ElementsAre("dev configured")));
  PutIdentity("c1", "dev");
  EXPECT_EQ(Find("Cluster", "dev")->labels(0).value(), "mine");
}

TEST_F(DocumentRegistryTest, LeavesAClusterDocumentThatWasThereFirst) {
  ASSERT_THAT(Apply("apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\n"
                    "metadata: {name: dev, labels: {env: mine}}\n"),
              IsOk());

  PutIdentity("c1", "dev");

  EXPECT_EQ(Find("Cluster", "dev")->labels(0).value(), "mine");
}

TEST_F(DocumentRegistryTest, KeepsAClusterDocumentUntilItsIdentityIsRevoked) {
  PutIdentity("c1", "dev");

  ASSERT_THAT(Delete({{"Cluster", "fleet-default", "dev"}}), IsOk());
  ASSERT_NE(Find("Cluster", "dev"), nullptr);
  EXPECT_TRUE(Find("Cluster", "dev")->has_delete_time());

  PutIdentity("c1", "dev", /*revoked=*/true);
  EXPECT_EQ(Find("Cluster", "dev"), nullptr);
}

TEST_F(DocumentRegistryTest, TriesAgainWhenAnotherWriteCameBetween) {
  store_.FailTxn(1, absl::FailedPreconditionError("compare"));

  EXPECT_THAT(Apply(kRepo), IsOkAndHolds(ElementsAre("r created")));
}

TEST_F(DocumentRegistryTest, TellsTheCallerOfAFullDisk) {
  store_.FailTxn(1, absl::ResourceExhaustedError("disk full"));

  EXPECT_THAT(Apply(kRepo), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(Apply(kRepo), IsOkAndHolds(ElementsAre("r created")));
}

TEST_F(DocumentRegistryTest, FinishesADeletionAfterTheDiskFailed) {
  ASSERT_THAT(Apply(kRepo), IsOk());
  PutHead("id-1", "r");
  ASSERT_THAT(Delete({{"GitRepo", "fleet-default", "r"}}), IsOk());
  store_.FailRange(1, absl::UnavailableError("disk"));
  store_.FailTxn(1, absl::UnavailableError("disk"));

  store_.Delete(BundleHeadKey("id-1"));
  loop_.Advance(absl::Seconds(5));

  EXPECT_EQ(Find("GitRepo", "r"), nullptr);
}

// What the management cluster's front end hands over.
class DoorsTest : public DocumentRegistryTest {
 protected:
  absl::Status Take(absl::string_view text, absl::string_view uid) {
    ParsedDocuments parsed = ParseDocuments({{"f", std::string(text)}}, "");
    EXPECT_EQ(DescribeProblems(parsed.errors), "");
    for (ParsedDocument& document : parsed.documents) {
      document.document.set_door(Document::DOOR_MANAGEMENT_CLUSTER);
      document.document.set_uid(std::string(uid));
    }
    absl::Status status = absl::UnavailableError("no answer");
    registry_->Apply(std::move(parsed.documents),
                     [&](auto result) { status = result.status(); });
    loop_.RunUntilIdle();
    return status;
  }

  absl::Status Miss(absl::string_view name) {
    absl::Status status = absl::UnavailableError("no answer");
    registry_->MarkMissing({{"GitRepo", "fleet-default", std::string(name)}},
                           [&](absl::Status result) { status = result; });
    loop_.RunUntilIdle();
    return status;
  }
};

TEST_F(DoorsTest, WhatComesFromTheManagementClusterIsReadOnlyElsewhere) {
  ASSERT_THAT(Take(kRepo, "uid-1"), IsOk());
  EXPECT_EQ(Find("GitRepo", "r")->uid(), "uid-1");
  EXPECT_THAT(Apply(kRepo).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("change it there, with kubectl")));
  EXPECT_THAT(Delete({{"GitRepo", "fleet-default", "r"}}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("read-only here")));
  EXPECT_FALSE(Find("GitRepo", "r")->has_delete_time());
}

TEST_F(DoorsTest, AMissingObjectChangesNothingAndItsReturnClearsThat) {
  ASSERT_THAT(Take(kRepo, "uid-1"), IsOk());
  const Document before = *Find("GitRepo", "r");
  ASSERT_THAT(Miss("r"), IsOk());
  Document missing = *Find("GitRepo", "r");
  EXPECT_TRUE(missing.source_missing());
  missing.clear_source_missing();
  EXPECT_EQ(SerializeRecord(missing), SerializeRecord(before));

  ASSERT_THAT(Take(kRepo, "uid-2"), IsOk());
  EXPECT_FALSE(Find("GitRepo", "r")->source_missing());
  EXPECT_EQ(Find("GitRepo", "r")->uid(), "uid-2");
  EXPECT_EQ(Find("GitRepo", "r")->generation(), 1);
}

TEST_F(DoorsTest, ADocumentWhoseObjectIsMissingCanBeDeletedByHand) {
  ASSERT_THAT(Take(kRepo, "uid-1"), IsOk());
  ASSERT_THAT(Miss("r"), IsOk());
  EXPECT_THAT(Apply(kRepo).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("flotilla delete")));
  EXPECT_THAT(Delete({{"GitRepo", "fleet-default", "r"}}), IsOk());
  EXPECT_EQ(Find("GitRepo", "r"), nullptr);
}

TEST_F(DoorsTest, OfTwoDocumentsOfOneNameTheOlderStays) {
  ASSERT_THAT(Apply(kRepo), IsOk());
  const std::string other =
      absl::StrReplaceAll(kRepo, {{"https://h/r", "https://h/other"}});
  EXPECT_THAT(Take(other, "uid-1"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("flotilla apply")));
  EXPECT_EQ(Find("GitRepo", "r")->git_repo().repo(), "https://h/r");
  // The same words: it moves to the management cluster.
  EXPECT_THAT(Take(kRepo, "uid-1"), IsOk());
  EXPECT_EQ(Find("GitRepo", "r")->door(), Document::DOOR_MANAGEMENT_CLUSTER);
  EXPECT_EQ(Find("GitRepo", "r")->generation(), 1);
}

TEST_F(DoorsTest, TheClusterOfAnAgentMovesToTheManagementCluster) {
  PutIdentity("id-1", "c");
  ASSERT_NE(Find("Cluster", "c"), nullptr);
  EXPECT_THAT(Take("apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\n"
                   "metadata: {name: c, labels: {env: prod}}\nspec: {}\n",
                   "uid-1"),
              IsOk());
  EXPECT_EQ(Find("Cluster", "c")->labels(0).value(), "prod");
}

}  // namespace
}  // namespace flotilla::manager
