// SPDX-License-Identifier: Apache-2.0

#include "common/yaml/yaml_text.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace flotilla::yaml {
namespace {

absl::Status ErrorAt(absl::StatusCode code, int line, int column,
                     absl::string_view text) {
  if (line <= 0) return absl::Status(code, text);
  absl::Status status(
      code, absl::StrCat("line ", line, ", column ", column, ": ", text));
  status.SetPayload(kLineUrl, absl::Cord(absl::StrCat(line)));
  return status;
}

}  // namespace

absl::Status TooMuch(int line, int column, absl::string_view text) {
  return ErrorAt(absl::StatusCode::kResourceExhausted, line, column, text);
}

absl::Status Invalid(int line, int column, absl::string_view text) {
  return ErrorAt(absl::StatusCode::kInvalidArgument, line, column, text);
}

std::string Shown(absl::string_view key) {
  std::string text = absl::CHexEscape(key.substr(0, 80));
  return absl::StrCat("\"", text, key.size() > 80 ? "…\"" : "\"");
}

absl::StatusOr<std::string> CleanText(absl::string_view text) {
  absl::ConsumePrefix(&text, "\xEF\xBB\xBF");
  std::string out;
  out.reserve(text.size() + 1);
  int line = 1;
  int column = 1;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    size_t length = 1;
    uint32_t code = byte;
    if (byte >= 0x80) {
      if (byte >= 0xC2 && byte <= 0xDF) {
        length = 2;
        code = byte & 0x1Fu;
      } else if (byte >= 0xE0 && byte <= 0xEF) {
        length = 3;
        code = byte & 0x0Fu;
      } else if (byte >= 0xF0 && byte <= 0xF4) {
        length = 4;
        code = byte & 0x07u;
      } else {
        return Invalid(line, column, "the text is not UTF-8");
      }
      if (i + length > text.size()) {
        return Invalid(line, column, "the text is not UTF-8");
      }
      for (size_t k = 1; k < length; ++k) {
        const auto next = static_cast<unsigned char>(text[i + k]);
        if ((next & 0xC0u) != 0x80u) {
          return Invalid(line, column, "the text is not UTF-8");
        }
        code = (code << 6) | (next & 0x3Fu);
      }
      static constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
      if (code < kSmallest[length] || code > 0x10FFFF ||
          (code >= 0xD800 && code <= 0xDFFF)) {
        return Invalid(line, column, "the text is not UTF-8");
      }
    }
    const bool control = (code < 0x20 && code != '\t' && code != '\n' &&
                          code != '\r') ||
                         code == 0x7F || (code > 0x7F && code < 0xA0 &&
                                          code != 0x85) ||
                         code == 0xFEFF || code == 0xFFFE || code == 0xFFFF;
    if (control) {
      return Invalid(line, column, "control characters are not allowed");
    }
    if (code == '\r') {
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
      out.push_back('\n');
      ++line;
      column = 1;
      ++i;
      continue;
    }
    out.append(text.data() + i, length);
    i += length;
    if (code == '\n') {
      ++line;
      column = 1;
    } else {
      ++column;
    }
  }
  return out;
}

void KeepLineBreaks(absl::string_view text, size_t position,
                    std::string* value) {
  // Without text before them the breaks are right.
  if (value->find_first_not_of('\n') == std::string::npos) return;
  // An anchor and a tag may stand first.
  while (position < text.size() &&
         (text[position] == '&' || text[position] == '!')) {
    position = text.find_first_of(" \t\n", position);
    position = text.find_first_not_of(" \t\n", position);
  }
  if (position >= text.size() || text[position] != '>') return;
  text.remove_prefix(position);
  size_t end = text.find('\n');
  if (end == absl::string_view::npos) return;
  const absl::string_view header = text.substr(0, end);
  const size_t comment = header.find('#');
  if (!absl::StrContains(header.substr(0, comment), '+')) return;
  text.remove_prefix(end + 1);

  constexpr size_t kUnknown = absl::string_view::npos;
  size_t indent = kUnknown;
  size_t breaks = 0;
  while (!text.empty()) {
    end = text.find('\n');
    const absl::string_view line = text.substr(0, end);
    const size_t spaces = std::min(line.find_first_not_of(' '), line.size());
    // More spaces than the text is indented by are text.
    const bool blank = spaces == line.size() && spaces <= indent;
    if (!blank) {
      if (indent == kUnknown) indent = spaces;
      if (spaces < indent || spaces == 0) break;
    }
    if (end == absl::string_view::npos) {
      if (!blank) breaks = 0;
      break;
    }
    breaks = blank ? breaks + 1 : 1;
    text.remove_prefix(end + 1);
  }
  while (!value->empty() && value->back() == '\n') value->pop_back();
  value->append(breaks, '\n');
}

}  // namespace flotilla::yaml
