// SPDX-License-Identifier: Apache-2.0

#include "common/kube/fake_selectors.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "common/kube/object.h"

namespace flotilla {
namespace {

using nlohmann::json;

bool MatchesTerm(const json& labels, absl::string_view term) {
  term = absl::StripAsciiWhitespace(term);
  if (term.empty()) return true;
  if (absl::ConsumePrefix(&term, "!")) {
    return !labels.contains(std::string(term));
  }
  const size_t in = term.find(" in (");
  const size_t not_in = term.find(" notin (");
  if (in != absl::string_view::npos || not_in != absl::string_view::npos) {
    const std::string name(
        absl::StripAsciiWhitespace(term.substr(0, std::min(in, not_in))));
    const size_t open = term.find('(');
    const absl::string_view inside =
        term.substr(open + 1, term.rfind(')') - open - 1);
    bool found = false;
    for (absl::string_view value : absl::StrSplit(inside, ',')) {
      found |= labels.contains(name) &&
               TextOr(labels[name]) == absl::StripAsciiWhitespace(value);
    }
    return in != absl::string_view::npos ? found : !found;
  }
  const size_t equals = term.find('=');
  if (equals == absl::string_view::npos) {
    return labels.contains(std::string(term));
  }
  const bool negated = equals > 0 && term[equals - 1] == '!';
  const std::string name(
      absl::StripAsciiWhitespace(term.substr(0, equals - (negated ? 1 : 0))));
  absl::string_view value = term.substr(equals + 1);
  absl::ConsumePrefix(&value, "=");
  const bool equal = labels.contains(name) &&
                     TextOr(labels[name]) == absl::StripAsciiWhitespace(value);
  return negated ? !equal : equal;
}

}  // namespace

bool MatchesLabels(const json& object, absl::string_view selector) {
  json labels = Member(Member(object, "metadata"), "labels");
  if (!labels.is_object()) labels = json::object();
  size_t begin = 0;
  int depth = 0;
  for (size_t i = 0; i <= selector.size(); ++i) {
    if (i < selector.size()) {
      if (selector[i] == '(') ++depth;
      if (selector[i] == ')') --depth;
      if (selector[i] != ',' || depth > 0) continue;
    }
    if (!MatchesTerm(labels, selector.substr(begin, i - begin))) return false;
    begin = i + 1;
  }
  return true;
}

bool MatchesFieldSelector(const json& object, absl::string_view selector) {
  for (absl::string_view term : absl::StrSplit(selector, ',')) {
    if (term.empty()) continue;
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(term, absl::MaxSplits('=', 1));
    absl::string_view value = parts.second;
    absl::ConsumePrefix(&value, "=");
    const json* field = &object;
    for (const absl::string_view name : absl::StrSplit(parts.first, '.')) {
      field = &Member(*field, name);
    }
    if (TextOr(*field) != value) return false;
  }
  return true;
}

}  // namespace flotilla
