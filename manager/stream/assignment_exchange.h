// SPDX-License-Identifier: Apache-2.0
//
// AssignmentExchange is the part of an AgentSession that brings assignments to
// the agent: what was released, what the agent holds, what is under way, and
// what it refused. Upserts go before tombstones: an object that moves from one
// bundle to another must be wanted by the new one before the old one lets go.
// Owned by an AgentSession. docs/protocol.md has the rules.

#ifndef FLOTILLA_MANAGER_STREAM_ASSIGNMENT_EXCHANGE_H_
#define FLOTILLA_MANAGER_STREAM_ASSIGNMENT_EXCHANGE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "common/assignment/set_digest.h"
#include "manager/stream/frame_counts.h"

namespace flotilla::manager {

// Loop-affine.
class AssignmentExchange {
 public:
  static constexpr size_t kWindow = 8;
  static constexpr size_t kMaxAssignItems = 500;
  static constexpr size_t kMaxAssignBytes = 256 * 1024;
  static constexpr size_t kMaxHaveItems = 20000;

  // An assignment that the agent refused for good.
  struct Rejection {
    std::string bundle_id;
    uint64_t generation = 0;
    core::v1::Problem problem;
  };
  struct Verdict {
    std::vector<Rejection> rejections;
    // The two sides came to different sets from equal ones.
    bool sets_differ = false;
  };

  // What is ignored is counted in `counts`, which must outlive it.
  explicit AssignmentExchange(FrameCounts& counts) : counts_(counts) {}
  AssignmentExchange(const AssignmentExchange&) = delete;
  AssignmentExchange& operator=(const AssignmentExchange&) = delete;

  // The record of a bundle, as loaded or as changed.
  void OnReleased(const std::string& bundle_id, storage::v1::Released released);
  // It is durable that the agent has deleted this generation of a bundle.
  void OnDeleted(const std::string& bundle_id, uint64_t generation);

  // Fills in what Welcome says of the sets.
  void Open(const agent::v1::Hello& hello, agent::v1::Welcome& welcome);

  // Not OK: end the session.
  absl::Status OnHave(const agent::v1::HavePage& page);
  Verdict OnAck(const agent::v1::AssignAck& ack, absl::Duration now);
  // What was refused may be tried again.
  void OnTick(absl::Duration now);

  // The next frame, if any may be sent.
  std::optional<agent::v1::Assign> Next();

  // Null unless it was ever released to this cluster.
  const storage::v1::Released* Find(const std::string& bundle_id) const;
  // Highest assignment version whose items are all resolved at the agent.
  uint64_t acked_av() const;
  std::string DebugString() const;

 private:
  // What is known of one bundle at this agent.
  struct Entry {
    storage::v1::Released released;  // generation 0: none.
    uint64_t held_generation = 0;    // At the agent, as far as we know.
    bool held_tombstone = false;
    uint64_t sent_generation = 0;      // In flight; 0: none.
    uint64_t rejected_generation = 0;  // NACKed at this generation.
    uint64_t deleted_generation = 0;   // PHASE_DELETED is durable.
    absl::Duration retry_at = absl::InfiniteDuration();
  };
  enum class Duty { kNone, kUpsert, kTombstone };
  using AvKey = std::pair<uint64_t, std::string>;  // (av, bundle id)
  struct Sent {
    std::string bundle_id;
    uint64_t generation = 0;
    bool tombstone = false;
  };
  // An Assign frame in the making.
  struct Draft {
    agent::v1::Assign assign;
    std::vector<Sent> sent;
    size_t bytes = 0;

    bool HasRoomFor(size_t size) const;
  };

  Duty DutyOf(const Entry& entry) const;
  void Reconsider(const std::string& bundle_id);
  std::vector<AssignedItem> WantedSet() const;
  // Compares what the agent has said that it holds with what it should.
  void Compare();
  // `item` is null for STORED.
  void OnVerdict(const Sent& sent, const agent::v1::AssignItem* item,
                 absl::Duration now, Verdict& verdict);
  void Refused(const Sent& sent, const agent::v1::AssignItem& item,
               absl::Duration now, Entry& entry, Verdict& verdict);
  // False when it has no room for the next one.
  bool AddUpsert(Draft& draft);
  bool AddTombstone(Draft& draft);
  void MarkSent(const std::string& bundle_id, bool tombstone, Draft& draft);
  bool nothing_to_send() const {
    return dirty_upserts_.empty() && dirty_tombstones_.empty();
  }

  // Not owned.
  FrameCounts& counts_;

  // Loop state.
  absl::btree_map<std::string, Entry> entries_;
  uint64_t av_ = 0;  // Highest of all records.
  // Invariant: a bundle is in at most one of the three, under its released av.
  std::set<AvKey> dirty_upserts_;
  std::set<AvKey> dirty_tombstones_;
  std::set<AvKey> waiting_;  // In flight, or to be tried again later.
  std::set<std::pair<absl::Duration, std::string>> retries_;
  // What the agent holds is known: the digests were equal, or it said all.
  bool synced_ = false;
  bool assumed_ = false;  // Equal digests only.
  std::vector<agent::v1::HaveItem> have_;
  uint64_t next_nonce_ = 1;
  uint64_t last_av_to_ = 0;
  bool tombstone_sent_ = false;
  std::map<uint64_t, std::vector<Sent>> in_flight_;  // By nonce.
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_ASSIGNMENT_EXCHANGE_H_
