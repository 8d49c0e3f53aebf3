// SPDX-License-Identifier: Apache-2.0
//
// SHA-256, and the comparison of secrets that goes with it.

#ifndef FLOTILLA_COMMON_CRYPTO_SHA256_H_
#define FLOTILLA_COMMON_CRYPTO_SHA256_H_

#include <string>

#include "absl/strings/string_view.h"

namespace flotilla {

// Digest of `bytes`, 32 raw bytes.
std::string Sha256(absl::string_view bytes);

// Compares in a time that depends on the sizes only.
bool ConstantTimeEquals(absl::string_view a, absl::string_view b);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_CRYPTO_SHA256_H_
