// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/regex.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "manager/documents/field_reader.h"
#include "re2/re2.h"

namespace flotilla::manager {
namespace {

constexpr size_t kMaxPattern = 4096;
constexpr int64_t kMaxMemory = 1 << 20;

re2::StringPiece Piece(absl::string_view text) {
  return re2::StringPiece(text.data(), text.size());
}

RE2::Options Options() {
  RE2::Options options(RE2::Quiet);
  options.set_max_mem(kMaxMemory);
  return options;
}

RE2::Anchor AnchorOf(RegexAnchor anchor) {
  switch (anchor) {
    case RegexAnchor::kNone:
      return RE2::UNANCHORED;
    case RegexAnchor::kStart:
      return RE2::ANCHOR_START;
    case RegexAnchor::kBoth:
      return RE2::ANCHOR_BOTH;
  }
  return RE2::ANCHOR_BOTH;
}

}  // namespace

std::string RegexProblem(absl::string_view pattern) {
  if (pattern.size() > kMaxPattern) {
    return absl::StrCat("\"", ShownText(pattern), "\" has more than ",
                        kMaxPattern, " characters");
  }
  const RE2 regex(Piece(pattern), Options());
  if (regex.ok()) return "";
  return absl::StrCat("\"", ShownText(pattern),
                      "\" is not a regular expression: ",
                      ShownText(regex.error()));
}

bool RegexMatches(absl::string_view pattern, absl::string_view text,
                  RegexAnchor anchor) {
  if (pattern.size() > kMaxPattern) return false;
  const RE2 regex(Piece(pattern), Options());
  return regex.ok() && regex.Match(Piece(text), 0, text.size(),
                                   AnchorOf(anchor), nullptr, 0);
}

}  // namespace flotilla::manager
