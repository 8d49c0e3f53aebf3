// SPDX-License-Identifier: Apache-2.0

#include <cstddef>
#include <cstdio>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/yaml/documents.h"
#include "common/yaml/scalar.h"
#include "common/yaml/yaml_text.h"
#include "nlohmann/json.hpp"

namespace flotilla {
namespace {

using nlohmann::json;
using yaml::CleanText;
using yaml::ResolvePlain;
using yaml::Scalar;

// A longer key needs a question mark before it.
constexpr size_t kLongestSimpleKey = 500;

bool IsPlain(absl::string_view text) {
  if (text.empty() || text.size() > 1000) return false;
  if (ResolvePlain(text).kind != Scalar::Kind::kString) return false;
  const auto is_alnum = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9');
  };
  if (!is_alnum(text[0]) && text[0] != '/' && text[0] != '_' &&
      text[0] != '.') {
    return false;
  }
  if (text.back() == ' ' || text.back() == ':' || text == "...") return false;
  // Dates and times of day, for readers that know them.
  if (text[0] >= '0' && text[0] <= '9' &&
      text.find_first_not_of("0123456789-:. TZ") == absl::string_view::npos &&
      text.find_first_of("-:") != absl::string_view::npos) {
    return false;
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (is_alnum(c) || absl::StrContains("_./-@%+=()$*", c)) continue;
    if (c == ':' && text[i + 1] != ' ') continue;
    if (c == ' ' && text[i + 1] != '#') continue;
    return false;
  }
  return true;
}

bool IsBlock(absl::string_view text) {
  if (!absl::StrContains(text, '\n')) return false;
  if (text[0] == '\n' || text[0] == ' ' || text[0] == '\t') return false;
  if (absl::EndsWith(text, "\n\n")) return false;
  absl::StatusOr<std::string> clean = CleanText(text);
  if (!clean.ok() || *clean != text) return false;
  // Lines of white space only, and characters that some take for line ends.
  bool blank = true;
  bool has_space = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') {
      if (blank && has_space) return false;
      blank = true;
      has_space = false;
    } else if (c == ' ' || c == '\t') {
      has_space = true;
    } else {
      blank = false;
    }
  }
  if (blank && has_space) return false;
  return !absl::StrContains(text, "\xC2\x85") &&
         !absl::StrContains(text, "\xE2\x80\xA8") &&
         !absl::StrContains(text, "\xE2\x80\xA9");
}

std::string Quoted(absl::string_view text) {
  // JSON's escapes are YAML's; what JSON leaves alone and YAML does not allow
  // is written as \u.
  std::string escaped =
      json(std::string(text))
          .dump(-1, ' ', false, json::error_handler_t::replace);
  std::string out;
  for (size_t i = 0; i < escaped.size(); ++i) {
    const auto c = static_cast<unsigned char>(escaped[i]);
    const auto next =
        static_cast<unsigned char>(i + 1 < escaped.size() ? escaped[i + 1] : 0);
    if (c == 0x7F) {
      out += "\\u007f";
    } else if (c == 0xC2 && next < 0xA0) {
      char buffer[8];
      std::snprintf(buffer, sizeof(buffer), "\\u%04x", next);
      out += buffer;
      ++i;
    } else if (absl::StartsWith(absl::string_view(escaped).substr(i),
                                "\xEF\xBB\xBF")) {
      out += "\\ufeff";
      i += 2;
    } else if (absl::StartsWith(absl::string_view(escaped).substr(i),
                                "\xE2\x80\xA8")) {
      out += "\\u2028";
      i += 2;
    } else if (absl::StartsWith(absl::string_view(escaped).substr(i),
                                "\xE2\x80\xA9")) {
      out += "\\u2029";
      i += 2;
    } else if (absl::StartsWith(absl::string_view(escaped).substr(i),
                                "\xEF\xBF\xBE")) {
      out += "\\ufffe";
      i += 2;
    } else if (absl::StartsWith(absl::string_view(escaped).substr(i),
                                "\xEF\xBF\xBF")) {
      out += "\\uffff";
      i += 2;
    } else {
      out.push_back(escaped[i]);
    }
  }
  return out;
}

std::string KeyText(const std::string& key) {
  return IsPlain(key) ? key : Quoted(key);
}

void WriteValue(const json& value, int indent, std::string* out);

// A value that goes on the line of its key or dash.
void WriteScalar(const json& value, int indent, std::string* out) {
  if (!value.is_string()) {
    absl::StrAppend(
        out, value.dump(-1, ' ', false, json::error_handler_t::replace), "\n");
    return;
  }
  const std::string& text = value.get_ref<const std::string&>();
  if (IsPlain(text)) {
    absl::StrAppend(out, text, "\n");
    return;
  }
  if (!IsBlock(text)) {
    absl::StrAppend(out, Quoted(text), "\n");
    return;
  }
  absl::string_view rest = text;
  const bool newline_at_end = absl::ConsumeSuffix(&rest, "\n");
  absl::StrAppend(out, newline_at_end ? "|\n" : "|-\n");
  for (;;) {
    const size_t end = rest.find('\n');
    const absl::string_view one = rest.substr(0, end);
    if (!one.empty()) {
      absl::StrAppend(out, std::string(static_cast<size_t>(indent), ' '), one);
    }
    out->push_back('\n');
    if (end == absl::string_view::npos) return;
    rest.remove_prefix(end + 1);
  }
}

bool IsNested(const json& value) {
  return value.is_structured() && !value.empty();
}

void WriteMap(const json& value, int indent, bool first_on_line,
              std::string* out) {
  bool first = true;
  for (auto it = value.begin(); it != value.end(); ++it) {
    if (!first || !first_on_line) {
      out->append(static_cast<size_t>(indent), ' ');
    }
    first = false;
    const std::string key = KeyText(it.key());
    if (key.size() > kLongestSimpleKey) {
      absl::StrAppend(out, "? ", key, "\n",
                      std::string(static_cast<size_t>(indent), ' '), ":");
    } else {
      absl::StrAppend(out, key, ":");
    }
    if (!IsNested(it.value())) {
      out->push_back(' ');
      WriteScalar(it.value(), indent + 2, out);
    } else {
      out->push_back('\n');
      WriteValue(it.value(), it.value().is_array() ? indent : indent + 2, out);
    }
  }
}

void WriteValue(const json& value, int indent, std::string* out) {
  if (value.is_object()) {
    WriteMap(value, indent, /*first_on_line=*/false, out);
    return;
  }
  for (const json& item : value) {
    out->append(static_cast<size_t>(indent), ' ');
    out->append("- ");
    if (!IsNested(item)) {
      WriteScalar(item, indent + 2, out);
    } else if (item.is_object()) {
      WriteMap(item, indent + 2, /*first_on_line=*/true, out);
    } else {
      // A list in a list begins on a line of its own.
      out->pop_back();
      out->push_back('\n');
      WriteValue(item, indent + 2, out);
    }
  }
}

}  // namespace

std::string ToYaml(const json& value) {
  std::string out;
  if (IsNested(value)) {
    WriteValue(value, 0, &out);
  } else {
    WriteScalar(value, 2, &out);
  }
  return out;
}

}  // namespace flotilla
