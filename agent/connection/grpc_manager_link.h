// SPDX-License-Identifier: Apache-2.0
//
// GrpcManagerLink is the ManagerLink over gRPC: it enrols with a join token
// when it has no identity (or a token that it has not used yet), dials with its
// certificate, runs a LinkSession over the stream and dials again when it ends.
// All decisions are LinkSession's and ReconnectSchedule's.

#ifndef FLOTILLA_AGENT_CONNECTION_GRPC_MANAGER_LINK_H_
#define FLOTILLA_AGENT_CONNECTION_GRPC_MANAGER_LINK_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/connection/identity_store.h"
#include "agent/connection/link_session.h"
#include "agent/connection/manager_link.h"
#include "agent/connection/reconnect_schedule.h"
#include "common/enrolment/join_token.h"
#include "common/env/clock.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "flotilla/agent/v1/agent.pb.h"

namespace flotilla::agent {

// Loop-affine.
class GrpcManagerLink final : public ManagerLink {
 public:
  struct Options {
    std::string manager_address;  // "host:port".
    std::string token;            // May be empty once enrolled.
    std::string agent_version;
    ReconnectSchedule::Options reconnect;
  };

  // Nothing is owned; all must outlive the link.
  GrpcManagerLink(Loop& loop, const Clock& clock, Random& random,
                  IdentityStore& identities, Options options);
  ~GrpcManagerLink() override;
  GrpcManagerLink(const GrpcManagerLink&) = delete;
  GrpcManagerLink& operator=(const GrpcManagerLink&) = delete;

  void Start(LinkEvents& events) override;
  void Stop(absl::AnyInvocable<void()> done) override;
  void AckAssign(uint64_t epoch, uint64_t nonce,
                 std::vector<agent::v1::AssignItem> items, uint64_t av,
                 std::string set_digest) override;
  void FetchBlob(
      std::string digest, uint64_t size,
      absl::AnyInvocable<void(absl::StatusOr<std::string>)> done) override;
  bool CanReport() const override;
  uint64_t SendState(core::v1::DeploymentState state) override;
  uint64_t SendResources(
      std::vector<core::v1::ResourceStatus> items) override;
  uint64_t SendDrift(std::vector<core::v1::DriftRecord> records) override;
  bool SendValues(agent::v1::ValuesReport report) override;
  void SetFacts(core::v1::ClusterFacts facts) override;
  void SetClusterUid(std::string uid) override;
  bool connected() const override { return session_.live(); }

  // What went over all sessions, by type of frame.
  const LinkSession& session() const { return session_; }
  // Of the identity; empty before enrolment.
  const std::string& cluster_id() const { return identity_.cluster_id; }

 private:
  class Stream;
  struct EnrolCall;

  void OnLoaded(absl::StatusOr<AgentIdentity> identity);
  // Whether there is a token that this identity was not made with.
  bool MustEnrol() const;
  void Connect();
  void PrepareEnrolment();
  void Enrol();
  void OnEnrolled(const absl::Status& status,
                  const agent::v1::EnrollResponse& response);
  absl::Status TakeCertificate(const agent::v1::EnrollResponse& response,
                               AgentIdentity& identity) const;
  void Dial();

  void OnStreamFrame(Stream& stream, const agent::v1::ManagerFrame& frame);
  void OnStreamWritten(Stream& stream);
  void OnStreamEnded(Stream& stream, const absl::Status& status);
  // False: it ended the stream.
  bool Perform(LinkSession::Step step);
  void Deliver(LinkSession::Event event);
  // Ends the session, tells it, and waits for the next try.
  void EndSession(const LinkSession::Ending& ending);
  void DropStream();
  void ReportStopped();
  // Writes what there is to write, in the loop's next turn.
  void SchedulePump();
  void Pump();
  void OnTick();

  // Constant after construction.
  const Options options_;
  const absl::StatusOr<JoinToken> token_;  // NOT_FOUND when there is none.

  // Collaborators. Not owned.
  Loop& loop_;
  const Clock& clock_;
  Random& random_;
  IdentityStore& identities_;
  LinkEvents* events_ = nullptr;

  // Loop state.
  LinkSession session_;
  ReconnectSchedule schedule_;
  AgentIdentity identity_;
  bool loaded_ = false;
  bool token_given_up_ = false;
  bool stopping_ = false;
  std::string cluster_uid_;
  std::unique_ptr<EnrolCall> enrol_call_;
  bool enrolling_ = false;
  std::shared_ptr<Stream> stream_;
  // Cancelled, and not yet let go by gRPC.
  std::vector<std::shared_ptr<Stream>> ending_;
  bool writing_ = false;
  bool pump_posted_ = false;
  absl::flat_hash_map<
      std::string,
      std::vector<absl::AnyInvocable<void(absl::StatusOr<std::string>)>>>
      fetches_;
  absl::AnyInvocable<void()> stopped_;
  std::unique_ptr<Timer> retry_;
  std::unique_ptr<Timer> tick_;
  std::unique_ptr<Timer> stop_limit_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_CONNECTION_GRPC_MANAGER_LINK_H_
