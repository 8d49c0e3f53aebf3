// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/go_duration.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "manager/documents/field_reader.h"

namespace flotilla::manager {
namespace {

constexpr absl::Duration kMaxDuration = absl::Hours(2562047);

// `value` of `unit` nanoseconds with its fraction: "1.5".
std::string Decimal(int64_t nanoseconds, int64_t unit) {
  std::string text = absl::StrCat(nanoseconds / unit);
  int64_t rest = nanoseconds % unit;
  if (rest == 0) return text;
  text.push_back('.');
  while (rest != 0) {
    unit /= 10;
    absl::StrAppend(&text, rest / unit);
    rest %= unit;
  }
  return text;
}

}  // namespace

absl::StatusOr<absl::Duration> ParseGoDuration(absl::string_view text) {
  const absl::Status invalid = absl::InvalidArgumentError(absl::StrCat(
      "\"", ShownText(text),
      "\" is not a duration: write a number and a unit (ns, us, ms, s, m, h), "
      "such as \"15s\" or \"1h30m\""));
  if (text == "0") return absl::ZeroDuration();
  if (text.empty() || text.size() > 32 ||
      !absl::ascii_isdigit(static_cast<unsigned char>(text.front()))) {
    return invalid;
  }
  // U+00B5 and U+03BC are both read as "micro".
  const std::string plain =
      absl::StrReplaceAll(text, {{"\xc2\xb5s", "us"}, {"\xce\xbcs", "us"}});
  absl::Duration duration;
  if (!absl::ParseDuration(plain, &duration)) return invalid;
  if (duration > kMaxDuration) return invalid;
  // Go counts whole nanoseconds.
  return absl::Floor(duration, absl::Nanoseconds(1));
}

std::string FormatGoDuration(absl::Duration duration) {
  constexpr int64_t kMicro = 1000;
  constexpr int64_t kMilli = 1000 * kMicro;
  constexpr int64_t kSecond = 1000 * kMilli;
  const int64_t total = absl::ToInt64Nanoseconds(duration);
  if (total <= 0) return "0s";
  if (total < kMicro) return absl::StrCat(total, "ns");
  if (total < kMilli) return absl::StrCat(Decimal(total, kMicro), "\xc2\xb5s");
  if (total < kSecond) return absl::StrCat(Decimal(total, kMilli), "ms");
  const int64_t minutes = total / kSecond / 60;
  const std::string seconds =
      absl::StrCat(Decimal(total - minutes * 60 * kSecond, kSecond), "s");
  if (minutes == 0) return seconds;
  if (minutes < 60) return absl::StrCat(minutes, "m", seconds);
  return absl::StrCat(minutes / 60, "h", minutes % 60, "m", seconds);
}

}  // namespace flotilla::manager
