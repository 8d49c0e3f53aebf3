// SPDX-License-Identifier: Apache-2.0
//
// StatusDatabase keeps what agents said of single resources and of drift: too
// much and too lively for the store. It is a cache of what agents can say
// again, but one that survives a restart, since Welcome tells agents not to.
//
// Calls block on the disk: use it on one thread at a time, not on the loop.
// Errors: as common/sqlite/database.h.

#ifndef FLOTILLA_MANAGER_STATUS_STATUS_DATABASE_H_
#define FLOTILLA_MANAGER_STATUS_STATUS_DATABASE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/sqlite/database.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::manager {

// One (cluster, bundle).
struct DeploymentId {
  std::string cluster_id;
  std::string bundle_id;
};

// Thread-safe.
class StatusDatabase {
 public:
  // Changes that become durable together.
  struct Batch {
    // Statuses with `removed` set delete the row.
    std::vector<std::pair<std::string, core::v1::ResourceStatus>> resources;
    std::vector<std::pair<std::string, core::v1::DriftRecord>> drift;
    // Deployments of which nothing is kept, applied last.
    std::vector<DeploymentId> forget;
  };

  struct ResourceRow {
    DeploymentId deployment;
    core::v1::ResourceStatus status;
  };
  struct DriftRow {
    int64_t id = 0;
    std::string cluster_id;
    core::v1::DriftRecord record;
  };

  // Drift records kept for each cluster; the oldest go first.
  static constexpr int kDriftPerCluster = 1000;

  static absl::StatusOr<std::unique_ptr<StatusDatabase>> Open(
      const std::string& path);

  absl::Status Write(const Batch& batch);

  // Resources of one deployment, sorted by kind, namespace and name.
  absl::StatusOr<std::vector<ResourceRow>> Resources(
      const DeploymentId& deployment);

  // At most `limit` resources of all deployments, those after `after` (null:
  // from the first), in a lasting order.
  absl::StatusOr<std::vector<ResourceRow>> ResourcesAfter(
      const ResourceRow* after, int limit);

  // At most `limit` records with an id below `below` (0: no bound), newest
  // first, of one cluster, or of all when `cluster_id` is empty.
  absl::StatusOr<std::vector<DriftRow>> Drift(const std::string& cluster_id,
                                              int64_t below, int limit);

 private:
  explicit StatusDatabase(std::unique_ptr<Database> database)
      : database_(std::move(database)) {}

  absl::Status WriteRows(const Batch& batch)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  absl::Mutex mu_;
  const std::unique_ptr<Database> database_ ABSL_PT_GUARDED_BY(mu_);
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STATUS_STATUS_DATABASE_H_
