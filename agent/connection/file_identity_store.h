// SPDX-License-Identifier: Apache-2.0
//
// FileIdentityStore keeps the identity in one file, `identity.json`, of the
// agent's state folder; readable by its owner only, replaced as a whole.

#ifndef FLOTILLA_AGENT_CONNECTION_FILE_IDENTITY_STORE_H_
#define FLOTILLA_AGENT_CONNECTION_FILE_IDENTITY_STORE_H_

#include <string>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/connection/identity_store.h"
#include "common/event/worker_pool.h"

namespace flotilla::agent {

// Loop-affine.
class FileIdentityStore final : public IdentityStore {
 public:
  // The folder is made when it is not there. `pool` must outlive the store.
  FileIdentityStore(std::string folder, WorkerPool& pool)
      : folder_(std::move(folder)), pool_(pool) {}

  void Load(
      absl::AnyInvocable<void(absl::StatusOr<AgentIdentity>)> done) override;
  void Save(AgentIdentity identity,
            absl::AnyInvocable<void(absl::Status)> done) override;

 private:
  // Constant after construction.
  const std::string folder_;

  // Collaborators. Not owned.
  WorkerPool& pool_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_CONNECTION_FILE_IDENTITY_STORE_H_
