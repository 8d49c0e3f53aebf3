// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/secret_scan.h"

#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace flotilla::manager {

bool MayHoldSecret(absl::string_view bytes) {
  size_t at = 0;
  while ((at = bytes.find("Secret", at)) != absl::string_view::npos) {
    absl::string_view before = bytes.substr(0, at);
    const auto skip = [&before](absl::string_view characters) {
      while (!before.empty() &&
             characters.find(before.back()) != absl::string_view::npos) {
        before.remove_suffix(1);
      }
    };
    skip("\"' \t");
    if (absl::ConsumeSuffix(&before, ":")) {
      skip("\"' \t");
      if (absl::EndsWith(before, "kind")) return true;
    }
    ++at;
  }
  return false;
}

}  // namespace flotilla::manager
