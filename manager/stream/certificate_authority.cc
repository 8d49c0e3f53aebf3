// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/certificate_authority.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/crypto/private_file.h"
#include "common/crypto/sealed_box.h"
#include "common/crypto/x509.h"
#include "common/status/status_macros.h"

namespace flotilla::manager {
namespace {

constexpr char kSealContext[] = "flotilla.ca.key";
constexpr absl::Duration kCaLifetime = absl::Hours(24 * 7300);
constexpr absl::Duration kServerLifetime = absl::Hours(24 * 825);

std::string KeyPath(const std::string& folder) {
  return absl::StrCat(folder, "/ca.key.sealed");
}

std::string CertificatePath(const std::string& folder) {
  return absl::StrCat(folder, "/ca.crt");
}

absl::Status Damaged(const std::string& path, absl::string_view why) {
  return absl::DataLossError(absl::StrCat(
      path, ": ", why,
      ". Put the folder and the key file back from a backup; only if there is "
      "none, remove the folder and enrol every agent again"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<CertificateAuthority>>
CertificateAuthority::LoadOrCreate(const std::string& folder,
                                   const SealedBox& box, absl::Time now) {
  ASSIGN_OR_RETURN(std::unique_ptr<CertificateAuthority> known,
                   Load(folder, box));
  if (known != nullptr) return known;
  RETURN_IF_ERROR(MakePrivateFolder(folder));
  ASSIGN_OR_RETURN(PrivateKey key, PrivateKey::Generate());
  ASSIGN_OR_RETURN(Certificate certificate,
                   MakeCa(key, "Flotilla CA", now, kCaLifetime));
  ASSIGN_OR_RETURN(const std::string key_pem, key.ToPem());
  RETURN_IF_ERROR(WritePrivateFile(KeyPath(folder),
                                   box.Seal(key_pem, kSealContext)));
  RETURN_IF_ERROR(
      WritePrivateFile(CertificatePath(folder), certificate.ToPem()));
  return std::unique_ptr<CertificateAuthority>(
      new CertificateAuthority(std::move(key), std::move(certificate)));
}

absl::StatusOr<std::unique_ptr<CertificateAuthority>>
CertificateAuthority::Load(const std::string& folder, const SealedBox& box) {
  const std::string key_path = KeyPath(folder);
  const std::string certificate_path = CertificatePath(folder);
  absl::StatusOr<std::string> sealed = ReadPrivateFile(key_path);
  absl::StatusOr<std::string> pem = ReadPrivateFile(certificate_path);
  for (const absl::Status& status : {sealed.status(), pem.status()}) {
    if (!status.ok() && !absl::IsNotFound(status)) return status;
  }
  // The certificate is written last: without it the key was never used.
  if (!pem.ok()) return nullptr;
  if (!sealed.ok()) {
    return Damaged(key_path, "the key of the manager's CA is missing");
  }
  absl::StatusOr<std::string> key_pem = box.Open(*sealed, kSealContext);
  if (!key_pem.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(
        key_path, " was sealed with another key than that in ", box.key_file(),
        ", or is damaged: restore the key file that belongs to it, or the "
        "folder, from a backup; nothing was changed. Only if there is none, "
        "remove the folder and enrol every agent again"));
  }
  absl::StatusOr<PrivateKey> key = PrivateKey::FromPem(*key_pem);
  if (!key.ok()) return Damaged(key_path, key.status().message());
  absl::StatusOr<Certificate> certificate = Certificate::FromPem(*pem);
  if (!certificate.ok()) {
    return Damaged(certificate_path, certificate.status().message());
  }
  const absl::StatusOr<PublicKey> certified = certificate->public_key();
  if (!certified.ok() ||
      certified->Digest() != key->public_key().Digest()) {
    return Damaged(certificate_path,
                   "the certificate does not belong to the key beside it");
  }
  return std::unique_ptr<CertificateAuthority>(new CertificateAuthority(
      *std::move(key), *std::move(certificate)));
}

absl::StatusOr<Certificate> CertificateAuthority::IssueForCluster(
    const PublicKey& key, absl::string_view cluster_id, absl::Time now,
    absl::Duration lifetime) const {
  return IssueClusterCertificate(certificate_, key_, key, cluster_id, now,
                                 lifetime);
}

absl::StatusOr<CertificateAuthority::ServerIdentity>
CertificateAuthority::MakeServerIdentity(absl::Time now) const {
  ASSIGN_OR_RETURN(const PrivateKey key, PrivateKey::Generate());
  ASSIGN_OR_RETURN(const Certificate certificate,
                   IssueServerCertificate(certificate_, key_, key.public_key(),
                                          {kServerName}, now,
                                          kServerLifetime));
  ServerIdentity identity;
  ASSIGN_OR_RETURN(identity.key_pem, key.ToPem());
  identity.certificate_pem = certificate.ToPem();
  return identity;
}

}  // namespace flotilla::manager
