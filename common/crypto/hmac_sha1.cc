// SPDX-License-Identifier: Apache-2.0

#include "common/crypto/hmac_sha1.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <limits>
#include <string>

#include "absl/strings/string_view.h"

namespace flotilla {

std::string HmacSha1(absl::string_view key, absl::string_view bytes) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (key.size() > std::numeric_limits<int>::max()) return "";
  if (HMAC(EVP_sha1(), key.data(), static_cast<int>(key.size()),
           reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
           out, &size) == nullptr) {
    return "";
  }
  return std::string(reinterpret_cast<const char*>(out), size);
}

}  // namespace flotilla
