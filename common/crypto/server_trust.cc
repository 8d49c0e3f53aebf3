// SPDX-License-Identifier: Apache-2.0

#include "common/crypto/server_trust.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <limits>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace flotilla {
namespace {

constexpr int kMaxCertificates = 1000;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* value) const {
    Free(value);
  }
};
using X509Ptr = std::unique_ptr<X509, Deleter<X509_free>>;
using StorePtr = std::unique_ptr<X509_STORE, Deleter<X509_STORE_free>>;
using ContextPtr =
    std::unique_ptr<X509_STORE_CTX, Deleter<X509_STORE_CTX_free>>;
using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free_all>>;

}  // namespace

absl::Status VerifyServerCertificate(absl::string_view der,
                                     absl::string_view host,
                                     absl::string_view ca_pem,
                                     absl::Time now) {
  if (der.size() > std::numeric_limits<int>::max() ||
      ca_pem.size() > std::numeric_limits<int>::max()) {
    return absl::InvalidArgumentError("certificates are too large");
  }
  const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
  X509Ptr leaf(d2i_X509(nullptr, &bytes, static_cast<long>(der.size())));
  if (leaf == nullptr) {
    ERR_clear_error();
    return absl::FailedPreconditionError(
        "the server's certificate cannot be read");
  }
  StorePtr store(X509_STORE_new());
  BioPtr bio(BIO_new_mem_buf(ca_pem.data(), static_cast<int>(ca_pem.size())));
  if (store == nullptr || bio == nullptr) {
    return absl::ResourceExhaustedError("out of memory");
  }
  int count = 0;
  while (count < kMaxCertificates) {
    X509Ptr ca(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (ca == nullptr) break;
    X509_STORE_add_cert(store.get(), ca.get());
    ++count;
  }
  ERR_clear_error();
  if (count == 0) {
    return absl::InvalidArgumentError("it holds no PEM certificate");
  }
  ContextPtr context(X509_STORE_CTX_new());
  if (context == nullptr ||
      X509_STORE_CTX_init(context.get(), store.get(), leaf.get(), nullptr) !=
          1) {
    return absl::ResourceExhaustedError("out of memory");
  }
  X509_VERIFY_PARAM* param = X509_STORE_CTX_get0_param(context.get());
  // A private server may be trusted by its own certificate.
  X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
  X509_VERIFY_PARAM_set_time(param, absl::ToTimeT(now));
  X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
  const std::string name(host);
  if (X509_VERIFY_PARAM_set1_ip_asc(param, name.c_str()) != 1) {
    ERR_clear_error();
    if (name.empty() || X509_VERIFY_PARAM_set1_host(param, name.data(),
                                                    name.size()) != 1) {
      ERR_clear_error();
      return absl::FailedPreconditionError("the host name is not valid");
    }
  }
  if (X509_verify_cert(context.get()) == 1) return absl::OkStatus();
  const int error = X509_STORE_CTX_get_error(context.get());
  ERR_clear_error();
  return absl::FailedPreconditionError(
      absl::StrCat("certificate is not trusted: ",
                   X509_verify_cert_error_string(error)));
}

}  // namespace flotilla
