// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/chart_needs.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/crypto/sha256.h"
#include "common/status/status_macros.h"
#include "common/yaml/documents.h"
#include "manager/documents/field_reader.h"
#include "manager/gitsync/shown_url.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;
using storage::v1::BundleFile;
using storage::v1::BundleRevision;

constexpr size_t kMaxDependencies = 200;

std::string Text(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

YamlLimits ChartYamlLimits() {
  YamlLimits limits;
  limits.max_bytes = 1 << 20;
  limits.max_nodes = 100000;
  limits.record_lines = false;
  limits.lenient = true;
  return limits;
}

}  // namespace

std::string ChartNeedKey(const ChartNeed& need) {
  std::string key;
  for (const std::string* part :
       {&need.directory, &need.chart, &need.repo, &need.version,
        &need.chart_yaml, &need.chart_lock}) {
    absl::StrAppend(&key, part->size(), ":", *part);
  }
  return key;
}

std::string ChartPrefix(absl::string_view chart, absl::string_view repo,
                        absl::string_view version) {
  return absl::StrCat(".chart/",
                      absl::BytesToHexString(Sha256(
                          absl::StrCat(chart, ":", repo, ":", version))));
}

bool IsChartAddress(absl::string_view chart) {
  if (absl::StrContains(chart, "://") || absl::StrContains(chart, "::")) {
    return true;
  }
  for (const char* host : {"github.com/", "gitlab.com/", "bitbucket.org/"}) {
    if (absl::StartsWith(chart, host)) return true;
  }
  // user@host:path.
  const size_t at = chart.find('@');
  const size_t colon = chart.find(':');
  return at != absl::string_view::npos && at > 0 &&
         colon != absl::string_view::npos && at < colon &&
         chart.find('/') > colon;
}

std::string DescribeChart(const ChartNeed& need) {
  if (need.is_dependencies()) {
    return absl::StrCat(
        "the dependencies of the chart in ",
        need.prefix.empty()
            ? "the bundle's directory"
            : absl::StrCat("\"", ShownText(need.prefix), "\""));
  }
  std::string text;
  if (need.chart.empty()) {
    text = absl::StrCat("chart ", ShownText(ShownUrl(need.repo)));
  } else {
    text = absl::StrCat("chart \"", ShownText(ShownUrl(need.chart)),
                        "\"");
    if (!need.repo.empty()) {
      absl::StrAppend(&text, " of ", ShownText(ShownUrl(need.repo)));
    }
  }
  if (!need.version.empty()) {
    absl::StrAppend(&text, ", version ", ShownText(need.version));
  }
  return text;
}

absl::StatusOr<std::vector<ChartDependency>> ReadChartDependencies(
    absl::string_view chart_yaml) {
  ASSIGN_OR_RETURN(const YamlDocument document,
                   ParseYaml(chart_yaml, ChartYamlLimits()));
  std::vector<ChartDependency> dependencies;
  if (!document.value.is_object()) return dependencies;
  const auto list = document.value.find("dependencies");
  if (list == document.value.end() || !list->is_array()) return dependencies;
  if (list->size() > kMaxDependencies) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a chart has at most ", kMaxDependencies, " dependencies"));
  }
  for (const json& item : *list) {
    ChartDependency& dependency = dependencies.emplace_back();
    if (!item.is_object()) continue;
    dependency.name = Text(item, "name");
    dependency.repository = Text(item, "repository");
  }
  return dependencies;
}

bool IsVendored(absl::string_view name_in_chart,
                absl::string_view dependency) {
  if (dependency.empty() || !absl::ConsumePrefix(&name_in_chart, "charts/") ||
      !absl::ConsumePrefix(&name_in_chart, dependency)) {
    return false;
  }
  if (absl::StartsWith(name_in_chart, "/")) return true;
  // "name-1.2.3.tgz", or a directory with its version.
  absl::string_view rest = name_in_chart;
  if (!absl::ConsumePrefix(&rest, "-")) return false;
  absl::ConsumePrefix(&rest, "v");
  return !rest.empty() &&
         absl::ascii_isdigit(static_cast<unsigned char>(rest.front())) &&
         (absl::StrContains(rest, '/') || absl::EndsWith(rest, ".tgz"));
}

std::string KeepDependencies(absl::string_view chart_yaml,
                             const std::vector<bool>& wanted) {
  absl::StatusOr<YamlDocument> document =
      ParseYaml(chart_yaml, ChartYamlLimits());
  json kept = json::object();
  kept["dependencies"] = json::array();
  if (document.ok() && document->value.is_object()) {
    for (const char* key : {"apiVersion", "name", "version"}) {
      const auto it = document->value.find(key);
      if (it != document->value.end()) kept[key] = *it;
    }
    const auto list = document->value.find("dependencies");
    if (list != document->value.end() && list->is_array()) {
      for (size_t i = 0; i < list->size() && i < wanted.size(); ++i) {
        if (wanted[i]) kept["dependencies"].push_back((*list)[i]);
      }
    }
  }
  return ToYaml(kept);
}

absl::Status AttachCharts(const std::vector<ChartNeed>& needs,
                          const FetchedCharts& fetched,
                          const BundleSizeLimits& limits,
                          BundleRevision& revision) {
  if (needs.empty()) return absl::OkStatus();
  std::set<std::string> names;
  uint64_t bytes = 0;
  for (const BundleFile& file : revision.files()) {
    names.insert(file.name());
    bytes += file.size();
  }
  for (const ChartNeed& need : needs) {
    const auto found = fetched.find(ChartNeedKey(need));
    if (found == fetched.end()) {
      return absl::FailedPreconditionError(
          absl::StrCat(DescribeChart(need), " was not downloaded"));
    }
    for (const BundleFile& file : found->second.files) {
      std::string name = need.prefix.empty()
                             ? file.name()
                             : absl::StrCat(need.prefix, "/", file.name());
      if (!names.insert(name).second) continue;
      bytes += file.size();
      if (names.size() > limits.max_files || bytes > limits.max_bytes) {
        return absl::ResourceExhaustedError(absl::StrCat(
            DescribeChart(need), " makes the bundle larger than ",
            limits.max_files, " files or ", limits.max_bytes, " bytes"));
      }
      BundleFile& out = *revision.add_files();
      out = file;
      out.set_name(std::move(name));
    }
    if (need.is_dependencies()) continue;
    storage::v1::BundleChart& chart = *revision.add_charts();
    chart.set_chart(need.chart);
    chart.set_repo(need.repo);
    chart.set_version(need.version);
    chart.set_prefix(need.prefix);
    chart.set_resolved_version(found->second.version);
  }
  std::sort(revision.mutable_files()->begin(), revision.mutable_files()->end(),
            [](const BundleFile& a, const BundleFile& b) {
              return a.name() < b.name();
            });
  return absl::OkStatus();
}

}  // namespace flotilla::manager
