// SPDX-License-Identifier: Apache-2.0
//
// What a bundle needs from elsewhere (spec 3.8): charts of repositories,
// registries and URLs, and dependencies of charts that lie in the bundle.
// Decisions only: a ChartFetcher downloads.

#ifndef FLOTILLA_MANAGER_BUNDLE_CHART_NEEDS_H_
#define FLOTILLA_MANAGER_BUNDLE_CHART_NEEDS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/charts/chart_fetcher.h"

namespace flotilla::manager {

struct ChartNeed {
  // As in HelmOptions; empty for dependencies.
  std::string chart;
  std::string repo;
  std::string version;
  // A Chart.yaml that lists the dependencies that are wanted, and the chart's
  // Chart.lock; empty for a chart.
  std::string chart_yaml;
  std::string chart_lock;
  // Where the files go in the bundle, no slash at its end: ".chart/<hex>", or
  // the directory of the chart whose dependencies these are ("" is the root).
  std::string prefix;
  // Directory of the bundle in the repository, for credentials by path.
  std::string directory;
  // Where it is asked for, for messages.
  std::string file;
  int line = 0;

  bool is_dependencies() const { return !chart_yaml.empty(); }
};

// Equal for needs that are the same download.
std::string ChartNeedKey(const ChartNeed& need);

// ".chart/<SHA-256 in hex of chart:repo:version>".
std::string ChartPrefix(absl::string_view chart, absl::string_view repo,
                        absl::string_view version);

// Whether helm.chart, without helm.repo, is an address of any form that
// go-getter takes, not a path.
bool IsChartAddress(absl::string_view chart);

// "chart \"x\" of https://r, version 1", without credentials, for messages.
std::string DescribeChart(const ChartNeed& need);

// A dependency in a Chart.yaml.
struct ChartDependency {
  std::string name;
  std::string repository;
};

// Errors: INVALID_ARGUMENT and RESOURCE_EXHAUSTED, as ParseYaml().
absl::StatusOr<std::vector<ChartDependency>> ReadChartDependencies(
    absl::string_view chart_yaml);

// Whether a file "charts/x..." of a chart holds that dependency.
bool IsVendored(absl::string_view name_in_chart, absl::string_view dependency);

// `chart_yaml` with only those dependencies of which `wanted` says so by
// position.
std::string KeepDependencies(absl::string_view chart_yaml,
                             const std::vector<bool>& wanted);

// Downloads by ChartNeedKey().
using FetchedCharts = std::map<std::string, FetchedChart>;

// How much a bundle may hold, downloads included.
struct BundleSizeLimits {
  size_t max_files = 10000;
  uint64_t max_bytes = 50 << 20;
};

// Puts the downloads into a revision, its files sorted again.
// Errors: FAILED_PRECONDITION when one is absent; RESOURCE_EXHAUSTED.
absl::Status AttachCharts(const std::vector<ChartNeed>& needs,
                          const FetchedCharts& fetched,
                          const BundleSizeLimits& limits,
                          storage::v1::BundleRevision& revision);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_CHART_NEEDS_H_
