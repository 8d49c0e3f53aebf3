// SPDX-License-Identifier: Apache-2.0

#include "manager/charts/git_chart_fetcher.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/blob/memory_blob_store.h"
#include "common/event/inline_worker_pool.h"
#include "common/event/simulated_loop.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/charts/fake_chart_fetcher.h"
#include "manager/gitsync/fake_git_repository.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kUrl[] = "https://h/t/c.git";

class GitChartFetcherTest : public ::testing::Test {
 protected:
  GitChartFetcherTest() {
    git_.SetCommit(kUrl, "1",
                   {{"README.md", "x"},
                    {"web/Chart.yaml", "name: web\nversion: 1.2.3\n"},
                    {"web/templates/a.yaml", "kind: A\n"},
                    {"website/Chart.yaml", "name: website\n"}});
  }

  // `results_` grows with each answer.
  void Ask(const std::string& chart, ChartCredentials credentials = {}) {
    ChartRequest request;
    request.chart = chart;
    request.credentials = std::move(credentials);
    fetcher_.Fetch(std::move(request),
                   [this](absl::StatusOr<FetchedChart> answer) {
                     results_.push_back(std::move(answer));
                   });
    EXPECT_THAT(results_, SizeIs(asked_++)) << "answered within the call";
  }
  absl::StatusOr<FetchedChart> Fetch(const std::string& chart,
                                     ChartCredentials credentials = {}) {
    results_.clear();
    asked_ = 0;
    Ask(chart, std::move(credentials));
    loop_.RunUntilIdle();
    if (results_.size() != 1) return absl::InternalError("no answer");
    return results_[0];
  }
  static std::vector<std::string> Names(const FetchedChart& chart) {
    std::vector<std::string> names;
    for (const auto& file : chart.files) names.push_back(file.name());
    return names;
  }

  SimulatedLoop loop_;
  InlineWorkerPool workers_{loop_};
  MemoryBlobStore blobs_;
  FakeGitRepository git_{loop_};
  FakeChartFetcher others_{loop_};
  std::vector<absl::StatusOr<FetchedChart>> results_;
  size_t asked_ = 0;
  GitChartFetcher fetcher_{loop_,  workers_, git_, blobs_,
                           others_, [] { return std::string("h ssh-rsa K"); }};
};

TEST_F(GitChartFetcherTest, ReadsTheFolderAtTheRef) {
  const auto chart = Fetch("git::https://h/t/c.git//web?ref=v1");

  ASSERT_THAT(chart, IsOk());
  EXPECT_EQ(chart->version, "1.2.3");
  EXPECT_THAT(Names(*chart), ElementsAre("Chart.yaml", "templates/a.yaml"));
  EXPECT_THAT(blobs_.Get(chart->files[1].blob_digest()),
              IsOkAndHolds("kind: A\n"));
  ASSERT_THAT(git_.fetches(), SizeIs(1));
  EXPECT_EQ(git_.fetches()[0].revision, "v1");
  EXPECT_TRUE(git_.fetches()[0].any_ref);
  EXPECT_EQ(git_.fetches()[0].credentials.known_hosts, "h ssh-rsa K");
  EXPECT_THAT(others_.requests(), IsEmpty());
}

TEST_F(GitChartFetcherTest, HandsOverWhatIsNotGit) {
  others_.set_answer([&](const ChartRequest&) {
    return FakeChartFetcher::Make(blobs_, "9", {{"Chart.yaml", "x"}});
  });

  EXPECT_EQ(Fetch("https://h/c.tgz")->version, "9");
  EXPECT_THAT(git_.fetches(), IsEmpty());
}

TEST_F(GitChartFetcherTest, SendsTheCredentialsOfTheRequest) {
  ChartCredentials credentials;
  credentials.username = "u";
  credentials.password = "p";
  credentials.ssh_private_key = "secret's";
  credentials.ca_bundle = "CA";
  credentials.name = "Secret w/helm";

  ASSERT_THAT(Fetch("git::https://h/t/c.git//web", credentials), IsOk());
  git_.SetCommit("ssh://git@h/c", "2", {{"Chart.yaml", "name: c\n"}});
  ASSERT_THAT(Fetch("git@h:c?sshkey=a2V5", credentials), IsOk());

  EXPECT_EQ(git_.fetches()[0].credentials.password, "p");
  EXPECT_EQ(git_.fetches()[0].credentials.ssh_private_key, "secret's");
  EXPECT_EQ(git_.fetches()[0].ca_bundle, "CA");
  EXPECT_EQ(git_.fetches()[0].credentials_name, "Secret w/helm");
  EXPECT_EQ(git_.fetches()[1].credentials.ssh_private_key, "key");
}

TEST_F(GitChartFetcherTest, SaysWhatIsWrong) {
  ChartCredentials kept_back;
  kept_back.hint = "the expression keeps it back";
  EXPECT_THAT(Fetch("git::file:///etc"),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Fetch("git::https://h/t/c.git"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("Chart.yaml")));
  EXPECT_THAT(Fetch("git::https://h/t/c.git//nothing"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nothing")));
  const struct {
    absl::Status from;
    absl::StatusCode code;
    const char* words;
  } kCases[] = {
      {absl::UnauthenticatedError("name it in spec.clientSecretName"),
       absl::StatusCode::kUnauthenticated,
       "in spec.helmSecretName; the expression keeps it back"},
      {absl::PermissionDeniedError("no"), absl::StatusCode::kUnauthenticated,
       "no"},
      {absl::FailedPreconditionError("unknown host key"),
       absl::StatusCode::kInvalidArgument, "unknown host key"},
      {absl::DeadlineExceededError("silent"), absl::StatusCode::kUnavailable,
       "silent"},
      {absl::NotFoundError("check spec.repo"), absl::StatusCode::kNotFound,
       "check helm.chart"},
  };
  for (const auto& test : kCases) {
    git_.SetError(kUrl, test.from);
    EXPECT_THAT(Fetch("git::https://h/t/c.git//web", kept_back),
                StatusIs(test.code, HasSubstr(test.words)));
  }
}

TEST_F(GitChartFetcherTest, FetchesTheSameOnceAndTellsEverybody) {
  git_.Hold();
  Ask("git::https://h/t/c.git//web");
  asked_ = 0;
  Ask("git::https://h/t/c.git//web");
  asked_ = 0;
  Ask("git::https://h/t/c.git//website");
  git_.ReleaseAll();
  loop_.RunUntilIdle();

  ASSERT_THAT(results_, SizeIs(3));
  for (const auto& result : results_) EXPECT_THAT(result, IsOk());
  EXPECT_THAT(git_.fetches(), SizeIs(2));
}

TEST_F(GitChartFetcherTest, KeepsABoundedNumberOfClonesWhileNoneIsFetched) {
  for (int i = 0; i < 20; ++i) {
    const std::string url = absl::StrCat("https://h/", i);
    git_.SetCommit(url, absl::StrCat("c", i), {{"Chart.yaml", "name: c\n"}});
    ASSERT_THAT(Fetch(absl::StrCat("git::", url)), IsOk());
  }
  EXPECT_THAT(git_.retained().back(), SizeIs(16));
  EXPECT_EQ(git_.retained().back().back(), "https://h/19");

  git_.Hold();
  const size_t before = git_.retained().size();
  results_.clear();
  asked_ = 0;
  Ask("git::https://h/1");
  asked_ = 0;
  Ask("git::https://h/2");
  git_.ReleaseOne();
  loop_.RunUntilIdle();
  EXPECT_EQ(git_.retained().size(), before);
  git_.ReleaseAll();
  loop_.RunUntilIdle();
  EXPECT_EQ(git_.retained().size(), before + 1);
}

}  // namespace
}  // namespace flotilla::manager
