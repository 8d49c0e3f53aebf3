// SPDX-License-Identifier: Apache-2.0
//
// Keyed hashes (RFC 2104), and the comparison that goes with them.

#ifndef FLOTILLA_COMMON_CRYPTO_HMAC_H_
#define FLOTILLA_COMMON_CRYPTO_HMAC_H_

#include <string>

#include "absl/strings/string_view.h"

namespace flotilla {

// 32 raw bytes.
std::string HmacSha256(absl::string_view key, absl::string_view bytes);

// 20 raw bytes. For the hashed host names of known_hosts files; not for
// anything new.
std::string HmacSha1(absl::string_view key, absl::string_view bytes);

// Whether the two are equal. The time it takes tells only their sizes.
bool EqualInConstantTime(absl::string_view a, absl::string_view b);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_CRYPTO_HMAC_H_
