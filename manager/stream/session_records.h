// SPDX-License-Identifier: Apache-2.0
//
// SessionRecords is what the store keeps of sessions: /session with the epoch,
// which only rises, /facts, /highwater, and what a new session needs of
// /observed. It is the only writer of the first three. It decides nothing.

#ifndef FLOTILLA_MANAGER_STREAM_SESSION_RECORDS_H_
#define FLOTILLA_MANAGER_STREAM_SESSION_RECORDS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"
#include "manager/stream/facts_assembly.h"

namespace flotilla::manager {

// Whether an agent is there.
struct ClusterPresence {
  bool online = false;
  // Of the last frame; of the end of the last session when offline. The past
  // when it never had one.
  absl::Time last_seen = absl::InfinitePast();
  std::string agent_version;
  uint64_t epoch = 0;
};

// What is stored of a cluster when a session of it opens.
struct StoredSession {
  std::vector<core::v1::DeploymentState> states;
  std::string facts_digest;  // Empty: none.
  uint64_t acked_av = 0;
};

// Loop-affine.
class SessionRecords {
 public:
  // For Written and Read: on the loop, in a later turn.
  using Written = absl::AnyInvocable<void(absl::Status)>;
  using Begun = absl::AnyInvocable<void(absl::StatusOr<uint64_t> epoch)>;
  using Read = absl::AnyInvocable<void(absl::StatusOr<StoredSession>)>;

  // All must outlive it. The writers are those of /session, /facts and
  // /highwater.
  SessionRecords(Store& store, FamilyWriter& session_writer,
                 FamilyWriter& facts_writer, FamilyWriter& highwater_writer);
  SessionRecords(const SessionRecords&) = delete;
  SessionRecords& operator=(const SessionRecords&) = delete;

  // Writes a new session with an epoch above all before. FAILED_PRECONDITION:
  // another one was written meanwhile; begin again.
  void Begin(const std::string& cluster_id, const agent::v1::Hello& hello,
             absl::Time now, Begun done);
  // The session of that epoch has ended; a newer one keeps its record.
  void End(const std::string& cluster_id, uint64_t epoch, absl::Time now);
  void PutFacts(const std::string& cluster_id, NewFacts facts, Written done);
  void PutHighWater(const std::string& cluster_id, uint64_t acked_av,
                    Written done);

  void ReadStored(const std::string& cluster_id, Read done);
  bool loaded() const { return sessions_.loaded(); }
  // As the last session left it.
  ClusterPresence Last(const std::string& cluster_id) const;

 private:
  struct Reading;

  void ReadKey(const std::shared_ptr<Reading>& reading,
               const std::string& prefix,
               void (*take)(const KeyValue& kv, StoredSession& stored));

  // Collaborators. Not owned.
  Store& store_;
  FamilyWriter& session_writer_;
  FamilyWriter& facts_writer_;
  FamilyWriter& highwater_writer_;

  // Loop state.
  TypedMirror<storage::v1::SessionRecord> sessions_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_SESSION_RECORDS_H_
