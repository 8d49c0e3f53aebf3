// SPDX-License-Identifier: Apache-2.0
//
// HMAC-SHA1, for the hashed host names of known_hosts files. Not for anything
// new.

#ifndef FLOTILLA_COMMON_CRYPTO_HMAC_SHA1_H_
#define FLOTILLA_COMMON_CRYPTO_HMAC_SHA1_H_

#include <string>

#include "absl/strings/string_view.h"

namespace flotilla {

// 20 raw bytes.
std::string HmacSha1(absl::string_view key, absl::string_view bytes);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_CRYPTO_HMAC_SHA1_H_
