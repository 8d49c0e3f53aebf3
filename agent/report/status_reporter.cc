// SPDX-License-Identifier: Apache-2.0

#include "agent/report/status_reporter.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace flotilla::agent {
namespace {

// How long changes are gathered.
constexpr absl::Duration kGather = absl::Milliseconds(10);

}  // namespace

StatusReporter::StatusReporter(ManagerLink& link, Loop& loop,
                               DeletedKnown deleted_known)
    : link_(link),
      loop_(loop),
      deleted_known_(std::move(deleted_known)),
      timer_(loop.CreateTimer([this] { Flush(); })) {}

void StatusReporter::SetState(core::v1::DeploymentState state) {
  if (state.phase() == core::v1::PHASE_DELETED) {
    deleted_[state.bundle_id()] = state.generation();
  } else {
    deleted_.erase(state.bundle_id());
  }
  coalescer_.SetState(std::move(state));
  Schedule();
}

void StatusReporter::SetResource(core::v1::ResourceStatus status) {
  coalescer_.SetResource(std::move(status));
  Schedule();
}

void StatusReporter::RemoveResource(const std::string& bundle_id,
                                    const core::v1::ResourceKey& key) {
  coalescer_.RemoveResource(bundle_id, key);
  Schedule();
}

void StatusReporter::RemoveBundle(const std::string& bundle_id) {
  coalescer_.RemoveBundle(bundle_id);
  deleted_.erase(bundle_id);
}

void StatusReporter::AddDrift(core::v1::DriftRecord record) {
  coalescer_.AddDrift(std::move(record));
  Schedule();
}

void StatusReporter::OnWelcome(const SessionOpened& opened) {
  deleted_sent_.clear();
  for (const std::string& bundle_id :
       coalescer_.Open(opened.known, opened.epoch)) {
    const auto deleted = deleted_.find(bundle_id);
    if (deleted != deleted_.end()) {
      deleted_known_(bundle_id, deleted->second);
    }
  }
  Schedule();
}

void StatusReporter::OnReportAck(uint64_t seq) {
  coalescer_.Acknowledge(seq);
  while (!deleted_sent_.empty() && deleted_sent_.begin()->first <= seq) {
    const auto [bundle_id, generation] = deleted_sent_.begin()->second;
    deleted_sent_.erase(deleted_sent_.begin());
    deleted_known_(bundle_id, generation);
  }
  Schedule();
}

void StatusReporter::OnDisconnected() {
  coalescer_.Close();
  deleted_sent_.clear();
  timer_->Disarm();
}

void StatusReporter::Schedule() {
  if (!link_.CanReport()) return;
  if (coalescer_.HasPhaseChange()) {
    timer_->Arm(absl::ZeroDuration());
  } else if (!timer_->armed()) {
    const absl::Duration due = coalescer_.NextDue(loop_.MonotonicNow());
    if (due != absl::InfiniteDuration()) timer_->Arm(std::max(due, kGather));
  }
}

void StatusReporter::Flush() {
  const absl::Duration now = loop_.MonotonicNow();
  while (link_.CanReport()) {
    std::vector<core::v1::ResourceStatus> resources =
        coalescer_.TakeResources(now, ManagerLink::kMaxReportItems);
    if (resources.empty()) break;
    coalescer_.Sent(link_.SendResources(std::move(resources)));
  }
  while (link_.CanReport()) {
    std::vector<core::v1::DeploymentState> states =
        coalescer_.TakeStates(now, 1);
    if (states.empty()) break;
    const bool deleted = states[0].phase() == core::v1::PHASE_DELETED;
    std::pair<std::string, uint64_t> which(states[0].bundle_id(),
                                           states[0].generation());
    const uint64_t seq = link_.SendState(std::move(states[0]));
    if (deleted) deleted_sent_.emplace(seq, std::move(which));
  }
  while (link_.CanReport()) {
    std::vector<core::v1::DriftRecord> records =
        coalescer_.TakeDrift(now, ManagerLink::kMaxReportItems);
    if (records.empty()) break;
    coalescer_.Sent(link_.SendDrift(std::move(records)));
  }
  if (!link_.CanReport()) return;
  const absl::Duration due = coalescer_.NextDue(now);
  if (due != absl::InfiniteDuration()) timer_->Arm(std::max(due, kGather));
}

}  // namespace flotilla::agent
