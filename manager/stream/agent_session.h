// SPDX-License-Identifier: Apache-2.0
//
// AgentSession is the manager's half of the stream's protocol for one session
// that was accepted: what the agent holds, what to send it next, what an ACK, a
// request or a report means. It moves no bytes, reads no clock and no disk: the
// hub feeds it and does what Step says. docs/protocol.md has the rules.
//
// What to send is decided when the connection can take a frame (NextFrame), so
// an agent that does not read costs nothing: changes meet in its dirty set.
//
// Order: OnReleased() and OnKnown() for what the store holds, Open(), then
// everything else in any order. Released records are never taken away: a
// bundle that is missing means nothing.

#ifndef FLOTILLA_MANAGER_STREAM_AGENT_SESSION_H_
#define FLOTILLA_MANAGER_STREAM_AGENT_SESSION_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/assignment/set_digest.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/stream/frame_counts.h"
#include "manager/stream/values_exchange.h"

namespace flotilla::manager {

// What the manager knows of the caller of a Hello.
struct GateView {
  bool ready = false;    // The store is loaded.
  bool known = false;    // There is an identity of that cluster_id.
  bool revoked = false;  // It was revoked.
  bool current_key = false;  // The certificate's key is the one last certified.
  std::string cluster_uid;   // Pinned at enrolment.
  std::string cluster_name;  // For texts.
};

// A refusal, nothing when the session may open, INVALID_ARGUMENT when the Hello
// is malformed.
absl::StatusOr<std::optional<agent::v1::Reject>> JudgeHello(
    const agent::v1::Hello& hello, const GateView& gate);

// See the file comment.
//
// Loop-affine.
class AgentSession {
 public:
  // A report to be stored; then OnReportStored(seq, status).
  struct Report {
    uint64_t seq = 0;
    std::variant<core::v1::DeploymentState,
                 std::vector<core::v1::ResourceStatus>,
                 std::vector<core::v1::DriftRecord>>
        body;
  };
  // An assignment that the agent refused for good.
  struct Rejection {
    std::string bundle_id;
    uint64_t generation = 0;
    core::v1::Problem problem;
  };
  struct NewFacts {
    core::v1::ClusterFacts facts;
    std::string digest;
  };
  // What the caller must do after a step.
  struct Step {
    std::vector<Report> reports;
    std::vector<Rejection> rejections;
    std::optional<NewFacts> facts;
    // To be stored; then OnValuesStored() for each.
    std::vector<agent::v1::ValuesReport> values;
    // Not OK: end the stream with it, once NextFrame() has nothing more.
    absl::Status end;
  };
  struct Identity {
    uint64_t epoch = 0;
    std::string session_id;
    std::string store_id;
  };

  AgentSession(Identity identity, absl::Duration now);
  AgentSession(const AgentSession&) = delete;
  AgentSession& operator=(const AgentSession&) = delete;

  // The record of a bundle, as loaded or as changed.
  void OnReleased(const std::string& bundle_id,
                  storage::v1::Released released);
  // The state that the store holds of a bundle.
  // REQUIRES: not open.
  void OnKnown(const core::v1::DeploymentState& state);
  // Queues Welcome. `facts_digest` is empty when none are stored.
  // REQUIRES: called once.
  void Open(const agent::v1::Hello& hello, std::string facts_digest);

  // A frame, of `bytes` on the wire.
  Step OnFrame(const agent::v1::AgentFrame& frame, size_t bytes,
               absl::Duration now);
  // A report is durable, or could not be stored: that ends the session.
  Step OnReportStored(uint64_t seq, const absl::Status& stored);
  // What a deployment needs of its cluster; see ValuesExchange.
  void AskValues(const std::string& bundle_id, ValuesAsk ask,
                 std::string known_digest);
  void EndValues(const std::string& bundle_id);
  // A values report is durable, or needed not be stored.
  void OnValuesStored();
  // Time has passed: what may be tried again, and silence. Call once a second
  // or when NextTick() says.
  Step OnTick(absl::Duration now);

  // Blobs to be read, once; then OnBlobs() with at least one of them. Empty
  // while a read is under way or when nothing was asked for.
  std::vector<std::string> TakeBlobReads();
  void OnBlobs(
      std::vector<std::pair<std::string, absl::StatusOr<std::string>>> blobs);

  // The next frame, if any. Nothing follows a Goodbye.
  std::optional<agent::v1::ManagerFrame> NextFrame();

  // Queues a Goodbye before everything else.
  void SayGoodbye(agent::v1::Goodbye::Reason reason, std::string detail);

  // How long the next frame must wait: zero, or until the rate allows it, or
  // infinite while too many reports are not durable.
  absl::Duration ReadDelay(absl::Duration now) const;

  uint64_t epoch() const { return identity_.epoch; }
  bool said_goodbye() const { return goodbye_sent_; }
  // Highest assignment version whose items are all resolved at the agent.
  uint64_t acked_av() const;
  const FrameCounts& counts() const { return counts_; }
  std::string DebugString() const;

  static constexpr size_t kWindow = 8;
  static constexpr size_t kMaxAssignItems = 500;
  static constexpr size_t kMaxAssignBytes = 256 * 1024;
  static constexpr size_t kMaxBlobFrameBytes = 256 * 1024;
  static constexpr size_t kMaxReportItems = 256;
  static constexpr size_t kMaxPendingReports = 16;
  static constexpr size_t kMaxPendingValues = 4;
  static constexpr size_t kMaxHaveItems = 20000;
  static constexpr size_t kMaxWants = 4096;
  static constexpr size_t kMaxFactKinds = 20000;

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
  struct Want {
    std::string digest;
    uint64_t offset = 0;
    bool refused = false;
  };
  struct Sent {
    std::string bundle_id;
    uint64_t generation = 0;
    bool tombstone = false;
  };
  struct PendingReport {
    bool stored = false;
    std::string deleted_bundle;  // Of a PHASE_DELETED.
    uint64_t deleted_generation = 0;
  };

  // Null unless it was ever released to this cluster.
  const storage::v1::Released* FindReleased(const std::string& bundle_id) const;
  Duty DutyOf(const Entry& entry) const;
  void Reconsider(const std::string& bundle_id);
  void CountBlobs(const storage::v1::Released& released, int delta);
  std::vector<AssignedItem> WantedSet() const;

  void OnHave(const agent::v1::HavePage& page, Step& step);
  void OnAssignAck(const agent::v1::AssignAck& ack, absl::Duration now,
                   Step& step);
  // `item` is null for STORED.
  void OnVerdict(const Sent& sent, const agent::v1::AssignItem* item,
                 absl::Duration now, Step& step);
  void OnBlobNeed(const agent::v1::BlobNeed& need, Step& step);
  void OnState(const agent::v1::AgentFrame& frame, Step& step);
  void OnResources(const agent::v1::ResourceBatch& batch, Step& step);
  void OnDrift(const agent::v1::DriftBatch& batch, Step& step);
  void OnFacts(const agent::v1::FactsPage& page, Step& step);
  void OnValues(const agent::v1::ValuesReport& report, Step& step);
  bool AcceptSeq(uint64_t seq);
  // Of a report of which nothing is to be stored.
  void AckAtOnce(uint64_t seq);
  void AdvanceReportAck();

  std::optional<agent::v1::ManagerFrame> NextAssign();
  std::optional<agent::v1::ManagerFrame> NextBlobs();
  void SpendTokens(size_t bytes, absl::Duration now);

  // Constant after construction.
  const Identity identity_;

  // Loop state.
  FrameCounts counts_;
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

  absl::flat_hash_map<std::string, int> allowed_blobs_;
  std::deque<Want> wants_;
  absl::flat_hash_map<std::string, absl::StatusOr<std::string>> loaded_;
  bool reading_ = false;

  absl::btree_map<std::string, std::string> known_;
  std::map<uint64_t, PendingReport> pending_reports_;
  uint64_t last_seq_ = 0;
  uint64_t report_ack_ = 0;
  uint64_t report_ack_sent_ = 0;
  std::optional<core::v1::ClusterFacts> facts_;  // Pages so far.
  std::string facts_digest_;
  ValuesExchange values_;
  size_t pending_values_ = 0;

  std::optional<agent::v1::Welcome> welcome_;
  std::optional<agent::v1::Goodbye> goodbye_;
  bool goodbye_sent_ = false;
  std::optional<uint64_t> pong_;
  absl::Duration last_heard_;
  double frame_tokens_;
  double byte_tokens_;
  absl::Duration tokens_at_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_AGENT_SESSION_H_
