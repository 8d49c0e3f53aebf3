// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/glob.h"

#include <algorithm>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "manager/gitsync/tree_path.h"

namespace flotilla::manager {
namespace {

// Of one bundle.
constexpr size_t kMaxRules = 10000;
constexpr size_t kMaxPatternBytes = 256 << 10;

constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

// Bytes of the character at the front of `text`, which is not empty.
size_t CharacterSize(absl::string_view text) {
  size_t size = 1;
  while (size < text.size() && size < 4 &&
         (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) {
    ++size;
  }
  return size;
}

// Takes one character, with its backslash, of a pattern. False at its end.
bool TakeCharacter(absl::string_view& pattern, std::string& out) {
  absl::ConsumePrefix(&pattern, "\\");
  if (pattern.empty()) return false;
  const size_t size = CharacterSize(pattern);
  out = std::string(pattern.substr(0, size));
  pattern.remove_prefix(size);
  return true;
}

}  // namespace

bool Glob::Element::Matches(absl::string_view character) const {
  if (kind == Kind::kOne) return true;
  if (kind == Kind::kText) return character == text;
  // UTF-8 compares as its code points do.
  const bool listed = std::any_of(
      ranges.begin(), ranges.end(), [character](const auto& range) {
        return range.first <= character && character <= range.second;
      });
  return listed != negated;
}

Glob::Glob(absl::string_view pattern) : malformed_(!Compile(pattern)) {}

bool Glob::TakeClass(absl::string_view& pattern, Element& element) {
  element.kind = Element::Kind::kClass;
  element.negated = absl::ConsumePrefix(&pattern, "^");
  while (element.ranges.empty() || !absl::ConsumePrefix(&pattern, "]")) {
    if (absl::StartsWith(pattern, "-") || absl::StartsWith(pattern, "]")) {
      return false;
    }
    std::string low;
    if (!TakeCharacter(pattern, low)) return false;
    std::string high = low;
    if (absl::ConsumePrefix(&pattern, "-") && !TakeCharacter(pattern, high)) {
      return false;
    }
    element.ranges.emplace_back(low, high);
    if (pattern.empty()) return false;
  }
  return true;
}

bool Glob::Compile(absl::string_view pattern) {
  while (!pattern.empty()) {
    Element element;
    if (absl::ConsumePrefix(&pattern, "*")) {
      element.kind = Element::Kind::kAnything;
    } else if (absl::ConsumePrefix(&pattern, "?")) {
      element.kind = Element::Kind::kOne;
    } else if (absl::ConsumePrefix(&pattern, "[")) {
      if (!TakeClass(pattern, element)) return false;
    } else if (!TakeCharacter(pattern, element.text)) {
      return false;
    }
    elements_.push_back(std::move(element));
  }
  return true;
}

bool Glob::Matches(absl::string_view name, uint64_t& steps) const {
  if (malformed_) return false;
  // Goes back to the last `*` only: never exponential.
  size_t e = 0;
  size_t at = 0;
  size_t star = elements_.size();
  size_t star_at = 0;
  while (at < name.size()) {
    const uint64_t cost =
        1 + (e < elements_.size() ? elements_[e].ranges.size() : 0);
    steps -= std::min(steps, cost);
    if (steps == 0) return false;
    const absl::string_view character =
        name.substr(at, CharacterSize(name.substr(at)));
    if (e < elements_.size() &&
        elements_[e].kind == Element::Kind::kAnything) {
      star = e++;
      star_at = at;
    } else if (e < elements_.size() && elements_[e].Matches(character)) {
      ++e;
      at += character.size();
    } else if (star < elements_.size()) {
      e = star + 1;
      star_at += CharacterSize(name.substr(star_at));
      at = star_at;
    } else {
      return false;
    }
  }
  while (e < elements_.size() &&
         elements_[e].kind == Element::Kind::kAnything) {
    ++e;
  }
  return e == elements_.size();
}

bool GlobMatches(absl::string_view pattern, absl::string_view name) {
  uint64_t steps = kNoLimit;
  return Glob(pattern).Matches(name, steps);
}

bool HasGlobMeta(absl::string_view pattern) {
  return pattern.find_first_of("*?[\\") != absl::string_view::npos;
}

absl::Status IgnoreRules::AddFile(absl::string_view directory,
                                  absl::string_view text) {
  std::vector<Rule>& rules = rules_[std::string(directory)];
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    absl::ConsumeSuffix(&line, "\r");
    while (!line.empty() && (line.back() == ' ' || line.back() == '\t')) {
      if (line.size() > 1 && line[line.size() - 2] == '\\') break;
      line.remove_suffix(1);
    }
    if (line.empty() || line.front() == '#') continue;
    pattern_bytes_ += line.size();
    if (++rule_count_ > kMaxRules || pattern_bytes_ > kMaxPatternBytes) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "the .fleetignore files of a bundle have at most ", kMaxRules,
          " rules and ", kMaxPatternBytes, " bytes of them together"));
    }
    const bool directories_only = absl::ConsumeSuffix(&line, "/*");
    rules.push_back({Glob(line), directories_only});
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> IgnoreRules::Ignores(absl::string_view path,
                                          bool is_directory) const {
  const absl::string_view name = TreeName(path);
  absl::string_view directory = path;
  while (!directory.empty()) {
    directory = TreeParent(directory);
    const auto here = rules_.find(directory);
    if (here == rules_.end()) continue;
    for (const Rule& rule : here->second) {
      if (steps_ > 0) --steps_;
      const bool matches = (is_directory || !rule.directories_only) &&
                           rule.glob.Matches(name, steps_);
      if (steps_ == 0) {
        return absl::ResourceExhaustedError(
            "the rules of the .fleetignore files take too long to match: have "
            "fewer of them, or simpler ones, or split the GitRepo by its "
            "paths");
      }
      if (matches) return true;
    }
  }
  return false;
}

}  // namespace flotilla::manager
