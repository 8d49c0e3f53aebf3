// SPDX-License-Identifier: Apache-2.0
//
// StatusRecorder takes what agents say and makes it durable: resources and
// drift in the status database first, then the deployments' states in
// /observed, so that a state whose digest is told to an agent in Welcome never
// covers a resource that was lost. Reports that come while a batch is on its
// way are coalesced into the next; each report's `done` runs when its batch is
// durable.
//
// What was said of resources in former runs is read first; reports wait for it.
//
// A report about a bundle that was never released to that cluster is refused
// with PERMISSION_DENIED. It is the only writer of /observed.
//
// Loop-affine.

#ifndef FLOTILLA_MANAGER_STATUS_STATUS_RECORDER_H_
#define FLOTILLA_MANAGER_STATUS_STATUS_RECORDER_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/env/clock.h"
#include "common/event/loop.h"
#include "common/event/worker_pool.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/status/report_sink.h"
#include "manager/status/status_database.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"

namespace flotilla::manager {

// Told on the loop of what is not in the store. Each may be null.
struct StatusListener {
  // A resource, as it is durable now; each one of former runs first.
  std::function<void(const std::string& cluster_id,
                     const core::v1::ResourceStatus& status)>
      on_resource;
  // Nothing is kept of that deployment's resources any more.
  std::function<void(const std::string& cluster_id,
                     const std::string& bundle_id)>
      on_forgotten;
  // Rejection() says another thing now.
  std::function<void(const std::string& cluster_id,
                     const std::string& bundle_id)>
      on_rejection;
  // Everything of former runs has been told.
  std::function<void()> on_loaded;
};

class StatusRecorder : public ReportSink {
 public:
  // Nothing is owned; all must outlive it. `observed` writes kObservedFamily.
  StatusRecorder(Loop& loop, WorkerPool& pool, const Clock& clock, Store& store,
                 FamilyWriter observed, StatusDatabase& database,
                 StatusListener listener);
  StatusRecorder(const StatusRecorder&) = delete;
  StatusRecorder& operator=(const StatusRecorder&) = delete;

  void OnState(const std::string& cluster_id, uint64_t epoch,
               core::v1::DeploymentState state, Done done) override;
  void OnResources(const std::string& cluster_id, uint64_t epoch,
                   std::vector<core::v1::ResourceStatus> items,
                   Done done) override;
  void OnDrift(const std::string& cluster_id, uint64_t epoch,
               std::vector<core::v1::DriftRecord> records, Done done) override;
  void OnRejected(const std::string& cluster_id, uint64_t epoch,
                  const std::string& bundle_id, uint64_t generation,
                  core::v1::Problem problem) override;

  // What the agent refused of the present generation, if it did.
  std::optional<core::v1::Problem> Rejection(
      const std::string& cluster_id, const std::string& bundle_id) const;

 private:
  struct Batch {
    StatusDatabase::Batch rows;
    // By key of /observed; the last one of a deployment counts.
    std::map<std::string, storage::v1::Observed> states;
    std::vector<Done> done;
  };

  // Reads what follows `after`, page by page.
  void Load(std::shared_ptr<StatusDatabase::ResourceRow> after);
  void Loaded();
  void Tell(const StatusDatabase::Batch& rows);
  void TellRejection(const std::string& cluster_id,
                     const std::string& bundle_id);
  // What is kept of a deployment's resources is of no use any more.
  void Forget(const std::string& cluster_id, const std::string& bundle_id);
  // The same of all deployments of a cluster that is revoked.
  void ForgetCluster(const std::string& cluster_id);
  bool Released(const std::string& cluster_id,
                const std::string& bundle_id) const;
  void Refuse(Done done, const std::string& bundle_id);
  void Wake();
  void WriteStates(std::shared_ptr<Batch> batch);
  void Finish(std::shared_ptr<Batch> batch, const absl::Status& status);

  // Collaborators. Not owned.
  Loop& loop_;
  WorkerPool& pool_;
  const Clock& clock_;
  StatusDatabase& database_;
  const StatusListener listener_;

  // Loop state.
  FamilyWriter writer_;
  std::shared_ptr<Batch> next_ = std::make_shared<Batch>();
  // A batch is on its way, or former runs are being read.
  bool writing_ = true;
  bool posted_ = false;
  // (cluster, bundle) -> generation and what was said about it.
  absl::flat_hash_map<std::pair<std::string, std::string>,
                      std::pair<uint64_t, core::v1::Problem>>
      rejections_;
  // Guards tasks elsewhere: expires with this object.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  // Declared last: destroyed first.
  TypedMirror<storage::v1::Released> released_;
  TypedMirror<storage::v1::ClusterIdentity> identities_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STATUS_STATUS_RECORDER_H_
