// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/agent_session.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/crypto/sha256.h"
#include "google/protobuf/descriptor.h"

namespace flotilla::manager {
namespace {

using agent::v1::AgentFrame;
using agent::v1::AssignItem;
using agent::v1::ManagerFrame;
using agent::v1::Reject;
using storage::v1::Released;

constexpr uint32_t kProtocol = 1;
constexpr absl::Duration kSilenceLimit = absl::Seconds(90);
constexpr absl::Duration kRetryDelay = absl::Seconds(30);
constexpr double kFramesPerSecond = 200;
constexpr double kBytesPerSecond = 4.0 * 1024 * 1024;
constexpr double kBurstSeconds = 5;
constexpr size_t kMaxIdBytes = 64;
constexpr size_t kMaxTextBytes = 256;
constexpr size_t kMaxDetailBytes = 4096;
constexpr size_t kDigestBytes = 32;
constexpr size_t kMaxReadsAtOnce = 256;

std::string FieldName(const google::protobuf::Descriptor* message,
                      int number) {
  const auto* field = message->FindFieldByNumber(number);
  return field == nullptr ? "unknown" : field->name();
}

Reject MakeReject(Reject::Code code, std::string detail,
                  uint32_t retry_after_ms) {
  Reject reject;
  reject.set_code(code);
  reject.set_detail(std::move(detail));
  reject.set_retry_after_ms(retry_after_ms);
  return reject;
}

std::string CodeName(AssignItem::Code code) {
  std::string name = AssignItem::Code_Name(code);
  constexpr absl::string_view kPrefix = "CODE_";
  if (name.rfind(kPrefix.data(), 0) == 0) name.erase(0, kPrefix.size());
  return name.empty() ? "UNKNOWN" : name;
}

}  // namespace

absl::StatusOr<std::optional<Reject>> JudgeHello(
    const agent::v1::Hello& hello, const GateView& gate) {
  if (hello.instance_id().size() > kMaxIdBytes ||
      hello.boot_id().size() > kMaxIdBytes ||
      hello.last_store_id().size() > kMaxIdBytes ||
      hello.set_digest().size() > kMaxIdBytes ||
      hello.agent_version().size() > kMaxTextBytes ||
      hello.cluster_uid().size() > kMaxTextBytes ||
      hello.features_size() > static_cast<int>(kMaxIdBytes) ||
      hello.proto_min() > hello.proto_max()) {
    return absl::InvalidArgumentError("the Hello frame is malformed");
  }
  if (!gate.ready) {
    return MakeReject(Reject::CODE_NOT_READY,
                      "the manager is starting; its store is not open yet",
                      1000);
  }
  if (!gate.known) {
    return MakeReject(
        Reject::CODE_UNKNOWN_CLUSTER,
        "the manager does not know this cluster; what runs stays. Enrol it "
        "again with a token from `flotilla token create`",
        60000);
  }
  if (gate.revoked) {
    return MakeReject(Reject::CODE_REVOKED,
                      absl::StrCat("cluster ", gate.cluster_name,
                                   " was deleted and its certificate revoked; "
                                   "what runs stays. Enrol it again with a "
                                   "token from `flotilla token create`"),
                      60000);
  }
  if (!gate.current_key) {
    return MakeReject(Reject::CODE_REVOKED,
                      absl::StrCat("cluster ", gate.cluster_name,
                                   " was enrolled again; this agent's "
                                   "certificate was replaced"),
                      60000);
  }
  if (hello.proto_min() > kProtocol || hello.proto_max() < kProtocol) {
    return MakeReject(
        Reject::CODE_VERSION,
        absl::StrCat("the agent speaks protocol ", hello.proto_min(), " to ",
                     hello.proto_max(), ", the manager ", kProtocol,
                     ": upgrade the older of the two"),
        60000);
  }
  if (hello.cluster_uid().empty() || hello.cluster_uid() != gate.cluster_uid) {
    return MakeReject(
        Reject::CODE_UID_MISMATCH,
        absl::StrCat("this certificate belongs to another cluster than the "
                     "one it was made for (",
                     gate.cluster_name,
                     "): was the agent's state copied? Enrol this cluster "
                     "with a token of its own"),
        60000);
  }
  return std::nullopt;
}

AgentSession::AgentSession(Identity identity, absl::Duration now)
    : identity_(std::move(identity)), last_heard_(now),
      frame_tokens_(kFramesPerSecond * kBurstSeconds),
      byte_tokens_(kBytesPerSecond * kBurstSeconds), tokens_at_(now) {}

// ---------------------------------------------------------------- assignments

const Released* AgentSession::FindReleased(const std::string& bundle_id) const {
  const auto it = entries_.find(bundle_id);
  if (it == entries_.end() || it->second.released.generation() == 0) {
    return nullptr;
  }
  return &it->second.released;
}

AgentSession::Duty AgentSession::DutyOf(const Entry& entry) const {
  const Released& released = entry.released;
  const uint64_t generation = released.generation();
  if (generation == 0 || !synced_) return Duty::kNone;
  if (entry.held_generation >= generation) return Duty::kNone;
  switch (released.state()) {
    case Released::STATE_ACTIVE:
      return Duty::kUpsert;
    case Released::STATE_DELETING:
      if (entry.deleted_generation >= generation) return Duty::kNone;
      return Duty::kTombstone;
    case Released::STATE_GONE:
      // An agent that came back with an older disk still runs it.
      return entry.held_generation > 0 && !entry.held_tombstone
                 ? Duty::kTombstone
                 : Duty::kNone;
    default:
      return Duty::kNone;
  }
}

void AgentSession::Reconsider(const std::string& bundle_id) {
  Entry& entry = entries_[bundle_id];
  const AvKey key(entry.released.av(), bundle_id);
  dirty_upserts_.erase(key);
  dirty_tombstones_.erase(key);
  waiting_.erase(key);
  retries_.erase({entry.retry_at, bundle_id});
  Duty duty = DutyOf(entry);
  if (duty == Duty::kTombstone && entry.released.cause() ==
                                      core::v1::DELETE_CAUSE_UNSPECIFIED) {
    ++counts_.ignored["no_cause"];
    duty = Duty::kNone;
  }
  if (duty == Duty::kNone) return;
  const uint64_t generation = entry.released.generation();
  if (entry.sent_generation >= generation) {
    waiting_.insert(key);
  } else if (entry.rejected_generation >= generation) {
    if (entry.retry_at == absl::InfiniteDuration()) return;  // Resolved: no.
    waiting_.insert(key);
    retries_.insert({entry.retry_at, bundle_id});
  } else if (duty == Duty::kUpsert) {
    dirty_upserts_.insert(key);
  } else {
    dirty_tombstones_.insert(key);
  }
}

void AgentSession::CountBlobs(const Released& released, int delta) {
  if (released.generation() == 0 ||
      released.state() == Released::STATE_GONE) {
    return;
  }
  const auto count = [this, delta](const std::string& digest) {
    if (digest.size() != kDigestBytes) return;
    auto [it, added] = allowed_blobs_.try_emplace(digest, 0);
    it->second += delta;
    if (it->second <= 0) allowed_blobs_.erase(it);
  };
  count(released.manifest_digest());
  for (const std::string& digest : released.blob_digests()) count(digest);
  for (const std::string& digest : released.previous_blob_digests()) {
    count(digest);
  }
}

void AgentSession::OnReleased(const std::string& bundle_id,
                              Released released) {
  Entry& entry = entries_[bundle_id];
  if (entry.released.generation() != 0) {
    // Leave the sets under the old av.
    const AvKey old(entry.released.av(), bundle_id);
    dirty_upserts_.erase(old);
    dirty_tombstones_.erase(old);
    waiting_.erase(old);
    CountBlobs(entry.released, -1);
  }
  entry.released = std::move(released);
  CountBlobs(entry.released, 1);
  av_ = std::max(av_, entry.released.av());
  Reconsider(bundle_id);
}

void AgentSession::OnKnown(const core::v1::DeploymentState& state) {
  known_[state.bundle_id()] = state.state_digest();
  if (state.phase() == core::v1::PHASE_DELETED) {
    Entry& entry = entries_[state.bundle_id()];
    entry.deleted_generation =
        std::max(entry.deleted_generation, state.generation());
  }
}

std::vector<AssignedItem> AgentSession::WantedSet() const {
  std::vector<AssignedItem> items;
  for (const auto& [bundle_id, entry] : entries_) {
    const Released& released = entry.released;
    const uint64_t generation = released.generation();
    if (generation == 0) continue;
    if (released.state() == Released::STATE_ACTIVE) {
      items.push_back(
          {bundle_id, generation, released.manifest_digest(), false});
    } else if (released.state() == Released::STATE_DELETING &&
               entry.deleted_generation < generation) {
      items.push_back({bundle_id, generation, "", true});
    }
  }
  return items;
}

void AgentSession::Open(const agent::v1::Hello& hello,
                        std::string facts_digest) {
  ++counts_.received["hello"];
  std::string digest = SetDigest(WantedSet());
  agent::v1::Welcome& welcome = welcome_.emplace();
  welcome.set_proto(kProtocol);
  welcome.set_session_id(identity_.session_id);
  welcome.set_store_id(identity_.store_id);
  welcome.set_av(av_);
  for (auto& [bundle_id, state_digest] : known_) {
    agent::v1::KnownState* known = welcome.add_known();
    known->set_bundle_id(bundle_id);
    known->set_state_digest(std::move(state_digest));
  }
  known_.clear();
  welcome.set_send_facts(facts_digest.empty());
  welcome.set_facts_digest(std::move(facts_digest));
  last_av_to_ = hello.last_av();
  if (hello.set_digest() == digest) {
    welcome.set_mode(agent::v1::Welcome::SYNC_MODE_IN_SYNC);
    synced_ = true;
    assumed_ = true;
    last_av_to_ = av_;
    for (auto& [bundle_id, entry] : entries_) {
      if (entry.released.state() == Released::STATE_GONE) continue;
      entry.held_generation = entry.released.generation();
      entry.held_tombstone =
          entry.released.state() == Released::STATE_DELETING;
    }
  } else {
    welcome.set_mode(agent::v1::Welcome::SYNC_MODE_SEND_HAVE);
  }
  welcome.set_set_digest(std::move(digest));
}

void AgentSession::OnHave(const agent::v1::HavePage& page, Step& step) {
  if (synced_) {
    ++counts_.ignored["second_have"];
    return;
  }
  if (have_.size() + static_cast<size_t>(page.items_size()) > kMaxHaveItems) {
    step.end = absl::ResourceExhaustedError(
        absl::StrCat("the agent holds more than ", kMaxHaveItems, " items"));
    return;
  }
  have_.insert(have_.end(), page.items().begin(), page.items().end());
  if (!page.last()) return;
  for (const agent::v1::HaveItem& item : have_) {
    if (FindReleased(item.bundle_id()) == nullptr) {
      ++counts_.ignored["foreign_items"];
      continue;
    }
    Entry& entry = entries_[item.bundle_id()];
    const Released& released = entry.released;
    entry.held_tombstone = item.tombstone();
    entry.held_generation = item.generation();
    const bool same_generation = item.generation() == released.generation();
    const bool wants_upsert = released.state() == Released::STATE_ACTIVE;
    if (same_generation &&
        (item.tombstone() == wants_upsert ||
         (wants_upsert &&
          item.manifest_digest() != released.manifest_digest()))) {
      // A fork: offer ours, so that the agent's verdict makes it visible.
      entry.held_generation = 0;
    }
  }
  have_.clear();
  have_.shrink_to_fit();
  synced_ = true;
  std::vector<std::string> all;
  all.reserve(entries_.size());
  for (const auto& [bundle_id, entry] : entries_) all.push_back(bundle_id);
  for (const std::string& bundle_id : all) Reconsider(bundle_id);
}

std::optional<ManagerFrame> AgentSession::NextAssign() {
  if (in_flight_.size() >= kWindow ||
      (dirty_upserts_.empty() && dirty_tombstones_.empty())) {
    return std::nullopt;
  }
  ManagerFrame frame;
  agent::v1::Assign& assign = *frame.mutable_assign();
  const uint64_t nonce = next_nonce_++;
  auto& sent = in_flight_[nonce];
  size_t bytes = 0;
  const auto full = [&] {
    return sent.size() >= kMaxAssignItems || bytes >= kMaxAssignBytes;
  };
  const auto mark_sent = [&](const std::string& bundle_id, bool tombstone) {
    Entry& entry = entries_[bundle_id];
    entry.sent_generation = entry.released.generation();
    sent.push_back({bundle_id, entry.sent_generation, tombstone});
    Reconsider(bundle_id);
  };
  while (!dirty_upserts_.empty()) {
    const std::string bundle_id = dirty_upserts_.begin()->second;
    const Released& released = entries_[bundle_id].released;
    agent::v1::Upsert upsert;
    upsert.set_bundle_id(bundle_id);
    upsert.set_generation(released.generation());
    upsert.set_manifest_digest(released.manifest_digest());
    upsert.set_manifest_size(released.manifest_size());
    *upsert.mutable_commit() = released.commit();
    upsert.set_workspace(released.workspace());
    upsert.set_bundle_name(released.bundle_name());
    const size_t size = upsert.ByteSizeLong() + 8;
    if (full() || (bytes > 0 && bytes + size > kMaxAssignBytes)) break;
    bytes += size;
    assign.mutable_upserts()->Add(std::move(upsert));
    mark_sent(bundle_id, false);
  }
  // An object that moves from one bundle to another must be wanted by the new
  // one before the old one lets go: no tombstone before all upserts.
  while (dirty_upserts_.empty() && !dirty_tombstones_.empty()) {
    const std::string bundle_id = dirty_tombstones_.begin()->second;
    const Released& released = entries_[bundle_id].released;
    agent::v1::Tombstone tombstone;
    tombstone.set_bundle_id(bundle_id);
    tombstone.set_generation(released.generation());
    tombstone.set_keep_resources(released.keep_resources());
    tombstone.set_cause(released.cause());
    tombstone.set_approved_by(released.approved_by());
    const size_t size = tombstone.ByteSizeLong() + 8;
    if (full() || (bytes > 0 && bytes + size > kMaxAssignBytes)) break;
    bytes += size;
    assign.mutable_tombstones()->Add(std::move(tombstone));
    tombstone_sent_ = true;
    mark_sent(bundle_id, true);
  }
  uint64_t floor = av_ + 1;
  for (const auto* dirty : {&dirty_upserts_, &dirty_tombstones_}) {
    if (!dirty->empty()) floor = std::min(floor, dirty->begin()->first);
  }
  assign.set_nonce(nonce);
  assign.set_av_from(last_av_to_);
  last_av_to_ = std::max(last_av_to_, floor - 1);
  assign.set_av_to(last_av_to_);
  if (dirty_upserts_.empty() && dirty_tombstones_.empty()) {
    assign.set_set_digest(SetDigest(WantedSet()));
  }
  return frame;
}

void AgentSession::OnVerdict(const Sent& sent, const AssignItem* item,
                             absl::Duration now, Step& step) {
  const auto& [bundle_id, generation, tombstone] = sent;
  const auto it = entries_.find(bundle_id);
  if (it == entries_.end()) return;
  Entry& entry = it->second;
  if (entry.sent_generation == generation) entry.sent_generation = 0;
  const AssignItem::Code code =
      item == nullptr ? AssignItem::CODE_STORED : item->code();
  if (code == AssignItem::CODE_STORED ||
      code == AssignItem::CODE_STALE_GENERATION) {
    // Stale: it holds something newer, so it needs nothing of this.
    if (entry.held_generation < generation) {
      entry.held_generation = generation;
      entry.held_tombstone = tombstone;
    }
  } else {
    retries_.erase({entry.retry_at, bundle_id});
    entry.rejected_generation =
        std::max(entry.rejected_generation, generation);
    entry.retry_at =
        item->retryable() ? now + kRetryDelay : absl::InfiniteDuration();
    Rejection& rejection = step.rejections.emplace_back();
    rejection.bundle_id = bundle_id;
    rejection.generation = generation;
    rejection.problem.set_code(CodeName(code));
    rejection.problem.set_message(absl::StrCat(
        "the agent refused the assignment: ",
        absl::string_view(item->detail()).substr(0, kMaxDetailBytes - 64)));
    rejection.problem.set_subject(
        absl::StrCat("bundle ", entry.released.bundle_name()));
  }
  Reconsider(bundle_id);
}

void AgentSession::OnAssignAck(const agent::v1::AssignAck& ack,
                               absl::Duration now, Step& step) {
  const auto it = in_flight_.find(ack.nonce());
  if (it == in_flight_.end()) {
    ++counts_.ignored["stale_nonce"];
    return;
  }
  const auto sent = std::move(it->second);
  in_flight_.erase(it);
  absl::flat_hash_map<std::string, const AssignItem*> verdicts;
  for (const AssignItem& item : ack.items()) {
    verdicts[item.bundle_id()] = &item;
  }
  bool refused = false;
  for (const Sent& one : sent) {
    const auto verdict = verdicts.find(one.bundle_id);
    const AssignItem* item =
        verdict == verdicts.end() ||
                verdict->second->generation() != one.generation
            ? nullptr
            : verdict->second;
    refused = refused || item != nullptr;
    OnVerdict(one, item, now, step);
  }
  const bool settled = in_flight_.empty() && dirty_upserts_.empty() &&
                       dirty_tombstones_.empty() && waiting_.empty();
  // Finished tombstones leave the two sets at different times; apart from
  // them, equal digests at the start must lead to equal digests here.
  if (settled && assumed_ && !refused && !tombstone_sent_ &&
      ack.set_digest() != SetDigest(WantedSet())) {
    SayGoodbye(agent::v1::Goodbye::REASON_RESYNC,
               "the two assignment sets differ");
  }
}

uint64_t AgentSession::acked_av() const {
  if (!synced_) return 0;
  uint64_t floor = av_ + 1;
  for (const auto* open : {&dirty_upserts_, &dirty_tombstones_, &waiting_}) {
    if (!open->empty()) floor = std::min(floor, open->begin()->first);
  }
  return floor - 1;
}

// ---------------------------------------------------------------------- blobs

void AgentSession::OnBlobNeed(const agent::v1::BlobNeed& need, Step& step) {
  if (wants_.size() + static_cast<size_t>(need.want_size()) > kMaxWants) {
    step.end = absl::ResourceExhaustedError(absl::StrCat(
        "more than ", kMaxWants, " blobs asked for and not sent yet"));
    return;
  }
  for (const agent::v1::BlobRange& range : need.want()) {
    Want want;
    want.offset = range.offset();
    want.refused = !allowed_blobs_.contains(range.digest());
    if (want.refused) ++counts_.ignored["foreign_blobs"];
    want.digest = range.digest().substr(0, kMaxIdBytes);
    wants_.push_back(std::move(want));
  }
}

std::vector<std::string> AgentSession::TakeBlobReads() {
  std::vector<std::string> digests;
  if (reading_ || !loaded_.empty()) return digests;
  for (const Want& want : wants_) {
    if (want.refused) continue;
    digests.push_back(want.digest);
    if (digests.size() >= kMaxReadsAtOnce) break;
  }
  reading_ = !digests.empty();
  return digests;
}

void AgentSession::OnBlobs(
    std::vector<std::pair<std::string, absl::StatusOr<std::string>>> blobs) {
  reading_ = false;
  for (auto& [digest, bytes] : blobs) {
    loaded_.insert_or_assign(std::move(digest), std::move(bytes));
  }
}

std::optional<ManagerFrame> AgentSession::NextBlobs() {
  ManagerFrame frame;
  size_t bytes = 0;
  while (!wants_.empty() && bytes < kMaxBlobFrameBytes) {
    Want& want = wants_.front();
    agent::v1::BlobChunk chunk;
    chunk.set_digest(want.digest);
    chunk.set_offset(want.offset);
    bool finished = true;
    if (want.refused) {
      chunk.set_error(agent::v1::BlobChunk::ERROR_NOT_FOUND);
    } else {
      const auto loaded = loaded_.find(want.digest);
      if (loaded == loaded_.end()) break;
      if (!loaded->second.ok() || want.offset > loaded->second->size()) {
        chunk.set_error(agent::v1::BlobChunk::ERROR_NOT_FOUND);
      } else {
        const std::string& blob = *loaded->second;
        const size_t size = std::min<size_t>(blob.size() - want.offset,
                                             kMaxBlobFrameBytes - bytes);
        chunk.set_data(blob.substr(want.offset, size));
        want.offset += size;
        finished = want.offset == blob.size();
        chunk.set_last(finished);
      }
      if (finished) loaded_.erase(loaded);
    }
    bytes += chunk.data().size() + 64;
    if (finished) wants_.pop_front();
    frame.mutable_blobs()->mutable_chunks()->Add(std::move(chunk));
  }
  if (!frame.has_blobs()) return std::nullopt;
  return frame;
}

// -------------------------------------------------------------------- reports

bool AgentSession::AcceptSeq(uint64_t seq) {
  if (seq <= last_seq_) {
    ++counts_.ignored["stale_seq"];
    return false;
  }
  last_seq_ = seq;
  pending_reports_[seq];
  return true;
}

void AgentSession::AckAtOnce(uint64_t seq) {
  ++counts_.ignored["foreign_reports"];
  pending_reports_[seq].stored = true;
  AdvanceReportAck();
}

void AgentSession::AdvanceReportAck() {
  while (!pending_reports_.empty() && pending_reports_.begin()->second.stored) {
    report_ack_ = pending_reports_.begin()->first;
    pending_reports_.erase(pending_reports_.begin());
  }
}

void AgentSession::OnState(const AgentFrame& frame, Step& step) {
  if (!AcceptSeq(frame.bundle_seq())) return;
  const core::v1::DeploymentState& state = frame.bundle();
  const Released* released = FindReleased(state.bundle_id());
  if (released == nullptr) {
    AckAtOnce(frame.bundle_seq());
    return;
  }
  if (state.phase() == core::v1::PHASE_DELETED &&
      state.generation() <= released->generation()) {
    PendingReport& pending = pending_reports_[frame.bundle_seq()];
    pending.deleted_bundle = state.bundle_id();
    pending.deleted_generation = state.generation();
  }
  step.reports.push_back({frame.bundle_seq(), state});
}

void AgentSession::OnResources(const agent::v1::ResourceBatch& batch,
                               Step& step) {
  if (static_cast<size_t>(batch.items_size()) > kMaxReportItems) {
    step.end = absl::ResourceExhaustedError("a batch of over 256 resources");
    return;
  }
  if (!AcceptSeq(batch.seq())) return;
  std::vector<core::v1::ResourceStatus> items;
  for (const core::v1::ResourceStatus& item : batch.items()) {
    if (FindReleased(item.bundle_id()) != nullptr) {
      items.push_back(item);
    } else {
      ++counts_.ignored["foreign_reports"];
    }
  }
  if (items.empty()) {
    AckAtOnce(batch.seq());
    return;
  }
  step.reports.push_back({batch.seq(), std::move(items)});
}

void AgentSession::OnDrift(const agent::v1::DriftBatch& batch, Step& step) {
  if (static_cast<size_t>(batch.records_size()) > kMaxReportItems) {
    step.end = absl::ResourceExhaustedError("a batch of over 256 drifts");
    return;
  }
  if (!AcceptSeq(batch.seq())) return;
  std::vector<core::v1::DriftRecord> records;
  for (const core::v1::DriftRecord& record : batch.records()) {
    if (FindReleased(record.bundle_id()) != nullptr) {
      records.push_back(record);
    } else {
      ++counts_.ignored["foreign_reports"];
    }
  }
  if (records.empty()) {
    AckAtOnce(batch.seq());
    return;
  }
  step.reports.push_back({batch.seq(), std::move(records)});
}

AgentSession::Step AgentSession::OnReportStored(uint64_t seq,
                                                const absl::Status& stored) {
  Step step;
  const auto pending = pending_reports_.find(seq);
  if (pending == pending_reports_.end()) return step;
  if (!stored.ok()) {
    step.end = absl::UnavailableError(
        absl::StrCat("a report could not be stored: ", stored.message()));
    return step;
  }
  pending->second.stored = true;
  if (pending->second.deleted_generation > 0) {
    const std::string bundle_id = pending->second.deleted_bundle;
    Entry& entry = entries_[bundle_id];
    entry.deleted_generation =
        std::max(entry.deleted_generation, pending->second.deleted_generation);
    Reconsider(bundle_id);
  }
  AdvanceReportAck();
  return step;
}

void AgentSession::OnFacts(const agent::v1::FactsPage& page, Step& step) {
  if (!facts_.has_value() || page.facts_digest() != facts_digest_) {
    facts_.emplace();
    facts_digest_ = page.facts_digest();
  }
  if (static_cast<size_t>(facts_->kinds_size()) +
          static_cast<size_t>(page.facts().kinds_size()) >
      kMaxFactKinds) {
    step.end = absl::ResourceExhaustedError(
        absl::StrCat("facts of more than ", kMaxFactKinds, " kinds"));
    return;
  }
  if (!page.facts().kube_version().empty()) {
    facts_->set_kube_version(page.facts().kube_version());
  }
  facts_->mutable_kinds()->MergeFrom(page.facts().kinds());
  if (!page.last()) return;
  core::v1::ClusterFacts facts = *std::move(facts_);
  facts_.reset();
  std::string digest = Sha256(facts.SerializeAsString());
  if (digest != page.facts_digest() ||
      facts.kube_version().size() > kMaxTextBytes) {
    ++counts_.ignored["bad_facts"];
    return;
  }
  step.facts = NewFacts{std::move(facts), std::move(digest)};
}

// --------------------------------------------------------------------- frames

AgentSession::Step AgentSession::OnFrame(const AgentFrame& frame, size_t bytes,
                                         absl::Duration now) {
  Step step;
  SpendTokens(bytes, now);
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
      OnHave(frame.have(), step);
      break;
    case AgentFrame::kAssignAck:
      OnAssignAck(frame.assign_ack(), now, step);
      break;
    case AgentFrame::kBlobNeed:
      OnBlobNeed(frame.blob_need(), step);
      break;
    case AgentFrame::kBundle:
      OnState(frame, step);
      break;
    case AgentFrame::kResources:
      OnResources(frame.resources(), step);
      break;
    case AgentFrame::kDrift:
      OnDrift(frame.drift(), step);
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

void AgentSession::OnValues(const agent::v1::ValuesReport& report,
                            Step& step) {
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
  while (!retries_.empty() && retries_.begin()->first <= now) {
    const std::string bundle_id = retries_.begin()->second;
    Entry& entry = entries_[bundle_id];
    retries_.erase(retries_.begin());
    entry.rejected_generation = 0;
    entry.retry_at = absl::InfiniteDuration();
    Reconsider(bundle_id);
  }
  if (now - last_heard_ > kSilenceLimit) {
    step.end = absl::DeadlineExceededError(
        "nothing was heard of the agent for 90 s");
  }
  return step;
}

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
  } else if (report_ack_ > report_ack_sent_) {
    frame.emplace();
    frame->mutable_report_ack()->set_seq(report_ack_);
    report_ack_sent_ = report_ack_;
  } else if (std::optional<agent::v1::ValuesRequest> request = values_.Next();
             request.has_value()) {
    frame.emplace();
    *frame->mutable_values_request() = *std::move(request);
  } else {
    frame = NextAssign();
    if (!frame.has_value()) frame = NextBlobs();
  }
  if (frame.has_value()) {
    frame->set_epoch(identity_.epoch);
    ++counts_.sent[FieldName(ManagerFrame::descriptor(), frame->body_case())];
  }
  return frame;
}

void AgentSession::SpendTokens(size_t bytes, absl::Duration now) {
  const double seconds = absl::ToDoubleSeconds(now - tokens_at_);
  tokens_at_ = now;
  frame_tokens_ = std::min(frame_tokens_ + seconds * kFramesPerSecond,
                           kFramesPerSecond * kBurstSeconds) -
                  1;
  byte_tokens_ = std::min(byte_tokens_ + seconds * kBytesPerSecond,
                          kBytesPerSecond * kBurstSeconds) -
                 static_cast<double>(bytes);
}

absl::Duration AgentSession::ReadDelay(absl::Duration now) const {
  if (pending_reports_.size() >= kMaxPendingReports ||
      pending_values_ >= kMaxPendingValues) {
    return absl::InfiniteDuration();
  }
  const double missing = std::max(-frame_tokens_ / kFramesPerSecond,
                                  -byte_tokens_ / kBytesPerSecond);
  return std::max(absl::ZeroDuration(),
                  absl::Seconds(missing) - (now - tokens_at_));
}

std::string AgentSession::DebugString() const {
  return absl::StrCat("epoch ", identity_.epoch, ", ", entries_.size(),
                      " bundles, av ", av_, ", acked ", acked_av(), ", ",
                      dirty_upserts_.size(), "+", dirty_tombstones_.size(),
                      " to send, ", in_flight_.size(), " in flight, ",
                      wants_.size(), " blobs wanted, ",
                      pending_reports_.size(), " reports pending");
}

}  // namespace flotilla::manager
