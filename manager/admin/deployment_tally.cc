// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/deployment_tally.h"

#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"

namespace flotilla::manager {

bool operator<(const DeploymentName& a, const DeploymentName& b) {
  return std::tie(a.workspace, a.cluster, a.bundle, a.bundle_id,
                  a.cluster_workspace, a.cluster_id) <
         std::tie(b.workspace, b.cluster, b.bundle, b.bundle_id,
                  b.cluster_workspace, b.cluster_id);
}

std::string ClusterText(const DeploymentName& name) {
  return absl::StrCat(name.cluster_workspace, "/", name.cluster);
}

void DeploymentTally::Add(const DeploymentEntry& entry) {
  const size_t state = static_cast<size_t>(entry.state);
  ++size_;
  ++states_[state];
  AddCounts(entry.counts, resources_);
  if (entry.state != FoldedState::kReady) entries_[state].insert(&entry);
  if (!with_shares_) return;
  Share& share = shares_[{ClusterText(entry.name), entry.name.cluster_id}];
  ++share.states[state];
  AddCounts(entry.counts, share.resources);
}

void DeploymentTally::Remove(const DeploymentEntry& entry) {
  const size_t state = static_cast<size_t>(entry.state);
  --size_;
  --states_[state];
  SubtractCounts(entry.counts, resources_);
  entries_[state].erase(&entry);
  if (!with_shares_) return;
  const auto share =
      shares_.find({ClusterText(entry.name), entry.name.cluster_id});
  --share->second.states[state];
  SubtractCounts(entry.counts, share->second.resources);
  if (share->second.states == States{}) shares_.erase(share);
}

admin::v1::StateCounts DeploymentTally::counts() const {
  const auto n = [this](FoldedState s) {
    return states_[static_cast<size_t>(s)];
  };
  admin::v1::StateCounts out;
  out.set_desired(static_cast<uint32_t>(size_));
  out.set_ready(n(FoldedState::kReady));
  out.set_not_ready(n(FoldedState::kNotReady));
  out.set_wait_applied(n(FoldedState::kWaitApplied));
  out.set_err_applied(n(FoldedState::kErrApplied));
  out.set_modified(n(FoldedState::kModified));
  out.set_pending(n(FoldedState::kPending));
  out.set_offline(n(FoldedState::kOffline));
  out.set_deleting(n(FoldedState::kDeleting));
  out.set_out_of_sync(n(FoldedState::kOutOfSync));
  return out;
}

const DeploymentTally::Entries& DeploymentTally::In(FoldedState state) const {
  return entries_[static_cast<size_t>(state)];
}

FoldedState DeploymentTally::WorstOf(const States& states) {
  for (size_t i = 0; i < states.size(); ++i) {
    if (states[i] > 0) return static_cast<FoldedState>(i);
  }
  return FoldedState::kReady;
}

std::string DeploymentTally::Message(absl::string_view kind_word,
                                     const WordOf& word_of,
                                     const TextOf& text_of) const {
  // States of one word are one.
  struct Piece {
    absl::string_view word;
    uint32_t count = 0;
    const DeploymentEntry* first = nullptr;
  };
  std::vector<Piece> pieces;
  for (size_t i = 0; i < states_.size(); ++i) {
    const FoldedState state = static_cast<FoldedState>(i);
    if (entries_[i].empty()) continue;
    const absl::string_view word = word_of(state);
    Piece* piece = nullptr;
    for (Piece& present : pieces) {
      if (present.word == word) piece = &present;
    }
    if (piece == nullptr) {
      piece = &pieces.emplace_back();
      piece->word = word;
      piece->first = *entries_[i].begin();
    }
    piece->count += states_[i];
  }
  std::string out;
  for (const Piece& piece : pieces) {
    absl::StrAppend(&out, out.empty() ? "" : "; ", piece.word, "(",
                    piece.count, ") [", kind_word, " ", text_of(*piece.first),
                    "]");
  }
  return out;
}

namespace {

// Applies `f` to each field's pair of values.
template <typename F>
void Combine(const admin::v1::StateCounts& from, admin::v1::StateCounts& to,
             F f) {
  to.set_desired(f(to.desired(), from.desired()));
  to.set_ready(f(to.ready(), from.ready()));
  to.set_not_ready(f(to.not_ready(), from.not_ready()));
  to.set_wait_applied(f(to.wait_applied(), from.wait_applied()));
  to.set_err_applied(f(to.err_applied(), from.err_applied()));
  to.set_modified(f(to.modified(), from.modified()));
  to.set_pending(f(to.pending(), from.pending()));
  to.set_offline(f(to.offline(), from.offline()));
  to.set_deleting(f(to.deleting(), from.deleting()));
  to.set_out_of_sync(f(to.out_of_sync(), from.out_of_sync()));
}

}  // namespace

void AddCounts(const admin::v1::StateCounts& from,
               admin::v1::StateCounts& to) {
  Combine(from, to, [](uint32_t a, uint32_t b) { return a + b; });
}

void SubtractCounts(const admin::v1::StateCounts& from,
                    admin::v1::StateCounts& to) {
  Combine(from, to, [](uint32_t a, uint32_t b) { return a - b; });
}

}  // namespace flotilla::manager
