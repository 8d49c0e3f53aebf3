// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/glob.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "manager/gitsync/tree_path.h"

namespace flotilla::manager {
namespace {

constexpr size_t kMaxRules = 10000;

// Bytes of the character at the front of `text`, which is not empty.
size_t CharacterSize(absl::string_view text) {
  size_t size = 1;
  while (size < text.size() && size < 4 &&
         (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) {
    ++size;
  }
  return size;
}

// One element of a pattern.
struct Element {
  enum class Kind { kAnything, kOne, kText, kClass };
  Kind kind = Kind::kText;
  std::string text;  // One character.
  bool negated = false;
  std::vector<std::pair<std::string, std::string>> ranges;

  bool Matches(absl::string_view character) const {
    if (kind == Kind::kOne) return true;
    if (kind == Kind::kText) return character == text;
    // UTF-8 compares as its code points do.
    const bool listed = std::any_of(
        ranges.begin(), ranges.end(), [character](const auto& range) {
          return range.first <= character && character <= range.second;
        });
    return listed != negated;
  }
};

// Takes one character, with its backslash, of a pattern. False at its end.
bool TakeCharacter(absl::string_view& pattern, std::string& out) {
  absl::ConsumePrefix(&pattern, "\\");
  if (pattern.empty()) return false;
  const size_t size = CharacterSize(pattern);
  out = std::string(pattern.substr(0, size));
  pattern.remove_prefix(size);
  return true;
}

bool TakeClass(absl::string_view& pattern, Element& element) {
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

bool Compile(absl::string_view pattern, std::vector<Element>& elements) {
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
    elements.push_back(std::move(element));
  }
  return true;
}

}  // namespace

bool GlobMatches(absl::string_view pattern, absl::string_view name) {
  std::vector<Element> elements;
  if (!Compile(pattern, elements)) return false;
  std::vector<absl::string_view> characters;
  while (!name.empty()) {
    const size_t size = CharacterSize(name);
    characters.push_back(name.substr(0, size));
    name.remove_prefix(size);
  }
  // Goes back to the last `*` only: never exponential.
  size_t e = 0;
  size_t c = 0;
  size_t star = elements.size();
  size_t star_at = 0;
  while (c < characters.size()) {
    if (e < elements.size() &&
        elements[e].kind == Element::Kind::kAnything) {
      star = e++;
      star_at = c;
    } else if (e < elements.size() && elements[e].Matches(characters[c])) {
      ++e;
      ++c;
    } else if (star < elements.size()) {
      e = star + 1;
      c = ++star_at;
    } else {
      return false;
    }
  }
  while (e < elements.size() &&
         elements[e].kind == Element::Kind::kAnything) {
    ++e;
  }
  return e == elements.size();
}

bool HasGlobMeta(absl::string_view pattern) {
  return pattern.find_first_of("*?[\\") != absl::string_view::npos;
}

void IgnoreRules::AddFile(absl::string_view directory,
                          absl::string_view text) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    absl::ConsumeSuffix(&line, "\r");
    while (!line.empty() && (line.back() == ' ' || line.back() == '\t')) {
      if (line.size() > 1 && line[line.size() - 2] == '\\') break;
      line.remove_suffix(1);
    }
    if (line.empty() || line.front() == '#') continue;
    if (rules_.size() >= kMaxRules) return;
    Rule rule;
    rule.directory = std::string(directory);
    rule.directories_only = absl::ConsumeSuffix(&line, "/*");
    rule.pattern = std::string(line);
    rules_.push_back(std::move(rule));
  }
}

bool IgnoreRules::Ignores(absl::string_view path, bool is_directory) const {
  const absl::string_view directory = TreeParent(path);
  const absl::string_view name = TreeName(path);
  return std::any_of(rules_.begin(), rules_.end(), [&](const Rule& rule) {
    if (rule.directories_only && !is_directory) return false;
    return IsWithin(rule.directory, directory) &&
           GlobMatches(rule.pattern, name);
  });
}

}  // namespace flotilla::manager
