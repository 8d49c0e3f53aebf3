// SPDX-License-Identifier: Apache-2.0

#include "common/enrolment/join_token.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace flotilla {
namespace {

constexpr absl::string_view kTag = "flt";
constexpr size_t kIdDigits = 16;
constexpr size_t kSecretBytes = 32;
constexpr size_t kMaxTokenBytes = 16 * 1024;

bool IsId(absl::string_view id) {
  if (id.size() != kIdDigits) return false;
  for (const char c : id) {
    if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')) return false;
  }
  return true;
}

}  // namespace

std::string FormatJoinToken(const JoinToken& token) {
  return absl::StrCat(kTag, ".", token.id, ".",
                      absl::WebSafeBase64Escape(token.secret), ".",
                      absl::WebSafeBase64Escape(token.ca_der));
}

absl::StatusOr<JoinToken> ParseJoinToken(absl::string_view text) {
  const absl::Status refused = absl::InvalidArgumentError(
      "this is not a whole join token (flt.<id>.<secret>.<ca>): copy all of "
      "what `flotilla token create` prints");
  text = absl::StripAsciiWhitespace(text);
  if (text.size() > kMaxTokenBytes) return refused;
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '.');
  if (parts.size() != 4 || parts[0] != kTag || !IsId(parts[1])) return refused;
  JoinToken token;
  token.id = std::string(parts[1]);
  if (!absl::WebSafeBase64Unescape(parts[2], &token.secret) ||
      token.secret.size() != kSecretBytes ||
      !absl::WebSafeBase64Unescape(parts[3], &token.ca_der) ||
      token.ca_der.empty()) {
    return refused;
  }
  return token;
}

}  // namespace flotilla
