// SPDX-License-Identifier: Apache-2.0
//
// LinkSession is the agent's half of the stream's protocol: what to say next,
// what a frame means. It moves no bytes, reads no clock and no disk: the link
// feeds it and does what Step says. docs/protocol.md has the rules. One object
// serves all sessions of a process, one after another; blobs asked for survive
// from one to the next, nothing else does.

#ifndef FLOTILLA_AGENT_CONNECTION_LINK_SESSION_H_
#define FLOTILLA_AGENT_CONNECTION_LINK_SESSION_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/connection/blob_fetches.h"
#include "agent/connection/manager_link.h"
#include "agent/connection/reconnect_schedule.h"
#include "common/assignment/set_digest.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// How a session is to end.
struct SessionEnding {
  absl::Status why;
  ReconnectSchedule::Ending kind = ReconnectSchedule::Ending::kFailed;
  absl::Duration retry_after = absl::ZeroDuration();
};

// Loop-affine.
class LinkSession {
 public:
  // Constant for the process.
  struct Identity {
    std::string agent_version;
    std::string boot_id;
  };

  // What has happened; see LinkEvents for the meaning of each.
  struct Assigned {
    uint64_t epoch = 0;
    agent::v1::Assign assign;
  };
  struct NeedHave {};
  struct ReportAcked {
    uint64_t seq = 0;
  };
  struct Reportable {};
  using Event = std::variant<SessionOpened, NeedHave, Assigned, ReportAcked,
                             Reportable, BlobFetches::Result,
                             agent::v1::ValuesRequest>;

  using Ending = SessionEnding;

  // What the caller must do after a step, in order.
  struct Step {
    std::vector<Event> events;
    std::optional<Ending> end;
  };

  explicit LinkSession(Identity identity) : identity_(std::move(identity)) {}
  LinkSession(const LinkSession&) = delete;
  LinkSession& operator=(const LinkSession&) = delete;

  // A stream is open: queues Hello.
  void OnConnected(const HeldSummary& held, const std::string& cluster_uid,
                   const std::string& instance_id, absl::Duration now);
  Step OnFrame(const agent::v1::ManagerFrame& frame, absl::Duration now);
  // Once a second: pings, and silence.
  Step OnTick(absl::Duration now);
  // The stream is gone.
  void OnDisconnected();

  // The next frame to write, if any.
  std::optional<agent::v1::AgentFrame> NextFrame();

  // Answers NeedHave.
  void GiveHave(const std::vector<AssignedItem>& items);
  void AckAssign(uint64_t epoch, uint64_t nonce,
                 std::vector<agent::v1::AssignItem> items, uint64_t av,
                 std::string set_digest);
  void FetchBlob(const std::string& digest, uint64_t size);
  void SetFacts(const core::v1::ClusterFacts& facts);
  void SayGoodbye();

  bool live() const { return epoch_ != 0; }
  bool CanReport() const;
  // Sequence numbers; 0 when !CanReport().
  uint64_t SendState(core::v1::DeploymentState state);
  uint64_t SendResources(std::vector<core::v1::ResourceStatus> items);
  uint64_t SendDrift(std::vector<core::v1::DriftRecord> records);
  // See ManagerLink.
  bool SendValues(agent::v1::ValuesReport report);

  // By the names of the oneof's fields, and by reason.
  const absl::btree_map<std::string, uint64_t>& received() const {
    return received_;
  }
  const absl::btree_map<std::string, uint64_t>& sent() const { return sent_; }
  const absl::btree_map<std::string, uint64_t>& ignored() const {
    return ignored_;
  }

  static constexpr size_t kReportWindow = 12;
  static constexpr size_t kMaxOpenAssigns = 16;
  // Of the values that wait to be sent, one report more at most.
  static constexpr size_t kMaxValuesBytes = 4 * 1024 * 1024;

 private:
  void OnWelcome(const agent::v1::ManagerFrame& frame, Step& step);
  void OnAssign(const agent::v1::Assign& assign, Step& step);
  void OnValuesRequest(const agent::v1::ValuesRequest& request, Step& step);
  void QueueFacts();
  uint64_t QueueReport(agent::v1::AgentFrame frame);

  // Constant after construction.
  const Identity identity_;

  // Of the process.
  BlobFetches blobs_;
  std::optional<core::v1::ClusterFacts> facts_;
  std::string facts_digest_;
  absl::btree_map<std::string, uint64_t> received_;
  absl::btree_map<std::string, uint64_t> sent_;
  absl::btree_map<std::string, uint64_t> ignored_;

  // Of one stream.
  bool connected_ = false;
  uint64_t epoch_ = 0;  // 0 until Welcome.
  absl::Duration last_heard_;
  std::optional<absl::Duration> pinged_at_;
  uint64_t next_ping_ = 1;
  uint64_t last_nonce_ = 0;
  // Refused by us, to be added to the ACK of that nonce.
  std::map<uint64_t, std::vector<agent::v1::AssignItem>> open_assigns_;
  std::string manager_facts_digest_;
  bool facts_asked_ = false;
  uint64_t next_seq_ = 1;
  uint64_t acked_seq_ = 0;
  std::deque<agent::v1::AgentFrame> urgent_;   // Hello, pongs, ACKs, Have.
  std::deque<agent::v1::AgentFrame> facts_pages_;
  std::deque<agent::v1::AgentFrame> reports_;
  std::deque<agent::v1::AgentFrame> values_;  // One for each bundle.
  bool goodbye_ = false;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_CONNECTION_LINK_SESSION_H_
