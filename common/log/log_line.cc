// SPDX-License-Identifier: Apache-2.0

#include "common/log/log_line.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace flotilla {
namespace {

// The code point at the start of `text` and its length in bytes; length 0 when
// the bytes there are not UTF-8.
struct CodePoint {
  uint32_t value = 0;
  size_t length = 0;
};

CodePoint Decode(absl::string_view text) {
  const auto byte = [&text](size_t i) {
    return static_cast<unsigned char>(text[i]);
  };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1};
  size_t length = 0;
  uint32_t value = 0, least = 0;
  if ((first & 0xe0) == 0xc0) {
    length = 2, value = first & 0x1f, least = 0x80;
  } else if ((first & 0xf0) == 0xe0) {
    length = 3, value = first & 0x0f, least = 0x800;
  } else if ((first & 0xf8) == 0xf0) {
    length = 4, value = first & 0x07, least = 0x10000;
  } else {
    return {};
  }
  if (text.size() < length) return {};
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    value = value << 6 | (byte(i) & 0x3f);
  }
  const bool surrogate = value >= 0xd800 && value <= 0xdfff;
  if (value < least || value > 0x10ffff || surrogate) return {};
  return {value, length};
}

// Control characters, line and paragraph separators, and the marks that turn
// the direction of writing.
bool MustEscape(uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 ||
         (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

std::string JsonString(absl::string_view escaped) {
  std::string out = "\"";
  for (const char c : escaped) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  out.push_back('"');
  return out;
}

}  // namespace

absl::string_view LogLevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

std::string EscapeForLog(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint c = Decode(text);
    if (c.length == 0) {
      absl::StrAppendFormat(&out, "\\x%02x",
                            static_cast<unsigned char>(text[0]));
      text.remove_prefix(1);
      continue;
    }
    if (c.value == '\n') {
      out += "\\n";
    } else if (c.value == '\t') {
      out += "\\t";
    } else if (c.value == '\r') {
      out += "\\r";
    } else if (!MustEscape(c.value)) {
      absl::StrAppend(&out, text.substr(0, c.length));
    } else if (c.value < 0x100) {
      absl::StrAppendFormat(&out, "\\x%02x", c.value);
    } else {
      absl::StrAppendFormat(&out, "\\u%04x", c.value);
    }
    text.remove_prefix(c.length);
  }
  return out;
}

std::string FormatLogLine(const LogRecord& record, LogFormat format) {
  const std::string time = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", record.time,
                                            absl::UTCTimeZone());
  const std::string source = absl::StrCat(record.file, ":", record.line);
  const std::string message = EscapeForLog(record.message);
  if (format == LogFormat::kJson) {
    return absl::StrCat("{\"time\":\"", time, "\",\"level\":\"",
                        LogLevelName(record.level),
                        "\",\"source\":", JsonString(source),
                        ",\"message\":", JsonString(message), "}");
  }
  return absl::StrFormat("%s %-7s %s  [%s]", time, LogLevelName(record.level),
                         message, source);
}

}  // namespace flotilla
