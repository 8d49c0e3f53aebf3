// SPDX-License-Identifier: Apache-2.0

#include "manager/render/secret_texts.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;

constexpr char kRedacted[] = "<redacted>";
// At the end of a text that was cut.
constexpr char kCut[] = "…";

// As a string is written within quotes.
std::string Escaped(absl::string_view text) {
  const std::string quoted = json(std::string(text))
                                 .dump(-1, ' ', false,
                                       json::error_handler_t::replace);
  return quoted.substr(1, quoted.size() - 2);
}

}  // namespace

void SecretTexts::Add(const json& values) {
  any_ = true;
  // Values are as deep as their reader lets them be.
  std::vector<const json*> open = {&values};
  while (!open.empty()) {
    const json& value = *open.back();
    open.pop_back();
    if (value.is_structured()) {
      for (const json& item : value) open.push_back(&item);
    } else if (value.is_string()) {
      AddText(value.get_ref<const std::string&>());
    } else if (value.is_number()) {
      AddForm(value.dump());
    }
  }
}

void SecretTexts::AddText(absl::string_view text) {
  AddForm(std::string(text));
  AddForm(absl::Base64Escape(text));
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    AddForm(std::string(line));
    AddForm(Escaped(line));
  }
}

void SecretTexts::AddForm(std::string form) {
  if (form.size() < kShortest || texts_.size() > kMaxTexts) return;
  const size_t size = form.size();
  texts_.emplace(size, std::move(form));
}

std::string SecretTexts::Redact(absl::string_view text) const {
  if (texts_.size() > kMaxTexts) {
    return "not shown: it may quote values of a Secret";
  }
  std::string shown(text);
  if (absl::EndsWith(text, kCut)) RedactCut(&shown);
  for (auto it = texts_.rbegin(); it != texts_.rend(); ++it) {
    absl::StrReplaceAll({{it->second, kRedacted}}, &shown);
  }
  return shown;
}

void SecretTexts::RedactCut(std::string* text) const {
  absl::string_view left = *text;
  absl::ConsumeSuffix(&left, kCut);
  size_t kept = left.size();
  for (const auto& [size, form] : texts_) {
    for (size_t part = std::min(size, left.size());
         part >= kShortest && left.size() - part < kept; --part) {
      if (!absl::StartsWith(form, left.substr(left.size() - part))) continue;
      kept = left.size() - part;
    }
  }
  if (kept == left.size()) return;
  *text = absl::StrCat(left.substr(0, kept), kRedacted, kCut);
}

}  // namespace flotilla::manager
