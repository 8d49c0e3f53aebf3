// SPDX-License-Identifier: Apache-2.0
//
// Keys and certificates of the manager's own CA: ECDSA P-256 keys, a
// self-signed CA, server certificates with DNS names, client certificates whose
// identity is one URI SAN spiffe://flotilla/cluster/<uuid>, signing requests.
// OpenSSL does the work and is seen nowhere else.
//
// Everything that comes from a peer is parsed to a Status: INVALID_ARGUMENT
// when it is not what it should be. Error texts hold no key material.
//
// Example:
//   ASSIGN_OR_RETURN(PrivateKey key, PrivateKey::Generate());
//   ASSIGN_OR_RETURN(Certificate ca,
//                    MakeCa(key, "Flotilla CA", now, absl::Hours(24 * 3650)));

#ifndef FLOTILLA_COMMON_CRYPTO_X509_H_
#define FLOTILLA_COMMON_CRYPTO_X509_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

struct evp_pkey_st;
struct x509_st;

namespace flotilla {

// The public half of a P-256 key.
//
// Immutable.
class PublicKey {
 public:
  // SHA-256 of the SubjectPublicKeyInfo, 32 raw bytes.
  std::string Digest() const;

  evp_pkey_st* get() const { return key_.get(); }

 private:
  friend class PrivateKey;
  friend class Certificate;
  friend absl::StatusOr<PublicKey> ParseSigningRequest(absl::string_view der);
  explicit PublicKey(std::shared_ptr<evp_pkey_st> key) : key_(std::move(key)) {}

  std::shared_ptr<evp_pkey_st> key_;
};

// A P-256 key pair. Copies share it.
//
// Immutable.
class PrivateKey {
 public:
  static absl::StatusOr<PrivateKey> Generate();
  // Unencrypted PKCS#8 PEM. INVALID_ARGUMENT for any key that is not P-256.
  static absl::StatusOr<PrivateKey> FromPem(absl::string_view pem);

  // Unencrypted PKCS#8 PEM: a secret.
  absl::StatusOr<std::string> ToPem() const;
  PublicKey public_key() const { return PublicKey(key_); }
  evp_pkey_st* get() const { return key_.get(); }

 private:
  explicit PrivateKey(std::shared_ptr<evp_pkey_st> key)
      : key_(std::move(key)) {}

  std::shared_ptr<evp_pkey_st> key_;
};

// An X.509 certificate. Copies share it.
//
// Immutable.
class Certificate {
 public:
  // The first certificate in `pem`.
  static absl::StatusOr<Certificate> FromPem(absl::string_view pem);
  static absl::StatusOr<Certificate> FromDer(absl::string_view der);

  std::string ToPem() const;
  std::string ToDer() const;
  absl::StatusOr<PublicKey> public_key() const;
  absl::Time not_before() const;
  absl::Time not_after() const;

  // The identity: the <uuid> of spiffe://flotilla/cluster/<uuid>.
  // UNAUTHENTICATED unless the certificate has exactly one SAN and it is a URI
  // of exactly that form.
  absl::StatusOr<std::string> ClusterId() const;

  x509_st* get() const { return certificate_.get(); }

 private:
  friend absl::StatusOr<Certificate> Issue(const struct IssueRequest& request);
  explicit Certificate(std::shared_ptr<x509_st> certificate)
      : certificate_(std::move(certificate)) {}

  std::shared_ptr<x509_st> certificate_;
};

// What a certificate may be used for.
enum class CertificatePurpose { kServer, kClient };

// A self-signed CA that may sign leaves only. Valid from an hour before `now`,
// so that clocks may differ a little; so are all certificates made here.
absl::StatusOr<Certificate> MakeCa(const PrivateKey& key,
                                   absl::string_view common_name,
                                   absl::Time now, absl::Duration lifetime);

// A server certificate for `dns_names`.
absl::StatusOr<Certificate> IssueServerCertificate(
    const Certificate& ca, const PrivateKey& ca_key, const PublicKey& key,
    const std::vector<std::string>& dns_names, absl::Time now,
    absl::Duration lifetime);

// A client certificate for one cluster. INVALID_ARGUMENT unless `cluster_id` is
// a lower-case UUID.
absl::StatusOr<Certificate> IssueClusterCertificate(
    const Certificate& ca, const PrivateKey& ca_key, const PublicKey& key,
    absl::string_view cluster_id, absl::Time now, absl::Duration lifetime);

// A PKCS#10 request for `key`, DER. It asks for nothing but a signature.
absl::StatusOr<std::string> MakeSigningRequest(const PrivateKey& key);

// The key of a PKCS#10 request. Names, extensions and usages that it asks for
// are not looked at. INVALID_ARGUMENT unless it is at most 8 KiB, its key is
// P-256 and its signature is by that key.
absl::StatusOr<PublicKey> ParseSigningRequest(absl::string_view der);

// UNAUTHENTICATED unless `certificate` was signed by `ca`, may be used for
// `purpose` and is valid at `now`.
absl::Status VerifyCertificate(const Certificate& certificate,
                               const Certificate& ca,
                               CertificatePurpose purpose, absl::Time now);

// Whether `id` is a UUID in lower-case text form.
bool IsUuid(absl::string_view id);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_CRYPTO_X509_H_
