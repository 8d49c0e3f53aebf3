// SPDX-License-Identifier: Apache-2.0

#include "manager/charts/git_chart_fetcher.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/status/status_macros.h"
#include "common/yaml/documents.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/gitsync/file_tree.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

constexpr size_t kMaxClones = 16;
constexpr size_t kMaxFiles = 10000;
constexpr uint64_t kMaxBytes = uint64_t{64} << 20;

std::string FlightKey(const GitSource& source, const std::string& folder) {
  std::string key;
  for (const std::string* part :
       {&source.url, &source.revision, &folder, &source.ca_bundle,
        &source.credentials.username, &source.credentials.password,
        &source.credentials.ssh_private_key,
        &source.credentials.known_hosts}) {
    absl::StrAppend(&key, part->size(), ":", *part);
  }
  absl::StrAppend(&key, source.insecure_skip_tls_verify);
  return key;
}

// With the codes of ChartFetcher, and the names of its fields.
absl::Status Translate(const absl::Status& status) {
  absl::StatusCode code = status.code();
  switch (code) {
    case absl::StatusCode::kPermissionDenied:
      code = absl::StatusCode::kUnauthenticated;
      break;
    case absl::StatusCode::kFailedPrecondition:
      code = absl::StatusCode::kInvalidArgument;
      break;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kResourceExhausted:
      break;
    default:
      code = absl::StatusCode::kUnavailable;
  }
  return absl::Status(
      code, absl::StrReplaceAll(status.message(),
                                {{"spec.clientSecretName",
                                  "spec.helmSecretName"},
                                 {"spec.repo", "helm.chart"},
                                 {"spec.revision", "its ref="}}));
}

std::string VersionOf(const std::string& chart_yaml) {
  YamlLimits limits;
  limits.max_bytes = 1 << 20;
  limits.max_nodes = 100000;
  limits.record_lines = false;
  limits.lenient = true;
  const absl::StatusOr<YamlDocument> document = ParseYaml(chart_yaml, limits);
  if (!document.ok() || !document->value.is_object()) return "";
  const auto version = document->value.find("version");
  return version != document->value.end() && version->is_string()
             ? version->get<std::string>()
             : "";
}

// Blocks on the disk.
absl::StatusOr<FetchedChart> ReadChart(FileTree& tree,
                                       const std::string& folder,
                                       BlobStore& blobs) {
  WalkLimits limits;
  limits.max_entries = kMaxFiles;
  ASSIGN_OR_RETURN(const std::vector<TreeEntry> entries,
                   tree.Walk(folder, limits));
  const std::string prefix = folder.empty() ? "" : folder + "/";
  FetchedChart chart;
  std::vector<std::string> contents;
  uint64_t bytes = 0;
  bool is_chart = false;
  for (const TreeEntry& entry : entries) {
    if (entry.kind == TreeEntry::Kind::kDirectory ||
        entry.kind == TreeEntry::Kind::kSubmodule) {
      continue;
    }
    if (entry.kind != TreeEntry::Kind::kFile) {
      return absl::InvalidArgumentError(
          absl::StrCat(entry.path, " cannot be read: ", entry.problem));
    }
    bytes += entry.size;
    if (bytes > kMaxBytes) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "the chart has more than ", kMaxBytes >> 20, " MiB"));
    }
    ASSIGN_OR_RETURN(std::string content, tree.Read(entry.path, kMaxBytes));
    storage::v1::BundleFile& file = chart.files.emplace_back();
    file.set_name(entry.path.substr(prefix.size()));
    file.set_size(content.size());
    if (file.name() == "Chart.yaml") {
      is_chart = true;
      chart.version = VersionOf(content);
    }
    contents.push_back(std::move(content));
  }
  if (!is_chart) {
    return absl::NotFoundError(absl::StrCat(
        "there is no Chart.yaml in ",
        folder.empty() ? "the root of the repository; name its folder behind //"
                       : absl::StrCat("its folder ", folder)));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> digests,
                   blobs.PutAll(contents), _ << "storing a chart");
  for (size_t i = 0; i < digests.size(); ++i) {
    chart.files[i].set_blob_digest(digests[i]);
  }
  std::sort(chart.files.begin(), chart.files.end(),
            [](const auto& a, const auto& b) { return a.name() < b.name(); });
  return chart;
}

}  // namespace

GitChartFetcher::GitChartFetcher(Loop& loop, WorkerPool& workers,
                                 GitRepository& git, BlobStore& blobs,
                                 ChartFetcher& others, KnownHosts known_hosts)
    : loop_(loop),
      workers_(workers),
      git_(git),
      blobs_(blobs),
      others_(others),
      known_hosts_(std::move(known_hosts)) {}

GitChartFetcher::~GitChartFetcher() { *alive_ = false; }

void GitChartFetcher::Fetch(ChartRequest request, Done done) {
  absl::StatusOr<std::optional<GitChartAddress>> address = std::nullopt;
  if (request.repo.empty() && request.chart_yaml.empty()) {
    address = ParseGitChartAddress(request.chart);
  }
  if (!address.ok()) {
    loop_.Post([alive = alive_, status = address.status(),
                done = std::move(done)]() mutable {
      if (*alive) done(std::move(status));
    });
    return;
  }
  if (!address->has_value()) {
    others_.Fetch(std::move(request), std::move(done));
    return;
  }
  const GitChartAddress& named = **address;
  GitSource source;
  source.url = named.url;
  source.revision = named.ref;
  source.any_ref = true;
  source.ca_bundle = request.credentials.ca_bundle;
  source.insecure_skip_tls_verify =
      request.credentials.insecure_skip_tls_verify;
  source.credentials_name = request.credentials.name;
  source.credentials.username = request.credentials.username;
  source.credentials.password = request.credentials.password;
  source.credentials.ssh_private_key =
      named.ssh_private_key.empty() ? request.credentials.ssh_private_key
                                    : named.ssh_private_key;
  source.credentials.known_hosts = known_hosts_();

  const std::string key = FlightKey(source, named.folder);
  std::vector<Waiter>& waiters = flights_[key];
  waiters.push_back({request.credentials.hint, std::move(done)});
  if (waiters.size() > 1) return;
  git_.Fetch(std::move(source),
             [this, alive = alive_, key, folder = named.folder](
                 absl::StatusOr<FetchedCommit> commit) {
               if (*alive) OnCommit(key, folder, std::move(commit));
             });
}

void GitChartFetcher::OnCommit(const std::string& key,
                               const std::string& folder,
                               absl::StatusOr<FetchedCommit> commit) {
  if (!commit.ok()) {
    Finish(key, Translate(commit.status()));
    return;
  }
  const auto used =
      std::find(clones_.begin(), clones_.end(), commit->clone_id);
  if (used != clones_.end()) clones_.erase(used);
  clones_.push_back(commit->clone_id);
  workers_.Submit<absl::StatusOr<FetchedChart>>(
      [&git = git_, &blobs = blobs_, folder, clone = commit->clone_id,
       id = commit->id]() -> absl::StatusOr<FetchedChart> {
        ASSIGN_OR_RETURN(const std::unique_ptr<FileTree> tree,
                         git.OpenTree(clone, id));
        return ReadChart(*tree, folder, blobs);
      },
      [this, alive = alive_, key](absl::StatusOr<FetchedChart> chart) {
        if (!*alive) return;
        if (!chart.ok()) chart = Translate(chart.status());
        Finish(key, std::move(chart));
      });
}

void GitChartFetcher::Finish(const std::string& key,
                             absl::StatusOr<FetchedChart> result) {
  const auto it = flights_.find(key);
  if (it == flights_.end()) return;
  std::vector<Waiter> waiters = std::move(it->second);
  flights_.erase(it);
  Retain();
  const std::shared_ptr<bool> alive = alive_;
  for (Waiter& waiter : waiters) {
    if (!*alive) return;
    const bool refused = absl::IsUnauthenticated(result.status()) ||
                         absl::IsNotFound(result.status());
    if (refused && !waiter.hint.empty()) {
      waiter.done(absl::Status(
          result.status().code(),
          absl::StrCat(result.status().message(), "; ", waiter.hint)));
    } else {
      waiter.done(result);
    }
  }
}

void GitChartFetcher::Retain() {
  if (!flights_.empty()) return;
  if (clones_.size() > kMaxClones) {
    clones_.erase(clones_.begin(), clones_.end() - kMaxClones);
  }
  git_.RetainClones(clones_);
}

}  // namespace flotilla::manager
