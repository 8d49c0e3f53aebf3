// SPDX-License-Identifier: Apache-2.0
//
// JudgeEnrolment decides whether a join token lets a key in, and as which
// cluster. A token is used once: by one key, which may ask again. A newer token
// of the same cluster replaces the cluster's key; an older one cannot bring the
// older key back.

#ifndef FLOTILLA_MANAGER_STREAM_ENROLMENT_RULES_H_
#define FLOTILLA_MANAGER_STREAM_ENROLMENT_RULES_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "flotilla/storage/v1/storage.pb.h"

namespace flotilla::manager {

struct EnrolmentQuestion {
  const storage::v1::JoinToken* token = nullptr;  // Null: unknown id.
  std::string secret_digest;  // SHA-256 of the secret that was shown.
  std::string key_digest;     // Of the key in the signing request.
  std::string cluster_uid;    // That the agent says.
  absl::Time now;
  // Of the cluster that used the token, or else the one of the token's name
  // that is not revoked; null when there is none.
  const storage::v1::ClusterIdentity* identity = nullptr;
  bool deletion_pending = false;  // Of the Cluster document of that name.
};

struct EnrolmentAnswer {
  std::string cluster_id;  // Empty: mint one.
  bool first_use = false;  // The token must be marked as used.
};

// UNAUTHENTICATED with what to do; UNAVAILABLE when it may work later.
absl::StatusOr<EnrolmentAnswer> JudgeEnrolment(
    const EnrolmentQuestion& question);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_ENROLMENT_RULES_H_
