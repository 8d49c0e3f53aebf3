// SPDX-License-Identifier: Apache-2.0

#include "common/blob/digest.h"

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/crypto/sha256.h"

namespace flotilla {

std::string DigestOf(absl::string_view bytes) { return Sha256(bytes); }

std::string DigestToHex(absl::string_view digest) {
  return absl::BytesToHexString(digest);
}

absl::StatusOr<std::string> DigestFromHex(absl::string_view hex) {
  const bool digits =
      hex.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
  if (hex.size() != 2 * kDigestBytes || !digits) {
    return absl::InvalidArgumentError(absl::StrCat(
        "not a SHA-256 digest: want 64 lower-case hex digits, got ",
        hex.size(), digits ? " of them" : " characters"));
  }
  return absl::HexStringToBytes(hex);
}

}  // namespace flotilla
