// SPDX-License-Identifier: Apache-2.0
//
// AgentService is the gRPC service of the agents' listener: reactors that read
// who is calling from TLS, copy frames and Post them to the loop. It decides
// nothing but that a session needs a client certificate with a cluster's name.
//
// The loop, the hub and the enrolment must outlive every call: shut the server
// down (RpcServer::Shutdown) while the loop still runs.

#ifndef FLOTILLA_MANAGER_STREAM_AGENT_SERVICE_H_
#define FLOTILLA_MANAGER_STREAM_AGENT_SERVICE_H_

#include <atomic>

#include "common/event/loop.h"
#include "flotilla/agent/v1/agent.grpc.pb.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "grpcpp/grpcpp.h"
#include "manager/stream/enrolment.h"
#include "manager/stream/session_hub.h"

namespace flotilla::manager {

// Thread-safe.
class AgentService final : public agent::v1::AgentService::CallbackService {
 public:
  AgentService(Loop& loop, SessionHub& hub, Enrolment& enrolment)
      : loop_(loop), hub_(hub), enrolment_(enrolment) {}

  grpc::ServerUnaryReactor* Enroll(
      grpc::CallbackServerContext* context,
      const agent::v1::EnrollRequest* request,
      agent::v1::EnrollResponse* response) override;
  grpc::ServerBidiReactor<agent::v1::AgentFrame, agent::v1::ManagerFrame>*
  Session(grpc::CallbackServerContext* context) override;

 private:
  // Collaborators. Not owned.
  Loop& loop_;
  SessionHub& hub_;
  Enrolment& enrolment_;

  std::atomic<int> enrolling_{0};
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_AGENT_SERVICE_H_
