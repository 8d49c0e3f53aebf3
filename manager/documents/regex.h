// SPDX-License-Identifier: Apache-2.0
//
// Regular expressions that users write, in Go's syntax, which is RE2's. They
// take linear time and bounded memory.

#ifndef FLOTILLA_MANAGER_DOCUMENTS_REGEX_H_
#define FLOTILLA_MANAGER_DOCUMENTS_REGEX_H_

#include <string>

#include "absl/strings/string_view.h"

namespace flotilla::manager {

// What keeps `pattern` from being a regular expression; "" when nothing does.
std::string RegexProblem(absl::string_view pattern);

// Where in `text` the expression must match.
enum class RegexAnchor {
  kNone,   // Anywhere.
  kStart,  // From the beginning.
  kBoth,   // All of it.
};

// False as well when `pattern` is not a regular expression.
bool RegexMatches(absl::string_view pattern, absl::string_view text,
                  RegexAnchor anchor);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_REGEX_H_
