// SPDX-License-Identifier: Apache-2.0

#include "common/crypto/hmac.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <limits>
#include <string>

#include "absl/strings/string_view.h"

namespace flotilla {
namespace {

std::string Hmac(const EVP_MD* hash, absl::string_view key,
                 absl::string_view bytes) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (key.size() > std::numeric_limits<int>::max()) return "";
  // A null key would mean "the key of the call before".
  const char* const start = key.empty() ? "" : key.data();
  if (HMAC(hash, start, static_cast<int>(key.size()),
           reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
           out, &size) == nullptr) {
    return "";
  }
  return std::string(reinterpret_cast<const char*>(out), size);
}

}  // namespace

std::string HmacSha256(absl::string_view key, absl::string_view bytes) {
  return Hmac(EVP_sha256(), key, bytes);
}

std::string HmacSha1(absl::string_view key, absl::string_view bytes) {
  return Hmac(EVP_sha1(), key, bytes);
}

bool EqualInConstantTime(absl::string_view a, absl::string_view b) {
  return a.size() == b.size() &&
         (a.empty() || CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0);
}

}  // namespace flotilla
