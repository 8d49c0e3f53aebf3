// SPDX-License-Identifier: Apache-2.0
//
// SHA-1, for tests that make what Git makes. Nothing is proved by it.

#ifndef FLOTILLA_COMMON_CRYPTO_SHA1_H_
#define FLOTILLA_COMMON_CRYPTO_SHA1_H_

#include <string>

#include "absl/strings/string_view.h"

namespace flotilla {

// 20 raw bytes.
std::string Sha1(absl::string_view bytes);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_CRYPTO_SHA1_H_
