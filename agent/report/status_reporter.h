// SPDX-License-Identifier: Apache-2.0
//
// StatusReporter sends what its ReportCoalescer says is due while the link can
// take it. Changes are gathered for a moment, so that one batch carries what
// one burst of events did; a new phase goes at once.

#ifndef FLOTILLA_AGENT_REPORT_STATUS_REPORTER_H_
#define FLOTILLA_AGENT_REPORT_STATUS_REPORTER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "agent/connection/manager_link.h"
#include "agent/report/report_coalescer.h"
#include "common/event/loop.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// Loop-affine.
class StatusReporter {
 public:
  // Told when the manager knows that a deployment is DELETED.
  using DeletedKnown =
      absl::AnyInvocable<void(const std::string& bundle_id, uint64_t)>;

  StatusReporter(ManagerLink& link, Loop& loop, DeletedKnown deleted_known);
  StatusReporter(const StatusReporter&) = delete;
  StatusReporter& operator=(const StatusReporter&) = delete;

  void SetState(core::v1::DeploymentState state);
  void SetResource(core::v1::ResourceStatus status);
  void RemoveResource(const std::string& bundle_id,
                      const core::v1::ResourceKey& key);
  void RemoveBundle(const std::string& bundle_id);
  void AddDrift(core::v1::DriftRecord record);

  // From LinkEvents.
  void OnWelcome(const SessionOpened& opened);
  void OnReportAck(uint64_t seq);
  void OnReportable() { Flush(); }
  void OnDisconnected();

 private:
  void Schedule();
  void Flush();

  // Collaborators. Not owned.
  ManagerLink& link_;
  Loop& loop_;

  // Loop state.
  DeletedKnown deleted_known_;
  ReportCoalescer coalescer_;
  // Last DELETED generation of a bundle.
  std::map<std::string, uint64_t> deleted_;
  // Sequence number -> bundle and generation said to be DELETED.
  std::multimap<uint64_t, std::pair<std::string, uint64_t>> deleted_sent_;
  std::unique_ptr<Timer> timer_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_REPORT_STATUS_REPORTER_H_
