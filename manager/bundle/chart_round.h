// SPDX-License-Identifier: Apache-2.0
//
// ChartRound is the downloads of one build: which requests its bundles' needs
// come to, one for needs that are the same download with the same credentials,
// and what came of them. It fetches nothing itself.

#ifndef FLOTILLA_MANAGER_BUNDLE_CHART_ROUND_H_
#define FLOTILLA_MANAGER_BUNDLE_CHART_ROUND_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "manager/bundle/chart_needs.h"
#include "manager/bundle/source_build.h"
#include "manager/charts/chart_credentials.h"
#include "manager/charts/chart_fetcher.h"

namespace flotilla::manager {

// Thread-compatible.
class ChartRound {
 public:
  ChartRound(const SourceBuild& build, const ChartCredentialRules& rules);

  // To be sent, once.
  std::vector<ChartRequest> TakeRequests() { return std::move(requests_); }

  // Notes the answer to the request at that position. What went wrong becomes
  // errors of `build`, about `subject`.
  void Answer(size_t position, const absl::StatusOr<FetchedChart>& chart,
              const std::string& subject, SourceBuild& build);

  // Whether all requests have been answered.
  bool done() const { return waiting_ == 0; }
  FetchedCharts TakeFetched() { return std::move(fetched_); }

 private:
  std::vector<ChartRequest> requests_;
  // By position of the request that answers them.
  std::vector<std::vector<ChartNeed>> needs_;
  size_t waiting_ = 0;
  FetchedCharts fetched_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_CHART_ROUND_H_
