// SPDX-License-Identifier: Apache-2.0
//
// ReportSink takes what agents say: the stream calls it, the status recorder
// implements it. Calls come on the loop, for sessions that are current: a frame
// of a stale epoch never gets here. `done` runs on the loop, never inside the
// call, once the report is durable; the stream acknowledges only then. An error
// ends the session: its agent comes back and sends what Welcome does not list.
//
// Every value comes from an agent and must be judged: ids that were never
// released to that cluster, sizes, texts.

#ifndef FLOTILLA_MANAGER_STATUS_REPORT_SINK_H_
#define FLOTILLA_MANAGER_STATUS_REPORT_SINK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::manager {

// Loop-affine.
class ReportSink {
 public:
  using Done = absl::AnyInvocable<void(absl::Status)>;

  virtual ~ReportSink() = default;

  // State of one deployment.
  virtual void OnState(const std::string& cluster_id, uint64_t epoch,
                       core::v1::DeploymentState state, Done done) = 0;

  // States of resources, of any of the cluster's deployments; at most 256.
  virtual void OnResources(const std::string& cluster_id, uint64_t epoch,
                           std::vector<core::v1::ResourceStatus> items,
                           Done done) = 0;

  // Drift seen; at most 256 records.
  virtual void OnDrift(const std::string& cluster_id, uint64_t epoch,
                       std::vector<core::v1::DriftRecord> records,
                       Done done) = 0;

  // The agent refused an assignment for good; `problem` says why. Not durable:
  // it is said again when the manager offers the assignment again.
  virtual void OnRejected(const std::string& cluster_id, uint64_t epoch,
                          const std::string& bundle_id, uint64_t generation,
                          core::v1::Problem problem) = 0;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STATUS_REPORT_SINK_H_
