// SPDX-License-Identifier: Apache-2.0
//
// With the real fetcher program, named by the first argument, and a server of
// charts on the test's own loop.

#include "manager/charts/process_chart_fetcher.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/blob/memory_blob_store.h"
#include "common/env/posix/posix_subprocess.h"
#include "common/event/real_loop.h"
#include "common/event/thread_worker_pool.h"
#include "common/http/http_server.h"
#include "common/status/status_matchers.h"
#include "manager/charts/chart_cache.h"
#include "manager/charts/chart_fetcher.h"

namespace flotilla::manager {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string* fetcher_path = nullptr;

// A file as tar writes it: a header of 512 bytes, the content, and zeros.
std::string TarFile(const std::string& name, const std::string& content) {
  std::string header(512, '\0');
  header.replace(0, name.size(), name);
  header.replace(100, 7, "0000644");
  header.replace(124, 11, absl::StrFormat("%011o", content.size()));
  header.replace(136, 11, "00000000000");
  header[156] = '0';
  header.replace(257, 5, "ustar");
  header.replace(263, 2, "00");
  header.replace(148, 8, "        ");
  unsigned int sum = 0;
  for (char c : header) sum += static_cast<unsigned char>(c);
  header.replace(148, 7, absl::StrFormat("%06o", sum) + std::string(1, '\0'));
  std::string out = header + content;
  out.resize((out.size() + 511) / 512 * 512, '\0');
  return out;
}

std::string Archive(const std::string& version, size_t big = 0) {
  return TarFile("web/Chart.yaml",
                 absl::StrCat("apiVersion: v2\nname: web\nversion: ", version,
                              "\n")) +
         TarFile("web/templates/a.yaml", std::string(big, 'a')) +
         std::string(1024, '\0');
}

std::string Index(const std::vector<std::string>& versions) {
  std::string text = "apiVersion: v1\nentries:\n  web:\n";
  for (const std::string& version : versions) {
    absl::StrAppend(&text, "  - version: ", version, "\n    urls: [web-",
                    version, ".tar]\n");
  }
  return text;
}

class ProcessChartFetcherTest : public ::testing::Test {
 protected:
  ProcessChartFetcherTest() : workers_(loop_, 2) {
    options_.fetcher_path = *fetcher_path;
    options_.cache_secret = "secret";
    HttpServerOptions server;
    server.address = "127.0.0.1:0";
    auto started = HttpServer::Start(
        loop_, server,
        [this](HttpServerRequest request, HttpServer::Respond respond) {
          Answer(request, std::move(respond));
        });
    EXPECT_THAT(started, IsOk());
    server_ = *std::move(started);
    pages_["/index.yaml"] = Index({"1.0.0", "1.1.0"});
    pages_["/web-1.0.0.tar"] = Archive("1.0.0");
    pages_["/web-1.1.0.tar"] = Archive("1.1.0");
  }

  void Answer(const HttpServerRequest& request, HttpServer::Respond respond) {
    asked_.push_back(request.path);
    if (request.path == "/silent/index.yaml") {
      held_.push_back(std::move(respond));
      return;
    }
    HttpResponse response;
    const auto page = pages_.find(request.path);
    if (page == pages_.end()) {
      response.status = 404;
    } else if (!guard_.empty() && request.Header("authorization") != guard_) {
      response.status = 401;
    } else {
      response.body = page->second;
    }
    respond(std::move(response));
  }

  void Make(ChartCache* cache = nullptr) {
    fetcher_ = std::make_unique<ProcessChartFetcher>(
        loop_, workers_, subprocesses_, blobs_, cache, options_);
  }

  ChartRequest Request(const std::string& version = "",
                       const std::string& path = "") {
    ChartRequest request;
    request.repo = absl::StrCat("http://127.0.0.1:", server_->port(), path);
    request.chart = "web";
    request.version = version;
    return request;
  }

  absl::StatusOr<FetchedChart> Fetch(ChartRequest request) {
    absl::StatusOr<FetchedChart> got = absl::UnknownError("no answer");
    fetcher_->Fetch(std::move(request),
                    [&](absl::StatusOr<FetchedChart> chart) {
                      got = std::move(chart);
                      loop_.Stop();
                    });
    loop_.RunUntilStopped();
    return got;
  }

  RealLoop loop_;
  ThreadWorkerPool workers_;
  PosixSubprocesses subprocesses_;
  MemoryBlobStore blobs_;
  ProcessChartFetcherOptions options_;
  std::map<std::string, std::string> pages_;
  std::string guard_;
  std::vector<std::string> asked_;
  std::vector<HttpServer::Respond> held_;
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<ProcessChartFetcher> fetcher_;
};

TEST_F(ProcessChartFetcherTest, StoresTheFilesOfAChart) {
  Make();
  const auto chart = Fetch(Request("^1"));
  ASSERT_THAT(chart, IsOk());
  EXPECT_EQ(chart->version, "1.1.0");
  ASSERT_EQ(chart->files.size(), 2u);
  EXPECT_EQ(chart->files[0].name(), "Chart.yaml");
  EXPECT_EQ(chart->files[1].name(), "templates/a.yaml");
  const auto content = blobs_.Get(chart->files[0].blob_digest());
  ASSERT_THAT(content, IsOk());
  EXPECT_THAT(*content, HasSubstr("version: 1.1.0"));
  EXPECT_EQ(chart->files[0].size(), content->size());
  EXPECT_EQ(fetcher_->running_processes(), 1);
}

TEST_F(ProcessChartFetcherTest, TakesChartsOfSeveralFrames) {
  pages_["/web-1.1.0.tar"] = Archive("1.1.0", 9 << 20);
  Make();
  const auto chart = Fetch(Request());
  ASSERT_THAT(chart, IsOk());
  ASSERT_EQ(chart->files.size(), 2u);
  EXPECT_EQ(chart->files[1].size(), uint64_t{9} << 20);
}

TEST_F(ProcessChartFetcherTest, SaysWhatWentWrongAndGoesOn) {
  // With more, a request may find the one before not quite over.
  options_.max_processes = 1;
  Make();
  EXPECT_THAT(Fetch(Request("9.0.0")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("9.0.0")));
  ChartRequest bad = Request();
  bad.repo = "http://169.254.169.254";
  EXPECT_THAT(Fetch(bad), StatusIs(absl::StatusCode::kInvalidArgument,
                                   HasSubstr("link-local")));
  EXPECT_THAT(Fetch(Request()), IsOk());
  EXPECT_EQ(fetcher_->running_processes(), 1);
}

TEST_F(ProcessChartFetcherTest, SendsCredentialsAndHintsWhenThereAreNone) {
  guard_ = "Basic dXNlcjpjYW5hcnk=";
  Make();
  ChartRequest request = Request();
  request.credentials.username = "user";
  request.credentials.password = "canary";
  EXPECT_THAT(Fetch(request), IsOk());
  request.credentials = ChartCredentials();
  request.credentials.hint = "set spec.helmRepoURLRegex";
  EXPECT_THAT(Fetch(request),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       AllOf(HasSubstr("; set spec.helmRepoURLRegex"),
                             Not(HasSubstr("canary")))));
}

TEST_F(ProcessChartFetcherTest, FetchesTheSameRequestOnce) {
  Make();
  int left = 5;
  for (int i = 0; i < 5; ++i) {
    fetcher_->Fetch(Request(), [&](absl::StatusOr<FetchedChart> chart) {
      EXPECT_THAT(chart, IsOk());
      if (--left == 0) loop_.Stop();
    });
  }
  loop_.RunUntilStopped();
  EXPECT_THAT(asked_, ElementsAre("/index.yaml", "/web-1.1.0.tar"));
}

TEST_F(ProcessChartFetcherTest, RemembersExactVersionsOverRestarts) {
  const std::string path =
      absl::StrCat(std::getenv("TEST_TMPDIR"), "/process-cache.db");
  std::remove(path.c_str());
  auto cache = ChartCache::Open(path);
  ASSERT_THAT(cache, IsOk());
  Make(cache->get());
  const auto first = Fetch(Request("1.0.0"));
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(asked_.size(), 2u);
  fetcher_.reset();
  cache->reset();

  cache = ChartCache::Open(path);
  ASSERT_THAT(cache, IsOk());
  Make(cache->get());
  const auto second = Fetch(Request("1.0.0"));
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->files.size(), first->files.size());
  EXPECT_EQ(asked_.size(), 2u);
  EXPECT_EQ(fetcher_->running_processes(), 0);

  // Not for constraints, and not for others' credentials.
  EXPECT_THAT(Fetch(Request("~1.0")), IsOk());
  EXPECT_EQ(asked_.size(), 4u);
  guard_ = "Basic none";
  ChartRequest other = Request("1.0.0");
  other.credentials.password = "x";
  EXPECT_THAT(Fetch(other), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(Fetch(Request("1.0.0")), IsOk());

  // Files that went are fetched again.
  guard_ = "";
  EXPECT_THAT(blobs_.Remove(first->files[0].blob_digest()), IsOk());
  EXPECT_THAT(Fetch(Request("1.0.0")), IsOk());
  EXPECT_TRUE(blobs_.Contains(first->files[0].blob_digest()));
}

TEST_F(ProcessChartFetcherTest, FetchesDependencies) {
  Make();
  ChartRequest request;
  request.chart_yaml = absl::StrCat(
      "dependencies: [{name: web, version: ^1, repository: 'http://127.0.0.1:",
      server_->port(), "'}]");
  request.chart_lock = absl::StrCat(
      "dependencies: [{name: web, version: 1.0.0, repository: "
      "'http://127.0.0.1:",
      server_->port(), "'}]");
  const auto chart = Fetch(request);
  ASSERT_THAT(chart, IsOk());
  EXPECT_EQ(chart->version, "");
  ASSERT_EQ(chart->files.size(), 2u);
  EXPECT_EQ(chart->files[0].name(), "charts/web/Chart.yaml");
  EXPECT_THAT(*blobs_.Get(chart->files[0].blob_digest()),
              HasSubstr("version: 1.0.0"));
}

TEST_F(ProcessChartFetcherTest, HoldsOthersUpForNoSilentServer) {
  options_.max_processes = 2;
  options_.max_for_host = 1;
  options_.timeout = absl::Milliseconds(1500);
  Make();
  int silent = 0;
  absl::Status said;
  for (int i = 0; i < 3; ++i) {
    ChartRequest request = Request("", "/silent");
    request.chart = absl::StrCat("web", i);
    fetcher_->Fetch(request, [&](absl::StatusOr<FetchedChart> chart) {
      said = chart.status();
      ++silent;
      loop_.Stop();
    });
  }
  // The same server under another name.
  ChartRequest other = Request();
  other.repo = absl::StrCat("http://localhost:", server_->port());
  EXPECT_THAT(Fetch(other), IsOk());
  EXPECT_EQ(silent, 0);
  EXPECT_LE(held_.size(), 1u);

  while (silent == 0) loop_.RunUntilStopped();
  EXPECT_THAT(said, StatusIs(absl::StatusCode::kUnavailable,
                             HasSubstr("time for a download is over")));
  fetcher_.reset();
  held_.clear();
}

TEST_F(ProcessChartFetcherTest, NamesTheProgramThatIsNotThere) {
  options_.fetcher_path = "/nowhere/flotilla-chart-fetcher";
  Make();
  EXPECT_THAT(Fetch(Request()),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("/nowhere/flotilla-chart-fetcher")));
}

TEST_F(ProcessChartFetcherTest, SurvivesAProgramThatTalksNonsense) {
  for (const char* program : {"/bin/cat", "/bin/true", "/bin/echo"}) {
    options_.fetcher_path = program;
    Make();
    EXPECT_THAT(Fetch(Request()), StatusIs(absl::StatusCode::kUnavailable))
        << program;
  }
}

TEST_F(ProcessChartFetcherTest, AnswersNobodyAfterItsEnd) {
  Make();
  bool called = false;
  fetcher_->Fetch(Request("", "/silent"),
                  [&](absl::StatusOr<FetchedChart>) { called = true; });
  fetcher_->Fetch(Request("1.0.0"),
                  [&](absl::StatusOr<FetchedChart>) { called = true; });
  fetcher_.reset();
  loop_.Post([&] { loop_.Stop(); });
  loop_.RunUntilStopped();
  EXPECT_FALSE(called);
}

}  // namespace
}  // namespace flotilla::manager

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (argc < 2) return 1;
  flotilla::manager::fetcher_path = new std::string(argv[1]);
  return RUN_ALL_TESTS();
}
