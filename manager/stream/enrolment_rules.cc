// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/enrolment_rules.h"

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/crypto/sha256.h"
#include "google/protobuf/timestamp.pb.h"

namespace flotilla::manager {
namespace {

constexpr char kNewToken[] =
    "; make a new one with `flotilla token create`";

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) +
         absl::Nanoseconds(time.nanos());
}

}  // namespace

absl::StatusOr<EnrolmentAnswer> JudgeEnrolment(
    const EnrolmentQuestion& question) {
  // A wrong secret must look like a token that does not exist.
  if (question.token == nullptr ||
      !ConstantTimeEquals(question.token->secret_digest(),
                          question.secret_digest)) {
    return absl::UnauthenticatedError(
        absl::StrCat("the join token is unknown", kNewToken));
  }
  const storage::v1::JoinToken& token = *question.token;
  const storage::v1::ClusterIdentity* identity = question.identity;
  const std::string name =
      absl::StrCat(token.workspace(), "/", token.cluster_name());
  const bool used = !token.used_by_cluster_id().empty();
  if (used && token.used_by_key_digest() != question.key_digest) {
    return absl::UnauthenticatedError(absl::StrCat(
        "the join token was already used by cluster ", name, kNewToken));
  }
  if (!used && question.now >= FromProto(token.expire_time())) {
    return absl::UnauthenticatedError(absl::StrCat(
        "the join token of cluster ", name, " expired at ",
        absl::FormatTime(absl::RFC3339_sec, FromProto(token.expire_time()),
                         absl::UTCTimeZone()),
        kNewToken));
  }
  if (used && identity != nullptr && identity->revoked()) {
    return absl::UnauthenticatedError(
        absl::StrCat("the join token was already used by cluster ", name,
                     ", which was deleted since", kNewToken));
  }
  if (used && identity != nullptr &&
      identity->cluster_uid() != question.cluster_uid) {
    return absl::UnauthenticatedError(absl::StrCat(
        "the join token was already used by cluster ", name,
        ", which is another cluster than this one: was the agent's state "
        "copied?",
        kNewToken));
  }
  if (identity != nullptr &&
      FromProto(identity->token_create_time()) >
          FromProto(token.create_time())) {
    return absl::UnauthenticatedError(
        absl::StrCat("cluster ", name,
                     " was enrolled with a newer join token since",
                     kNewToken));
  }
  if (!used && question.deletion_pending) {
    return absl::UnavailableError(absl::StrCat(
        "cluster ", name, " is being deleted; try again in a moment"));
  }
  EnrolmentAnswer answer;
  answer.first_use = !used;
  if (used) {
    answer.cluster_id = token.used_by_cluster_id();
  } else if (identity != nullptr) {
    answer.cluster_id = identity->cluster_id();
  }
  return answer;
}

}  // namespace flotilla::manager
