// SPDX-License-Identifier: Apache-2.0
//
// TokenSecrets makes the Secret of a ClusterRegistrationToken (spec.md 10.2):
// of the same name, owned by it, with a join token and what an agent needs. A
// token is minted once; what lies in the Secret is never read again. A token
// without an end gets a new one before the old one ends; one with an end goes,
// with its Secret, when that has come.

#ifndef FLOTILLA_MANAGER_FRONTEND_TOKEN_SECRETS_H_
#define FLOTILLA_MANAGER_FRONTEND_TOKEN_SECRETS_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/env/clock.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "flotilla/core/v1/core.pb.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// Thread-compatible.
struct RegistrationToken {
  std::string workspace;
  std::string name;
  std::string uid;
  // Of the cluster that joins with it.
  std::vector<core::v1::LabelPair> labels;
  absl::Time created;
  absl::Duration ttl;  // Zero: no end.
};

// A token for the cluster `name`.
struct MintRequest {
  std::string workspace;
  std::string name;
  std::vector<core::v1::LabelPair> labels;
  absl::Duration ttl;
};

// Loop-affine.
class TokenSecrets {
 public:
  using Mint = std::function<void(
      MintRequest, absl::AnyInvocable<void(absl::StatusOr<std::string>)>)>;
  // The object's status, or why there is none.
  using OnStatus = std::function<void(const std::string& workspace,
                                      const std::string& name,
                                      absl::StatusOr<nlohmann::json> status)>;

  // `agent_address`: where agents find the manager.
  TokenSecrets(Loop& loop, const Clock& clock, KubeClient& client, Mint mint,
               std::string agent_address, OnStatus on_status);
  TokenSecrets(const TokenSecrets&) = delete;
  TokenSecrets& operator=(const TokenSecrets&) = delete;

  // Sees to it from here on, until Forget().
  void Keep(RegistrationToken token);
  void Forget(const std::string& workspace, const std::string& name);

  // What a token may live at most.
  static constexpr absl::Duration kMaxLife = absl::Hours(24 * 30);

 private:
  using Name = std::pair<std::string, std::string>;
  struct Kept {
    RegistrationToken token;
    bool busy = false;
    std::unique_ptr<Timer> timer;
  };

  void Look(const Name& name);
  void OnSecret(const Name& name, const absl::StatusOr<KubeObject>& found);
  void MakeSecret(const Name& name);
  void WriteSecret(const Name& name, const std::string& token,
                   absl::Time expires);
  void Settle(const Name& name, absl::Time expires);
  void Expire(const Name& name);
  // Null when it is of no more interest.
  Kept* Find(const Name& name);
  void Retry(const Name& name, const absl::Status& why);

  // Collaborators. Not owned.
  Loop& loop_;
  const Clock& clock_;
  KubeClient& client_;
  const Mint mint_;
  const std::string agent_address_;
  const OnStatus on_status_;

  // Loop state.
  std::map<Name, Kept> kept_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_FRONTEND_TOKEN_SECRETS_H_
