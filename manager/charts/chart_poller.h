// SPDX-License-Identifier: Apache-2.0
//
// Keeps the ChartSource of each HelmOp (spec 1.12, 13.2): fetches its chart
// when the HelmOp, its Secret or the rules of its workspace change, and looks
// up the version again every pollingInterval when it is no exact one. A failure
// keeps what was found before and is tried again, ever more seldom.

#ifndef FLOTILLA_MANAGER_CHARTS_CHART_POLLER_H_
#define FLOTILLA_MANAGER_CHARTS_CHART_POLLER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/env/clock.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/charts/chart_fetcher.h"
#include "manager/documents/policy.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"

namespace flotilla::manager {

// Which of the three forms of 13.2 a HelmOp has; INVALID_ARGUMENT, naming them,
// when it has none.
absl::Status CheckHelmOpChart(const storage::v1::HelmOptions& helm);

// Whether a version is one and not a constraint, so that it stands for the same
// chart always.
bool IsExactVersion(absl::string_view version);

// Loop-affine.
class ChartPoller {
 public:
  // Opens SecretSpec.sealed; the result is a serialised SecretData.
  using Unseal = absl::AnyInvocable<absl::StatusOr<std::string>(
      const storage::v1::SecretSpec&) const>;
  struct Options {
    absl::Duration min_interval = absl::Seconds(1);
    absl::Duration first_backoff = absl::Seconds(10);
    absl::Duration max_backoff = absl::Minutes(10);
  };

  // All must outlive it but `writer`, which writes kChartFamily.
  ChartPoller(Loop& loop, Store& store, FamilyWriter writer,
              ChartFetcher& fetcher, const Clock& clock, Random& random,
              Unseal unseal, Options options);
  ChartPoller(Loop& loop, Store& store, FamilyWriter writer,
              ChartFetcher& fetcher, const Clock& clock, Random& random,
              Unseal unseal)
      : ChartPoller(loop, store, std::move(writer), fetcher, clock, random,
                    std::move(unseal), Options()) {}
  ~ChartPoller();
  ChartPoller(const ChartPoller&) = delete;
  ChartPoller& operator=(const ChartPoller&) = delete;

 private:
  struct Poll;

  void OnDocument(const std::string& key,
                  const storage::v1::Document* document);
  void OnBatch();
  void Reconcile(const std::string& key);
  // Everything that a fetch depends on but the server.
  std::string InputsOf(const storage::v1::Document& document) const;
  PolicyVerdict Judge(const storage::v1::Document& document) const;
  absl::StatusOr<ChartRequest> MakeRequest(
      const storage::v1::Document& document) const;
  void Start(Poll& poll);
  void OnFetched(const std::string& key, uint64_t flight,
                 absl::StatusOr<FetchedChart> result);
  void OnStored(const std::string& key, uint64_t flight, bool fetched,
                const absl::Status& stored);
  void Plan(Poll& poll, bool fetched);

  // Constant after construction.
  const Options options_;
  const Unseal unseal_;

  // Collaborators. Not owned.
  Loop& loop_;
  ChartFetcher& fetcher_;
  const Clock& clock_;
  Random& random_;

  // Loop state.
  FamilyWriter writer_;
  // By the key of the document.
  std::map<std::string, std::unique_ptr<Poll>> polls_;
  std::set<std::string> changed_;
  bool started_ = false;
  uint64_t next_flight_ = 1;

  // Completions hold it weakly: none runs after this is gone.
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  // Declared last: destroyed first.
  TypedMirror<storage::v1::ChartSource> sources_;
  TypedMirror<storage::v1::Document> documents_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_CHARTS_CHART_POLLER_H_
