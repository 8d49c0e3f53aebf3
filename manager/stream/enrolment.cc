// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/enrolment.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/crypto/sha256.h"
#include "common/crypto/x509.h"
#include "common/enrolment/join_token.h"
#include "common/status/status_macros.h"
#include "google/protobuf/timestamp.pb.h"
#include "manager/store/records.h"
#include "manager/stream/enrolment_rules.h"

namespace flotilla::manager {
namespace {

constexpr absl::Duration kMaxTtl = absl::Hours(24 * 30);
constexpr size_t kMaxLabels = 64;
constexpr size_t kMaxLabelBytes = 512;
constexpr size_t kMaxNameBytes = 253;
constexpr size_t kMaxUidBytes = 128;
constexpr size_t kMaxWaiting = 256;

google::protobuf::Timestamp ToProto(absl::Time time) {
  google::protobuf::Timestamp out;
  const int64_t seconds = absl::ToUnixSeconds(time);
  out.set_seconds(seconds);
  out.set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
  return out;
}

absl::Status ValidateTokenRequest(const Enrolment::TokenRequest& request) {
  RETURN_IF_ERROR(ValidateKeyPart("workspace", request.workspace));
  RETURN_IF_ERROR(ValidateKeyPart("name of the cluster", request.name));
  if (request.name.size() > kMaxNameBytes ||
      request.workspace.size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(
        "workspace and name of the cluster may have at most 253 bytes");
  }
  if (request.ttl <= absl::ZeroDuration() || request.ttl > kMaxTtl) {
    return absl::InvalidArgumentError(
        "a token's time to live must be above 0 and at most 30 days");
  }
  if (request.labels.size() > kMaxLabels) {
    return absl::InvalidArgumentError("more than 64 labels");
  }
  for (const core::v1::LabelPair& label : request.labels) {
    if (label.key().empty() || label.key().size() > kMaxLabelBytes ||
        label.value().size() > kMaxLabelBytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          "label \"", absl::CHexEscape(label.key().substr(0, 64)),
          "\" is empty or too long"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

Enrolment::Enrolment(Collaborators collaborators) : c_(collaborators) {}

void Enrolment::CreateToken(TokenRequest request, Done<std::string> done) {
  const absl::Status valid = ValidateTokenRequest(request);
  if (!valid.ok()) {
    c_.loop.Post([done = std::move(done), valid]() mutable { done(valid); });
    return;
  }
  flotilla::JoinToken token;
  token.id = absl::BytesToHexString(c_.random.Bytes(8));
  token.secret = c_.random.Bytes(32);
  token.ca_der = c_.authority.certificate().ToDer();
  storage::v1::JoinToken record;
  record.set_token_id(token.id);
  record.set_secret_digest(Sha256(token.secret));
  record.set_workspace(request.workspace);
  record.set_cluster_name(request.name);
  std::sort(request.labels.begin(), request.labels.end(),
            [](const core::v1::LabelPair& a, const core::v1::LabelPair& b) {
              return a.key() < b.key();
            });
  for (core::v1::LabelPair& label : request.labels) {
    *record.add_labels() = std::move(label);
  }
  const absl::Time now = c_.clock.Now();
  *record.mutable_create_time() = ToProto(now);
  *record.mutable_expire_time() = ToProto(now + request.ttl);
  const std::string key = TokenKey(token.id);
  c_.token_writer.Txn(
      {{key, 0}}, {Op::Put(key, SerializeRecord(record))},
      [done = std::move(done), text = FormatJoinToken(token)](
          absl::StatusOr<int64_t> written) mutable {
        if (!written.ok()) {
          done(absl::Status(written.status().code(),
                            absl::StrCat("the token could not be stored: ",
                                         written.status().message())));
          return;
        }
        done(std::move(text));
      });
}

void Enrolment::Enroll(agent::v1::EnrollRequest request,
                       Done<agent::v1::EnrollResponse> done) {
  absl::Status refused;
  auto next = std::make_unique<Case>();
  const absl::StatusOr<flotilla::JoinToken> token =
      ParseJoinToken(request.token());
  absl::StatusOr<PublicKey> key = ParseSigningRequest(request.csr());
  if (cases_.size() >= kMaxWaiting) {
    refused = absl::ResourceExhaustedError(
        "too many agents enrol at once; try again");
  } else if (!c_.identities.ready()) {
    refused = absl::UnavailableError("the manager is starting; try again");
  } else if (!token.ok()) {
    refused = absl::UnauthenticatedError(token.status().message());
  } else if (!key.ok()) {
    refused = key.status();
  } else if (request.cluster_uid().empty() ||
             request.cluster_uid().size() > kMaxUidBytes) {
    refused = absl::InvalidArgumentError(
        "cluster_uid, the UID of namespace kube-system, is missing or too "
        "long");
  }
  if (!refused.ok()) {
    c_.loop.Post([done = std::move(done), refused]() mutable {
      done(refused);
    });
    return;
  }
  next->token_id = token->id;
  next->secret_digest = Sha256(token->secret);
  next->key = std::make_unique<PublicKey>(*std::move(key));
  next->request = std::move(request);
  next->request.clear_token();
  next->done = std::move(done);
  cases_.push_back(std::move(next));
  if (!busy_) StartNext();
}

void Enrolment::StartNext() {
  if (cases_.empty()) return;
  busy_ = true;
  c_.store.Range(TokenKey(cases_.front()->token_id),
                 [this, alive = std::weak_ptr<bool>(alive_)](
                     absl::StatusOr<RangeResult> found) {
                   if (!alive.expired()) Judge(std::move(found));
                 });
}

void Enrolment::Judge(absl::StatusOr<RangeResult> found) {
  Case& one = *cases_.front();
  if (!found.ok()) {
    Finish(absl::UnavailableError("the store cannot be read; try again"));
    return;
  }
  EnrolmentQuestion question;
  const std::string key = TokenKey(one.token_id);
  for (const KeyValue& kv : found->kvs) {
    if (kv.key != key) continue;
    auto record = ParseRecord<storage::v1::JoinToken>(kv.key, kv.value);
    if (!record.ok()) {
      Finish(record.status());
      return;
    }
    one.token = *std::move(record);
    one.token_revision = kv.mod_revision;
    question.token = &one.token;
  }
  question.secret_digest = one.secret_digest;
  question.key_digest = one.key->Digest();
  question.cluster_uid = one.request.cluster_uid();
  question.now = c_.clock.Now();
  question.identity =
      one.token.used_by_cluster_id().empty()
          ? c_.identities.FindByName(one.token.workspace(),
                                     one.token.cluster_name())
          : c_.identities.Find(one.token.used_by_cluster_id());
  question.deletion_pending = c_.identities.DeletionPending(
      one.token.workspace(), one.token.cluster_name());
  absl::StatusOr<EnrolmentAnswer> answer = JudgeEnrolment(question);
  if (!answer.ok()) {
    Finish(answer.status());
    return;
  }
  one.cluster_id = answer->cluster_id.empty() ? c_.random.Uuid()
                                              : std::move(answer->cluster_id);
  if (!answer->first_use) {
    WriteIdentity();
    return;
  }
  // The token first: whatever happens then, only this key can go on.
  one.token.set_used_by_cluster_id(one.cluster_id);
  one.token.set_used_by_key_digest(question.key_digest);
  c_.token_writer.Txn({{key, one.token_revision}},
                      {Op::Put(key, SerializeRecord(one.token))},
                      [this, alive = std::weak_ptr<bool>(alive_)](
                          absl::StatusOr<int64_t> written) {
                        if (alive.expired()) return;
                        if (absl::IsFailedPrecondition(written.status())) {
                          StartNext();  // Look again.
                        } else if (!written.ok()) {
                          Finish(absl::UnavailableError(
                              "the store cannot be written; try again"));
                        } else {
                          WriteIdentity();
                        }
                      });
}

void Enrolment::WriteIdentity() {
  Case& one = *cases_.front();
  const storage::v1::ClusterIdentity* known =
      c_.identities.Find(one.cluster_id);
  const std::string digest = one.key->Digest();
  const auto issue = [this] {
    Case& first = *cases_.front();
    absl::StatusOr<Certificate> certificate = c_.authority.IssueForCluster(
        *first.key, first.cluster_id, c_.clock.Now(), kCertificateLifetime);
    if (!certificate.ok()) {
      Finish(certificate.status());
      return;
    }
    agent::v1::EnrollResponse response;
    response.set_certificate(certificate->ToPem());
    response.set_ca(c_.authority.certificate().ToPem());
    response.set_cluster_id(first.cluster_id);
    Finish(std::move(response));
  };
  if (known != nullptr && known->public_key_digest() == digest &&
      known->cluster_uid() == one.request.cluster_uid()) {
    // Asked again.
    issue();
    return;
  }
  storage::v1::ClusterIdentity identity;
  if (known != nullptr) {
    identity = *known;
  } else {
    identity.set_cluster_id(one.cluster_id);
    identity.set_workspace(one.token.workspace());
    identity.set_name(one.token.cluster_name());
    *identity.mutable_token_labels() = one.token.labels();
  }
  identity.set_cluster_uid(one.request.cluster_uid());
  identity.set_public_key_digest(digest);
  *identity.mutable_enroll_time() = ToProto(c_.clock.Now());
  *identity.mutable_token_create_time() = one.token.create_time();
  c_.identities.Write(std::move(identity),
                      [this, issue, alive = std::weak_ptr<bool>(alive_)](
                          absl::Status written) {
                        if (alive.expired()) return;
                        if (absl::IsAborted(written)) {
                          StartNext();  // Look again.
                        } else if (!written.ok()) {
                          Finish(absl::UnavailableError(
                              "the store cannot be written; try again"));
                        } else {
                          issue();
                        }
                      });
}

void Enrolment::Finish(absl::StatusOr<agent::v1::EnrollResponse> result) {
  const std::unique_ptr<Case> one = std::move(cases_.front());
  cases_.pop_front();
  busy_ = false;
  StartNext();
  one->done(std::move(result));
}

}  // namespace flotilla::manager
