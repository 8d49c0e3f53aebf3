// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/agent_session.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "manager/stream/hello_gate.h"

namespace flotilla::manager {
namespace {

using agent::v1::AgentFrame;
using agent::v1::ManagerFrame;
using storage::v1::Released;

constexpr absl::Duration kSilenceLimit = absl::Seconds(90);

std::string FieldName(const google::protobuf::Descriptor* message, int number) {
  const auto* field = message->FindFieldByNumber(number);
  return field == nullptr ? "unknown" : field->name();
}

}  // namespace

AgentSession::AgentSession(Identity identity, absl::Duration now)
    : identity_(std::move(identity)),
      assignments_(counts_),
      blobs_(counts_),
      facts_(counts_),
      last_heard_(now),
      rate_(now) {}

void AgentSession::OnReleased(const std::string& bundle_id, Released released) {
  const Released* known = assignments_.Find(bundle_id);
  if (known != nullptr) blobs_.Disallow(*known);
  blobs_.Allow(released);
  assignments_.OnReleased(bundle_id, std::move(released));
}

void AgentSession::OnKnown(const core::v1::DeploymentState& state) {
  known_[state.bundle_id()] = state.state_digest();
  if (state.phase() == core::v1::PHASE_DELETED) {
    assignments_.OnDeleted(state.bundle_id(), state.generation());
  }
}

void AgentSession::Open(const agent::v1::Hello& hello,
                        std::string facts_digest) {
  ++counts_.received["hello"];
  agent::v1::Welcome& welcome = welcome_.emplace();
  welcome.set_proto(kStreamProtocol);
  welcome.set_session_id(identity_.session_id);
  welcome.set_store_id(identity_.store_id);
  for (auto& [bundle_id, state_digest] : known_) {
    agent::v1::KnownState* known = welcome.add_known();
    known->set_bundle_id(bundle_id);
    known->set_state_digest(std::move(state_digest));
  }
  known_.clear();
  welcome.set_send_facts(facts_digest.empty());
  welcome.set_facts_digest(std::move(facts_digest));
  assignments_.Open(hello, welcome);
}

// --------------------------------------------------------------------- frames

AgentSession::Step AgentSession::OnFrame(const AgentFrame& frame, size_t bytes,
                                         absl::Duration now) {
  Step step;
  rate_.Spend(bytes, now);
  last_heard_ = now;
  ++counts_.received[FieldName(AgentFrame::descriptor(), frame.body_case())];
  if (frame.body_case() == AgentFrame::kHello) {
    step.end = absl::FailedPreconditionError("a second Hello in one session");
    return step;
  }
  if (frame.epoch() != identity_.epoch) {
    ++counts_.ignored["wrong_epoch"];
    return step;
  }
  switch (frame.body_case()) {
    case AgentFrame::kHave:
      step.end = assignments_.OnHave(frame.have());
      break;
    case AgentFrame::kAssignAck:
      OnAssignAck(frame.assign_ack(), now, step);
      break;
    case AgentFrame::kBlobNeed:
      step.end = blobs_.OnNeed(frame.blob_need());
      break;
    case AgentFrame::kBundle:
      OnState(frame, step);
      break;
    case AgentFrame::kResources:
      OnBatch(frame.resources().seq(), frame.resources().items(), "resources",
              step);
      break;
    case AgentFrame::kDrift:
      OnBatch(frame.drift().seq(), frame.drift().records(), "drifts", step);
      break;
    case AgentFrame::kFacts:
      OnFacts(frame.facts(), step);
      break;
    case AgentFrame::kValues:
      OnValues(frame.values(), step);
      break;
    case AgentFrame::kPing:
      pong_ = frame.ping().id();
      break;
    case AgentFrame::kPong:
      break;
    case AgentFrame::kBye:
      step.end = absl::CancelledError("the agent said goodbye");
      break;
    default:
      ++counts_.ignored["unknown"];
      break;
  }
  return step;
}

void AgentSession::OnAssignAck(const agent::v1::AssignAck& ack,
                               absl::Duration now, Step& step) {
  AssignmentExchange::Verdict verdict = assignments_.OnAck(ack, now);
  step.rejections = std::move(verdict.rejections);
  if (verdict.sets_differ) {
    SayGoodbye(agent::v1::Goodbye::REASON_RESYNC,
               "the two assignment sets differ");
  }
}

bool AgentSession::AcceptSeq(uint64_t seq) {
  const bool accepted = reports_.Accept(seq);
  if (!accepted) ++counts_.ignored["stale_seq"];
  return accepted;
}

void AgentSession::OnState(const AgentFrame& frame, Step& step) {
  const uint64_t seq = frame.bundle_seq();
  if (!AcceptSeq(seq)) return;
  const core::v1::DeploymentState& state = frame.bundle();
  const Released* released = assignments_.Find(state.bundle_id());
  if (released == nullptr) {
    ++counts_.ignored["foreign_reports"];
    reports_.OnStored(seq);
    return;
  }
  if (state.phase() == core::v1::PHASE_DELETED &&
      state.generation() <= released->generation()) {
    deleted_[seq] = {state.bundle_id(), state.generation()};
  }
  step.reports.push_back({seq, state});
}

template <typename T>
void AgentSession::OnBatch(uint64_t seq,
                           const google::protobuf::RepeatedPtrField<T>& items,
                           absl::string_view what, Step& step) {
  if (static_cast<size_t>(items.size()) > kMaxReportItems) {
    step.end = absl::ResourceExhaustedError(
        absl::StrCat("a batch of over ", kMaxReportItems, " ", what));
    return;
  }
  if (!AcceptSeq(seq)) return;
  std::vector<T> ours;
  for (const T& item : items) {
    if (assignments_.Find(item.bundle_id()) != nullptr) {
      ours.push_back(item);
    } else {
      ++counts_.ignored["foreign_reports"];
    }
  }
  if (ours.empty()) {
    ++counts_.ignored["foreign_reports"];
    reports_.OnStored(seq);
    return;
  }
  step.reports.push_back({seq, std::move(ours)});
}

AgentSession::Step AgentSession::OnReportStored(uint64_t seq,
                                                const absl::Status& stored) {
  Step step;
  if (!reports_.IsPending(seq)) return step;
  if (!stored.ok()) {
    step.end = absl::UnavailableError(
        absl::StrCat("a report could not be stored: ", stored.message()));
    return step;
  }
  reports_.OnStored(seq);
  const auto deleted = deleted_.find(seq);
  if (deleted != deleted_.end()) {
    assignments_.OnDeleted(deleted->second.bundle_id,
                           deleted->second.generation);
    deleted_.erase(deleted);
  }
  return step;
}

void AgentSession::OnFacts(const agent::v1::FactsPage& page, Step& step) {
  absl::StatusOr<std::optional<NewFacts>> facts = facts_.OnPage(page);
  if (facts.ok()) {
    step.facts = *std::move(facts);
  } else {
    step.end = facts.status();
  }
}

void AgentSession::OnValues(const agent::v1::ValuesReport& report, Step& step) {
  const absl::string_view reason = values_.Judge(report);
  if (!reason.empty()) {
    ++counts_.ignored[std::string(reason)];
    return;
  }
  ++pending_values_;
  step.values.push_back(report);
}

void AgentSession::AskValues(const std::string& bundle_id, ValuesAsk ask,
                             std::string known_digest) {
  values_.Ask(bundle_id, std::move(ask), std::move(known_digest));
}

void AgentSession::EndValues(const std::string& bundle_id) {
  values_.End(bundle_id);
}

void AgentSession::OnValuesStored() {
  if (pending_values_ > 0) --pending_values_;
}

AgentSession::Step AgentSession::OnTick(absl::Duration now) {
  Step step;
  assignments_.OnTick(now);
  if (now - last_heard_ > kSilenceLimit) {
    step.end =
        absl::DeadlineExceededError("nothing was heard of the agent for 90 s");
  }
  return step;
}

// ------------------------------------------------------------------- our side

void AgentSession::SayGoodbye(agent::v1::Goodbye::Reason reason,
                              std::string detail) {
  if (goodbye_.has_value() || goodbye_sent_) return;
  goodbye_.emplace();
  goodbye_->set_reason(reason);
  goodbye_->set_detail(std::move(detail));
}

std::optional<ManagerFrame> AgentSession::NextFrame() {
  if (goodbye_sent_) return std::nullopt;
  std::optional<ManagerFrame> frame;
  if (goodbye_.has_value()) {
    frame.emplace();
    *frame->mutable_bye() = *std::move(goodbye_);
    goodbye_.reset();
    goodbye_sent_ = true;
  } else if (welcome_.has_value()) {
    frame.emplace();
    *frame->mutable_welcome() = *std::move(welcome_);
    welcome_.reset();
  } else if (pong_.has_value()) {
    frame.emplace();
    frame->mutable_pong()->set_id(*pong_);
    pong_.reset();
  } else if (const auto seq = reports_.Next(); seq.has_value()) {
    frame.emplace();
    frame->mutable_report_ack()->set_seq(*seq);
  } else if (auto request = values_.Next(); request.has_value()) {
    frame.emplace();
    *frame->mutable_values_request() = *std::move(request);
  } else if (auto assign = assignments_.Next(); assign.has_value()) {
    frame.emplace();
    *frame->mutable_assign() = *std::move(assign);
  } else if (auto blobs = blobs_.Next(); blobs.has_value()) {
    frame.emplace();
    *frame->mutable_blobs() = *std::move(blobs);
  }
  if (frame.has_value()) {
    frame->set_epoch(identity_.epoch);
    ++counts_.sent[FieldName(ManagerFrame::descriptor(), frame->body_case())];
  }
  return frame;
}

absl::Duration AgentSession::ReadDelay(absl::Duration now) const {
  if (reports_.pending() >= kMaxPendingReports ||
      pending_values_ >= kMaxPendingValues) {
    return absl::InfiniteDuration();
  }
  return rate_.Delay(now);
}

std::string AgentSession::DebugString() const {
  return absl::StrCat("epoch ", identity_.epoch, ", ",
                      assignments_.DebugString(), ", ", blobs_.wanted(),
                      " blobs wanted, ", reports_.pending(),
                      " reports pending");
}

}  // namespace flotilla::manager
