// SPDX-License-Identifier: Apache-2.0

#include "common/text/cut_text.h"

#include <cstddef>

#include "absl/strings/string_view.h"

namespace flotilla {

absl::string_view CutText(absl::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  // Back to where the character begins that does not fit.
  size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) {
    --end;
  }
  return text.substr(0, end);
}

}  // namespace flotilla
