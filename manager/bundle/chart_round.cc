// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/chart_round.h"

#include <cstdint>
#include <map>

#include "absl/strings/str_cat.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::manager {
namespace {

ChartRequest RequestFor(const ChartNeed& need,
                        const ChartCredentialRules& rules) {
  ChartRequest request;
  request.chart = need.chart;
  request.repo = need.repo;
  request.version = need.version;
  request.chart_yaml = need.chart_yaml;
  request.chart_lock = need.chart_lock;
  request.credentials =
      need.is_dependencies()
          ? rules.ForDependencies(need.directory, need.chart_yaml)
          : rules.ForChart(need.directory, need.repo, need.chart);
  return request;
}

// Equal for needs that one request answers.
std::string RequestKey(ChartNeed need, const ChartCredentials& credentials) {
  // Which credentials they are depends on the directory alone.
  need.directory.clear();
  std::string key = ChartNeedKey(need);
  for (const std::string* part : {&credentials.username, &credentials.password,
                                  &credentials.ssh_private_key,
                                  &credentials.ca_bundle, &credentials.hint}) {
    absl::StrAppend(&key, part->size(), ":", *part);
  }
  absl::StrAppend(&key, credentials.insecure_skip_tls_verify,
                  credentials.basic_http);
  return key;
}

}  // namespace

ChartRound::ChartRound(const SourceBuild& build,
                       const ChartCredentialRules& rules) {
  std::map<std::string, size_t> known;
  for (const SourceBuild::Bundle& bundle : build.bundles) {
    for (const ChartNeed& need : bundle.needs) {
      ChartRequest request = RequestFor(need, rules);
      const auto [it, added] = known.emplace(
          RequestKey(need, request.credentials), requests_.size());
      if (added) {
        requests_.push_back(std::move(request));
        needs_.emplace_back();
      }
      needs_[it->second].push_back(need);
    }
  }
  waiting_ = requests_.size();
}

void ChartRound::Answer(size_t position,
                        const absl::StatusOr<FetchedChart>& chart,
                        const std::string& subject, SourceBuild& build) {
  --waiting_;
  for (const ChartNeed& need : needs_[position]) {
    if (chart.ok()) {
      fetched_[ChartNeedKey(need)] = *chart;
      continue;
    }
    if (build.errors.size() >= SourceBuild::kMaxProblems) return;
    core::v1::Problem& problem =
        build.errors.emplace_back(ProblemOf(chart.status(), subject));
    problem.set_file(need.file);
    problem.set_line(static_cast<uint32_t>(need.line));
    problem.set_message(
        absl::StrCat(DescribeChart(need), ": ", problem.message()));
    build.try_again = build.try_again || MayPass(problem.code());
  }
}

}  // namespace flotilla::manager
