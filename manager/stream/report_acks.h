// SPDX-License-Identifier: Apache-2.0
//
// ReportAcks numbers what an agent reports: a report counts once, and is
// acknowledged when it and all before it are durable. Owned by an AgentSession.

#ifndef FLOTILLA_MANAGER_STREAM_REPORT_ACKS_H_
#define FLOTILLA_MANAGER_STREAM_REPORT_ACKS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

namespace flotilla::manager {

// Loop-affine.
class ReportAcks {
 public:
  // False when a report with this number or a higher one has come already.
  bool Accept(uint64_t seq);

  // A report that was accepted is durable, or nothing of it is to be stored.
  // False when none with this number is pending.
  bool OnStored(uint64_t seq);

  // To be acknowledged, if anything is; then it has been.
  std::optional<uint64_t> Next();

  bool IsPending(uint64_t seq) const { return pending_.count(seq) > 0; }
  size_t pending() const { return pending_.size(); }

 private:
  // Loop state.
  std::map<uint64_t, bool> pending_;  // Whether it is durable.
  uint64_t last_ = 0;
  uint64_t durable_ = 0;  // With all before it.
  uint64_t sent_ = 0;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_REPORT_ACKS_H_
