// SPDX-License-Identifier: Apache-2.0
//
// ChartCache remembers which files an exact version of a chart has, over
// restarts. The files themselves lie in a BlobStore; whoever reads an entry
// looks whether they are still there. It holds at most so many entries: what
// was not asked for longest goes first.
//
// It is a cache: a damaged file is thrown away and begun anew.

#ifndef FLOTILLA_MANAGER_CHARTS_CHART_CACHE_H_
#define FLOTILLA_MANAGER_CHARTS_CHART_CACHE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/sqlite/database.h"
#include "manager/charts/chart_fetcher.h"

namespace flotilla::manager {

// Blocks on the disk: use it from a WorkerPool.
//
// Thread-safe.
class ChartCache {
 public:
  // What finds an entry: the request's chart, repository, version and
  // credentials, hashed with `secret_key`, so that a chart is given to those
  // only who may read it, and the file tells nothing of a credential.
  static std::string Key(absl::string_view secret_key,
                         const ChartRequest& request);

  static absl::StatusOr<std::unique_ptr<ChartCache>> Open(
      const std::string& path, int64_t max_entries = 10000);

  // NOT_FOUND.
  absl::StatusOr<FetchedChart> Find(absl::string_view key);
  absl::Status Put(absl::string_view key, const FetchedChart& chart);
  absl::Status Remove(absl::string_view key);

 private:
  ChartCache(std::unique_ptr<Database> database, int64_t max_entries)
      : max_entries_(max_entries), database_(std::move(database)) {}

  // Constant after construction.
  const int64_t max_entries_;

  absl::Mutex mu_;
  const std::unique_ptr<Database> database_ ABSL_PT_GUARDED_BY(mu_);
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_CHARTS_CHART_CACHE_H_
