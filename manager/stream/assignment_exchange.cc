// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/assignment_exchange.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/text/cut_text.h"

namespace flotilla::manager {
namespace {

using agent::v1::AssignItem;
using storage::v1::Released;

constexpr absl::Duration kRetryDelay = absl::Seconds(30);
constexpr size_t kMaxDetailBytes = 4096;

std::string CodeName(AssignItem::Code code) {
  std::string name = AssignItem::Code_Name(code);
  constexpr absl::string_view kPrefix = "CODE_";
  if (name.rfind(kPrefix.data(), 0) == 0) name.erase(0, kPrefix.size());
  return name.empty() ? "UNKNOWN" : name;
}

}  // namespace

const Released* AssignmentExchange::Find(const std::string& bundle_id) const {
  const auto it = entries_.find(bundle_id);
  if (it == entries_.end() || it->second.released.generation() == 0) {
    return nullptr;
  }
  return &it->second.released;
}

AssignmentExchange::Duty AssignmentExchange::DutyOf(const Entry& entry) const {
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

void AssignmentExchange::Reconsider(const std::string& bundle_id) {
  Entry& entry = entries_[bundle_id];
  const AvKey key(entry.released.av(), bundle_id);
  dirty_upserts_.erase(key);
  dirty_tombstones_.erase(key);
  waiting_.erase(key);
  retries_.erase({entry.retry_at, bundle_id});
  Duty duty = DutyOf(entry);
  if (duty == Duty::kTombstone &&
      entry.released.cause() == core::v1::DELETE_CAUSE_UNSPECIFIED) {
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

void AssignmentExchange::OnReleased(const std::string& bundle_id,
                                    Released released) {
  Entry& entry = entries_[bundle_id];
  if (entry.released.generation() != 0) {
    // Leave the sets under the old av.
    const AvKey old(entry.released.av(), bundle_id);
    dirty_upserts_.erase(old);
    dirty_tombstones_.erase(old);
    waiting_.erase(old);
  }
  entry.released = std::move(released);
  av_ = std::max(av_, entry.released.av());
  Reconsider(bundle_id);
}

void AssignmentExchange::OnDeleted(const std::string& bundle_id,
                                   uint64_t generation) {
  Entry& entry = entries_[bundle_id];
  entry.deleted_generation = std::max(entry.deleted_generation, generation);
  Reconsider(bundle_id);
}

std::vector<AssignedItem> AssignmentExchange::WantedSet() const {
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

void AssignmentExchange::Open(const agent::v1::Hello& hello,
                              agent::v1::Welcome& welcome) {
  std::string digest = SetDigest(WantedSet());
  welcome.set_av(av_);
  last_av_to_ = hello.last_av();
  if (hello.set_digest() == digest) {
    welcome.set_mode(agent::v1::Welcome::SYNC_MODE_IN_SYNC);
    synced_ = true;
    assumed_ = true;
    last_av_to_ = av_;
    for (auto& [bundle_id, entry] : entries_) {
      if (entry.released.state() == Released::STATE_GONE) continue;
      entry.held_generation = entry.released.generation();
      entry.held_tombstone = entry.released.state() == Released::STATE_DELETING;
    }
  } else {
    welcome.set_mode(agent::v1::Welcome::SYNC_MODE_SEND_HAVE);
  }
  welcome.set_set_digest(std::move(digest));
}

absl::Status AssignmentExchange::OnHave(const agent::v1::HavePage& page) {
  if (synced_) {
    ++counts_.ignored["second_have"];
    return absl::OkStatus();
  }
  if (have_.size() + static_cast<size_t>(page.items_size()) > kMaxHaveItems) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the agent holds more than ", kMaxHaveItems, " items"));
  }
  have_.insert(have_.end(), page.items().begin(), page.items().end());
  if (page.last()) Compare();
  return absl::OkStatus();
}

void AssignmentExchange::Compare() {
  for (const agent::v1::HaveItem& item : have_) {
    if (Find(item.bundle_id()) == nullptr) {
      ++counts_.ignored["foreign_items"];
      continue;
    }
    Entry& entry = entries_[item.bundle_id()];
    const Released& released = entry.released;
    entry.held_tombstone = item.tombstone();
    entry.held_generation = item.generation();
    const bool same_generation = item.generation() == released.generation();
    const bool wants_upsert = released.state() == Released::STATE_ACTIVE;
    if (same_generation && (item.tombstone() == wants_upsert ||
                            (wants_upsert && item.manifest_digest() !=
                                                 released.manifest_digest()))) {
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

bool AssignmentExchange::Draft::HasRoomFor(size_t size) const {
  return sent.size() < kMaxAssignItems && bytes < kMaxAssignBytes &&
         (bytes == 0 || bytes + size <= kMaxAssignBytes);
}

bool AssignmentExchange::AddUpsert(Draft& draft) {
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
  if (!draft.HasRoomFor(size)) return false;
  draft.bytes += size;
  draft.assign.mutable_upserts()->Add(std::move(upsert));
  MarkSent(bundle_id, false, draft);
  return true;
}

bool AssignmentExchange::AddTombstone(Draft& draft) {
  const std::string bundle_id = dirty_tombstones_.begin()->second;
  const Released& released = entries_[bundle_id].released;
  agent::v1::Tombstone tombstone;
  tombstone.set_bundle_id(bundle_id);
  tombstone.set_generation(released.generation());
  tombstone.set_keep_resources(released.keep_resources());
  tombstone.set_cause(released.cause());
  tombstone.set_approved_by(released.approved_by());
  const size_t size = tombstone.ByteSizeLong() + 8;
  if (!draft.HasRoomFor(size)) return false;
  draft.bytes += size;
  draft.assign.mutable_tombstones()->Add(std::move(tombstone));
  tombstone_sent_ = true;
  MarkSent(bundle_id, true, draft);
  return true;
}

void AssignmentExchange::MarkSent(const std::string& bundle_id, bool tombstone,
                                  Draft& draft) {
  Entry& entry = entries_[bundle_id];
  entry.sent_generation = entry.released.generation();
  draft.sent.push_back({bundle_id, entry.sent_generation, tombstone});
  Reconsider(bundle_id);
}

std::optional<agent::v1::Assign> AssignmentExchange::Next() {
  if (in_flight_.size() >= kWindow || nothing_to_send()) return std::nullopt;
  Draft draft;
  while (!dirty_upserts_.empty() && AddUpsert(draft)) {
  }
  // No tombstone before all upserts.
  while (dirty_upserts_.empty() && !dirty_tombstones_.empty() &&
         AddTombstone(draft)) {
  }
  uint64_t floor = av_ + 1;
  for (const auto* dirty : {&dirty_upserts_, &dirty_tombstones_}) {
    if (!dirty->empty()) floor = std::min(floor, dirty->begin()->first);
  }
  const uint64_t nonce = next_nonce_++;
  in_flight_[nonce] = std::move(draft.sent);
  draft.assign.set_nonce(nonce);
  draft.assign.set_av_from(last_av_to_);
  last_av_to_ = std::max(last_av_to_, floor - 1);
  draft.assign.set_av_to(last_av_to_);
  if (nothing_to_send()) draft.assign.set_set_digest(SetDigest(WantedSet()));
  return std::move(draft.assign);
}

void AssignmentExchange::OnVerdict(const Sent& sent, const AssignItem* item,
                                   absl::Duration now, Verdict& verdict) {
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
    Refused(sent, *item, now, entry, verdict);
  }
  Reconsider(bundle_id);
}

void AssignmentExchange::Refused(const Sent& sent, const AssignItem& item,
                                 absl::Duration now, Entry& entry,
                                 Verdict& verdict) {
  retries_.erase({entry.retry_at, sent.bundle_id});
  entry.rejected_generation =
      std::max(entry.rejected_generation, sent.generation);
  entry.retry_at =
      item.retryable() ? now + kRetryDelay : absl::InfiniteDuration();
  Rejection& rejection = verdict.rejections.emplace_back();
  rejection.bundle_id = sent.bundle_id;
  rejection.generation = sent.generation;
  rejection.problem.set_code(CodeName(item.code()));
  rejection.problem.set_message(absl::StrCat(
      "the agent refused the assignment: ",
      CutText(item.detail(), kMaxDetailBytes - 64)));
  rejection.problem.set_subject(
      absl::StrCat("bundle ", entry.released.bundle_name()));
}

AssignmentExchange::Verdict AssignmentExchange::OnAck(
    const agent::v1::AssignAck& ack, absl::Duration now) {
  Verdict result;
  const auto it = in_flight_.find(ack.nonce());
  if (it == in_flight_.end()) {
    ++counts_.ignored["stale_nonce"];
    return result;
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
    OnVerdict(one, item, now, result);
  }
  const bool settled =
      in_flight_.empty() && nothing_to_send() && waiting_.empty();
  // Finished tombstones leave the two sets at different times; apart from
  // them, equal digests at the start must lead to equal digests here.
  result.sets_differ = settled && assumed_ && !refused && !tombstone_sent_ &&
                       ack.set_digest() != SetDigest(WantedSet());
  return result;
}

void AssignmentExchange::OnTick(absl::Duration now) {
  while (!retries_.empty() && retries_.begin()->first <= now) {
    const std::string bundle_id = retries_.begin()->second;
    Entry& entry = entries_[bundle_id];
    retries_.erase(retries_.begin());
    entry.rejected_generation = 0;
    entry.retry_at = absl::InfiniteDuration();
    Reconsider(bundle_id);
  }
}

uint64_t AssignmentExchange::acked_av() const {
  if (!synced_) return 0;
  uint64_t floor = av_ + 1;
  for (const auto* open : {&dirty_upserts_, &dirty_tombstones_, &waiting_}) {
    if (!open->empty()) floor = std::min(floor, open->begin()->first);
  }
  return floor - 1;
}

std::string AssignmentExchange::DebugString() const {
  return absl::StrCat(entries_.size(), " bundles, av ", av_, ", acked ",
                      acked_av(), ", ", dirty_upserts_.size(), "+",
                      dirty_tombstones_.size(), " to send, ", in_flight_.size(),
                      " in flight");
}

}  // namespace flotilla::manager
