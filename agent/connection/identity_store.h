// SPDX-License-Identifier: Apache-2.0
//
// IdentityStore keeps who this agent is: its key and certificate, and the CA
// that it trusts. Losing it means enrolling again.

#ifndef FLOTILLA_AGENT_CONNECTION_IDENTITY_STORE_H_
#define FLOTILLA_AGENT_CONNECTION_IDENTITY_STORE_H_

#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace flotilla::agent {

struct AgentIdentity {
  std::string instance_id;  // Made at the first start, 16 raw bytes.
  // Empty until enrolled. All PEM.
  std::string key;
  std::string certificate;
  std::string ca;
  std::string cluster_id;
  std::string token_id;  // That it was enrolled with.
  // A key that was sent with a token and not certified yet: the same key must
  // be sent again, for a token is used once.
  std::string pending_key;
  std::string pending_token_id;
};

// Loop-affine.
class IdentityStore {
 public:
  virtual ~IdentityStore() = default;

  // An empty identity when there is none yet. DATA_LOSS when it is damaged.
  virtual void Load(
      absl::AnyInvocable<void(absl::StatusOr<AgentIdentity>)> done) = 0;

  // Durable before `done` runs with OK.
  virtual void Save(AgentIdentity identity,
                    absl::AnyInvocable<void(absl::Status)> done) = 0;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_CONNECTION_IDENTITY_STORE_H_
