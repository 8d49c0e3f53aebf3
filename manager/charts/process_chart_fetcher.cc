// SPDX-License-Identifier: Apache-2.0

#include "manager/charts/process_chart_fetcher.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "flotilla/render/v1/fetch.pb.h"
#include "flotilla/storage/v1/storage.pb.h"

#include "common/crypto/sha256.h"
#include "common/status/status_macros.h"
#include "manager/helper/frames.h"

namespace flotilla::manager {
namespace {

constexpr uint64_t kMaxRequestBytes = 16 << 20;
// Above what the program sends: a file of 50 MiB alone, or 4 MiB of files.
constexpr uint64_t kMaxFrameBytes = 64 << 20;
constexpr uint64_t kMaxChartBytes = uint64_t{256} << 20;
constexpr size_t kMaxFiles = 110000;
// After the program should have answered.
constexpr absl::Duration kGrace = absl::Seconds(10);
constexpr absl::Duration kExitTimeout = absl::Seconds(2);
// Go's runtime ends with it when memory runs out.
constexpr int kGoFatalExit = 2;

// Host and port that a request is about, for fairness only.
std::string HostOf(const ChartRequest& request) {
  absl::string_view url = request.repo.empty() ? request.chart : request.repo;
  if (!request.chart_yaml.empty()) return "dependencies";
  const size_t scheme = url.find("://");
  if (scheme != absl::string_view::npos) url.remove_prefix(scheme + 3);
  url = url.substr(0, url.find_first_of("/?#"));
  const size_t at = url.rfind('@');
  if (at != absl::string_view::npos) url.remove_prefix(at + 1);
  return std::string(url);
}

render::v1::FetchRequest ToWire(const ChartRequest& request) {
  render::v1::FetchRequest wire;
  wire.set_chart(request.chart);
  wire.set_repo(request.repo);
  wire.set_version(request.version);
  wire.set_chart_yaml(request.chart_yaml);
  wire.set_chart_lock(request.chart_lock);
  const ChartCredentials& from = request.credentials;
  render::v1::FetchCredentials* to = wire.mutable_credentials();
  to->set_username(from.username);
  to->set_password(from.password);
  to->set_ssh_private_key(from.ssh_private_key);
  to->set_ca_bundle(from.ca_bundle);
  to->set_insecure_skip_tls_verify(from.insecure_skip_tls_verify);
  to->set_basic_http(from.basic_http);
  for (const std::string& repo : from.dependency_repos) {
    to->add_dependency_repos(repo);
  }
  return wire;
}

// Of the whole request: equal ones are one flight.
std::string FlightKey(absl::string_view secret, const ChartRequest& request) {
  std::string key = ChartCache::Key(secret, request);
  if (request.chart_yaml.empty()) return key;
  std::string more = absl::StrCat(request.chart_yaml.size(), ":",
                                  request.chart_yaml, request.chart_lock);
  for (const std::string& repo : request.credentials.dependency_repos) {
    absl::StrAppend(&more, "\n", repo);
  }
  return key + Sha256(more);
}

absl::Status ToStatus(const render::v1::FetchError& error) {
  absl::StatusCode code = absl::StatusCode::kUnavailable;
  switch (static_cast<absl::StatusCode>(error.code())) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kInternal:
      code = static_cast<absl::StatusCode>(error.code());
      break;
    case absl::StatusCode::kPermissionDenied:
      code = absl::StatusCode::kUnauthenticated;
      break;
    default:
      break;
  }
  return absl::Status(code, error.message());
}

// The result for one of those who asked: with the hint that is theirs.
absl::StatusOr<FetchedChart> WithHint(
    const absl::StatusOr<FetchedChart>& result, const std::string& hint) {
  if (hint.empty() || (!absl::IsUnauthenticated(result.status()) &&
                       !absl::IsNotFound(result.status()))) {
    return result;
  }
  return absl::Status(result.status().code(),
                      absl::StrCat(result.status().message(), "; ", hint));
}

}  // namespace

ProcessChartFetcher::ProcessChartFetcher(Loop& loop, WorkerPool& workers,
                                         Subprocesses& subprocesses,
                                         BlobStore& blobs, ChartCache* cache,
                                         ProcessChartFetcherOptions options)
    : options_(std::move(options)),
      loop_(loop),
      workers_(workers),
      subprocesses_(subprocesses),
      blobs_(blobs),
      cache_(cache),
      pool_({options_.max_processes, options_.max_for_host,
             options_.idle_timeout}) {}

ProcessChartFetcher::~ProcessChartFetcher() { *alive_ = false; }

void ProcessChartFetcher::Fetch(ChartRequest request, Done done) {
  const std::string key = FlightKey(options_.cache_secret, request);
  std::vector<Waiter>& waiters = flights_[key];
  waiters.push_back({request.credentials.hint, std::move(done)});
  if (waiters.size() > 1) return;

  Job job;
  job.key = key;
  job.host = HostOf(request);
  job.request = ToWire(request);
  job.request.set_id(next_id_++);
  job.request.set_timeout_milliseconds(
      absl::ToInt64Milliseconds(options_.timeout));
  if (cache_ == nullptr || !request.chart_yaml.empty()) {
    Enqueue(std::move(job));
    return;
  }
  // By value: the pool may outlive this.
  workers_.Submit<absl::StatusOr<FetchedChart>>(
      [cache = cache_, blobs = &blobs_, key]() -> absl::StatusOr<FetchedChart> {
        ASSIGN_OR_RETURN(FetchedChart chart, cache->Find(key));
        std::vector<std::string> digests;
        for (const storage::v1::BundleFile& file : chart.files) {
          digests.push_back(file.blob_digest());
        }
        if (blobs->Renew(digests)) return chart;
        cache->Remove(key).IgnoreError();
        return absl::NotFoundError("its files are gone");
      },
      [this, alive = alive_,
       job = std::move(job)](absl::StatusOr<FetchedChart> found) mutable {
        if (!*alive) return;
        if (found.ok()) {
          Finish(job.key, std::move(found));
        } else {
          Enqueue(std::move(job));
        }
      });
}

void ProcessChartFetcher::Finish(const std::string& key,
                                 absl::StatusOr<FetchedChart> result) {
  const auto it = flights_.find(key);
  if (it == flights_.end()) return;
  std::vector<Waiter> waiters = std::move(it->second);
  flights_.erase(it);
  const std::shared_ptr<bool> alive = alive_;
  for (Waiter& waiter : waiters) {
    if (!*alive) return;
    waiter.done(WithHint(result, waiter.hint));
  }
}

void ProcessChartFetcher::Enqueue(Job job) {
  const std::string host = job.host;
  pool_.Submit(host, [this, job = std::move(job)](ProcessPool::Slot& slot) {
    loop_.Post([this, alive = alive_, key = job.key,
                result = Serve(job, slot)]() mutable {
      if (*alive) Finish(key, std::move(result));
    });
  });
}

absl::StatusOr<FetchedChart> ProcessChartFetcher::Serve(
    const Job& job, ProcessPool::Slot& slot) {
  for (;;) {
    const bool warm = slot.process() != nullptr;
    if (!warm) {
      SubprocessOptions child;
      child.argv = {options_.fetcher_path,
                    absl::StrCat("--max-memory-mib=", options_.max_memory_mib)};
      child.environment = options_.environment;
      child.error_output = SubprocessOptions::Stderr::kDiscard;
      absl::StatusOr<std::unique_ptr<Subprocess>> started =
          subprocesses_.Start(child);
      if (!started.ok()) {
        return absl::UnavailableError(absl::StrCat(
            "charts cannot be downloaded: ", started.status().message(),
            ". Install flotilla-chart-fetcher beside the manager"));
      }
      slot.SetProcess(*std::move(started));
    }
    bool answered = false;
    absl::StatusOr<FetchedChart> chart = Ask(job, *slot.process(), &answered);
    if (answered) return chart;
    slot.SetProcess(nullptr);
    // A process that died while it had nothing to do is nobody's fault; what
    // it died of may also have been left there by others.
    if (warm && !absl::IsDeadlineExceeded(chart.status())) continue;
    if (absl::IsDeadlineExceeded(chart.status())) {
      return absl::UnavailableError(absl::StrCat(
          "the chart was not downloaded within ",
          absl::FormatDuration(options_.timeout)));
    }
    return chart;
  }
}

absl::Status ProcessChartFetcher::Keep(
    render::v1::FetchResponse* response,
    std::map<std::string, storage::v1::BundleFile>* files) {
  std::vector<std::string> blobs(response->files_size());
  for (int i = 0; i < response->files_size(); ++i) {
    blobs[i] = std::move(*response->mutable_files(i)->mutable_content());
  }
  if (blobs.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<std::string> digests,
                   blobs_.PutAll(blobs), _ << "storing a chart");
  for (int i = 0; i < response->files_size(); ++i) {
    storage::v1::BundleFile& file = (*files)[response->files(i).name()];
    file.set_name(response->files(i).name());
    file.set_blob_digest(digests[i]);
    file.set_size(blobs[i].size());
  }
  return absl::OkStatus();
}

absl::StatusOr<FetchedChart> ProcessChartFetcher::Ask(const Job& job,
                                                      Subprocess& process,
                                                      bool* answered) {
  if (job.request.ByteSizeLong() > kMaxRequestBytes) {
    *answered = true;
    return absl::InvalidArgumentError(absl::StrCat(
        "Chart.yaml and credentials have more than ", kMaxRequestBytes >> 20,
        " MiB"));
  }
  absl::StatusOr<std::string> frame = EncodeFrame(job.request);
  if (!frame.ok()) {
    *answered = true;
    return frame.status();
  }
  absl::Status status = process.Write(*frame, options_.timeout);
  std::map<std::string, storage::v1::BundleFile> files;
  uint64_t bytes = 0;
  absl::Status kept;
  while (status.ok()) {
    render::v1::FetchResponse response;
    status = ReadFrame(process, kMaxFrameBytes, options_.timeout + kGrace,
                       response);
    if (!status.ok()) break;
    if (response.id() != job.request.id()) {
      return absl::UnavailableError(
          "the chart fetcher answered another question than was asked");
    }
    bytes += response.ByteSizeLong();
    if (bytes > kMaxChartBytes || files.size() > kMaxFiles) {
      return absl::UnavailableError("the chart fetcher sends too much");
    }
    const bool last = response.last();
    // The rest is read all the same: the process goes on to the next request.
    if (kept.ok()) kept = Keep(&response, &files);
    if (!last) continue;

    *answered = true;
    if (response.has_error()) return ToStatus(response.error());
    RETURN_IF_ERROR(kept);
    FetchedChart chart;
    chart.version = response.version();
    for (auto& [name, file] : files) chart.files.push_back(std::move(file));
    if (response.immutable() && cache_ != nullptr) {
      // Without it the next one is slower, no more.
      cache_->Put(job.key, chart).IgnoreError();
    }
    return chart;
  }
  if (absl::IsDataLoss(status)) {
    return absl::UnavailableError(
        absl::StrCat("the chart fetcher ", status.message()));
  }
  if (!absl::IsUnavailable(status)) return status;
  const absl::StatusOr<Subprocess::Exit> exit = process.Wait(kExitTimeout);
  if (exit.ok() && (exit->code == kGoFatalExit || exit->signal != 0)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the chart was not read within ", options_.max_memory_mib,
        " MiB of memory (chart fetcher: ", exit->ToString(), ")"));
  }
  return absl::UnavailableError(absl::StrCat(
      "the chart fetcher ended: ",
      exit.ok() ? exit->ToString() : std::string(status.message())));
}

}  // namespace flotilla::manager
