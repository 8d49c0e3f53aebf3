// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/status_text.h"

#include "absl/strings/ascii.h"
#include "common/text/cut_text.h"

namespace flotilla::manager {

std::string BoundedText(absl::string_view text, size_t limit) {
  constexpr absl::string_view kMore = "...";
  const bool cut = text.size() > limit;
  std::string out(cut ? CutText(text, limit - kMore.size()) : text);
  for (char& c : out) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c)) && c != '\n') {
      c = ' ';
    }
  }
  if (cut) out.append(kMore.data(), kMore.size());
  return out;
}

std::string StatusText(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

size_t JsonSize(const nlohmann::json& value) {
  return StatusText(value).size();
}

}  // namespace flotilla::manager
