// SPDX-License-Identifier: Apache-2.0
//
// CertificateAuthority is the manager's own CA. Its key lies sealed beside its
// certificate in one folder; both are made at the first start and never again:
// with one of them missing or damaged it refuses to start rather than cut off
// every enrolled agent.
//
// LoadOrCreate() blocks on the disk: for the composition root.

#ifndef FLOTILLA_MANAGER_STREAM_CERTIFICATE_AUTHORITY_H_
#define FLOTILLA_MANAGER_STREAM_CERTIFICATE_AUTHORITY_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/crypto/sealed_box.h"
#include "common/crypto/x509.h"

namespace flotilla::manager {

// Immutable.
class CertificateAuthority {
 public:
  // The only name in the manager's certificate (decisions.md 22).
  static constexpr char kServerName[] = "flotilla-manager";

  // A key and its certificate, as a TLS server takes them.
  struct ServerIdentity {
    std::string key_pem;  // A secret.
    std::string certificate_pem;
  };

  // What is in `folder`; null when nothing is. Writes nothing. Errors name the
  // file and say what to do: FAILED_PRECONDITION when `box` cannot open it,
  // DATA_LOSS when it is damaged.
  static absl::StatusOr<std::unique_ptr<CertificateAuthority>> Load(
      const std::string& folder, const SealedBox& box);

  // `folder` is made when it is not there. Errors as Load().
  static absl::StatusOr<std::unique_ptr<CertificateAuthority>> LoadOrCreate(
      const std::string& folder, const SealedBox& box, absl::Time now);

  CertificateAuthority(const CertificateAuthority&) = delete;
  CertificateAuthority& operator=(const CertificateAuthority&) = delete;

  const Certificate& certificate() const { return certificate_; }

  absl::StatusOr<Certificate> IssueForCluster(const PublicKey& key,
                                              absl::string_view cluster_id,
                                              absl::Time now,
                                              absl::Duration lifetime) const;

  // A new key and certificate for the agents' listener: made at each start,
  // never stored.
  absl::StatusOr<ServerIdentity> MakeServerIdentity(absl::Time now) const;

 private:
  CertificateAuthority(PrivateKey key, Certificate certificate)
      : key_(std::move(key)), certificate_(std::move(certificate)) {}

  // Constant after construction.
  const PrivateKey key_;
  const Certificate certificate_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_CERTIFICATE_AUTHORITY_H_
