// SPDX-License-Identifier: Apache-2.0

#include "common/yaml/scalar.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace flotilla::yaml {
namespace {

using nlohmann::json;

bool IsDigits(absl::string_view text) {
  if (text.empty()) return false;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
  }
  return true;
}

// Go's strconv.ParseUint(text, 0, 64) without underscores.
bool ParseUnsigned(absl::string_view text, uint64_t* out) {
  unsigned base = 10;
  if (text.size() > 1 && text[0] == '0') {
    switch (text[1]) {
      case 'x':
      case 'X':
        base = 16;
        text.remove_prefix(2);
        break;
      case 'o':
      case 'O':
        base = 8;
        text.remove_prefix(2);
        break;
      case 'b':
      case 'B':
        base = 2;
        text.remove_prefix(2);
        break;
      default:
        base = 8;
        text.remove_prefix(1);
    }
  }
  if (text.empty()) return false;
  uint64_t value = 0;
  for (char c : text) {
    unsigned digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<unsigned>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<unsigned>(c - 'a') + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<unsigned>(c - 'A') + 10;
    } else {
      return false;
    }
    if (digit >= base) return false;
    if (value > (UINT64_MAX - digit) / base) return false;
    value = value * base + digit;
  }
  *out = value;
  return true;
}

bool ParseInteger(absl::string_view text, json* out) {
  absl::string_view rest = text;
  const bool negative = absl::ConsumePrefix(&rest, "-");
  const bool has_sign = negative || absl::ConsumePrefix(&rest, "+");
  uint64_t magnitude = 0;
  if (!ParseUnsigned(rest, &magnitude)) return false;
  constexpr uint64_t kMinMagnitude = uint64_t{1} << 63;
  if (negative) {
    if (magnitude > kMinMagnitude) return false;
    *out = static_cast<int64_t>(~magnitude + 1);
    return true;
  }
  if (magnitude >= kMinMagnitude) {
    // As ParseUint, which takes no sign.
    if (has_sign) return false;
    *out = magnitude;
    return true;
  }
  *out = static_cast<int64_t>(magnitude);
  return true;
}

// ^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$
bool LooksLikeFloat(absl::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    text.remove_prefix(1);
  }
  const size_t exponent = text.find_first_of("eE");
  if (exponent != absl::string_view::npos) {
    absl::string_view digits = text.substr(exponent + 1);
    if (!digits.empty() && (digits[0] == '-' || digits[0] == '+')) {
      digits.remove_prefix(1);
    }
    if (!IsDigits(digits)) return false;
    text = text.substr(0, exponent);
  }
  const size_t dot = text.find('.');
  if (dot == absl::string_view::npos) return IsDigits(text);
  const absl::string_view whole = text.substr(0, dot);
  const absl::string_view fraction = text.substr(dot + 1);
  if (whole.empty()) return IsDigits(fraction);
  return IsDigits(whole) && (fraction.empty() || IsDigits(fraction));
}

// As Go: an underscore stands between digits.
bool UnderscoresSeparateDigits(absl::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') continue;
    if (i == 0 || i + 1 == text.size()) return false;
    if (!IsDigits(text.substr(i - 1, 1)) || !IsDigits(text.substr(i + 1, 1))) {
      return false;
    }
  }
  return true;
}

// What the table of go-yaml v2 says of a word.
bool ResolveWord(absl::string_view text, Scalar* out) {
  for (const char* word : {"y", "Y", "yes", "Yes", "YES", "true", "True",
                           "TRUE", "on", "On", "ON"}) {
    if (text == word) {
      *out = {Scalar::Kind::kBool, true};
      return true;
    }
  }
  for (const char* word : {"n", "N", "no", "No", "NO", "false", "False",
                           "FALSE", "off", "Off", "OFF"}) {
    if (text == word) {
      *out = {Scalar::Kind::kBool, false};
      return true;
    }
  }
  for (const char* word : {"", "~", "null", "Null", "NULL"}) {
    if (text == word) {
      *out = {Scalar::Kind::kNull, nullptr};
      return true;
    }
  }
  for (const char* word : {".nan", ".NaN", ".NAN"}) {
    if (text == word) {
      *out = {Scalar::Kind::kFloat, std::nan("")};
      return true;
    }
  }
  for (const char* word : {".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF",
                           "-.inf", "-.Inf", "-.INF"}) {
    if (text == word) {
      const double infinity = std::numeric_limits<double>::infinity();
      *out = {Scalar::Kind::kFloat, text[0] == '-' ? -infinity : infinity};
      return true;
    }
  }
  return false;
}

}  // namespace

Scalar ResolvePlain(absl::string_view text) {
  Scalar scalar;
  if (text.size() <= 5 && ResolveWord(text, &scalar)) return scalar;
  const char first = text.empty() ? '\0' : text[0];
  const bool number_like = (first >= '0' && first <= '9') || first == '+' ||
                           first == '-' || first == '.';
  // No number is longer; long strings of digits need not be tried.
  constexpr size_t kLongestNumber = 400;
  if (number_like && text.size() <= kLongestNumber) {
    std::string plain;
    for (char c : text) {
      if (c != '_') plain.push_back(c);
    }
    // Go's own parser is stricter than the expression of go-yaml.
    if (first == '.' && !UnderscoresSeparateDigits(text)) {
      plain = std::string(text);
    }
    if (first != '.' && ParseInteger(plain, &scalar.value)) {
      scalar.kind = Scalar::Kind::kInt;
      return scalar;
    }
    double number = 0;
    if (LooksLikeFloat(plain) && absl::SimpleAtod(plain, &number) &&
        std::isfinite(number)) {
      return {Scalar::Kind::kFloat, FloatValue(number)};
    }
  }
  return {Scalar::Kind::kString, std::string(text)};
}

json FloatValue(double value) {
  constexpr double kLargest = 1e18;
  if (std::trunc(value) != value || std::fabs(value) >= kLargest) return value;
  // Above 2^53 Go writes the fewest digits that give the same number, and
  // zeros behind them.
  constexpr double kExact = 9007199254740992;
  if (std::fabs(value) <= kExact) return static_cast<int64_t>(value);
  for (int precision = 15; precision < 17; ++precision) {
    std::string digits = absl::StrFormat("%.*e", precision, value);
    double read = 0;
    int exponent = 0;
    const size_t e = digits.find('e');
    if (!absl::SimpleAtod(digits, &read) || read != value ||
        !absl::SimpleAtoi(digits.substr(e + 1), &exponent) ||
        exponent < precision) {
      continue;
    }
    digits.resize(e);
    digits.erase(digits.find('.'), 1);
    digits.append(static_cast<size_t>(exponent - precision), '0');
    int64_t whole = 0;
    if (absl::SimpleAtoi(digits, &whole)) return whole;
  }
  return static_cast<int64_t>(value);
}

std::string FloatKey(double value) {
  if (std::isnan(value)) return ".nan";
  if (std::isinf(value)) return value < 0 ? "-.inf" : ".inf";
  const float wanted = static_cast<float>(value);
  std::string shortest;
  for (int precision = 0; precision < 10; ++precision) {
    shortest = absl::StrFormat("%.*e", precision, wanted);
    float read = 0;
    if (absl::SimpleAtof(shortest, &read) && read == wanted) break;
  }
  const size_t e = shortest.find('e');
  int exponent = 0;
  if (e == std::string::npos ||
      !absl::SimpleAtoi(shortest.substr(e + 1), &exponent) || exponent < -4 ||
      exponent >= 6) {
    return shortest;
  }
  std::string digits;
  for (char c : shortest.substr(0, e)) {
    if (c >= '0' && c <= '9') digits.push_back(c);
  }
  const int decimals =
      std::max(0, static_cast<int>(digits.size()) - 1 - exponent);
  return absl::StrFormat("%.*f", decimals, wanted);
}

}  // namespace flotilla::yaml
