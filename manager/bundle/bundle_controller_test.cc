// SPDX-License-Identifier: Apache-2.0
//
// What stages_test in manager/targeting does not see: downloads, HelmOps,
// policies, and how little is written for a small change. Documents, commits
// and charts that were found are written by hand.

#include "manager/bundle/bundle_controller.h"

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
#include "common/blob/digest.h"
#include "common/blob/memory_blob_store.h"
#include "common/env/fake_random.h"
#include "common/event/inline_worker_pool.h"
#include "common/event/simulated_loop.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/bundle/chart_needs.h"
#include "manager/charts/fake_chart_fetcher.h"
#include "manager/gitsync/fake_git_repository.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using storage::v1::BundleBuild;
using storage::v1::BundleHead;
using storage::v1::BundleRevision;
using storage::v1::ChartSource;
using storage::v1::Document;
using storage::v1::Source;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

using Files = std::map<std::string, std::string>;

constexpr char kWorkspace[] = "fleet-default";
constexpr char kUrl[] = "https://h/repo";
constexpr char kChart[] =
    "helm: {repo: 'https://charts.example.com', chart: web, version: 1.x}\n";

class BundleControllerTest : public ::testing::Test {
 protected:
  BundleControllerTest() {
    fetcher_.set_answer([this](const ChartRequest&) {
      return FakeChartFetcher::Make(blobs_, "1.2.3",
                                    {{"Chart.yaml", "name: web"},
                                     {"values.yaml", "a: 1"}});
    });
    Start();
  }

  void Start() {
    ChartSupply charts;
    charts.fetcher = &fetcher_;
    charts.unseal = [](const storage::v1::SecretSpec& secret)
        -> absl::StatusOr<std::string> { return secret.sealed(); };
    controller_.emplace(loop_, workers_, store_,
                        FamilyWriter(store_, kBundleFamily), blobs_, git_,
                        random_, std::move(charts));
    loop_.RunUntilIdle();
  }

  Document Make(const std::string& kind, const std::string& name) {
    Document document;
    document.set_workspace(kWorkspace);
    document.set_kind(kind);
    document.set_name(name);
    document.set_generation(1);
    return document;
  }

  void Put(const Document& document) {
    store_.Put(
        DocumentKey(document.workspace(), document.kind(), document.name()),
        SerializeRecord(document));
    loop_.RunUntilIdle();
  }

  void PutRepo(int64_t generation = 1, const std::string& secret = "",
               const std::string& regex = "") {
    Document repo = Make("GitRepo", "repo");
    repo.set_generation(generation);
    repo.mutable_git_repo()->set_repo(kUrl);
    repo.mutable_git_repo()->set_helm_secret_name(secret);
    repo.mutable_git_repo()->set_helm_repo_url_regex(regex);
    Put(repo);
  }

  void PutCommit(const std::string& commit, Files files,
                 int64_t generation = 1) {
    git_.SetCommit(kUrl, commit, std::move(files));
    Source source;
    source.set_workspace(kWorkspace);
    source.set_name("repo");
    source.mutable_commit()->set_id(commit);
    source.set_clone_id("clone");
    source.set_document_generation(generation);
    store_.Put(SourceKey(kWorkspace, "repo"), SerializeRecord(source));
    loop_.RunUntilIdle();
  }

  Document HelmOp() {
    Document op = Make("HelmOp", "op");
    auto& helm = *op.mutable_helm_op()
                      ->mutable_bundle()
                      ->mutable_options()
                      ->mutable_helm();
    helm.set_repo("https://r");
    helm.set_chart("web");
    helm.set_version("1.x");
    return op;
  }

  void PutChart(const std::string& version, const std::string& problem = "") {
    ChartSource chart;
    chart.set_workspace(kWorkspace);
    chart.set_name("op");
    chart.set_version(version);
    chart.set_document_generation(1);
    auto* file = chart.add_files();
    file->set_name("Chart.yaml");
    file->set_blob_digest(*blobs_.Put("version: " + version));
    if (!problem.empty()) chart.mutable_problem()->set_message(problem);
    store_.Put(ChartKey(kWorkspace, "op"), SerializeRecord(chart));
    loop_.RunUntilIdle();
  }

  BundleBuild LastBuild(const std::string& name = "repo") {
    BundleBuild build;
    const KeyValue* kv = store_.Find(BundleBuildKey(kWorkspace, name));
    if (kv != nullptr) {
      EXPECT_TRUE(build.ParseFromString(kv->value));
    }
    return build;
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

  BundleRevision Revision(const std::string& name) {
    BundleRevision revision;
    const BundleHead head = Heads()[name];
    const KeyValue* kv =
        store_.Find(BundleRevisionKey(head.bundle_id(), head.revision()));
    EXPECT_NE(kv, nullptr) << name;
    if (kv != nullptr) {
      EXPECT_TRUE(revision.ParseFromString(kv->value));
    }
    return revision;
  }

  std::vector<std::string> FileNames(const std::string& bundle) {
    std::vector<std::string> names;
    const BundleRevision revision = Revision(bundle);
    for (const auto& file : revision.files()) {
      names.push_back(file.name());
    }
    return names;
  }

  // Keys of /bundle/ that were written after `revision`.
  std::vector<std::string> WrittenSince(int64_t revision) {
    std::vector<std::string> keys;
    for (const std::string& key : store_.Keys(kBundleFamily)) {
      if (store_.Find(key)->mod_revision > revision) keys.push_back(key);
    }
    return keys;
  }

  SimulatedLoop loop_;
  InlineWorkerPool workers_{loop_};
  MemoryStore store_{loop_};
  MemoryBlobStore blobs_;
  FakeGitRepository git_{loop_};
  FakeRandom random_;
  FakeChartFetcher fetcher_{loop_};
  std::optional<BundleController> controller_;
};

TEST_F(BundleControllerTest, PutsDownloadsIntoTheRevision) {
  PutRepo();
  PutCommit("c1", {{"fleet.yaml", kChart}, {"x.yaml", "x"}});

  EXPECT_THAT(LastBuild().problems(), IsEmpty());
  const std::string prefix =
      ChartPrefix("web", "https://charts.example.com", "1.x");
  EXPECT_THAT(FileNames("repo"),
              ElementsAre(prefix + "/Chart.yaml", prefix + "/values.yaml",
                          "x.yaml"));
  const BundleRevision revision = Revision("repo");
  ASSERT_EQ(revision.charts_size(), 1);
  EXPECT_EQ(revision.charts(0).resolved_version(), "1.2.3");
}

TEST_F(BundleControllerTest, ReadsAgainWhatIsNotStoredAnyMore) {
  PutRepo();
  PutCommit("c1", {{"a/fleet.yaml", ""}, {"a/x.yaml", "x"},
                   {"b/fleet.yaml", ""}, {"b/y.yaml", "y"}});
  ASSERT_THAT(Heads(), SizeIs(2));
  ASSERT_TRUE(blobs_.Remove(DigestOf("x")).ok());

  PutCommit("c2", {{"a/fleet.yaml", ""}, {"a/x.yaml", "x"},
                   {"b/fleet.yaml", ""}, {"b/y.yaml", "z"}});

  EXPECT_TRUE(blobs_.Contains(DigestOf("x")));
  EXPECT_TRUE(blobs_.Contains(DigestOf("z")));
}

TEST_F(BundleControllerTest, NamesNoFileThatWentWhileChartsCame) {
  PutRepo();
  const auto answer = [this](const ChartRequest&) {
    return FakeChartFetcher::Make(blobs_, "1.2.3",
                                  {{"Chart.yaml", "name: web"}});
  };
  fetcher_.set_answer([this, answer](const ChartRequest& request) {
    // As the hourly sweep does, between the build and its commit.
    EXPECT_TRUE(blobs_.Remove(DigestOf("x")).ok());
    return answer(request);
  });
  PutCommit("c1", {{"a/fleet.yaml", kChart}, {"b/fleet.yaml", ""},
                   {"b/x.yaml", "x"}});
  EXPECT_THAT(Heads(), IsEmpty());
  ASSERT_EQ(LastBuild().problems_size(), 1);
  EXPECT_EQ(LastBuild().problems(0).code(), "UNAVAILABLE");

  fetcher_.set_answer(answer);
  loop_.Advance(absl::Minutes(1));

  EXPECT_THAT(LastBuild().problems(), IsEmpty());
  EXPECT_THAT(Heads(), SizeIs(2));
  EXPECT_TRUE(blobs_.Contains(DigestOf("x")));
}

TEST_F(BundleControllerTest, AsksForEachChartOnce) {
  PutRepo();
  Files files;
  for (const char* name : {"a", "b", "c"}) {
    files[absl::StrCat(name, "/fleet.yaml")] = kChart;
  }
  PutCommit("c1", files);

  EXPECT_THAT(Heads(), SizeIs(3));
  EXPECT_THAT(fetcher_.requests(), SizeIs(1));

  // A constraint is resolved again with each commit.
  PutCommit("c2", files);
  EXPECT_THAT(fetcher_.requests(), SizeIs(2));
}

TEST_F(BundleControllerTest, ReleasesNothingWhenADownloadFails) {
  PutRepo();
  PutCommit("c1", {{"a/fleet.yaml", kChart}, {"b/x.yaml", "x"},
                   {"b/fleet.yaml", ""}});
  const std::map<std::string, BundleHead> before = Heads();
  ASSERT_THAT(before, SizeIs(2));
  fetcher_.set_answer([](const ChartRequest&) {
    return absl::NotFoundError("https://charts.example.com has no web");
  });

  PutCommit("c2", {{"a/fleet.yaml", "\n" + std::string(kChart)}});

  const BundleBuild build = LastBuild();
  ASSERT_EQ(build.problems_size(), 1);
  EXPECT_EQ(build.problems(0).file(), "a/fleet.yaml");
  EXPECT_EQ(build.problems(0).line(), 2);
  EXPECT_EQ(build.problems(0).code(), "NOT_FOUND");
  EXPECT_THAT(build.problems(0).message(),
              AllOf(HasSubstr("chart \"web\" of https://charts.example.com"),
                    HasSubstr("has no web")));
  for (const auto& [name, head] : Heads()) {
    EXPECT_EQ(SerializeRecord(head), SerializeRecord(before.at(name)));
  }
  // Not tried again by itself.
  const size_t asked = fetcher_.requests().size();
  loop_.Advance(absl::Minutes(5));
  EXPECT_EQ(fetcher_.requests().size(), asked);
}

TEST_F(BundleControllerTest, TriesAgainWhatMayPass) {
  fetcher_.set_answer([](const ChartRequest&) {
    return absl::UnavailableError("no answer");
  });
  PutRepo();
  PutCommit("c1", {{"fleet.yaml", kChart}});
  ASSERT_EQ(LastBuild().problems_size(), 1);
  const int64_t written = store_.revision();
  loop_.Advance(absl::Minutes(1));
  EXPECT_GT(fetcher_.requests().size(), 2);
  // Nothing new to say.
  EXPECT_EQ(store_.revision(), written);

  fetcher_.set_answer([this](const ChartRequest&) {
    return FakeChartFetcher::Make(blobs_, "1.2.3",
                                  {{"Chart.yaml", "name: web"}});
  });
  loop_.Advance(absl::Minutes(1));

  EXPECT_THAT(LastBuild().problems(), IsEmpty());
  EXPECT_THAT(Heads(), SizeIs(1));
}

TEST_F(BundleControllerTest, GivesDownloadsUpForANewerCommit) {
  fetcher_.Hold();
  PutRepo();
  PutCommit("c1", {{"fleet.yaml", kChart}});
  PutCommit("c2", {{"x.yaml", "x"}});

  EXPECT_EQ(LastBuild().commit_id(), "c2");
  EXPECT_THAT(FileNames("repo"), ElementsAre("x.yaml"));

  fetcher_.Release();
  loop_.RunUntilIdle();
  EXPECT_THAT(FileNames("repo"), ElementsAre("x.yaml"));
}

TEST_F(BundleControllerTest, SurvivesADocumentThatGoesWhileChartsCome) {
  fetcher_.Hold();
  PutRepo();
  PutCommit("c1", {{"fleet.yaml", kChart}});
  store_.Delete(DocumentKey(kWorkspace, "GitRepo", "repo"));
  loop_.RunUntilIdle();
  fetcher_.Release();
  loop_.RunUntilIdle();

  EXPECT_THAT(Heads(), IsEmpty());
  controller_.reset();
  loop_.RunUntilIdle();
}

TEST_F(BundleControllerTest, SendsCredentialsThatTheExpressionLetsThrough) {
  storage::v1::SecretData data;
  for (const auto& [key, value] :
       std::map<std::string, std::string>{{"username", "robot"},
                                          {"password", "canary"}}) {
    auto* entry = data.add_entries();
    entry->set_key(key);
    entry->set_value(value);
  }
  Document secret = Make("Secret", "creds");
  secret.mutable_secret()->set_sealed(SerializeRecord(data));
  PutRepo(1, "creds", "https://charts\\.example\\.com/?");
  PutCommit("c1", {{"fleet.yaml", kChart}});
  // Named, and not there.
  ASSERT_EQ(LastBuild().problems_size(), 1);
  EXPECT_THAT(LastBuild().problems(0).message(), HasSubstr("creds"));

  Put(secret);
  EXPECT_THAT(LastBuild().problems(), IsEmpty());
  ASSERT_THAT(fetcher_.requests(), SizeIs(1));
  EXPECT_EQ(fetcher_.requests()[0].credentials.password, "canary");

  // A new password is used at once.
  data.mutable_entries(0)->set_value("canary2");
  secret.mutable_secret()->set_sealed(SerializeRecord(data));
  Put(secret);
  ASSERT_THAT(fetcher_.requests(), SizeIs(2));
  EXPECT_EQ(fetcher_.requests()[1].credentials.password, "canary2");

  PutRepo(2, "creds", "https://other\\.example\\.com/");
  PutCommit("c2", {{"fleet.yaml", kChart}}, 2);
  EXPECT_EQ(fetcher_.requests().back().credentials.password, "");
  for (const std::string& key : store_.Keys(kBundleFamily)) {
    EXPECT_THAT(store_.Find(key)->value, Not(HasSubstr("canary")));
  }
}

TEST_F(BundleControllerTest, SaysSoWithoutAFetcher) {
  controller_.reset();
  controller_.emplace(loop_, workers_, store_,
                      FamilyWriter(store_, kBundleFamily), blobs_, git_,
                      random_);
  PutRepo();
  PutCommit("c1", {{"fleet.yaml", kChart}});

  ASSERT_EQ(LastBuild().problems_size(), 1);
  EXPECT_THAT(LastBuild().problems(0).message(),
              HasSubstr("no chart fetcher"));
}

TEST_F(BundleControllerTest, MakesABundleOfAHelmOp) {
  Put(HelmOp());
  EXPECT_THAT(Heads(), IsEmpty());

  PutChart("1.0.0");
  ASSERT_THAT(Heads(), SizeIs(1));
  const BundleHead first = Heads()["op"];
  EXPECT_EQ(first.helm_op(), "op");
  // Told apart from what was built for an earlier generation.
  const std::string build = BundleBuildName("HelmOp", "op");
  EXPECT_EQ(LastBuild(build).name(), build);
  EXPECT_EQ(LastBuild(build).document_generation(), HelmOp().generation());
  EXPECT_EQ(Revision("op").charts(0).resolved_version(), "1.0.0");

  // A look-up that fails changes nothing.
  PutChart("1.0.0", "no answer");
  EXPECT_EQ(Heads()["op"].revision(), first.revision());

  PutChart("1.1.0");
  EXPECT_EQ(Heads()["op"].bundle_id(), first.bundle_id());
  EXPECT_EQ(Revision("op").charts(0).resolved_version(), "1.1.0");

  Document gone = HelmOp();
  gone.mutable_delete_time()->set_seconds(1);
  Put(gone);
  EXPECT_THAT(Heads(), IsEmpty());
  EXPECT_EQ(LastBuild(build).name(), "");
}

TEST_F(BundleControllerTest, ShowsWhatAHelmOpHasWrong) {
  Document op = HelmOp();
  op.mutable_helm_op()
      ->mutable_bundle()
      ->mutable_options()
      ->mutable_helm()
      ->add_values_files("nope.yaml");
  Put(op);
  PutChart("1.0.0");

  ASSERT_EQ(LastBuild("helmop:op").problems_size(), 1);
  EXPECT_THAT(LastBuild("helmop:op").problems(0).message(),
              HasSubstr("nope.yaml"));
  EXPECT_THAT(Heads(), IsEmpty());
}

TEST_F(BundleControllerTest, LetsTheOlderOneKeepAName) {
  PutRepo();
  PutCommit("c1", {{"fleet.yaml", "name: op"}, {"x.yaml", "x"}});
  ASSERT_THAT(Heads(), SizeIs(1));

  Put(HelmOp());
  PutChart("1.0.0");

  EXPECT_EQ(Heads()["op"].git_repo(), "repo");
  ASSERT_EQ(Heads()["op"].problems_size(), 1);
  EXPECT_EQ(Heads()["op"].problems(0).subject(), "HelmOp fleet-default/op");
  ASSERT_EQ(LastBuild("helmop:op").problems_size(), 1);
  EXPECT_EQ(LastBuild("helmop:op").problems(0).code(), "ALREADY_EXISTS");

  // The name is free again.
  PutCommit("c2", {{"fleet.yaml", "name: other"}, {"x.yaml", "x"}});
  EXPECT_EQ(Heads()["op"].helm_op(), "op");
  EXPECT_EQ(LastBuild("helmop:op").problems_size(), 0);
}

TEST_F(BundleControllerTest, KeepsWhatRunsWhenAPolicyForbidsTheSource) {
  PutRepo();
  PutCommit("c1", {{"x.yaml", "1"}});
  const std::string before = Heads()["repo"].revision();
  Document restriction = Make("GitRepoRestriction", "rule");
  restriction.mutable_git_repo_restriction()->add_allowed_repo_patterns(
      "https://elsewhere/.*");

  Put(restriction);
  PutCommit("c2", {{"x.yaml", "2"}});

  ASSERT_EQ(LastBuild().problems_size(), 1);
  EXPECT_EQ(LastBuild().problems(0).code(), "PolicyViolation");
  EXPECT_EQ(LastBuild().commit_id(), "c2");
  EXPECT_EQ(Heads()["repo"].revision(), before);

  restriction.mutable_git_repo_restriction()->add_allowed_repo_patterns(kUrl);
  Put(restriction);
  EXPECT_THAT(LastBuild().problems(), IsEmpty());
  EXPECT_NE(Heads()["repo"].revision(), before);
}

TEST_F(BundleControllerTest, ShowsAViolationBeforeThereIsACommit) {
  Document policy = Make("Policy", "strict");
  policy.mutable_policy()->set_require_service_account(true);
  Put(policy);
  PutRepo();
  ASSERT_EQ(LastBuild().problems_size(), 1);
  EXPECT_EQ(LastBuild().problems(0).code(), "PolicyViolation");

  store_.Delete(DocumentKey(kWorkspace, "Policy", "strict"));
  loop_.RunUntilIdle();
  EXPECT_EQ(store_.Find(BundleBuildKey(kWorkspace, "repo")), nullptr);
}

TEST_F(BundleControllerTest, PutsWhatPoliciesSayIntoTheBundles) {
  Document policy = Make("Policy", "strict");
  policy.mutable_policy()->set_require_service_account(true);
  policy.mutable_policy()->mutable_git_repo()->set_default_service_account(
      "deployer");
  policy.mutable_policy()->add_allowed_service_accounts("deployer");
  Put(policy);
  PutRepo();
  PutCommit("c1", {{"x.yaml", "1"}});

  ASSERT_THAT(Heads(), SizeIs(1));
  EXPECT_EQ(Revision("repo").options().service_account(), "deployer");
  EXPECT_EQ(Revision("repo").options().create_namespace(),
            storage::v1::TRI_STATE_FALSE);

  // A target of fleet.yaml is held against the list too.
  PutCommit("c2", {{"x.yaml", "1"},
                   {"fleet.yaml",
                    "targetCustomizations:\n"
                    "- {clusterName: c, serviceAccount: root}\n"}});
  ASSERT_EQ(LastBuild().problems_size(), 1);
  EXPECT_EQ(LastBuild().problems(0).code(), "PolicyViolation");
  EXPECT_EQ(Heads()["repo"].commit().id(), "c1");
}

TEST_F(BundleControllerTest, TouchesOneBundleForAChangeOfOne) {
  Files files;
  for (int i = 0; i < 1000; ++i) {
    const std::string directory = absl::StrCat("apps/", i);
    files[directory + "/fleet.yaml"] = "namespace: n";
    files[directory + "/x.yaml"] = absl::StrCat("x: ", i);
  }
  PutRepo();
  PutCommit("c1", files);
  ASSERT_THAT(Heads(), SizeIs(1000));
  ASSERT_EQ(controller_->read_directories(), 1000);
  const int64_t before = store_.revision();

  files["apps/500/x.yaml"] = "x: changed";
  PutCommit("c2", files);

  EXPECT_EQ(controller_->read_directories(), 1001);
  // A head, its new revision, and the record of the build.
  EXPECT_THAT(WrittenSince(before + 1), SizeIs(3));
  EXPECT_EQ(Heads()["repo-apps-500"].commit().id(), "c2");
  EXPECT_EQ(Heads()["repo-apps-501"].commit().id(), "c1");
}

}  // namespace
}  // namespace flotilla::manager
