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

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/stream/assignment_exchange.h"
#include "manager/stream/blob_exchange.h"
#include "manager/stream/facts_assembly.h"
#include "manager/stream/frame_counts.h"
#include "manager/stream/read_rate.h"
#include "manager/stream/report_acks.h"
#include "manager/stream/values_exchange.h"

namespace flotilla::manager {

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
  using Rejection = AssignmentExchange::Rejection;
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
  void OnReleased(const std::string& bundle_id, storage::v1::Released released);
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
  std::vector<std::string> TakeBlobReads() { return blobs_.TakeReads(); }
  void OnBlobs(
      std::vector<std::pair<std::string, absl::StatusOr<std::string>>> blobs) {
    blobs_.OnBlobs(std::move(blobs));
  }

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
  uint64_t acked_av() const { return assignments_.acked_av(); }
  const FrameCounts& counts() const { return counts_; }
  std::string DebugString() const;

  static constexpr size_t kMaxReportItems = 256;
  static constexpr size_t kMaxPendingReports = 16;
  static constexpr size_t kMaxPendingValues = 4;

 private:
  struct DeletedBundle {
    std::string bundle_id;
    uint64_t generation = 0;
  };

  void OnAssignAck(const agent::v1::AssignAck& ack, absl::Duration now,
                   Step& step);
  void OnState(const agent::v1::AgentFrame& frame, Step& step);
  // Reports of many bundles; those that this cluster never had are ignored.
  template <typename T>
  void OnBatch(uint64_t seq, const google::protobuf::RepeatedPtrField<T>& items,
               absl::string_view what, Step& step);
  void OnFacts(const agent::v1::FactsPage& page, Step& step);
  void OnValues(const agent::v1::ValuesReport& report, Step& step);
  bool AcceptSeq(uint64_t seq);

  // Constant after construction.
  const Identity identity_;

  // Loop state.
  FrameCounts counts_;
  AssignmentExchange assignments_;
  BlobExchange blobs_;
  ReportAcks reports_;
  // By the number of the report that says so, until it is durable.
  std::map<uint64_t, DeletedBundle> deleted_;
  FactsAssembly facts_;
  ValuesExchange values_;
  size_t pending_values_ = 0;
  absl::btree_map<std::string, std::string> known_;

  std::optional<agent::v1::Welcome> welcome_;
  std::optional<agent::v1::Goodbye> goodbye_;
  bool goodbye_sent_ = false;
  std::optional<uint64_t> pong_;
  absl::Duration last_heard_;
  ReadRate rate_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_AGENT_SESSION_H_
