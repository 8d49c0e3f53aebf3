// SPDX-License-Identifier: Apache-2.0
//
// ServiceAccounts says whom a deployment's requests act as: the service account
// that its bundle names in the agent's namespace; where it names none,
// "fleet-default" if that exists, else the agent itself. An account that is
// named and does not exist is an error and never falls back to the agent's own
// rights. It watches the accounts, so that what was missing is seen to come.

#ifndef FLOTILLA_AGENT_APPLY_SERVICE_ACCOUNTS_H_
#define FLOTILLA_AGENT_APPLY_SERVICE_ACCOUNTS_H_

#include <memory>
#include <set>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "common/retry/backoff.h"

namespace flotilla::agent {

// Used where a bundle names no service account.
inline constexpr char kDefaultServiceAccount[] = "fleet-default";

// The user that a request acts as; "" is the agent itself. With an error no
// request is sent: it ends with that error.
using ActingUser = absl::StatusOr<std::string>;

// Loop-affine.
class ServiceAccounts : private WatchListener {
 public:
  // All must outlive it. `on_change` runs on the loop, never inside a call,
  // when Resolve() may answer something else.
  ServiceAccounts(KubeClient& client, Loop& loop, Random& random,
                  std::string agent_namespace,
                  absl::AnyInvocable<void()> on_change);
  ServiceAccounts(const ServiceAccounts&) = delete;
  ServiceAccounts& operator=(const ServiceAccounts&) = delete;

  // Errors are FAILED_PRECONDITION, with a sentence for people: no account of
  // that name, no name at all, or not known.
  ActingUser Resolve(absl::string_view name) const;

  // They are listed, or could not be.
  bool settled() const { return listed_ || !trouble_.ok(); }
  const std::string& agent_namespace() const { return namespace_; }

 private:
  void OnSync(Sync sync) override;
  void OnEvent(WatchEvent event) override;
  void OnClosed(absl::Status status) override;
  void Open();

  // Constant after construction.
  const std::string namespace_;

  // Collaborators. Not owned.
  KubeClient& client_;
  Random& random_;

  // Loop state.
  absl::AnyInvocable<void()> on_change_;
  std::set<std::string> names_;
  std::set<std::string> listing_;  // Until the set is complete.
  bool fresh_ = false;             // The watch began without a version.
  bool listed_ = false;
  absl::Status trouble_;
  std::string resume_from_;
  Backoff backoff_;
  std::unique_ptr<Timer> open_timer_;
  std::unique_ptr<Timer> change_timer_;
  std::unique_ptr<KubeWatch> watch_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_APPLY_SERVICE_ACCOUNTS_H_
