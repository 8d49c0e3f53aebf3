// SPDX-License-Identifier: Apache-2.0
//
// SessionHub holds the sessions of all connected agents: it judges each Hello,
// raises the cluster's epoch in /session, opens an AgentSession over what the
// store holds for that cluster, and from then on feeds it: changes of
// /released/<cluster>/, frames, blobs, reports that became durable. A newer
// session of the same cluster supersedes the older one. Sessions of revoked
// identities end at once.
//
// It writes /session, /facts and /highwater through SessionRecords and /values
// through its desk, and nothing else. It is the only one that knows which
// clusters are online.

#ifndef FLOTILLA_MANAGER_STREAM_SESSION_HUB_H_
#define FLOTILLA_MANAGER_STREAM_SESSION_HUB_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/blob/blob_store.h"
#include "common/env/clock.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "common/event/worker_pool.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/status/report_sink.h"
#include "manager/store/store.h"
#include "manager/stream/agent_connection.h"
#include "manager/stream/agent_session.h"
#include "manager/stream/facts_assembly.h"
#include "manager/stream/frame_counts.h"
#include "manager/stream/hello_gate.h"
#include "manager/stream/identity_registry.h"
#include "manager/stream/session_records.h"
#include "manager/stream/values_desk.h"

namespace flotilla::manager {

// One open session, for people and tests.
struct SessionView {
  std::string cluster_id;
  uint64_t epoch = 0;
  std::string address;
  std::string agent_version;
  FrameCounts counts;
};

// Loop-affine.
class SessionHub {
 public:
  using ConnectionId = uint64_t;

  struct Options {
    size_t max_sessions = 20000;
    absl::Duration hello_timeout = absl::Seconds(5);
    // Told in words what an operator would want to know: a cluster came, went,
    // was refused. May be null.
    absl::AnyInvocable<void(const std::string&)> on_notice;
    // Told when a cluster went online or offline. May be null.
    absl::AnyInvocable<void(const std::string& cluster_id)> on_presence;
  };

  // Nothing is owned; all must outlive the hub. The writers are those of
  // /session, /facts, /highwater and /values.
  struct Collaborators {
    Loop& loop;
    const Clock& clock;
    Random& random;
    Store& store;
    FamilyWriter& session_writer;
    FamilyWriter& facts_writer;
    FamilyWriter& highwater_writer;
    IdentityRegistry& identities;
    const BlobStore& blobs;
    WorkerPool& pool;
    ReportSink& sink;
    FamilyWriter& values_writer;
  };

  SessionHub(Collaborators collaborators, Options options);
  ~SessionHub();
  SessionHub(const SessionHub&) = delete;
  SessionHub& operator=(const SessionHub&) = delete;

  // From the service. A stream was opened by `peer`; its first frame is read.
  ConnectionId OnOpened(std::shared_ptr<AgentConnection> connection,
                        PeerIdentity peer);
  void OnFrame(ConnectionId id, agent::v1::AgentFrame frame);
  void OnWritten(ConnectionId id);
  // The stream is broken, cancelled, or half-closed by the agent.
  void OnBroken(ConnectionId id);

  // Says Goodbye DRAIN to all and refuses new ones. `done` runs when the last
  // stream has ended, or after `limit`.
  void Drain(absl::Duration limit, absl::AnyInvocable<void()> done);

  // Whether the store's mirrors are loaded; before that Hello is refused with
  // NOT_READY.
  bool ready() const;
  ClusterPresence Presence(const std::string& cluster_id) const;
  std::vector<SessionView> Sessions() const;
  // The open session of one cluster; absent when it has none.
  std::optional<SessionView> Session(const std::string& cluster_id) const;
  // Of all sessions since the start, open ones included.
  FrameCounts Totals() const;
  std::string DebugString() const;

 private:
  struct Connection;

  static SessionView ViewOf(const Connection& connection);

  Connection* Find(ConnectionId id);
  GateView GateOf(const PeerIdentity& peer) const;
  void OnHello(Connection& connection, agent::v1::Hello hello);
  // Raises the epoch; then Admit().
  void Fence(ConnectionId id);
  void Admit(Connection& connection, uint64_t epoch);
  void Load(Connection& connection);
  void OnReleasedBatch(ConnectionId id, const WatchBatch& batch);
  void OpenWhenLoaded(Connection& connection);
  void OnIdentity(const std::string& cluster_id);
  void OnTick();

  // Each of these may end the connection; false: it is gone.
  bool Perform(Connection& connection, AgentSession::Step step);
  bool Pump(Connection& connection);
  // Perform, Pump, and go on reading.
  void Proceed(Connection& connection, AgentSession::Step step);

  void StoreReport(Connection& connection, AgentSession::Report report);
  void StoreFacts(Connection& connection, NewFacts facts);
  void StoreValues(Connection& connection,
                   const agent::v1::ValuesReport& report);
  void AskAllValues(Connection& connection);
  void OnAsk(const std::string& cluster_id, const std::string& bundle_id);
  void StoreHighWater(Connection& connection);
  void ReadWhenAllowed(Connection& connection);
  void ReadBlobs(Connection& connection);

  // Writes one last frame, then ends the stream.
  void Refuse(Connection& connection, agent::v1::Reject reject);
  void Dismiss(Connection& connection, agent::v1::Goodbye::Reason reason,
               const std::string& detail);
  void WriteLast(Connection& connection, agent::v1::ManagerFrame frame);
  void End(ConnectionId id, absl::Status status);
  void ReportDrained();
  void Notice(const std::string& text);
  // A callback for the loop that does nothing when the connection is gone.
  template <typename F>
  auto Guarded(ConnectionId id, F f);

  // Collaborators. Not owned.
  Collaborators c_;
  Options options_;

  // Loop state.
  ConnectionId next_id_ = 1;
  absl::flat_hash_map<ConnectionId, std::unique_ptr<Connection>> connections_;
  // The connection whose session is current.
  absl::flat_hash_map<std::string, ConnectionId> current_;
  FrameCounts ended_counts_;
  absl::AnyInvocable<void()> drained_;
  bool draining_ = false;
  std::unique_ptr<Timer> tick_;
  std::unique_ptr<Timer> drain_limit_;
  SessionRecords records_;
  ValuesDesk desk_;
  // Completions hold it weakly: none acts after the hub is gone.
  std::shared_ptr<bool> alive_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_SESSION_HUB_H_
