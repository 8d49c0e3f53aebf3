// SPDX-License-Identifier: Apache-2.0
//
// A blob's digest is its SHA-256: 32 raw bytes in messages and in memory, 64
// lower-case hex digits in file names and where people see it.

#ifndef FLOTILLA_COMMON_BLOB_DIGEST_H_
#define FLOTILLA_COMMON_BLOB_DIGEST_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace flotilla {

inline constexpr size_t kDigestBytes = 32;

// The raw digest of `bytes`.
std::string DigestOf(absl::string_view bytes);

// 64 hex digits. REQUIRES: DigestIsValid(digest).
std::string DigestToHex(absl::string_view digest);

// The raw digest; INVALID_ARGUMENT unless `hex` is 64 lower-case hex digits.
absl::StatusOr<std::string> DigestFromHex(absl::string_view hex);

inline bool DigestIsValid(absl::string_view digest) {
  return digest.size() == kDigestBytes;
}

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_BLOB_DIGEST_H_
