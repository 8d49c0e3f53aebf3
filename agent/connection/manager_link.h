// SPDX-License-Identifier: Apache-2.0
//
// ManagerLink is the agent's side of the stream to its manager: it enrols,
// dials, reconnects with back-off, answers pings and moves what the rest of the
// agent says and hears. It stores nothing but the agent's identity: what is
// durable belongs to the caller (LinkEvents), which is asked for it whenever a
// session opens. The agent goes on working while the link is down.
//
// A session is named by its epoch. Everything that was sent or heard in an
// earlier session is void once OnWelcome() was called for a new one, except
// blobs: a fetch survives reconnects and goes on where it stopped.
//
// Example:
//   link.Start(events);             // events.OnWelcome(...) follows some time
//   void OnAssign(uint64_t epoch, const agent::v1::Assign& assign) {
//     cache.Store(assign, [=](absl::Status) {          // durable first
//       link.AckAssign(epoch, assign.nonce(), items, av, set_digest);
//     });
//   }

#ifndef FLOTILLA_AGENT_CONNECTION_MANAGER_LINK_H_
#define FLOTILLA_AGENT_CONNECTION_MANAGER_LINK_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/assignment/set_digest.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// What is durable at the agent, as it says in Hello.
struct HeldSummary {
  std::string last_store_id;  // Of the last Welcome; empty at first.
  uint64_t last_epoch = 0;    // Of the last Welcome; 0 at first.
  uint64_t last_av = 0;       // Highest Assign.av_to that is durable.
  std::string set_digest;     // SetDigest() of everything held.
  uint64_t have_count = 0;    // Number of items in it.
};

// What the manager holds of this agent's reports, as Welcome says.
struct SessionOpened {
  uint64_t epoch = 0;
  std::string store_id;  // Keep both for HeldSummary.
  uint64_t av = 0;
  bool in_sync = false;  // False: Have() is called and Assigns follow.
  // bundle id -> DeploymentState.state_digest. Send the state and all
  // resources of each deployment whose digest differs or is not listed.
  std::vector<std::pair<std::string, std::string>> known;
};

// Implemented by the agent; all calls are made on the loop, never inside a
// call of ManagerLink.
//
// Loop-affine.
class LinkEvents {
 public:
  virtual ~LinkEvents() = default;

  // Asked just before each Hello.
  virtual HeldSummary Held() = 0;

  // Asked when the digests differ: everything held, in any order.
  virtual std::vector<AssignedItem> Have() = 0;

  // A session opened. Reports may be sent from now on.
  virtual void OnWelcome(const SessionOpened& opened) = 0;

  // Store it durably, then call ManagerLink::AckAssign() with the same epoch.
  // Assigns may overlap (up to 8); store and acknowledge them in order.
  // Tombstones with an unspecified cause have been refused already and are not
  // in `assign`; the link adds their verdicts to the ACK.
  virtual void OnAssign(uint64_t epoch, const agent::v1::Assign& assign) = 0;

  // Values in the cluster are needed, or (without refs) no longer; of the
  // current session, until it ends. At most kMaxValuesRefs refs.
  virtual void OnValuesRequest(const agent::v1::ValuesRequest& request) = 0;

  // Every report up to `seq` of this session is durable at the manager.
  virtual void OnReportAck(uint64_t seq) = 0;

  // CanReport() has become true.
  virtual void OnReportable() = 0;

  // The session ended, or a try to open one failed; `why` is for people and
  // says what to do. The link tries again by itself. `refused` means that
  // trying again cannot help without a person: the certificate was revoked, the
  // token is wrong. It is still tried again, once a minute.
  virtual void OnDisconnected(const absl::Status& why, bool refused) = 0;
};

// See the file comment. Destroying it ends the session and drops the
// completions of fetches.
//
// Loop-affine.
class ManagerLink {
 public:
  virtual ~ManagerLink() = default;

  // Begins to enrol or to dial. `events` must outlive the link.
  // REQUIRES: called once.
  virtual void Start(LinkEvents& events) = 0;

  // Says goodbye and stops dialling; `done` runs when the stream has ended or
  // after 2 s.
  virtual void Stop(absl::AnyInvocable<void()> done) = 0;

  // Verdict on an Assign once it is durable. `items` lists only what is not
  // STORED. Ignored when the session is no longer the one of `epoch`.
  virtual void AckAssign(uint64_t epoch, uint64_t nonce,
                         std::vector<agent::v1::AssignItem> items, uint64_t av,
                         std::string set_digest) = 0;

  // Fetches one blob. `digest` is the raw SHA-256, `size` the exact size that
  // the manifest (or the Upsert) declared. Many fetches of one turn of the loop
  // go out in one frame; fetches of one digest are joined.
  // Errors: NOT_FOUND when the manager does not serve it; DATA_LOSS when its
  // bytes did not match three times; INVALID_ARGUMENT for a size above 64 MiB.
  // No deadline: a fetch waits for the link.
  virtual void FetchBlob(
      std::string digest, uint64_t size,
      absl::AnyInvocable<void(absl::StatusOr<std::string>)> done) = 0;

  // Whether a report may be sent now: a session is open and its window is not
  // full. When false, keep coalescing: OnReportable() tells when to go on.
  virtual bool CanReport() const = 0;

  // Each sends one report and returns its sequence number, to be compared with
  // OnReportAck(). Returns 0 when !CanReport(); nothing was sent then.
  // At most kMaxReportItems items each; more are an error in the caller (0).
  virtual uint64_t SendState(core::v1::DeploymentState state) = 0;
  virtual uint64_t SendResources(
      std::vector<core::v1::ResourceStatus> items) = 0;
  virtual uint64_t SendDrift(std::vector<core::v1::DriftRecord> records) = 0;
  static constexpr size_t kMaxReportItems = 256;

  // Answers a ValuesRequest of this session. One of the same bundle that was
  // not sent yet is replaced. False: too much waits already, or no session is
  // open; nothing was kept.
  virtual bool SendValues(agent::v1::ValuesReport report) = 0;
  static constexpr int kMaxValuesRefs = 100;

  // What the cluster serves. Kept and sent when the manager's copy differs;
  // call again when it changes. Never blocks a session.
  virtual void SetFacts(core::v1::ClusterFacts facts) = 0;

  // UID of namespace kube-system. Nothing is dialled before it is known.
  virtual void SetClusterUid(std::string uid) = 0;

  virtual bool connected() const = 0;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_CONNECTION_MANAGER_LINK_H_
