// SPDX-License-Identifier: Apache-2.0
//
// Transcripts over the stages from documents and commits to what each cluster
// should get: DocumentRegistry, BundleController and TargetingController on one
// store and one simulated loop. Git, enrolment and roll-out are written by
// hand.

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/blob/memory_blob_store.h"
#include "common/crypto/sealed_box.h"
#include "common/env/fake_clock.h"
#include "common/env/fake_random.h"
#include "common/event/inline_worker_pool.h"
#include "common/event/simulated_loop.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/bundle/bundle_controller.h"
#include "manager/documents/document_registry.h"
#include "manager/documents/documents.h"
#include "manager/gitsync/fake_git_repository.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"
#include "manager/targeting/targeting_controller.h"

namespace flotilla::manager {
namespace {

using storage::v1::BundleBuild;
using storage::v1::BundleHead;
using storage::v1::ClusterIdentity;
using storage::v1::Desired;
using storage::v1::Document;
using storage::v1::Released;
using storage::v1::Source;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Files = std::map<std::string, std::string>;

constexpr char kWorkspace[] = "fleet-default";

class StagesTest : public ::testing::Test {
 protected:
  StagesTest() {
    box_ = *SealedBox::Create(
        absl::StrCat(::testing::TempDir(), "/stages-key-",
                     ::testing::UnitTest::GetInstance()
                         ->current_test_info()
                         ->name()),
        random_);
    Start();
    Enrol("c-dev", "dev", "dev");
    Enrol("c-prod", "prod", "prod");
  }

  void Start() {
    registry_ = std::make_unique<DocumentRegistry>(
        loop_, workers_, store_, FamilyWriter(store_, kDocumentFamily), blobs_,
        *box_, clock_, random_);
    bundles_ = std::make_unique<BundleController>(
        loop_, workers_, store_, FamilyWriter(store_, kBundleFamily), blobs_,
        git_, random_);
    targeting_ = std::make_unique<TargetingController>(
        loop_, store_, FamilyWriter(store_, kDesiredFamily));
    loop_.RunUntilIdle();
  }

  void Stop() {
    targeting_.reset();
    bundles_.reset();
    registry_.reset();
  }

  void Apply(absl::string_view text) {
    ParsedDocuments parsed = ParseDocuments({{"f", std::string(text)}}, "");
    ASSERT_EQ(DescribeProblems(parsed.errors), "");
    registry_->Apply(std::move(parsed.documents), [](auto result) {
      EXPECT_TRUE(result.ok()) << result.status();
    });
    loop_.RunUntilIdle();
  }

  void ApplyRepo(absl::string_view name, absl::string_view targets,
                 absl::string_view paths = "[]") {
    Apply(absl::StrCat("apiVersion: fleet.cattle.io/v1alpha1\nkind: GitRepo\n",
                       "metadata: {name: ", name, "}\nspec:\n",
                       "  repo: https://h/", name, "\n  paths: ", paths,
                       "\n  targets: ", targets, "\n"));
  }

  void Delete(absl::string_view kind, absl::string_view name) {
    registry_->Delete(
        {{std::string(kind), kWorkspace, std::string(name)}}, false,
        [](auto result) { EXPECT_TRUE(result.ok()) << result.status(); });
    loop_.RunUntilIdle();
  }

  void Enrol(const std::string& id, const std::string& name,
             const std::string& env, bool revoked = false) {
    ClusterIdentity identity;
    identity.set_cluster_id(id);
    identity.set_workspace(kWorkspace);
    identity.set_name(name);
    identity.set_revoked(revoked);
    auto* label = identity.add_token_labels();
    label->set_key("env");
    label->set_value(env);
    store_.Put(ClusterIdentityKey(id), SerializeRecord(identity));
    loop_.RunUntilIdle();
  }

  void SetLabel(absl::string_view cluster, absl::string_view env) {
    Apply(absl::StrCat("apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\n",
                       "metadata: {name: ", cluster, ", labels: {env: ", env,
                       "}}\n"));
  }

  // What gitsync does when it has fetched.
  void CommitFiles(absl::string_view repo, const std::string& commit,
                   Files files) {
    git_.SetCommit(absl::StrCat("https://h/", repo), commit,
                   std::move(files));
    const Document* document = registry_->Find("GitRepo", kWorkspace, repo);
    ASSERT_NE(document, nullptr);
    Source source;
    source.set_workspace(kWorkspace);
    source.set_name(std::string(repo));
    source.mutable_commit()->set_id(commit);
    source.set_clone_id("clone");
    source.set_document_generation(document->generation());
    store_.Put(SourceKey(kWorkspace, repo), SerializeRecord(source));
    loop_.RunUntilIdle();
  }

  // What gitsync does when a fetch failed.
  void FailFetch(absl::string_view repo) {
    const std::string key = SourceKey(kWorkspace, repo);
    Source source;
    if (const KeyValue* kv = store_.Find(key); kv != nullptr) {
      ASSERT_TRUE(source.ParseFromString(kv->value));
    }
    source.mutable_problem()->set_message("unreachable");
    store_.Put(key, SerializeRecord(source));
    loop_.RunUntilIdle();
  }

  // What the roll-out does for every Desired: releases, or begins to delete.
  void Release() {
    for (const std::string& key : store_.Keys(kDesiredFamily)) {
      const auto pair = ParseClusterBundleKey(kDesiredFamily, key);
      Desired desired;
      ASSERT_TRUE(desired.ParseFromString(store_.Find(key)->value));
      PutReleased(pair->cluster_id, pair->bundle_id,
                  desired.removal() == core::v1::DELETE_CAUSE_UNSPECIFIED
                      ? Released::STATE_ACTIVE
                      : Released::STATE_DELETING);
    }
    loop_.RunUntilIdle();
  }

  // The agents have let go of everything that was being deleted.
  void FinishDeletes() {
    for (const std::string& key : store_.Keys(kReleasedFamily)) {
      Released released;
      ASSERT_TRUE(released.ParseFromString(store_.Find(key)->value));
      if (released.state() != Released::STATE_DELETING) continue;
      const auto pair = ParseClusterBundleKey(kReleasedFamily, key);
      PutReleased(pair->cluster_id, pair->bundle_id, Released::STATE_GONE);
    }
    loop_.RunUntilIdle();
  }

  void PutReleased(const std::string& cluster, const std::string& bundle,
                   Released::State state) {
    Released released;
    released.set_state(state);
    store_.Put(ReleasedKey(cluster, bundle), SerializeRecord(released));
  }

  // "dev repo-a", or "dev repo-a GIT_REMOVED by c2", sorted.
  std::vector<std::string> Rows() {
    std::vector<std::string> rows;
    for (const std::string& key : store_.Keys(kDesiredFamily)) {
      Desired row;
      EXPECT_TRUE(row.ParseFromString(store_.Find(key)->value));
      std::string text =
          absl::StrCat(row.cluster_name(), " ", row.bundle_name());
      if (row.removal() != core::v1::DELETE_CAUSE_UNSPECIFIED) {
        absl::StrAppend(
            &text, " ",
            core::v1::DeleteCause_Name(row.removal())
                .substr(sizeof("DELETE_CAUSE_") - 1),
            " by ", row.removed_by());
      }
      rows.push_back(std::move(text));
    }
    std::sort(rows.begin(), rows.end());
    return rows;
  }

  std::map<std::string, BundleHead> Heads() {
    std::map<std::string, BundleHead> heads;
    for (const std::string& key : store_.Keys(kBundleFamily)) {
      if (*ClassifyBundleKey(key) != BundleRecord::kHead) continue;
      BundleHead head;
      EXPECT_TRUE(head.ParseFromString(store_.Find(key)->value));
      heads[head.name()] = head;
    }
    return heads;
  }

  std::vector<std::string> HeadNames() {
    std::vector<std::string> names;
    for (const auto& [name, head] : Heads()) names.push_back(name);
    return names;
  }

  BundleBuild LastBuild(absl::string_view repo) {
    BundleBuild build;
    const KeyValue* kv = store_.Find(BundleBuildKey(kWorkspace, repo));
    if (kv != nullptr) {
      EXPECT_TRUE(build.ParseFromString(kv->value));
    }
    return build;
  }

  std::optional<Desired> Row(const std::string& cluster,
                             const std::string& bundle) {
    const KeyValue* kv =
        store_.Find(DesiredKey(cluster, Heads()[bundle].bundle_id()));
    if (kv == nullptr) return std::nullopt;
    Desired row;
    EXPECT_TRUE(row.ParseFromString(kv->value));
    return row;
  }

  SimulatedLoop loop_;
  InlineWorkerPool workers_{loop_};
  MemoryStore store_{loop_};
  MemoryBlobStore blobs_;
  FakeGitRepository git_{loop_};
  FakeClock clock_;
  FakeRandom random_;
  std::unique_ptr<SealedBox> box_;
  std::unique_ptr<DocumentRegistry> registry_;
  std::unique_ptr<BundleController> bundles_;
  std::unique_ptr<TargetingController> targeting_;
};

constexpr char kAll[] = "[{name: all, clusterSelector: {}}]";
constexpr char kProd[] = "[{clusterSelector: {matchLabels: {env: prod}}}]";
const Files kTwo = {{"a/fleet.yaml", ""},
                    {"a/x.yaml", "1"},
                    {"b/fleet.yaml", ""},
                    {"b/x.yaml", "1"}};

TEST_F(StagesTest, ACommitAddsChangesAndRemovesBundles) {
  ApplyRepo("repo", kAll);
  EXPECT_THAT(Rows(), IsEmpty());

  CommitFiles("repo", "c1", kTwo);
  EXPECT_THAT(Rows(), ElementsAre("dev repo-a", "dev repo-b", "prod repo-a",
                                  "prod repo-b"));
  const BundleHead a = Heads()["repo-a"];
  const BundleHead b = Heads()["repo-b"];
  EXPECT_EQ(a.commit().id(), "c1");
  EXPECT_EQ(Row("c-dev", "repo-a")->commit().id(), "c1");
  EXPECT_EQ(LastBuild("repo").bundle_count(), 2);

  Files changed = kTwo;
  changed["b/x.yaml"] = "2";
  CommitFiles("repo", "c2", changed);
  EXPECT_EQ(Heads()["repo-a"].SerializeAsString(), a.SerializeAsString());
  EXPECT_EQ(Heads()["repo-b"].bundle_id(), b.bundle_id());
  EXPECT_NE(Heads()["repo-b"].revision(), b.revision());
  EXPECT_EQ(Row("c-dev", "repo-b")->commit().id(), "c2");
  EXPECT_EQ(Row("c-dev", "repo-b")->revision(), Heads()["repo-b"].revision());
  Release();

  changed.erase("b/x.yaml");
  changed.erase("b/fleet.yaml");
  CommitFiles("repo", "c3", changed);
  EXPECT_THAT(Rows(),
              ElementsAre("dev repo-a", "dev repo-b GIT_REMOVED by c3",
                          "prod repo-a", "prod repo-b GIT_REMOVED by c3"));
  Release();
  EXPECT_THAT(HeadNames(), ElementsAre("repo-a", "repo-b"));

  FinishDeletes();
  EXPECT_THAT(Rows(), ElementsAre("dev repo-a", "prod repo-a"));
  EXPECT_THAT(HeadNames(), ElementsAre("repo-a"));
  EXPECT_THAT(store_.Keys(BundlePrefix(b.bundle_id())), IsEmpty());
}

TEST_F(StagesTest, WorkIsProportionalToChange) {
  ApplyRepo("repo", kAll);
  Files files;
  for (int i = 0; i < 50; ++i) {
    files[absl::StrCat("d", i, "/fleet.yaml")] = "";
    files[absl::StrCat("d", i, "/x.yaml")] = "1";
  }
  CommitFiles("repo", "c1", files);
  EXPECT_THAT(Rows(), SizeIs(100));
  const uint64_t resolved = targeting_->resolved_count();
  const size_t read = bundles_->read_directories();
  const int txns = store_.txn_count();

  files["d7/x.yaml"] = "2";
  CommitFiles("repo", "c2", files);

  EXPECT_EQ(bundles_->read_directories() - read, 1);
  EXPECT_LE(targeting_->resolved_count() - resolved, 4);
  // One of bundle, one of targeting.
  EXPECT_EQ(store_.txn_count() - txns, 2);
}

TEST_F(StagesTest, OldRevisionsGo) {
  ApplyRepo("repo", kAll);
  for (int i = 0; i < 5; ++i) {
    CommitFiles("repo", absl::StrCat("c", i),
                {{"x.yaml", absl::StrCat("v", i)}});
  }

  // Head, current and previous.
  EXPECT_THAT(store_.Keys(BundlePrefix(Heads()["repo"].bundle_id())),
              SizeIs(3));
}

TEST_F(StagesTest, ARenamedDirectoryIsANewBundleAndTheOldOneGoesAfterIt) {
  ApplyRepo("repo", kAll);
  CommitFiles("repo", "c1", {{"old/fleet.yaml", ""}, {"old/x.yaml", "1"}});
  const std::string old_id = Heads()["repo-old"].bundle_id();
  Release();

  CommitFiles("repo", "c2", {{"new/fleet.yaml", ""}, {"new/x.yaml", "1"}});

  EXPECT_THAT(Rows(),
              ElementsAre("dev repo-new", "dev repo-old GIT_REMOVED by c2",
                          "prod repo-new", "prod repo-old GIT_REMOVED by c2"));
  EXPECT_NE(Heads()["repo-new"].bundle_id(), old_id);
  // A name of its own keeps the id through a renaming.
  Release();
  FinishDeletes();
  CommitFiles("repo", "c3", {{"new/fleet.yaml", "name: web"},
                             {"new/x.yaml", "1"}});
  const std::string web = Heads()["web"].bundle_id();
  CommitFiles("repo", "c4", {{"other/fleet.yaml", "name: web"},
                             {"other/x.yaml", "1"}});
  EXPECT_EQ(Heads()["web"].bundle_id(), web);
}

TEST_F(StagesTest, ABrokenCommitReleasesNothingAndTheNextGoodOneGoesThrough) {
  ApplyRepo("repo", kAll);
  CommitFiles("repo", "c1", kTwo);
  Release();
  const auto rows = Rows();
  const auto heads = Heads();

  // One bundle is broken, the other one changed or gone: neither counts.
  CommitFiles("repo", "c2",
              {{"a/fleet.yaml", "helm: [\n"}, {"a/x.yaml", "2"}});
  EXPECT_EQ(Rows(), rows);
  EXPECT_EQ(Heads()["repo-a"].SerializeAsString(),
            heads.at("repo-a").SerializeAsString());
  ASSERT_EQ(LastBuild("repo").problems_size(), 1);
  EXPECT_EQ(LastBuild("repo").commit_id(), "c2");
  EXPECT_EQ(LastBuild("repo").problems(0).file(), "a/fleet.yaml");
  EXPECT_GT(LastBuild("repo").problems(0).line(), 0);
  EXPECT_EQ(LastBuild("repo").bundle_count(), 2);

  // An empty repository deletes nothing either.
  CommitFiles("repo", "c3", {});
  EXPECT_EQ(Rows(), rows);
  EXPECT_THAT(LastBuild("repo").problems(0).message(),
              HasSubstr("no resource found at the following paths"));

  Files good = kTwo;
  good["a/x.yaml"] = "3";
  CommitFiles("repo", "c4", good);
  EXPECT_EQ(Rows(), rows);
  EXPECT_EQ(LastBuild("repo").problems_size(), 0);
  EXPECT_EQ(Row("c-dev", "repo-a")->commit().id(), "c4");
  EXPECT_EQ(Heads()["repo-a"].bundle_id(), heads.at("repo-a").bundle_id());
}

TEST_F(StagesTest, AFailedFetchKeepsWhatIsThere) {
  ApplyRepo("repo", kAll);
  CommitFiles("repo", "c1", kTwo);
  const auto rows = Rows();

  FailFetch("repo");
  ApplyRepo("repo", kAll, "[typo]");

  EXPECT_EQ(Rows(), rows);
}

TEST_F(StagesTest, ADeletedGitRepoTakesEverythingItMadeAndNothingElse) {
  ApplyRepo("repo", kAll);
  ApplyRepo("other", kProd);
  CommitFiles("repo", "c1", kTwo);
  CommitFiles("other", "c2", {{"x.yaml", "1"}});
  Release();

  Delete("GitRepo", "repo");
  EXPECT_THAT(
      Rows(),
      ElementsAre("dev repo-a OPERATOR by GitRepo fleet-default/repo",
                  "dev repo-b OPERATOR by GitRepo fleet-default/repo",
                  "prod other",
                  "prod repo-a OPERATOR by GitRepo fleet-default/repo",
                  "prod repo-b OPERATOR by GitRepo fleet-default/repo"));
  Release();
  ASSERT_NE(registry_->Find("GitRepo", kWorkspace, "repo"), nullptr);

  FinishDeletes();
  EXPECT_THAT(Rows(), ElementsAre("prod other"));
  EXPECT_THAT(HeadNames(), ElementsAre("other"));
  EXPECT_EQ(registry_->Find("GitRepo", kWorkspace, "repo"), nullptr);
  EXPECT_EQ(store_.Find(BundleBuildKey(kWorkspace, "repo")), nullptr);
}

TEST_F(StagesTest, ADeletionGoesOnAfterARestartInTheMiddle) {
  ApplyRepo("repo", kAll);
  CommitFiles("repo", "c1", kTwo);
  Release();
  Delete("GitRepo", "repo");
  Release();

  Stop();
  FinishDeletes();
  Start();

  EXPECT_THAT(Rows(), IsEmpty());
  EXPECT_THAT(HeadNames(), IsEmpty());
  EXPECT_EQ(registry_->Find("GitRepo", kWorkspace, "repo"), nullptr);
}

TEST_F(StagesTest, ABundleThatComesBackBeforeItIsGoneKeepsItsId) {
  ApplyRepo("repo", kAll);
  CommitFiles("repo", "c1", kTwo);
  const std::string id = Heads()["repo-b"].bundle_id();
  Release();
  Files one = kTwo;
  one.erase("b/x.yaml");
  one.erase("b/fleet.yaml");
  CommitFiles("repo", "c2", one);
  Release();

  CommitFiles("repo", "c3", kTwo);

  EXPECT_EQ(Heads()["repo-b"].bundle_id(), id);
  EXPECT_THAT(Rows(), ElementsAre("dev repo-a", "dev repo-b", "prod repo-a",
                                  "prod repo-b"));
}

TEST_F(StagesTest, AClustersLabelMovesItInAndOut) {
  ApplyRepo("repo", kProd);
  CommitFiles("repo", "c1", {{"x.yaml", "1"}});
  EXPECT_THAT(Rows(), ElementsAre("prod repo"));
  Release();

  SetLabel("dev", "prod");
  EXPECT_THAT(Rows(), ElementsAre("dev repo", "prod repo"));

  SetLabel("prod", "retired");
  EXPECT_THAT(Rows(), ElementsAre("dev repo",
                                  "prod repo TARGET_CHANGED by Cluster "
                                  "fleet-default/prod"));
  Release();
  FinishDeletes();
  EXPECT_THAT(Rows(), ElementsAre("dev repo"));

  // Back again, after it was gone.
  SetLabel("prod", "prod");
  EXPECT_THAT(Rows(), ElementsAre("dev repo", "prod repo"));
}

TEST_F(StagesTest, ARemovalThatWasNeverReleasedNeedsNoAgent) {
  ApplyRepo("repo", kProd);
  CommitFiles("repo", "c1", {{"x.yaml", "1"}});
  EXPECT_THAT(Rows(), ElementsAre("prod repo"));

  SetLabel("prod", "retired");

  EXPECT_THAT(Rows(), IsEmpty());
  EXPECT_THAT(HeadNames(), ElementsAre("repo"));
}

TEST_F(StagesTest, GroupsCountAndAChangeOfOneMovesItsClusters) {
  ApplyRepo("repo", "[{clusterGroup: east}]");
  CommitFiles("repo", "c1", {{"x.yaml", "1"}});
  EXPECT_THAT(Rows(), IsEmpty());

  Apply("apiVersion: fleet.cattle.io/v1alpha1\nkind: ClusterGroup\n"
        "metadata: {name: east}\n"
        "spec: {selector: {matchLabels: {env: dev}}}\n");
  EXPECT_THAT(Rows(), ElementsAre("dev repo"));
  Release();

  Apply("apiVersion: fleet.cattle.io/v1alpha1\nkind: ClusterGroup\n"
        "metadata: {name: east}\n"
        "spec: {selector: {matchLabels: {env: prod}}}\n");
  EXPECT_THAT(Rows(), ElementsAre("dev repo TARGET_CHANGED by ClusterGroups "
                                  "of fleet-default",
                                  "prod repo"));
}

TEST_F(StagesTest, CustomizationsReachTheClustersTheyMean) {
  ApplyRepo("repo", kAll);
  CommitFiles(
      "repo", "c1",
      {{"fleet.yaml",
        "namespace: apps\nhelm: {values: {replicas: 1}}\n"
        "targetCustomizations:\n"
        "- {name: prod, clusterName: prod, helm: {values: {replicas: 3}}}\n"},
       {"Chart.yaml", "name: x"}});

  EXPECT_EQ(Row("c-dev", "repo")->options().helm().values_json(),
            R"({"replicas":1})");
  EXPECT_EQ(Row("c-prod", "repo")->options().helm().values_json(),
            R"({"replicas":3})");
  EXPECT_EQ(Row("c-prod", "repo")->target_name(), "all/prod");
  EXPECT_EQ(Row("c-prod", "repo")->options().namespace_(), "apps");
  EXPECT_NE(Row("c-prod", "repo")->options_digest(),
            Row("c-dev", "repo")->options_digest());
}

TEST_F(StagesTest, ALeavingClusterLosesItsRowsAndKeepsItsWorkloads) {
  ApplyRepo("repo", kAll);
  CommitFiles("repo", "c1", {{"x.yaml", "1"}});
  Release();

  Delete("Cluster", "dev");
  EXPECT_THAT(Rows(), ElementsAre("dev repo", "prod repo"));
  Enrol("c-dev", "dev", "dev", /*revoked=*/true);

  EXPECT_THAT(Rows(), ElementsAre("prod repo"));
  EXPECT_EQ(registry_->Find("Cluster", kWorkspace, "dev"), nullptr);
  // A bundle does not wait for a cluster that has left.
  Delete("GitRepo", "repo");
  Release();
  FinishDeletes();
  EXPECT_THAT(HeadNames(), IsEmpty());
}

TEST_F(StagesTest, OfTwoSourcesWithOneNameTheOlderKeepsIt) {
  ApplyRepo("one", kAll);
  ApplyRepo("two", kAll);
  CommitFiles("one", "c1", {{"fleet.yaml", "name: web"}, {"x.yaml", "1"}});
  Release();
  const std::string revision = Heads()["web"].revision();

  CommitFiles("two", "c2", {{"fleet.yaml", "name: web"}, {"x.yaml", "2"}});
  EXPECT_EQ(Heads()["web"].revision(), revision);
  ASSERT_EQ(LastBuild("two").problems_size(), 1);
  EXPECT_THAT(LastBuild("two").problems(0).message(),
              HasSubstr("belongs to GitRepo fleet-default/one"));
  ASSERT_EQ(Heads()["web"].problems_size(), 1);
  EXPECT_EQ(Heads()["web"].problems(0).subject(), "GitRepo fleet-default/two");

  // The older one goes on.
  CommitFiles("one", "c3", {{"fleet.yaml", "name: web"}, {"x.yaml", "3"}});
  EXPECT_NE(Heads()["web"].revision(), revision);
  EXPECT_EQ(Heads()["web"].problems_size(), 1);

  // When it goes, the newer one has the name.
  const std::string id = Heads()["web"].bundle_id();
  Delete("GitRepo", "one");
  Release();
  FinishDeletes();
  EXPECT_EQ(Heads()["web"].git_repo(), "two");
  EXPECT_NE(Heads()["web"].bundle_id(), id);
  EXPECT_EQ(LastBuild("two").problems_size(), 0);
  EXPECT_THAT(Rows(), ElementsAre("dev web", "prod web"));
}

TEST_F(StagesTest, TheProblemOfTheOlderSourceGoesWithItsCause) {
  ApplyRepo("one", kAll);
  ApplyRepo("two", kAll);
  CommitFiles("one", "c1", {{"fleet.yaml", "name: web"}, {"x.yaml", "1"}});
  CommitFiles("two", "c2", {{"fleet.yaml", "name: web"}, {"x.yaml", "2"}});
  ASSERT_EQ(Heads()["web"].problems_size(), 1);

  CommitFiles("two", "c3", {{"fleet.yaml", "name: app"}, {"x.yaml", "2"}});

  EXPECT_EQ(Heads()["web"].problems_size(), 0);
  EXPECT_THAT(HeadNames(), ElementsAre("app", "web"));
}

constexpr char kBundle[] =
    "apiVersion: fleet.cattle.io/v1alpha1\nkind: Bundle\n"
    "metadata: {name: web}\nspec:\n"
    "  resources: [{name: x.yaml, content: 'a: 1'}]\n"
    "  targets: [{clusterSelector: {}, namespace: apps}]\n";

TEST_F(StagesTest, ABundleDocumentNeedsNoGit) {
  Apply(kBundle);
  EXPECT_THAT(Rows(), ElementsAre("dev web", "prod web"));
  EXPECT_EQ(Row("c-dev", "web")->options().namespace_(), "apps");
  EXPECT_THAT(store_.Keys(absl::StrCat(kBundleFamily, "source/")), IsEmpty());
  Release();

  Delete("Bundle", "web");
  EXPECT_THAT(Rows(),
              ElementsAre("dev web OPERATOR by Bundle fleet-default/web",
                          "prod web OPERATOR by Bundle fleet-default/web"));
  Release();
  FinishDeletes();
  EXPECT_THAT(HeadNames(), IsEmpty());
  EXPECT_EQ(registry_->Find("Bundle", kWorkspace, "web"), nullptr);
}

TEST_F(StagesTest, ABundleDocumentDoesNotTakeTheNameOfAGitRepo) {
  ApplyRepo("web", kAll);
  CommitFiles("web", "c1", {{"x.yaml", "1"}});

  Apply(kBundle);

  EXPECT_EQ(Heads()["web"].git_repo(), "web");
  EXPECT_THAT(LastBuild("bundle:web").problems(0).message(),
              HasSubstr("belongs to GitRepo fleet-default/web"));
  Delete("Bundle", "web");
  EXPECT_EQ(registry_->Find("Bundle", kWorkspace, "web"), nullptr);
  EXPECT_EQ(Heads()["web"].problems_size(), 0);
  EXPECT_EQ(Heads()["web"].git_repo(), "web");
}

TEST_F(StagesTest, ARestartWritesNothing) {
  ApplyRepo("repo", kAll);
  CommitFiles("repo", "c1", kTwo);
  Apply(kBundle);
  Release();
  const int64_t revision = store_.revision();

  Stop();
  Start();

  EXPECT_EQ(store_.revision(), revision);
}

TEST_F(StagesTest, AChangeOfTargetsNeedsNoNewCommit) {
  ApplyRepo("repo", kAll);
  CommitFiles("repo", "c1", {{"x.yaml", "1"}});
  Release();

  ApplyRepo("repo", kProd);
  // gitsync has to look again first: the branch may be another one.
  EXPECT_THAT(Rows(), ElementsAre("dev repo", "prod repo"));
  CommitFiles("repo", "c1", {{"x.yaml", "1"}});

  EXPECT_THAT(Rows(), ElementsAre("dev repo TARGET_CHANGED by c1",
                                  "prod repo"));
}

// Whichever write fails, and however, all is as it should be in the end.
TEST_F(StagesTest, EveryWriteMayFailOnce) {
  for (const auto& fault : {absl::FailedPreconditionError("compare"),
                            absl::UnavailableError("disk")}) {
    for (int nth = 1; nth <= 6; ++nth) {
      const std::string name =
          absl::StrCat("r", nth, fault.code() ==
                                         absl::StatusCode::kUnavailable
                                     ? "d"
                                     : "c");
      ApplyRepo(name, kAll);
      store_.FailTxn(nth, fault);
      CommitFiles(name, absl::StrCat(name, "1"), kTwo);
      loop_.Advance(absl::Seconds(5));
      EXPECT_THAT(Rows(), SizeIs(4)) << name;
      Release();
      Files one = kTwo;
      one.erase("b/x.yaml");
      one.erase("b/fleet.yaml");
      CommitFiles(name, absl::StrCat(name, "2"), one);
      loop_.Advance(absl::Seconds(5));
      Release();
      FinishDeletes();
      loop_.Advance(absl::Seconds(5));
      EXPECT_THAT(Rows(), SizeIs(2)) << name;
      EXPECT_THAT(HeadNames(), SizeIs(1)) << name;
      // Uses up a fault that was not met.
      while (store_.txn_count() % 50 != 0) {
        SetLabel("spare", absl::StrCat("v", store_.txn_count()));
      }
      Delete("GitRepo", name);
      Release();
      FinishDeletes();
      loop_.Advance(absl::Seconds(5));
      EXPECT_THAT(HeadNames(), IsEmpty()) << name;
      EXPECT_EQ(registry_->Find("GitRepo", kWorkspace, name), nullptr);
    }
  }
}

TEST_F(StagesTest, ADamagedCloneIsAProblemAndNoDeletion) {
  ApplyRepo("repo", kAll);
  CommitFiles("repo", "c1", kTwo);
  const auto rows = Rows();
  Source source;
  ASSERT_TRUE(source.ParseFromString(
      store_.Find(SourceKey(kWorkspace, "repo"))->value));
  source.mutable_commit()->set_id("not-fetched");

  store_.Put(SourceKey(kWorkspace, "repo"), SerializeRecord(source));
  loop_.RunUntilIdle();

  EXPECT_EQ(Rows(), rows);
  EXPECT_EQ(LastBuild("repo").problems_size(), 1);
}

TEST_F(StagesTest, ABuildThatMetAFullDiskIsTriedAgain) {
  ApplyRepo("repo", kAll);
  blobs_.FailPuts(absl::ResourceExhaustedError("disk full"));
  CommitFiles("repo", "c1", kTwo);
  EXPECT_THAT(Rows(), IsEmpty());
  EXPECT_THAT(LastBuild("repo").problems(0).message(), HasSubstr("disk full"));

  blobs_.FailPuts(absl::OkStatus());
  loop_.Advance(absl::Seconds(30));

  EXPECT_THAT(Rows(), SizeIs(4));
  EXPECT_EQ(LastBuild("repo").problems_size(), 0);
}

TEST_F(StagesTest, CountsTheClustersOfAGitRepo) {
  ApplyRepo("repo", kProd);
  CommitFiles("repo", "c1", kTwo);

  EXPECT_EQ(targeting_->CountDesired(kWorkspace, "repo"), 1);
  EXPECT_EQ(targeting_->CountDesired(kWorkspace, "nope"), 0);
}

}  // namespace
}  // namespace flotilla::manager
