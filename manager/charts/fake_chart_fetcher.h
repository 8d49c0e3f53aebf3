// SPDX-License-Identifier: Apache-2.0
//
// FakeChartFetcher answers what a test tells it to, and remembers what it was
// asked. With no answer set, every chart is NOT_FOUND.

#ifndef FLOTILLA_MANAGER_CHARTS_FAKE_CHART_FETCHER_H_
#define FLOTILLA_MANAGER_CHARTS_FAKE_CHART_FETCHER_H_

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/blob/blob_store.h"
#include "common/event/loop.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/charts/chart_fetcher.h"

namespace flotilla::manager {

// Loop-affine.
class FakeChartFetcher final : public ChartFetcher {
 public:
  using Answer =
      std::function<absl::StatusOr<FetchedChart>(const ChartRequest&)>;

  explicit FakeChartFetcher(Loop& loop) : loop_(loop) {}
  ~FakeChartFetcher() override { *alive_ = false; }
  FakeChartFetcher(const FakeChartFetcher&) = delete;
  FakeChartFetcher& operator=(const FakeChartFetcher&) = delete;

  // A chart of these files, name to content, stored in `blobs`.
  static absl::StatusOr<FetchedChart> Make(
      BlobStore& blobs, std::string version,
      const std::map<std::string, std::string>& files) {
    FetchedChart chart;
    chart.version = std::move(version);
    for (const auto& [name, content] : files) {
      absl::StatusOr<std::string> digest = blobs.Put(content);
      if (!digest.ok()) return digest.status();
      storage::v1::BundleFile file;
      file.set_name(name);
      file.set_blob_digest(*digest);
      file.set_size(content.size());
      chart.files.push_back(std::move(file));
    }
    return chart;
  }

  void set_answer(Answer answer) { answer_ = std::move(answer); }
  const std::vector<ChartRequest>& requests() const { return requests_; }

  // Answers wait until Release(), which gives all that wait.
  void Hold() { held_ = true; }
  void Release() {
    held_ = false;
    std::deque<Waiting> waiting;
    waiting.swap(waiting_);
    for (Waiting& one : waiting) {
      Give(std::move(one.first), std::move(one.second));
    }
  }

  void Fetch(ChartRequest request, Done done) override {
    requests_.push_back(request);
    if (held_) {
      waiting_.emplace_back(std::move(request), std::move(done));
      return;
    }
    Give(std::move(request), std::move(done));
  }

 private:
  using Waiting = std::pair<ChartRequest, Done>;

  void Give(ChartRequest request, Done done) {
    loop_.Post([this, alive = alive_, request = std::move(request),
                done = std::move(done)]() mutable {
      if (!*alive) return;
      if (answer_ == nullptr) {
        done(absl::NotFoundError("no chart of this name"));
      } else {
        done(answer_(request));
      }
    });
  }

  // Collaborators. Not owned.
  Loop& loop_;

  // Loop state.
  Answer answer_;
  std::vector<ChartRequest> requests_;
  std::deque<Waiting> waiting_;
  bool held_ = false;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_CHARTS_FAKE_CHART_FETCHER_H_
