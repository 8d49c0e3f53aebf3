// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/report_acks.h"

namespace flotilla::manager {

bool ReportAcks::Accept(uint64_t seq) {
  if (seq <= last_) return false;
  last_ = seq;
  pending_[seq] = false;
  return true;
}

bool ReportAcks::OnStored(uint64_t seq) {
  const auto report = pending_.find(seq);
  if (report == pending_.end()) return false;
  report->second = true;
  while (!pending_.empty() && pending_.begin()->second) {
    durable_ = pending_.begin()->first;
    pending_.erase(pending_.begin());
  }
  return true;
}

std::optional<uint64_t> ReportAcks::Next() {
  if (durable_ <= sent_) return std::nullopt;
  sent_ = durable_;
  return sent_;
}

}  // namespace flotilla::manager
