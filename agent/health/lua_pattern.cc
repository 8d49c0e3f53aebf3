// SPDX-License-Identifier: Apache-2.0

#include "agent/health/lua_pattern.h"

#include <cctype>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "re2/re2.h"

namespace flotilla::agent {
namespace {

// The name of a class such as %a; nullptr: the letter means itself.
const char* ClassName(char letter) {
  switch (std::tolower(static_cast<unsigned char>(letter))) {
    case 'a':
      return "alpha";
    case 'c':
      return "cntrl";
    case 'd':
      return "digit";
    case 'g':
      return "graph";
    case 'l':
      return "lower";
    case 'p':
      return "punct";
    case 's':
      return "space";
    case 'u':
      return "upper";
    case 'w':
      return "alnum";
    case 'x':
      return "xdigit";
    default:
      return nullptr;
  }
}

std::string Literal(char letter) {
  return re2::RE2::QuoteMeta(re2::StringPiece(&letter, 1));
}

// What `%` and `letter` mean inside of brackets.
std::string InBrackets(char letter) {
  const char* const name = ClassName(letter);
  if (name == nullptr) return Literal(letter);
  const bool not_in = std::isupper(static_cast<unsigned char>(letter)) != 0;
  return absl::StrCat("[:", not_in ? "^" : "", name, ":]");
}

absl::Status Malformed(const char* why) {
  return absl::InvalidArgumentError(absl::StrCat("malformed pattern (", why,
                                                 ")"));
}

// Thread-compatible.
class Parser {
 public:
  explicit Parser(absl::string_view text) : text_(text) {}

  absl::StatusOr<LuaPattern> Parse() {
    if (!text_.empty() && text_[0] == '^') {
      pattern_.anchored = true;
      at_ = 1;
    }
    while (at_ < text_.size()) {
      const absl::Status status = Item();
      if (!status.ok()) return status;
    }
    if (open_ > 0) return Malformed("unfinished capture");
    return pattern_;
  }

 private:
  absl::Status Item() {
    const char next = text_[at_];
    if (next == '(') {
      const bool position = at_ + 1 < text_.size() && text_[at_ + 1] == ')';
      pattern_.positions.push_back(position);
      pattern_.regex += position ? "()" : "(";
      at_ += position ? 2 : 1;
      if (!position) ++open_;
      return absl::OkStatus();
    }
    if (next == ')') {
      if (open_ == 0) return Malformed("no capture to close");
      --open_;
      pattern_.regex += ")";
      ++at_;
      return absl::OkStatus();
    }
    if (next == '$' && at_ + 1 == text_.size()) {
      pattern_.regex += "\\z";
      ++at_;
      return absl::OkStatus();
    }
    const absl::Status status = Single();
    if (!status.ok() || at_ == text_.size()) return status;
    switch (text_[at_]) {
      case '*':
      case '+':
      case '?':
        pattern_.regex += text_[at_++];
        break;
      case '-':
        pattern_.regex += "*?";
        ++at_;
        break;
      default:
        break;
    }
    return absl::OkStatus();
  }

  absl::Status Single() {
    const char next = text_[at_++];
    if (next == '.') {
      pattern_.regex += ".";
      return absl::OkStatus();
    }
    if (next == '[') return Set();
    if (next != '%') {
      pattern_.regex += Literal(next);
      return absl::OkStatus();
    }
    if (at_ == text_.size()) return Malformed("ends with '%'");
    const char letter = text_[at_++];
    if (letter == 'b' || letter == 'f' ||
        std::isdigit(static_cast<unsigned char>(letter)) != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("%", std::string(1, letter),
                       " in patterns is not supported here"));
    }
    const char* const name = ClassName(letter);
    pattern_.regex += name == nullptr
                          ? Literal(letter)
                          : absl::StrCat("[", InBrackets(letter), "]");
    return absl::OkStatus();
  }

  // After "[".
  absl::Status Set() {
    pattern_.regex += "[";
    if (at_ < text_.size() && text_[at_] == '^') {
      pattern_.regex += "^";
      ++at_;
    }
    for (bool first = true;; first = false) {
      if (at_ == text_.size()) return Malformed("missing ']'");
      const char next = text_[at_++];
      if (next == ']' && !first) break;
      if (next == '%') {
        if (at_ == text_.size()) return Malformed("ends with '%'");
        pattern_.regex += InBrackets(text_[at_++]);
      } else if (at_ + 1 < text_.size() && text_[at_] == '-' &&
                 text_[at_ + 1] != ']') {
        const char last = text_[at_ + 1];
        at_ += 2;
        // Nothing is in a range that runs backwards.
        if (static_cast<unsigned char>(next) <=
            static_cast<unsigned char>(last)) {
          absl::StrAppend(&pattern_.regex, Literal(next), "-", Literal(last));
        }
      } else {
        pattern_.regex += Literal(next);
      }
    }
    pattern_.regex += "]";
    return absl::OkStatus();
  }

  // Constant after construction.
  const absl::string_view text_;

  size_t at_ = 0;
  int open_ = 0;
  LuaPattern pattern_;
};

}  // namespace

absl::StatusOr<LuaPattern> ParseLuaPattern(absl::string_view pattern) {
  return Parser(pattern).Parse();
}

}  // namespace flotilla::agent
