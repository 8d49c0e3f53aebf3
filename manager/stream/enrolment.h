// SPDX-License-Identifier: Apache-2.0
//
// Enrolment makes join tokens and exchanges them for certificates. It writes
// /token and, through the registry, /cluster. Requests are handled one after
// another, so that a name never gets two identities.
//
// Only the public key is taken from a signing request; name, workspace and
// identity come from the token's record.

#ifndef FLOTILLA_MANAGER_STREAM_ENROLMENT_H_
#define FLOTILLA_MANAGER_STREAM_ENROLMENT_H_

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/crypto/x509.h"
#include "common/env/clock.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/store/store.h"
#include "manager/stream/certificate_authority.h"
#include "manager/stream/identity_registry.h"

namespace flotilla::manager {

// Loop-affine.
class Enrolment {
 public:
  template <typename T>
  using Done = absl::AnyInvocable<void(absl::StatusOr<T>)>;

  struct TokenRequest {
    std::string workspace;
    std::string name;  // That the cluster gets.
    std::vector<core::v1::LabelPair> labels;
    absl::Duration ttl = absl::Hours(1);  // Above 0, at most 30 days.
  };

  // Nothing is owned; all must outlive it. The writer is that of /token.
  struct Collaborators {
    Loop& loop;
    const Clock& clock;
    Random& random;
    Store& store;
    FamilyWriter& token_writer;
    IdentityRegistry& identities;
    const CertificateAuthority& authority;
  };

  explicit Enrolment(Collaborators collaborators);
  Enrolment(const Enrolment&) = delete;
  Enrolment& operator=(const Enrolment&) = delete;

  // The text of a new token: it is shown once and kept as a digest only. For a
  // name that is enrolled already it re-installs that cluster's agent.
  // INVALID_ARGUMENT with what is wrong.
  void CreateToken(TokenRequest request, Done<std::string> done);

  // See AgentService.Enroll. The same token and key give the same identity.
  void Enroll(agent::v1::EnrollRequest request,
              Done<agent::v1::EnrollResponse> done);

  // Certificates are valid until their cluster is deleted or enrolled again.
  static constexpr absl::Duration kCertificateLifetime =
      absl::Hours(24 * 3650);

 private:
  // One request on its way.
  struct Case {
    agent::v1::EnrollRequest request;
    Done<agent::v1::EnrollResponse> done;
    std::string token_id;
    std::string secret_digest;
    std::unique_ptr<PublicKey> key;
    storage::v1::JoinToken token;
    int64_t token_revision = 0;
    std::string cluster_id;
  };

  void StartNext();
  void Judge(absl::StatusOr<RangeResult> found);
  void WriteIdentity();
  void Finish(absl::StatusOr<agent::v1::EnrollResponse> result);

  // Collaborators. Not owned.
  Collaborators c_;

  // Loop state.
  std::deque<std::unique_ptr<Case>> cases_;  // The first is under way.
  bool busy_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_ENROLMENT_H_
