// SPDX-License-Identifier: Apache-2.0

#include "common/yaml/yaml_text.h"

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
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

void AppendUtf8(uint32_t code, std::string* out) {
  if (code < 0x80) {
    out->push_back(static_cast<char>(code));
    return;
  }
  int following = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  static constexpr uint32_t kFirst[] = {0, 0xC0, 0xE0, 0xF0};
  out->push_back(
      static_cast<char>(kFirst[following] | (code >> (6 * following))));
  while (following-- > 0) {
    out->push_back(
        static_cast<char>(0x80u | ((code >> (6 * following)) & 0x3Fu)));
  }
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

bool IsUtf16(absl::string_view text) {
  return absl::StartsWith(text, "\xFF\xFE") ||
         absl::StartsWith(text, "\xFE\xFF");
}

absl::StatusOr<std::string> FromUtf16(absl::string_view text) {
  const bool little_endian = absl::ConsumePrefix(&text, "\xFF\xFE");
  if (!little_endian) absl::ConsumePrefix(&text, "\xFE\xFF");
  const auto unit = [&](size_t at) {
    const auto first = static_cast<unsigned char>(text[at]);
    const auto second = static_cast<unsigned char>(text[at + 1]);
    return static_cast<uint32_t>(little_endian ? second << 8 | first
                                               : first << 8 | second);
  };
  const absl::Status broken = Invalid(
      1, 1, "the text begins with a mark of UTF-16, and it is not UTF-16: "
            "save it as UTF-8");
  if (text.size() % 2 != 0) return broken;
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); i += 2) {
    uint32_t code = unit(i);
    if (code >= 0xDC00 && code <= 0xDFFF) return broken;
    if (code >= 0xD800 && code <= 0xDBFF) {
      i += 2;
      const uint32_t low = i < text.size() ? unit(i) : 0;
      if (low < 0xDC00 || low > 0xDFFF) return broken;
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    AppendUtf8(code, &out);
  }
  return out;
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

void MendEscapes(std::string* value) {
  std::string mended;
  size_t copied = 0;
  for (size_t i = 0; i < value->size();) {
    const auto byte = static_cast<unsigned char>((*value)[i]);
    if (byte == 0x85 || byte == 0xA0) {
      mended.append(*value, copied, i - copied);
      AppendUtf8(byte, &mended);
      copied = ++i;
    } else {
      i += byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
    }
  }
  if (copied == 0) return;
  mended.append(*value, copied, std::string::npos);
  *value = std::move(mended);
}

bool LacksColon(absl::string_view text, size_t position,
                absl::string_view key) {
  if (key.empty() || !absl::StartsWith(text.substr(position), key)) {
    return false;
  }
  const absl::string_view behind =
      absl::StripLeadingAsciiWhitespace(text.substr(position + key.size()));
  if (absl::StartsWith(behind, ":")) return false;
  return !absl::EndsWith(
      absl::StripTrailingAsciiWhitespace(text.substr(0, position)), "?");
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
