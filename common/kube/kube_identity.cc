// SPDX-License-Identifier: Apache-2.0

#include "common/kube/kube_identity.h"

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace flotilla {
namespace {

constexpr size_t kMaxToken = 64 << 10;

}  // namespace

absl::StatusOr<std::string> CheckToken(absl::string_view token) {
  token = absl::StripTrailingAsciiWhitespace(token);
  if (token.empty()) return absl::InvalidArgumentError("the token is empty");
  if (token.size() > kMaxToken) {
    return absl::InvalidArgumentError("the token is longer than 64 KiB");
  }
  for (const char c : token) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7f) {
      return absl::InvalidArgumentError(
          "the token holds a line break, a space or another character that "
          "must not be in a header");
    }
  }
  return std::string(token);
}

std::string DebugString(const KubeIdentity& identity) {
  std::string text = identity.server;
  if (identity.insecure_skip_tls_verify) {
    absl::StrAppend(&text, " (certificate not verified)");
  }
  if (!identity.client_cert_pem.empty()) {
    absl::StrAppend(&text, " with a client certificate");
  }
  if (!identity.token_file.empty()) {
    absl::StrAppend(&text, " with the token in ", identity.token_file);
  } else if (!identity.token.empty()) {
    absl::StrAppend(&text, " with a token");
  }
  if (identity.exec.has_value()) {
    absl::StrAppend(&text, " with the plugin ", identity.exec->command);
  }
  return text;
}

}  // namespace flotilla
