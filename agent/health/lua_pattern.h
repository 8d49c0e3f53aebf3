// SPDX-License-Identifier: Apache-2.0
//
// Lua's patterns as regular expressions of RE2, which matches in linear time:
// Lua's own matcher backtracks, and a short pattern can keep it busy for hours.

#ifndef FLOTILLA_AGENT_HEALTH_LUA_PATTERN_H_
#define FLOTILLA_AGENT_HEALTH_LUA_PATTERN_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace flotilla::agent {

// Thread-compatible.
struct LuaPattern {
  std::string regex;  // For RE2 with Latin-1 and dot_nl.
  bool anchored = false;
  // For each capture: whether it is "()", which gives a position.
  std::vector<bool> positions;
};

// INVALID_ARGUMENT: malformed, or one of %b, %f and %1, which no regular
// expression can say.
absl::StatusOr<LuaPattern> ParseLuaPattern(absl::string_view pattern);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_HEALTH_LUA_PATTERN_H_
