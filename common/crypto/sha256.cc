// SPDX-License-Identifier: Apache-2.0

#include "common/crypto/sha256.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <string>

#include "absl/strings/string_view.h"

namespace flotilla {

std::string Sha256(absl::string_view bytes) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

bool ConstantTimeEquals(absl::string_view a, absl::string_view b) {
  return a.size() == b.size() &&
         CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace flotilla
