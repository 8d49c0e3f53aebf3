// SPDX-License-Identifier: Apache-2.0

#include "common/kube/bearer_token.h"

#include <fstream>
#include <ios>
#include <sstream>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "common/kube/kube_identity.h"

namespace flotilla {
namespace {

constexpr std::chrono::seconds kMaxAge(60);
// Reads of a token that is refused again and again.
constexpr std::chrono::seconds kMinAge(1);

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  if (!file.good()) {
    return absl::UnauthenticatedError(
        absl::StrCat("the token file ", path, " cannot be read"));
  }
  absl::StatusOr<std::string> token = CheckToken(content.str());
  if (!token.ok()) {
    return absl::UnauthenticatedError(
        absl::StrCat(path, ": ", token.status().message()));
  }
  return token;
}

}  // namespace

absl::StatusOr<std::string> BearerToken::Get(SteadyTime now) {
  if (file_.empty()) return token_;
  if (token_.empty() || now - read_ > kMaxAge) {
    absl::StatusOr<std::string> token = ReadToken(file_);
    if (token.ok()) {
      token_ = *std::move(token);
    } else if (token_.empty()) {
      return token.status();
    }
    read_ = now;
  }
  return token_;
}

void BearerToken::OnRefused(SteadyTime now) {
  if (!file_.empty() && now - read_ > kMinAge) token_.clear();
}

}  // namespace flotilla
