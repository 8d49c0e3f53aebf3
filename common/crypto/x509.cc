// SPDX-License-Identifier: Apache-2.0

#include "common/crypto/x509.h"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cctype>
#include <ctime>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/crypto/sha256.h"
#include "common/status/status_macros.h"

namespace flotilla {
namespace {

constexpr char kClusterUriPrefix[] = "spiffe://flotilla/cluster/";
constexpr size_t kMaxSigningRequestBytes = 8 * 1024;
constexpr size_t kMaxPemBytes = 64 * 1024;
constexpr size_t kUuidSize = 36;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using ReqPtr = std::unique_ptr<X509_REQ, Deleter<X509_REQ_free>>;
using ExtensionPtr =
    std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>>;
using BignumPtr = std::unique_ptr<BIGNUM, Deleter<BN_free>>;
using StoreContextPtr =
    std::unique_ptr<X509_STORE_CTX, Deleter<X509_STORE_CTX_free>>;
using StorePtr = std::unique_ptr<X509_STORE, Deleter<X509_STORE_free>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>>;

std::shared_ptr<EVP_PKEY> OwnKey(EVP_PKEY* key) {
  return std::shared_ptr<EVP_PKEY>(key, EVP_PKEY_free);
}

std::shared_ptr<X509> OwnCertificate(X509* certificate) {
  return std::shared_ptr<X509>(certificate, X509_free);
}

// Of OpenSSL itself failing, which it does for want of memory or entropy.
absl::Status OpensslError(absl::string_view doing) {
  char text[256] = "no reason given";
  const unsigned long code = ERR_get_error();  // NOLINT(google-runtime-int)
  if (code != 0) ERR_error_string_n(code, text, sizeof(text));
  ERR_clear_error();
  return absl::InternalError(absl::StrCat(doing, ": ", text));
}

bool IsP256(EVP_PKEY* key) {
  if (key == nullptr || EVP_PKEY_get_base_id(key) != EVP_PKEY_EC) return false;
  char group[64] = "";
  size_t size = 0;
  if (EVP_PKEY_get_group_name(key, group, sizeof(group), &size) != 1) {
    return false;
  }
  return absl::string_view(group, size) == SN_X9_62_prime256v1;
}

// Never asks a terminal for a passphrase.
int NoPassphrase(char*, int, int, void*) { return -1; }

BioPtr Reader(absl::string_view bytes) {
  return BioPtr(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

std::string Contents(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);  // NOLINT
  return std::string(data, static_cast<size_t>(size));
}

absl::Time FromAsn1(const ASN1_TIME* time) {
  std::tm tm{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &tm) != 1) {
    return absl::InfinitePast();
  }
  return absl::FromCivil(
      absl::CivilSecond(tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                        tm.tm_hour, tm.tm_min, tm.tm_sec),
      absl::UTCTimeZone());
}

}  // namespace

// What goes into a certificate.
struct IssueRequest {
  const PrivateKey& signer;
  const Certificate* issuer;  // Null: self-signed.
  const PublicKey& key;
  std::string common_name;
  absl::Time now;
  absl::Duration lifetime;
  // Extension nid and value in OpenSSL's notation.
  std::vector<std::pair<int, std::string>> extensions;
};

absl::StatusOr<Certificate> Issue(const IssueRequest& request) {
  std::shared_ptr<X509> cert = OwnCertificate(X509_new());
  if (cert == nullptr) return OpensslError("making a certificate");
  unsigned char serial[16];
  if (RAND_bytes(serial, sizeof(serial)) != 1) {
    return OpensslError("drawing a serial number");
  }
  serial[0] &= 0x7f;  // Positive, as RFC 5280 wants it.
  serial[0] |= 0x40;
  BignumPtr number(BN_bin2bn(serial, sizeof(serial), nullptr));
  const time_t from = absl::ToTimeT(request.now - absl::Hours(1));
  const time_t until = absl::ToTimeT(request.now + request.lifetime);
  bool ok =
      number != nullptr &&
      BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(cert.get())) !=
          nullptr &&
      X509_set_version(cert.get(), X509_VERSION_3) == 1 &&
      ASN1_TIME_set(X509_getm_notBefore(cert.get()), from) != nullptr &&
      ASN1_TIME_set(X509_getm_notAfter(cert.get()), until) != nullptr &&
      X509_set_pubkey(cert.get(), request.key.get()) == 1;
  X509_NAME* subject = X509_get_subject_name(cert.get());
  ok = ok &&
       X509_NAME_add_entry_by_NID(
           subject, NID_commonName, MBSTRING_UTF8,
           reinterpret_cast<const unsigned char*>(request.common_name.data()),
           static_cast<int>(request.common_name.size()), -1, 0) == 1;
  X509* issuer =
      request.issuer == nullptr ? cert.get() : request.issuer->get();
  ok = ok &&
       X509_set_issuer_name(cert.get(), X509_get_subject_name(issuer)) == 1;
  if (!ok) return OpensslError("filling in a certificate");
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, cert.get(), nullptr, nullptr, 0);
  for (const auto& [nid, value] : request.extensions) {
    ExtensionPtr extension(
        X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
    if (extension == nullptr ||
        X509_add_ext(cert.get(), extension.get(), -1) != 1) {
      return OpensslError("adding an extension to a certificate");
    }
  }
  if (X509_sign(cert.get(), request.signer.get(), EVP_sha256()) == 0) {
    return OpensslError("signing a certificate");
  }
  return Certificate(std::move(cert));
}

std::string PublicKey::Digest() const {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key_.get(), &der);
  if (size <= 0) return Sha256("");
  std::string digest = Sha256(absl::string_view(
      reinterpret_cast<const char*>(der), static_cast<size_t>(size)));
  OPENSSL_free(der);
  return digest;
}

absl::StatusOr<PrivateKey> PrivateKey::Generate() {
  std::shared_ptr<EVP_PKEY> key = OwnKey(EVP_EC_gen("P-256"));
  if (key == nullptr) return OpensslError("making a key");
  return PrivateKey(std::move(key));
}

absl::StatusOr<PrivateKey> PrivateKey::FromPem(absl::string_view pem) {
  if (pem.size() > kMaxPemBytes) {
    return absl::InvalidArgumentError("a key of more than 64 KiB");
  }
  BioPtr bio = Reader(pem);
  std::shared_ptr<EVP_PKEY> key = OwnKey(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  ERR_clear_error();
  if (!IsP256(key.get())) {
    return absl::InvalidArgumentError("not a P-256 private key in PEM");
  }
  return PrivateKey(std::move(key));
}

absl::StatusOr<std::string> PrivateKey::ToPem() const {
  BioPtr bio(BIO_new(BIO_s_secmem()));
  if (bio == nullptr ||
      PEM_write_bio_PKCS8PrivateKey(bio.get(), key_.get(), nullptr, nullptr, 0,
                                    nullptr, nullptr) != 1) {
    return OpensslError("writing a key");
  }
  return Contents(bio.get());
}

absl::StatusOr<Certificate> Certificate::FromPem(absl::string_view pem) {
  if (pem.size() > kMaxPemBytes) {
    return absl::InvalidArgumentError("a certificate of more than 64 KiB");
  }
  BioPtr bio = Reader(pem);
  std::shared_ptr<X509> cert = OwnCertificate(
      PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr));
  ERR_clear_error();
  if (cert == nullptr) {
    return absl::InvalidArgumentError("not a certificate in PEM");
  }
  return Certificate(std::move(cert));
}

absl::StatusOr<Certificate> Certificate::FromDer(absl::string_view der) {
  if (der.size() > kMaxPemBytes) {
    return absl::InvalidArgumentError("a certificate of more than 64 KiB");
  }
  const auto* begin = reinterpret_cast<const unsigned char*>(der.data());
  const unsigned char* end = begin;
  std::shared_ptr<X509> cert = OwnCertificate(
      d2i_X509(nullptr, &end, static_cast<long>(der.size())));  // NOLINT
  ERR_clear_error();
  if (cert == nullptr || end != begin + der.size()) {
    return absl::InvalidArgumentError("not a certificate in DER");
  }
  return Certificate(std::move(cert));
}

std::string Certificate::ToPem() const {
  BioPtr bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr || PEM_write_bio_X509(bio.get(), get()) != 1) return "";
  return Contents(bio.get());
}

std::string Certificate::ToDer() const {
  unsigned char* der = nullptr;
  const int size = i2d_X509(get(), &der);
  if (size <= 0) return "";
  std::string result(reinterpret_cast<const char*>(der),
                     static_cast<size_t>(size));
  OPENSSL_free(der);
  return result;
}

absl::StatusOr<PublicKey> Certificate::public_key() const {
  std::shared_ptr<EVP_PKEY> key = OwnKey(X509_get_pubkey(get()));
  ERR_clear_error();
  if (!IsP256(key.get())) {
    return absl::InvalidArgumentError("the certificate's key is not P-256");
  }
  return PublicKey(std::move(key));
}

absl::Time Certificate::not_before() const {
  return FromAsn1(X509_get0_notBefore(get()));
}

absl::Time Certificate::not_after() const {
  return FromAsn1(X509_get0_notAfter(get()));
}

absl::StatusOr<std::string> Certificate::ClusterId() const {
  const absl::Status refused = absl::UnauthenticatedError(
      "the client certificate does not name exactly one cluster");
  // A second extension of the kind makes this fail.
  int critical = 0;
  NamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(get(), NID_subject_alt_name, &critical, nullptr)));
  ERR_clear_error();
  if (names == nullptr || sk_GENERAL_NAME_num(names.get()) != 1) {
    return refused;
  }
  const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), 0);
  if (name->type != GEN_URI) return refused;
  const ASN1_IA5STRING* text = name->d.uniformResourceIdentifier;
  absl::string_view uri(
      reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
      static_cast<size_t>(ASN1_STRING_length(text)));
  if (!absl::StartsWith(uri, kClusterUriPrefix)) return refused;
  uri.remove_prefix(sizeof(kClusterUriPrefix) - 1);
  if (!IsUuid(uri)) return refused;
  return std::string(uri);
}

absl::StatusOr<Certificate> MakeCa(const PrivateKey& key,
                                   absl::string_view common_name,
                                   absl::Time now, absl::Duration lifetime) {
  const PublicKey public_key = key.public_key();
  return Issue({key,
                nullptr,
                public_key,
                std::string(common_name),
                now,
                lifetime,
                {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                 {NID_key_usage, "critical,keyCertSign,cRLSign"},
                 {NID_subject_key_identifier, "hash"}}});
}

absl::StatusOr<Certificate> IssueServerCertificate(
    const Certificate& ca, const PrivateKey& ca_key, const PublicKey& key,
    const std::vector<std::string>& dns_names, absl::Time now,
    absl::Duration lifetime) {
  std::string names;
  for (const std::string& name : dns_names) {
    absl::StrAppend(&names, names.empty() ? "" : ",", "DNS:", name);
  }
  if (dns_names.empty()) {
    return absl::InvalidArgumentError("a server certificate without a name");
  }
  return Issue({ca_key,
                &ca,
                key,
                dns_names[0],
                now,
                lifetime,
                {{NID_basic_constraints, "critical,CA:FALSE"},
                 {NID_key_usage, "critical,digitalSignature"},
                 {NID_ext_key_usage, "serverAuth"},
                 {NID_subject_alt_name, names},
                 {NID_authority_key_identifier, "keyid:always"}}});
}

absl::StatusOr<Certificate> IssueClusterCertificate(
    const Certificate& ca, const PrivateKey& ca_key, const PublicKey& key,
    absl::string_view cluster_id, absl::Time now, absl::Duration lifetime) {
  if (!IsUuid(cluster_id)) {
    return absl::InvalidArgumentError("a cluster id that is not a UUID");
  }
  return Issue(
      {ca_key,
       &ca,
       key,
       absl::StrCat("cluster ", cluster_id),
       now,
       lifetime,
       {{NID_basic_constraints, "critical,CA:FALSE"},
        {NID_key_usage, "critical,digitalSignature"},
        {NID_ext_key_usage, "clientAuth"},
        {NID_subject_alt_name,
         absl::StrCat("critical,URI:", kClusterUriPrefix, cluster_id)},
        {NID_authority_key_identifier, "keyid:always"}}});
}

absl::StatusOr<std::string> MakeSigningRequest(const PrivateKey& key) {
  ReqPtr request(X509_REQ_new());
  if (request == nullptr ||
      X509_REQ_set_version(request.get(), X509_REQ_VERSION_1) != 1 ||
      X509_REQ_set_pubkey(request.get(), key.get()) != 1 ||
      X509_REQ_sign(request.get(), key.get(), EVP_sha256()) == 0) {
    return OpensslError("making a signing request");
  }
  unsigned char* der = nullptr;
  const int size = i2d_X509_REQ(request.get(), &der);
  if (size <= 0) return OpensslError("writing a signing request");
  std::string result(reinterpret_cast<const char*>(der),
                     static_cast<size_t>(size));
  OPENSSL_free(der);
  return result;
}

absl::StatusOr<PublicKey> ParseSigningRequest(absl::string_view der) {
  if (der.empty() || der.size() > kMaxSigningRequestBytes) {
    return absl::InvalidArgumentError(
        "the signing request is empty or over 8 KiB");
  }
  const auto* begin = reinterpret_cast<const unsigned char*>(der.data());
  const unsigned char* end = begin;
  ReqPtr request(d2i_X509_REQ(nullptr, &end,
                              static_cast<long>(der.size())));  // NOLINT
  ERR_clear_error();
  if (request == nullptr || end != begin + der.size()) {
    return absl::InvalidArgumentError(
        "the signing request is not a PKCS#10 request in DER");
  }
  std::shared_ptr<EVP_PKEY> key = OwnKey(X509_REQ_get_pubkey(request.get()));
  if (!IsP256(key.get())) {
    ERR_clear_error();
    return absl::InvalidArgumentError(
        "the signing request's key is not P-256");
  }
  const bool signed_by_key = X509_REQ_verify(request.get(), key.get()) == 1;
  ERR_clear_error();
  if (!signed_by_key) {
    return absl::InvalidArgumentError(
        "the signing request is not signed by its own key");
  }
  return PublicKey(std::move(key));
}

absl::Status VerifyCertificate(const Certificate& certificate,
                               const Certificate& ca,
                               CertificatePurpose purpose, absl::Time now) {
  StorePtr store(X509_STORE_new());
  StoreContextPtr context(X509_STORE_CTX_new());
  if (store == nullptr || context == nullptr ||
      X509_STORE_add_cert(store.get(), ca.get()) != 1 ||
      X509_STORE_CTX_init(context.get(), store.get(), certificate.get(),
                          nullptr) != 1 ||
      X509_STORE_CTX_set_purpose(context.get(),
                                 purpose == CertificatePurpose::kServer
                                     ? X509_PURPOSE_SSL_SERVER
                                     : X509_PURPOSE_SSL_CLIENT) != 1) {
    return OpensslError("checking a certificate");
  }
  X509_STORE_CTX_set_time(context.get(), 0, absl::ToTimeT(now));
  const bool valid = X509_verify_cert(context.get()) == 1;
  ERR_clear_error();
  if (valid) return absl::OkStatus();
  return absl::UnauthenticatedError(absl::StrCat(
      "the certificate is not valid: ",
      X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()))));
}

bool IsUuid(absl::string_view id) {
  if (id.size() != kUuidSize) return false;
  for (size_t i = 0; i < id.size(); ++i) {
    const char c = id[i];
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (c != '-') return false;
    } else if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')) {
      return false;
    }
  }
  return true;
}

}  // namespace flotilla
