// SPDX-License-Identifier: Apache-2.0

#include "tools/ctl/local_stages.h"

#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status/status_macros.h"
#include "manager/charts/chart_credentials.h"
#include "manager/charts/fetcher_path.h"
#include "manager/charts/git_chart_address.h"
#include "manager/render/worker_path.h"
#include "tools/ctl/printer.h"

namespace flotilla::ctl {
namespace {

// What the program that downloads may see.
std::vector<std::string> ProxyEnvironment() {
  std::vector<std::string> out;
  for (const char* name : {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
                           "http_proxy", "https_proxy", "no_proxy"}) {
    const char* value = std::getenv(name);
    if (value != nullptr) out.push_back(absl::StrCat(name, "=", value));
  }
  return out;
}

std::string FirstOf(const char* name, const char* other) {
  const char* value = std::getenv(name);
  if (value == nullptr) value = std::getenv(other);
  return value == nullptr ? "" : value;
}

}  // namespace

absl::Status ProblemsError(const std::vector<core::v1::Problem>& problems) {
  std::vector<std::string> lines;
  for (const auto& problem : problems) lines.push_back(ProblemLine(problem));
  return absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
}

void PrintWarnings(const std::vector<core::v1::Problem>& problems,
                   std::ostream& out) {
  for (const auto& problem : problems) {
    out << "warning: " << ProblemLine(problem) << "\n";
  }
}

LocalStages::LocalStages() : workers_(loop_, 1) {
  std::error_code ignored;
  const std::string program =
      std::filesystem::read_symlink("/proc/self/exe", ignored).string();
  manager::ProcessChartFetcherOptions fetcher;
  fetcher.fetcher_path = manager::FindChartFetcher(program);
  fetcher.environment = ProxyEnvironment();
  fetcher_ = std::make_unique<manager::ProcessChartFetcher>(
      loop_, workers_, subprocesses_, blobs_, nullptr, std::move(fetcher));
  manager::WorkerRendererOptions renderer;
  renderer.worker_path = manager::FindRenderWorker(program);
  renderer.max_workers = 1;
  renderer_ = std::make_unique<manager::WorkerRenderer>(loop_, subprocesses_,
                                                        std::move(renderer));
}

LocalStages::~LocalStages() {
  if (git_ != nullptr) git_->CutAll();
  workers_.Stop();
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

absl::StatusOr<manager::ChartFetcher*> LocalStages::FetcherOf(
    const std::string& chart) {
  const auto address = manager::ParseGitChartAddress(chart);
  if (!address.ok()) return address.status();
  if (!address->has_value()) return fetcher_.get();
  if (git_fetcher_ != nullptr) return git_fetcher_.get();
  std::error_code error;
  const std::filesystem::path temporary =
      std::filesystem::temp_directory_path(error);
  std::string name = (temporary / "flotilla-XXXXXX").string();
  if (error || mkdtemp(name.data()) == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(
        "no folder can be made in ", temporary.string(),
        " for what is fetched from Git; set TMPDIR to another one"));
  }
  folder_ = name;
  manager::Libgit2Repository::Options options;
  options.proxy = {FirstOf("http_proxy", "HTTP_PROXY"),
                   FirstOf("https_proxy", "HTTPS_PROXY"),
                   FirstOf("no_proxy", "NO_PROXY")};
  ASSIGN_OR_RETURN(git_, manager::Libgit2Repository::Create(
                             workers_, clock_, random_, folder_, options));
  git_fetcher_ = std::make_unique<manager::GitChartFetcher>(
      loop_, workers_, *git_, blobs_, *fetcher_,
      [] { return std::string(); });
  return git_fetcher_.get();
}

absl::Status LocalStages::FetchCharts(
    const std::vector<manager::ChartNeed>& needs,
    manager::FetchedCharts& fetched) {
  const manager::ChartCredentialRules none;
  std::vector<core::v1::Problem> problems;
  for (const manager::ChartNeed& need : needs) {
    const std::string key = manager::ChartNeedKey(need);
    if (fetched.count(key) > 0) continue;
    manager::ChartRequest request;
    request.chart = need.chart;
    request.repo = need.repo;
    request.version = need.version;
    request.chart_yaml = need.chart_yaml;
    request.chart_lock = need.chart_lock;
    request.credentials =
        need.is_dependencies()
            ? none.ForDependencies(need.directory, need.chart_yaml)
            : none.ForChart(need.directory, need.repo, need.chart);
    absl::StatusOr<manager::FetchedChart> chart =
        absl::InternalError("no answer");
    absl::StatusOr<manager::ChartFetcher*> fetcher = fetcher_.get();
    if (request.repo.empty() && !need.is_dependencies()) {
      fetcher = FetcherOf(request.chart);
    }
    if (fetcher.ok()) {
      (*fetcher)->Fetch(std::move(request),
                        [&](absl::StatusOr<manager::FetchedChart> answer) {
                          chart = std::move(answer);
                          loop_.Stop();
                        });
      loop_.RunUntilStopped();
    } else {
      chart = fetcher.status();
    }
    if (chart.ok()) {
      fetched[key] = *std::move(chart);
      continue;
    }
    core::v1::Problem& problem = problems.emplace_back();
    problem.set_file(need.file);
    problem.set_line(static_cast<uint32_t>(need.line));
    problem.set_message(absl::StrCat(manager::DescribeChart(need), ": ",
                                     chart.status().message()));
  }
  return problems.empty() ? absl::OkStatus() : ProblemsError(problems);
}

absl::StatusOr<render::v1::RenderResponse> LocalStages::Render(
    const render::v1::RenderRequest& request) {
  absl::StatusOr<render::v1::RenderResponse> result =
      absl::InternalError("no answer");
  renderer_->Render(request,
                    [&](absl::StatusOr<render::v1::RenderResponse> answer) {
                      result = std::move(answer);
                      loop_.Stop();
                    });
  loop_.RunUntilStopped();
  return result;
}

}  // namespace flotilla::ctl
