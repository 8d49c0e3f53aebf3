// SPDX-License-Identifier: Apache-2.0

#include "common/crypto/sha1.h"

#include <openssl/sha.h>

namespace flotilla {

std::string Sha1(absl::string_view bytes) {
  std::string digest(SHA_DIGEST_LENGTH, '\0');
  SHA1(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
       reinterpret_cast<unsigned char*>(&digest[0]));
  return digest;
}

}  // namespace flotilla
