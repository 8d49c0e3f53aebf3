// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/session_hub.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using agent::v1::AgentFrame;
using agent::v1::Goodbye;
using agent::v1::ManagerFrame;
using agent::v1::Reject;

constexpr absl::Duration kTick = absl::Seconds(1);
constexpr absl::Duration kEndingLimit = absl::Seconds(5);
constexpr size_t kReadBytesAtOnce = 1024 * 1024;

void AddCounts(const FrameCounts& from, FrameCounts& to) {
  for (const auto& [type, count] : from.received) to.received[type] += count;
  for (const auto& [type, count] : from.sent) to.sent[type] += count;
  for (const auto& [why, count] : from.ignored) to.ignored[why] += count;
}

}  // namespace

struct SessionHub::Connection {
  enum class Phase { kHello, kFencing, kLoading, kOpen, kEnding };

  ConnectionId id = 0;
  std::shared_ptr<AgentConnection> stream;
  PeerIdentity peer;
  Phase phase = Phase::kHello;
  absl::Duration phase_since;
  absl::Time last_seen;
  agent::v1::Hello hello;
  std::unique_ptr<AgentSession> session;
  // What an AgentSession needs before it can open.
  bool released_loaded = false;
  bool stored_loaded = false;
  std::string facts_digest;
  uint64_t stored_av = 0;
  bool storing_av = false;
  bool reading = false;
  bool writing = false;
  std::optional<ManagerFrame> last_frame;  // Waits for the write before it.
  // Declared last: destroyed first.
  std::unique_ptr<Timer> read_timer;
  std::unique_ptr<WatchHandle> released_watch;
};

SessionHub::SessionHub(Collaborators collaborators, Options options)
    : c_(collaborators), options_(std::move(options)),
      tick_(c_.loop.CreateTimer([this] { OnTick(); })),
      drain_limit_(c_.loop.CreateTimer([this] {
        while (!connections_.empty()) {
          End(connections_.begin()->first,
              absl::UnavailableError("the manager stops"));
        }
      })),
      records_(c_.store, c_.session_writer, c_.facts_writer,
               c_.highwater_writer),
      desk_(c_.store, c_.values_writer,
            [this](const std::string& cluster_id,
                   const std::string& bundle_id) {
              OnAsk(cluster_id, bundle_id);
            }),
      alive_(std::make_shared<bool>(true)) {
  c_.identities.SetListener(
      [this](const std::string& cluster_id) { OnIdentity(cluster_id); });
  tick_->Arm(kTick);
}

SessionHub::~SessionHub() { c_.identities.SetListener(nullptr); }

template <typename F>
auto SessionHub::Guarded(ConnectionId id, F f) {
  return [this, id, alive = std::weak_ptr<bool>(alive_),
          f = std::move(f)](auto&& result) mutable {
    if (alive.expired()) return;
    Connection* connection = Find(id);
    if (connection == nullptr) return;
    f(*connection, std::forward<decltype(result)>(result));
  };
}

SessionHub::Connection* SessionHub::Find(ConnectionId id) {
  const auto it = connections_.find(id);
  return it == connections_.end() ? nullptr : it->second.get();
}

bool SessionHub::ready() const {
  return c_.identities.ready() && records_.loaded() && desk_.loaded();
}

// ------------------------------------------------------------------ admission

SessionHub::ConnectionId SessionHub::OnOpened(
    std::shared_ptr<AgentConnection> stream, PeerIdentity peer) {
  const ConnectionId id = next_id_++;
  auto owned = std::make_unique<Connection>();
  Connection& connection = *owned;
  connection.id = id;
  connection.stream = std::move(stream);
  connection.peer = std::move(peer);
  connection.phase_since = c_.loop.MonotonicNow();
  connection.last_seen = c_.clock.Now();
  connection.read_timer = c_.loop.CreateTimer([this, id] {
    Connection* found = Find(id);
    if (found != nullptr) ReadWhenAllowed(*found);
  });
  connections_.emplace(id, std::move(owned));
  if (draining_) {
    End(id, absl::UnavailableError("the manager stops; come back later"));
  } else if (connections_.size() > options_.max_sessions) {
    Reject reject;
    reject.set_code(Reject::CODE_OVERLOADED);
    reject.set_detail("the manager has as many sessions as it may");
    reject.set_retry_after_ms(
        static_cast<uint32_t>(10000 + c_.random.Uniform(20000)));
    Refuse(connection, std::move(reject));
  } else {
    connection.reading = true;
    connection.stream->ReadNext();
  }
  return id;
}

GateView SessionHub::GateOf(const PeerIdentity& peer) const {
  GateView gate;
  gate.ready = ready();
  const storage::v1::ClusterIdentity* identity =
      c_.identities.Find(peer.cluster_id);
  if (identity == nullptr) return gate;
  gate.known = true;
  gate.revoked = identity->revoked();
  gate.current_key = identity->public_key_digest() == peer.public_key_digest;
  gate.cluster_uid = identity->cluster_uid();
  gate.cluster_name =
      absl::StrCat(identity->workspace(), "/", identity->name());
  return gate;
}

void SessionHub::OnHello(Connection& connection, agent::v1::Hello hello) {
  absl::StatusOr<std::optional<Reject>> verdict =
      JudgeHello(hello, GateOf(connection.peer));
  if (!verdict.ok()) {
    End(connection.id, verdict.status());
    return;
  }
  if (verdict->has_value()) {
    Refuse(connection, **std::move(verdict));
    return;
  }
  connection.hello = std::move(hello);
  connection.phase = Connection::Phase::kFencing;
  connection.phase_since = c_.loop.MonotonicNow();
  Fence(connection.id);
}

void SessionHub::Fence(ConnectionId id) {
  Connection* connection = Find(id);
  if (connection == nullptr) return;
  records_.Begin(
      connection->peer.cluster_id, connection->hello, c_.clock.Now(),
      Guarded(id, [this](Connection& found, absl::StatusOr<uint64_t> epoch) {
        if (found.phase != Connection::Phase::kFencing) return;
        if (epoch.ok()) {
          Admit(found, *epoch);
        } else if (absl::IsFailedPrecondition(epoch.status())) {
          Fence(found.id);
        } else {
          End(found.id, absl::UnavailableError(
                            absl::StrCat("the store cannot be written: ",
                                         epoch.status().message())));
        }
      }));
}

void SessionHub::Admit(Connection& connection, uint64_t epoch) {
  const auto current = current_.find(connection.peer.cluster_id);
  if (current != current_.end()) {
    Connection* older = Find(current->second);
    if (older != nullptr) {
      Dismiss(*older, Goodbye::REASON_SUPERSEDED,
              "another session of this cluster took over");
    }
  }
  // Revoked between Hello and now: the listener saw no session to end.
  const GateView gate = GateOf(connection.peer);
  if (gate.revoked || !gate.current_key) {
    Dismiss(connection, Goodbye::REASON_REVOKED, "the certificate was revoked");
    return;
  }
  current_[connection.peer.cluster_id] = connection.id;
  connection.session = std::make_unique<AgentSession>(
      AgentSession::Identity{epoch, c_.random.Uuid(), c_.store.store_id()},
      c_.loop.MonotonicNow());
  connection.phase = Connection::Phase::kLoading;
  connection.phase_since = c_.loop.MonotonicNow();
  Load(connection);
}

void SessionHub::Load(Connection& connection) {
  const ConnectionId id = connection.id;
  const std::string& cluster_id = connection.peer.cluster_id;
  records_.ReadStored(
      cluster_id,
      Guarded(id, [this](Connection& found,
                         absl::StatusOr<StoredSession> stored) {
        if (!stored.ok()) {
          End(found.id, absl::UnavailableError(
                            absl::StrCat("the store cannot be read: ",
                                         stored.status().message())));
          return;
        }
        for (const core::v1::DeploymentState& state : stored->states) {
          found.session->OnKnown(state);
        }
        found.facts_digest = stored->facts_digest;
        found.stored_av = stored->acked_av;
        found.stored_loaded = true;
        OpenWhenLoaded(found);
      }));
  connection.released_watch = c_.store.RangeAndWatch(
      ReleasedPrefix(cluster_id),
      [this, id](const WatchBatch& batch) { OnReleasedBatch(id, batch); });
}

void SessionHub::OnReleasedBatch(ConnectionId id, const WatchBatch& batch) {
  Connection* connection = Find(id);
  if (connection == nullptr || connection->session == nullptr) return;
  for (const WatchEvent& event : batch.events) {
    // Releases are kept for ever; one that is gone means nothing.
    if (event.deleted) continue;
    const auto key = ParseClusterBundleKey(kReleasedFamily, event.kv.key);
    auto released =
        ParseRecord<storage::v1::Released>(event.kv.key, event.kv.value);
    if (!key.ok() || !released.ok()) {
      Notice(absl::StrCat("unreadable release ", event.kv.key, " is skipped"));
      continue;
    }
    connection->session->OnReleased(key->bundle_id, *std::move(released));
  }
  connection->released_loaded = true;
  if (connection->phase == Connection::Phase::kLoading) {
    OpenWhenLoaded(*connection);
  } else if (connection->phase == Connection::Phase::kOpen) {
    Pump(*connection);
  }
}

void SessionHub::OpenWhenLoaded(Connection& connection) {
  if (connection.phase != Connection::Phase::kLoading ||
      !connection.released_loaded || !connection.stored_loaded) {
    return;
  }
  connection.session->Open(connection.hello, connection.facts_digest);
  AskAllValues(connection);
  connection.phase = Connection::Phase::kOpen;
  Notice(absl::StrCat("agent of cluster ", GateOf(connection.peer).cluster_name,
                      " connected from ", connection.peer.address, " (epoch ",
                      connection.session->epoch(), ")"));
  if (options_.on_presence != nullptr) {
    options_.on_presence(connection.peer.cluster_id);
  }
  Proceed(connection, {});
}

void SessionHub::OnIdentity(const std::string& cluster_id) {
  const auto current = current_.find(cluster_id);
  if (current == current_.end()) return;
  Connection* connection = Find(current->second);
  if (connection == nullptr) return;
  const GateView gate = GateOf(connection->peer);
  if (!gate.known || gate.revoked) {
    Dismiss(*connection, Goodbye::REASON_REVOKED,
            "the cluster was deleted and its certificate revoked; what runs "
            "stays");
  } else if (!gate.current_key) {
    Dismiss(*connection, Goodbye::REASON_REVOKED,
            "the cluster was enrolled again; this agent's certificate was "
            "replaced");
  }
}

// ----------------------------------------------------------------- the session

void SessionHub::OnFrame(ConnectionId id, AgentFrame frame) {
  Connection* connection = Find(id);
  if (connection == nullptr) return;
  connection->reading = false;
  connection->last_seen = c_.clock.Now();
  switch (connection->phase) {
    case Connection::Phase::kHello:
      if (frame.body_case() != AgentFrame::kHello) {
        End(id, absl::FailedPreconditionError(
                    "the first frame of a session must be hello"));
        return;
      }
      OnHello(*connection, std::move(*frame.mutable_hello()));
      return;
    case Connection::Phase::kOpen:
      Proceed(*connection, connection->session->OnFrame(
                               frame, frame.ByteSizeLong(),
                               c_.loop.MonotonicNow()));
      return;
    default:
      return;
  }
}

void SessionHub::OnWritten(ConnectionId id) {
  Connection* connection = Find(id);
  if (connection == nullptr) return;
  connection->writing = false;
  if (connection->phase == Connection::Phase::kOpen) {
    Pump(*connection);
  } else if (connection->phase == Connection::Phase::kEnding) {
    if (connection->last_frame.has_value()) {
      ManagerFrame frame = *std::move(connection->last_frame);
      connection->last_frame.reset();
      connection->writing = true;
      connection->stream->Write(std::move(frame));
    } else {
      End(id, absl::OkStatus());
    }
  }
}

void SessionHub::OnBroken(ConnectionId id) {
  End(id, absl::CancelledError("the stream broke"));
}

void SessionHub::Proceed(Connection& connection, AgentSession::Step step) {
  const ConnectionId id = connection.id;
  if (!Perform(connection, std::move(step))) return;
  StoreHighWater(connection);
  if (!Pump(connection)) return;
  if (Find(id) != nullptr) ReadWhenAllowed(connection);
}

bool SessionHub::Perform(Connection& connection, AgentSession::Step step) {
  const std::string& cluster_id = connection.peer.cluster_id;
  const uint64_t epoch = connection.session->epoch();
  for (AgentSession::Report& report : step.reports) {
    StoreReport(connection, std::move(report));
  }
  for (AgentSession::Rejection& rejection : step.rejections) {
    c_.sink.OnRejected(cluster_id, epoch, rejection.bundle_id,
                       rejection.generation, std::move(rejection.problem));
  }
  if (step.facts.has_value()) StoreFacts(connection, *std::move(step.facts));
  for (const agent::v1::ValuesReport& report : step.values) {
    StoreValues(connection, report);
  }
  if (step.end.ok()) return true;
  End(connection.id, absl::IsCancelled(step.end) ? absl::OkStatus() : step.end);
  return false;
}

void SessionHub::StoreReport(Connection& connection,
                             AgentSession::Report report) {
  const std::string& cluster_id = connection.peer.cluster_id;
  const uint64_t epoch = connection.session->epoch();
  const uint64_t seq = report.seq;
  auto done = Guarded(
      connection.id, [this, seq](Connection& found, absl::Status stored) {
        if (found.phase != Connection::Phase::kOpen) return;
        Proceed(found, found.session->OnReportStored(seq, stored));
      });
  if (auto* state = std::get_if<core::v1::DeploymentState>(&report.body)) {
    c_.sink.OnState(cluster_id, epoch, std::move(*state), std::move(done));
  } else if (auto* items = std::get_if<std::vector<core::v1::ResourceStatus>>(
                 &report.body)) {
    c_.sink.OnResources(cluster_id, epoch, std::move(*items), std::move(done));
  } else {
    c_.sink.OnDrift(
        cluster_id, epoch,
        std::move(std::get<std::vector<core::v1::DriftRecord>>(report.body)),
        std::move(done));
  }
}

void SessionHub::StoreFacts(Connection& connection, NewFacts facts) {
  if (facts.digest == connection.facts_digest) return;
  connection.facts_digest = facts.digest;
  records_.PutFacts(
      connection.peer.cluster_id, std::move(facts),
      Guarded(connection.id, [this](Connection& found,
                                    const absl::Status& written) {
        if (written.ok()) return;
        // They come again with the next session.
        End(found.id, absl::UnavailableError(absl::StrCat(
                          "facts could not be stored: ", written.message())));
      }));
}

void SessionHub::StoreValues(Connection& connection,
                             const agent::v1::ValuesReport& report) {
  const bool stores = desk_.Take(
      connection.peer.cluster_id, report,
      Guarded(connection.id, [this](Connection& found,
                                    const absl::Status& stored) {
        if (found.phase != Connection::Phase::kOpen) return;
        if (!stored.ok()) {
          // They come again with the next session.
          End(found.id, absl::UnavailableError(absl::StrCat(
                            "values could not be stored: ",
                            stored.message())));
          return;
        }
        found.session->OnValuesStored();
        ReadWhenAllowed(found);
      }));
  if (!stores) connection.session->OnValuesStored();
}

void SessionHub::AskAllValues(Connection& connection) {
  const std::string& cluster_id = connection.peer.cluster_id;
  for (auto& [bundle_id, ask] : desk_.AsksOf(cluster_id)) {
    connection.session->AskValues(bundle_id, ask,
                                  desk_.KnownDigest(cluster_id, bundle_id));
  }
}

void SessionHub::OnAsk(const std::string& cluster_id,
                       const std::string& bundle_id) {
  const auto current = current_.find(cluster_id);
  Connection* connection =
      current == current_.end() ? nullptr : Find(current->second);
  if (connection == nullptr ||
      connection->phase != Connection::Phase::kOpen) {
    return;
  }
  const ValuesAsk* ask = desk_.Find(cluster_id, bundle_id);
  if (ask == nullptr) {
    connection->session->EndValues(bundle_id);
  } else {
    connection->session->AskValues(bundle_id, *ask,
                                   desk_.KnownDigest(cluster_id, bundle_id));
  }
  Pump(*connection);
}

void SessionHub::StoreHighWater(Connection& connection) {
  const uint64_t av = connection.session->acked_av();
  if (connection.storing_av || av <= connection.stored_av) return;
  connection.storing_av = true;
  records_.PutHighWater(
      connection.peer.cluster_id, av,
      Guarded(connection.id,
              [this, av](Connection& found, const absl::Status& written) {
                found.storing_av = false;
                if (!written.ok()) return;
                found.stored_av = av;
                StoreHighWater(found);
              }));
}

bool SessionHub::Pump(Connection& connection) {
  if (connection.phase != Connection::Phase::kOpen) return false;
  ReadBlobs(connection);
  if (connection.writing) return true;
  std::optional<ManagerFrame> frame = connection.session->NextFrame();
  if (!frame.has_value()) return true;
  if (connection.session->said_goodbye()) {
    WriteLast(connection, *std::move(frame));
    return false;
  }
  connection.writing = true;
  connection.stream->Write(*std::move(frame));
  return true;
}

void SessionHub::ReadWhenAllowed(Connection& connection) {
  if (connection.phase != Connection::Phase::kOpen || connection.reading) {
    return;
  }
  const absl::Duration delay =
      connection.session->ReadDelay(c_.loop.MonotonicNow());
  if (delay == absl::InfiniteDuration()) return;
  if (delay > absl::ZeroDuration()) {
    connection.read_timer->Arm(delay);
    return;
  }
  connection.reading = true;
  connection.stream->ReadNext();
}

void SessionHub::ReadBlobs(Connection& connection) {
  std::vector<std::string> digests = connection.session->TakeBlobReads();
  if (digests.empty()) return;
  using Blobs =
      std::vector<std::pair<std::string, absl::StatusOr<std::string>>>;
  c_.pool.Submit<Blobs>(
      [&blobs = c_.blobs, digests = std::move(digests)] {
        Blobs read;
        size_t bytes = 0;
        for (const std::string& digest : digests) {
          absl::StatusOr<std::string> blob = blobs.Get(digest);
          if (blob.ok()) bytes += blob->size();
          read.emplace_back(digest, std::move(blob));
          if (bytes >= kReadBytesAtOnce) break;
        }
        return read;
      },
      Guarded(connection.id, [this](Connection& found, Blobs read) {
        if (found.phase != Connection::Phase::kOpen) return;
        for (const auto& [digest, blob] : read) {
          if (!blob.ok() && !absl::IsNotFound(blob.status())) {
            Notice(absl::StrCat("a blob cannot be read: ",
                                blob.status().message()));
          }
        }
        found.session->OnBlobs(std::move(read));
        Pump(found);
      }));
}

void SessionHub::OnTick() {
  tick_->Arm(kTick);
  const absl::Duration now = c_.loop.MonotonicNow();
  std::vector<ConnectionId> ids;
  ids.reserve(connections_.size());
  for (const auto& [id, connection] : connections_) ids.push_back(id);
  for (const ConnectionId id : ids) {
    Connection* connection = Find(id);
    if (connection == nullptr) continue;
    const absl::Duration age = now - connection->phase_since;
    switch (connection->phase) {
      case Connection::Phase::kHello:
        if (age >= options_.hello_timeout) {
          End(id, absl::DeadlineExceededError("no hello came in time"));
        }
        break;
      case Connection::Phase::kEnding:
        if (age >= kEndingLimit) {
          End(id, absl::DeadlineExceededError("the agent does not read"));
        }
        break;
      case Connection::Phase::kOpen:
        if (Perform(*connection, connection->session->OnTick(now))) {
          Pump(*connection);
        }
        break;
      default:
        break;
    }
  }
}

// -------------------------------------------------------------------- endings

void SessionHub::Refuse(Connection& connection, Reject reject) {
  // A starting manager refuses everybody; that is no news.
  if (reject.code() != Reject::CODE_NOT_READY) {
    Notice(absl::StrCat("agent at ", connection.peer.address, " is refused: ",
                        reject.detail()));
  }
  ManagerFrame frame;
  *frame.mutable_reject() = std::move(reject);
  WriteLast(connection, std::move(frame));
}

void SessionHub::Dismiss(Connection& connection, Goodbye::Reason reason,
                         const std::string& detail) {
  if (connection.phase == Connection::Phase::kEnding) return;
  ManagerFrame frame;
  if (connection.session != nullptr) {
    frame.set_epoch(connection.session->epoch());
  }
  frame.mutable_bye()->set_reason(reason);
  frame.mutable_bye()->set_detail(detail);
  WriteLast(connection, std::move(frame));
}

void SessionHub::WriteLast(Connection& connection, ManagerFrame frame) {
  connection.phase = Connection::Phase::kEnding;
  connection.phase_since = c_.loop.MonotonicNow();
  connection.released_watch.reset();
  if (connection.writing) {
    connection.last_frame = std::move(frame);
    return;
  }
  connection.writing = true;
  connection.stream->Write(std::move(frame));
}

void SessionHub::End(ConnectionId id, absl::Status status) {
  const auto it = connections_.find(id);
  if (it == connections_.end()) return;
  // Out of the map first, so that nothing below finds it again.
  const std::unique_ptr<Connection> connection = std::move(it->second);
  connections_.erase(it);
  const std::string cluster_id = connection->peer.cluster_id;
  const auto current = current_.find(cluster_id);
  const bool was_current = current != current_.end() && current->second == id;
  if (was_current) current_.erase(current);
  if (connection->session != nullptr) {
    AddCounts(connection->session->counts(), ended_counts_);
    if (was_current) {
      records_.End(cluster_id, connection->session->epoch(), c_.clock.Now());
    }
    Notice(absl::StrCat(
        "agent of cluster ", GateOf(connection->peer).cluster_name,
        " disconnected",
        status.ok() ? "" : absl::StrCat(": ", status.message())));
  }
  connection->stream->Close(std::move(status));
  if (was_current && options_.on_presence != nullptr) {
    options_.on_presence(cluster_id);
  }
  if (draining_ && connections_.empty()) ReportDrained();
}

void SessionHub::ReportDrained() {
  drain_limit_->Disarm();
  c_.loop.Post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired() || drained_ == nullptr) return;
    std::exchange(drained_, nullptr)();
  });
}

void SessionHub::Drain(absl::Duration limit, absl::AnyInvocable<void()> done) {
  draining_ = true;
  drained_ = std::move(done);
  if (connections_.empty()) {
    ReportDrained();
    return;
  }
  drain_limit_->Arm(limit);
  std::vector<ConnectionId> ids;
  for (const auto& [id, connection] : connections_) ids.push_back(id);
  for (const ConnectionId id : ids) {
    Connection* connection = Find(id);
    if (connection == nullptr) continue;
    Dismiss(*connection, Goodbye::REASON_DRAIN, "the manager stops");
  }
}

// -------------------------------------------------------------------- queries

ClusterPresence SessionHub::Presence(const std::string& cluster_id) const {
  ClusterPresence presence = records_.Last(cluster_id);
  const auto current = current_.find(cluster_id);
  if (current == current_.end()) return presence;
  const auto it = connections_.find(current->second);
  if (it == connections_.end()) return presence;
  const Connection& connection = *it->second;
  presence.online = connection.phase == Connection::Phase::kOpen;
  presence.last_seen = std::max(presence.last_seen, connection.last_seen);
  return presence;
}

SessionView SessionHub::ViewOf(const Connection& connection) {
  SessionView view;
  view.cluster_id = connection.peer.cluster_id;
  view.epoch = connection.session->epoch();
  view.address = connection.peer.address;
  view.agent_version = connection.hello.agent_version();
  view.counts = connection.session->counts();
  return view;
}

std::vector<SessionView> SessionHub::Sessions() const {
  std::vector<SessionView> views;
  for (const auto& [id, connection] : connections_) {
    if (connection->phase != Connection::Phase::kOpen) continue;
    views.push_back(ViewOf(*connection));
  }
  return views;
}

std::optional<SessionView> SessionHub::Session(
    const std::string& cluster_id) const {
  const auto current = current_.find(cluster_id);
  if (current == current_.end()) return std::nullopt;
  const auto connection = connections_.find(current->second);
  if (connection == connections_.end() ||
      connection->second->phase != Connection::Phase::kOpen) {
    return std::nullopt;
  }
  return ViewOf(*connection->second);
}

FrameCounts SessionHub::Totals() const {
  FrameCounts totals = ended_counts_;
  for (const auto& [id, connection] : connections_) {
    if (connection->session != nullptr) {
      AddCounts(connection->session->counts(), totals);
    }
  }
  return totals;
}

std::string SessionHub::DebugString() const {
  std::string text = absl::StrCat(connections_.size(), " connections");
  for (const auto& [id, connection] : connections_) {
    absl::StrAppend(&text, "\n", id, " ", connection->peer.cluster_id, " ",
                    connection->peer.address, ": ",
                    connection->session == nullptr
                        ? "no session yet"
                        : connection->session->DebugString());
  }
  return text;
}

void SessionHub::Notice(const std::string& text) {
  if (options_.on_notice != nullptr) options_.on_notice(text);
}

}  // namespace flotilla::manager
