// SPDX-License-Identifier: Apache-2.0
//
// AgentConnection is one open stream to an agent, as the hub sees it: frames
// without any protocol. The gRPC reactor is one; tests have their own.

#ifndef FLOTILLA_MANAGER_STREAM_AGENT_CONNECTION_H_
#define FLOTILLA_MANAGER_STREAM_AGENT_CONNECTION_H_

#include <string>

#include "absl/status/status.h"
#include "flotilla/agent/v1/agent.pb.h"

namespace flotilla::manager {

// Who is at the other end, as TLS says. Nothing of it comes from a message.
struct PeerIdentity {
  std::string cluster_id;
  std::string public_key_digest;
  std::string address;  // For logs.
};

// Loop-affine.
class AgentConnection {
 public:
  virtual ~AgentConnection() = default;

  // SessionHub::OnWritten() follows, unless the stream ends.
  // REQUIRES: no write is outstanding.
  virtual void Write(agent::v1::ManagerFrame frame) = 0;

  // Allows one more frame to be read; SessionHub::OnFrame() follows.
  virtual void ReadNext() = 0;

  // Ends the stream once the outstanding write is through. OK is an end
  // without an error. Nothing is called back after it.
  virtual void Close(absl::Status status) = 0;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_AGENT_CONNECTION_H_
