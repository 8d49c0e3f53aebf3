// SPDX-License-Identifier: Apache-2.0

#include "agent/connection/link_session.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/crypto/sha256.h"
#include "google/protobuf/descriptor.h"
#include "common/text/cut_text.h"

namespace flotilla::agent {
namespace {

using agent::v1::AgentFrame;
using agent::v1::AssignItem;
using agent::v1::Goodbye;
using agent::v1::ManagerFrame;
using agent::v1::Reject;
using EndingKind = ReconnectSchedule::Ending;

constexpr uint32_t kProtocol = 1;
constexpr absl::Duration kPingAfter = absl::Seconds(30);
constexpr absl::Duration kDeadAfter = absl::Seconds(60);
constexpr int kHavePageItems = 1000;
constexpr int kFactsPageKinds = 500;
constexpr int kMaxAssignItems = 10000;
constexpr size_t kMaxBundleIdBytes = 128;
constexpr size_t kDigestBytes = 32;
constexpr size_t kMaxPongs = 4;
constexpr size_t kMaxShownBytes = 1024;

std::string FieldName(const google::protobuf::Descriptor* message,
                      int number) {
  const auto* field = message->FindFieldByNumber(number);
  return field == nullptr ? "unknown" : field->name();
}

std::string Shown(absl::string_view detail) {
  return std::string(CutText(detail, kMaxShownBytes));
}

AssignItem Refusal(const std::string& bundle_id, uint64_t generation,
                   AssignItem::Code code, std::string detail) {
  AssignItem item;
  item.set_bundle_id(bundle_id);
  item.set_generation(generation);
  item.set_code(code);
  item.set_detail(std::move(detail));
  return item;
}

LinkSession::Ending EndingOf(const Reject& reject) {
  LinkSession::Ending end;
  end.retry_after = absl::Milliseconds(
      std::min<uint32_t>(reject.retry_after_ms(), 3600 * 1000));
  const std::string detail =
      absl::StrCat("the manager refused the session: ", Shown(reject.detail()));
  switch (reject.code()) {
    case Reject::CODE_NOT_READY:
    case Reject::CODE_OVERLOADED:
      end.why = absl::UnavailableError(detail);
      break;
    case Reject::CODE_REVOKED:
    case Reject::CODE_UNKNOWN_CLUSTER:
    case Reject::CODE_UID_MISMATCH:
    case Reject::CODE_VERSION:
      end.why = absl::PermissionDeniedError(detail);
      end.kind = EndingKind::kRefused;
      break;
    default:
      end.why = absl::UnknownError(detail);
      break;
  }
  return end;
}

LinkSession::Ending EndingOf(const Goodbye& bye) {
  LinkSession::Ending end;
  const std::string detail =
      absl::StrCat("the manager ended the session: ", Shown(bye.detail()));
  switch (bye.reason()) {
    case Goodbye::REASON_SUPERSEDED:
      end.kind = EndingKind::kSuperseded;
      end.why = absl::AbortedError(absl::StrCat(
          detail, ". Is a second agent running for this cluster?"));
      break;
    case Goodbye::REASON_REVOKED:
      end.kind = EndingKind::kRefused;
      end.why = absl::PermissionDeniedError(detail);
      break;
    default:
      end.kind = EndingKind::kAsked;
      end.why = absl::UnavailableError(detail);
      break;
  }
  return end;
}

}  // namespace

void LinkSession::OnConnected(const HeldSummary& held,
                              const std::string& cluster_uid,
                              const std::string& instance_id,
                              absl::Duration now) {
  OnDisconnected();
  connected_ = true;
  last_heard_ = now;
  AgentFrame frame;
  agent::v1::Hello& hello = *frame.mutable_hello();
  hello.set_proto_min(kProtocol);
  hello.set_proto_max(kProtocol);
  hello.set_agent_version(identity_.agent_version);
  hello.set_cluster_uid(cluster_uid);
  hello.set_instance_id(instance_id);
  hello.set_boot_id(identity_.boot_id);
  hello.set_last_store_id(held.last_store_id);
  hello.set_last_epoch(held.last_epoch);
  hello.set_last_av(held.last_av);
  hello.set_set_digest(held.set_digest);
  hello.set_have_count(held.have_count);
  urgent_.push_back(std::move(frame));
}

void LinkSession::OnDisconnected() {
  connected_ = false;
  epoch_ = 0;
  pinged_at_.reset();
  last_nonce_ = 0;
  open_assigns_.clear();
  manager_facts_digest_.clear();
  facts_asked_ = false;
  next_seq_ = 1;
  acked_seq_ = 0;
  urgent_.clear();
  facts_pages_.clear();
  reports_.clear();
  values_.clear();
  goodbye_ = false;
  blobs_.OnSessionEnded();
}

LinkSession::Step LinkSession::OnFrame(const ManagerFrame& frame,
                                       absl::Duration now) {
  Step step;
  if (!connected_) return step;
  last_heard_ = now;
  pinged_at_.reset();
  ++received_[FieldName(ManagerFrame::descriptor(), frame.body_case())];
  if (frame.body_case() == ManagerFrame::kReject) {
    step.end = EndingOf(frame.reject());
    return step;
  }
  if (frame.body_case() == ManagerFrame::kBye) {
    step.end = EndingOf(frame.bye());
    return step;
  }
  if (epoch_ == 0) {
    if (frame.body_case() == ManagerFrame::kWelcome && frame.epoch() != 0) {
      OnWelcome(frame, step);
    } else {
      ++ignored_["before_welcome"];
    }
    return step;
  }
  if (frame.epoch() != epoch_) {
    ++ignored_["wrong_epoch"];
    return step;
  }
  switch (frame.body_case()) {
    case ManagerFrame::kAssign:
      OnAssign(frame.assign(), step);
      break;
    case ManagerFrame::kBlobs:
      for (const agent::v1::BlobChunk& chunk : frame.blobs().chunks()) {
        std::optional<BlobFetches::Result> result = blobs_.OnChunk(chunk);
        if (result.has_value()) step.events.push_back(*std::move(result));
      }
      break;
    case ManagerFrame::kReportAck: {
      const uint64_t seq = frame.report_ack().seq();
      if (seq <= acked_seq_ || seq >= next_seq_) {
        ++ignored_["stale_seq"];
        break;
      }
      const bool could = CanReport();
      acked_seq_ = seq;
      step.events.push_back(ReportAcked{seq});
      if (!could && CanReport()) step.events.push_back(Reportable{});
      break;
    }
    case ManagerFrame::kValuesRequest:
      OnValuesRequest(frame.values_request(), step);
      break;
    case ManagerFrame::kPing: {
      if (urgent_.size() >= kMaxPongs) {
        ++ignored_["too_many_pings"];
        break;
      }
      AgentFrame pong;
      pong.mutable_pong()->set_id(frame.ping().id());
      urgent_.push_back(std::move(pong));
      break;
    }
    case ManagerFrame::kPong:
      break;
    default:
      ++ignored_["unknown"];
      break;
  }
  return step;
}

void LinkSession::OnWelcome(const ManagerFrame& frame, Step& step) {
  const agent::v1::Welcome& welcome = frame.welcome();
  const bool in_sync =
      welcome.mode() == agent::v1::Welcome::SYNC_MODE_IN_SYNC;
  if (welcome.proto() != kProtocol ||
      (!in_sync &&
       welcome.mode() != agent::v1::Welcome::SYNC_MODE_SEND_HAVE)) {
    Ending& end = step.end.emplace();
    end.why = absl::UnimplementedError(
        "the manager speaks a protocol that this agent does not know: upgrade "
        "the agent");
    end.kind = EndingKind::kRefused;
    return;
  }
  epoch_ = frame.epoch();
  manager_facts_digest_ = welcome.facts_digest();
  facts_asked_ = welcome.send_facts();
  QueueFacts();
  SessionOpened opened;
  opened.epoch = epoch_;
  opened.store_id = welcome.store_id();
  opened.av = welcome.av();
  opened.in_sync = in_sync;
  for (const agent::v1::KnownState& known : welcome.known()) {
    opened.known.emplace_back(known.bundle_id(), known.state_digest());
  }
  step.events.push_back(std::move(opened));
  if (!in_sync) step.events.push_back(NeedHave{});
  step.events.push_back(Reportable{});
}

void LinkSession::OnAssign(const agent::v1::Assign& assign, Step& step) {
  if (assign.nonce() <= last_nonce_) {
    ++ignored_["stale_nonce"];
    return;
  }
  last_nonce_ = assign.nonce();
  if (open_assigns_.size() >= kMaxOpenAssigns ||
      assign.upserts_size() + assign.tombstones_size() > kMaxAssignItems) {
    Ending& end = step.end.emplace();
    end.why = absl::ResourceExhaustedError(
        "the manager sent more assignments than it may");
    return;
  }
  std::vector<AssignItem>& refused = open_assigns_[assign.nonce()];
  Assigned event;
  event.epoch = epoch_;
  event.assign = assign;
  event.assign.clear_upserts();
  event.assign.clear_tombstones();
  const auto bad_id = [](const std::string& id) {
    return id.empty() || id.size() > kMaxBundleIdBytes;
  };
  for (const agent::v1::Upsert& upsert : assign.upserts()) {
    if (bad_id(upsert.bundle_id()) || upsert.generation() == 0 ||
        upsert.manifest_digest().size() != kDigestBytes) {
      refused.push_back(Refusal(upsert.bundle_id(), upsert.generation(),
                                AssignItem::CODE_UNSUPPORTED,
                                "the assignment is malformed"));
    } else if (upsert.manifest_size() > BlobFetches::kMaxBlobBytes) {
      refused.push_back(Refusal(upsert.bundle_id(), upsert.generation(),
                                AssignItem::CODE_TOO_LARGE,
                                "the manifest is over 64 MiB"));
    } else {
      *event.assign.add_upserts() = upsert;
    }
  }
  for (const agent::v1::Tombstone& tombstone : assign.tombstones()) {
    if (bad_id(tombstone.bundle_id()) || tombstone.generation() == 0) {
      refused.push_back(Refusal(tombstone.bundle_id(), tombstone.generation(),
                                AssignItem::CODE_UNSUPPORTED,
                                "the tombstone is malformed"));
    } else if (tombstone.cause() == core::v1::DELETE_CAUSE_UNSPECIFIED ||
               !core::v1::DeleteCause_IsValid(tombstone.cause())) {
      refused.push_back(Refusal(
          tombstone.bundle_id(), tombstone.generation(),
          AssignItem::CODE_UNSUPPORTED,
          "nothing is deleted for a tombstone without a known cause"));
    } else {
      *event.assign.add_tombstones() = tombstone;
    }
  }
  step.events.push_back(std::move(event));
}

void LinkSession::OnValuesRequest(const agent::v1::ValuesRequest& request,
                                  Step& step) {
  if (request.bundle_id().empty() ||
      request.bundle_id().size() > kMaxBundleIdBytes ||
      request.refs_size() > ManagerLink::kMaxValuesRefs ||
      request.known_digest().size() > kDigestBytes) {
    ++ignored_["bad_values_request"];
    return;
  }
  step.events.push_back(request);
}

bool LinkSession::SendValues(agent::v1::ValuesReport report) {
  if (epoch_ == 0) return false;
  size_t bytes = 0;
  for (auto it = values_.begin(); it != values_.end(); ++it) {
    if (it->values().bundle_id() == report.bundle_id()) {
      *it->mutable_values() = std::move(report);
      return true;
    }
    bytes += it->ByteSizeLong();
  }
  if (bytes >= kMaxValuesBytes) return false;
  *values_.emplace_back().mutable_values() = std::move(report);
  return true;
}

LinkSession::Step LinkSession::OnTick(absl::Duration now) {
  Step step;
  if (!connected_) return step;
  const absl::Duration silence = now - last_heard_;
  if (silence >= kDeadAfter) {
    Ending& end = step.end.emplace();
    end.why = absl::DeadlineExceededError(
        "the manager has not answered for 60 s");
    return step;
  }
  if (epoch_ != 0 && silence >= kPingAfter && !pinged_at_.has_value()) {
    pinged_at_ = now;
    AgentFrame ping;
    ping.mutable_ping()->set_id(next_ping_++);
    urgent_.push_back(std::move(ping));
  }
  return step;
}

void LinkSession::GiveHave(const std::vector<AssignedItem>& items) {
  if (epoch_ == 0) return;
  AgentFrame frame;
  for (const AssignedItem& item : items) {
    if (frame.have().items_size() >= kHavePageItems) {
      urgent_.push_back(std::move(frame));
      frame.Clear();
    }
    agent::v1::HaveItem* have = frame.mutable_have()->add_items();
    have->set_bundle_id(item.bundle_id);
    have->set_generation(item.generation);
    have->set_manifest_digest(item.manifest_digest);
    have->set_tombstone(item.tombstone);
  }
  frame.mutable_have()->set_last(true);
  urgent_.push_back(std::move(frame));
}

void LinkSession::AckAssign(uint64_t epoch, uint64_t nonce,
                            std::vector<AssignItem> items, uint64_t av,
                            std::string set_digest) {
  const auto open = open_assigns_.find(nonce);
  if (epoch == 0 || epoch != epoch_ || open == open_assigns_.end()) return;
  AgentFrame frame;
  agent::v1::AssignAck& ack = *frame.mutable_assign_ack();
  ack.set_nonce(nonce);
  ack.set_av(av);
  ack.set_set_digest(std::move(set_digest));
  for (AssignItem& item : open->second) *ack.add_items() = std::move(item);
  for (AssignItem& item : items) *ack.add_items() = std::move(item);
  open_assigns_.erase(open);
  urgent_.push_back(std::move(frame));
}

void LinkSession::FetchBlob(const std::string& digest, uint64_t size) {
  blobs_.Add(digest, size);
}

void LinkSession::SetFacts(const core::v1::ClusterFacts& facts) {
  std::string digest = Sha256(facts.SerializeAsString());
  if (facts_.has_value() && digest == facts_digest_) return;
  facts_ = facts;
  facts_digest_ = std::move(digest);
  QueueFacts();
}

void LinkSession::QueueFacts() {
  if (epoch_ == 0 || !facts_.has_value() ||
      (!facts_asked_ && facts_digest_ == manager_facts_digest_)) {
    return;
  }
  facts_asked_ = false;
  manager_facts_digest_ = facts_digest_;
  // Pages of an older set that have not gone yet are of no use.
  facts_pages_.clear();
  const auto new_page = [this]() -> agent::v1::FactsPage& {
    agent::v1::FactsPage& page = *facts_pages_.emplace_back().mutable_facts();
    page.set_facts_digest(facts_digest_);
    return page;
  };
  agent::v1::FactsPage* page = &new_page();
  page->mutable_facts()->set_kube_version(facts_->kube_version());
  for (const core::v1::KindFact& kind : facts_->kinds()) {
    if (page->facts().kinds_size() >= kFactsPageKinds) page = &new_page();
    *page->mutable_facts()->add_kinds() = kind;
  }
  page->set_last(true);
}

void LinkSession::SayGoodbye() { goodbye_ = connected_; }

bool LinkSession::CanReport() const {
  return epoch_ != 0 && next_seq_ - 1 - acked_seq_ < kReportWindow;
}

uint64_t LinkSession::QueueReport(AgentFrame frame) {
  reports_.push_back(std::move(frame));
  return next_seq_++;
}

uint64_t LinkSession::SendState(core::v1::DeploymentState state) {
  if (!CanReport()) return 0;
  AgentFrame frame;
  *frame.mutable_bundle() = std::move(state);
  frame.set_bundle_seq(next_seq_);
  return QueueReport(std::move(frame));
}

uint64_t LinkSession::SendResources(
    std::vector<core::v1::ResourceStatus> items) {
  if (!CanReport() || items.size() > ManagerLink::kMaxReportItems) return 0;
  AgentFrame frame;
  frame.mutable_resources()->set_seq(next_seq_);
  for (core::v1::ResourceStatus& item : items) {
    *frame.mutable_resources()->add_items() = std::move(item);
  }
  return QueueReport(std::move(frame));
}

uint64_t LinkSession::SendDrift(std::vector<core::v1::DriftRecord> records) {
  if (!CanReport() || records.size() > ManagerLink::kMaxReportItems) return 0;
  AgentFrame frame;
  frame.mutable_drift()->set_seq(next_seq_);
  for (core::v1::DriftRecord& record : records) {
    *frame.mutable_drift()->add_records() = std::move(record);
  }
  return QueueReport(std::move(frame));
}

std::optional<AgentFrame> LinkSession::NextFrame() {
  if (!connected_) return std::nullopt;
  std::optional<AgentFrame> frame;
  const auto take = [&frame](std::deque<AgentFrame>& queue) {
    if (frame.has_value() || queue.empty()) return;
    frame = std::move(queue.front());
    queue.pop_front();
  };
  take(urgent_);
  if (!frame.has_value() && epoch_ != 0) {
    std::optional<agent::v1::BlobNeed> need = blobs_.NextNeed();
    if (need.has_value()) {
      frame.emplace();
      *frame->mutable_blob_need() = *std::move(need);
    }
  }
  take(facts_pages_);
  take(reports_);
  take(values_);
  if (!frame.has_value() && goodbye_) {
    goodbye_ = false;
    frame.emplace();
    frame->mutable_bye()->set_reason(Goodbye::REASON_DRAIN);
    frame->mutable_bye()->set_detail("the agent stops");
  }
  if (frame.has_value()) {
    frame->set_epoch(epoch_);
    ++sent_[FieldName(AgentFrame::descriptor(), frame->body_case())];
  }
  return frame;
}

}  // namespace flotilla::agent
