// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/display_text.h"

#include <string>

#include "absl/strings/string_view.h"

namespace flotilla::manager {
namespace {

// Bytes of the character at the front of `text`, 0 when it is none that may
// be shown. REQUIRES: not empty.
size_t CharacterSize(absl::string_view text) {
  const auto byte = [&text](size_t i) {
    return static_cast<unsigned char>(text[i]);
  };
  const unsigned char first = byte(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  size_t size = 0;
  unsigned int code = 0;
  if (first >= 0xc2 && first <= 0xdf) {
    size = 2;
    code = first & 0x1f;
  } else if (first >= 0xe0 && first <= 0xef) {
    size = 3;
    code = first & 0x0f;
  } else if (first >= 0xf0 && first <= 0xf4) {
    size = 4;
    code = first & 0x07;
  } else {
    return 0;
  }
  if (text.size() < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3f);
  }
  if (size == 3 && (code < 0x800 || (code >= 0xd800 && code <= 0xdfff))) {
    return 0;
  }
  if (size == 4 && (code < 0x10000 || code > 0x10ffff)) return 0;
  // C1 controls, bidirectional overrides, zero-width and separator characters
  // make text look like something else.
  if (code < 0xa0 || (code >= 0x200b && code <= 0x200f) ||
      (code >= 0x2028 && code <= 0x202e) ||
      (code >= 0x2066 && code <= 0x2069) || code == 0xfeff) {
    return 0;
  }
  return size;
}

}  // namespace

bool IsPlainText(absl::string_view text) {
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

std::string ToDisplayText(absl::string_view text, size_t max_bytes) {
  std::string out;
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    if (out.size() + (size == 0 ? 1 : size) > max_bytes) {
      out += "...";
      return out;
    }
    if (size == 0) {
      out.push_back('?');
      text.remove_prefix(1);
    } else {
      out.append(text.data(), size);
      text.remove_prefix(size);
    }
  }
  return out;
}

}  // namespace flotilla::manager
