// SPDX-License-Identifier: Apache-2.0

#include "agent/health/lua_matching.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "agent/health/lua_pattern.h"
#include "agent/health/lua_sandbox.h"
#include "re2/re2.h"

namespace flotilla::agent {
namespace {

constexpr size_t kMaxPattern = 256;
constexpr size_t kMaxCaptures = 32;
// To make an expression of a pattern.
constexpr uint64_t kCostOfPattern = 200;
constexpr int64_t kMaxExpressionMemory = int64_t{1} << 20;

absl::string_view TextArgument(lua_State* lua, int index) {
  size_t size = 0;
  const char* const bytes = luaL_checklstring(lua, index, &size);
  return {bytes, size};
}

// One pattern and one text. Raises Lua errors: keep nothing that needs freeing
// outside of objects.
//
// Thread-compatible.
class Matcher {
 public:
  // Of arguments `text` and `pattern`. Charges for one walk over the text.
  Matcher(lua_State* lua, int text, int pattern)
      : lua_(lua), text_(TextArgument(lua, text)), parsed_(Parse(pattern)),
        expression_(parsed_.regex, Options()) {
    if (!expression_.ok() || parsed_.positions.size() > kMaxCaptures) {
      luaL_error(lua_, "the pattern is too large");
    }
    groups_.resize(parsed_.positions.size() + 1);
    per_byte_ = TextArgument(lua, pattern).size() + 1;
    LuaSandbox::Charge(lua_, kCostOfPattern + text_.size() * per_byte_ / 16);
  }

  // The next match at or after `at`.
  bool Find(size_t at) {
    LuaSandbox::Charge(lua_, 10);
    return at <= text_.size() &&
           expression_.Match(
               re2::StringPiece(text_.data(), text_.size()), at, text_.size(),
               parsed_.anchored ? re2::RE2::ANCHOR_START
                                : re2::RE2::UNANCHORED,
               groups_.data(), static_cast<int>(groups_.size()));
  }

  size_t begin() const { return OffsetOf(groups_[0]); }
  size_t end() const { return begin() + groups_[0].size(); }
  bool anchored() const { return parsed_.anchored; }
  absl::string_view text() const { return text_; }
  int captures() const { return static_cast<int>(parsed_.positions.size()); }

  // From 1; 0 is the whole match.
  void PushCapture(int number) const {
    const re2::StringPiece& group = groups_[static_cast<size_t>(number)];
    if (number > 0 && parsed_.positions[static_cast<size_t>(number) - 1]) {
      lua_pushinteger(lua_, static_cast<lua_Integer>(OffsetOf(group)) + 1);
    } else {
      lua_pushlstring(lua_, group.data(), group.size());
    }
  }

  // All of them, or the whole match where the pattern has none.
  int PushCaptures() const {
    luaL_checkstack(lua_, captures() + 1, "too many captures");
    if (captures() == 0) PushCapture(0);
    for (int i = 1; i <= captures(); ++i) PushCapture(i);
    return std::max(1, captures());
  }

 private:
  LuaPattern Parse(int index) const {
    const absl::string_view pattern = TextArgument(lua_, index);
    if (pattern.size() > kMaxPattern) {
      luaL_error(lua_, "the pattern is too large");
    }
    absl::StatusOr<LuaPattern> parsed = ParseLuaPattern(pattern);
    if (!parsed.ok()) {
      luaL_error(lua_, "%s", std::string(parsed.status().message()).c_str());
    }
    return *parsed;
  }

  static re2::RE2::Options Options() {
    re2::RE2::Options options;
    options.set_encoding(re2::RE2::Options::EncodingLatin1);
    options.set_dot_nl(true);
    options.set_log_errors(false);
    options.set_max_mem(kMaxExpressionMemory);
    return options;
  }

  size_t OffsetOf(const re2::StringPiece& group) const {
    return static_cast<size_t>(group.data() - text_.data());
  }

  // Constant after construction.
  lua_State* const lua_;
  const absl::string_view text_;
  const LuaPattern parsed_;
  const re2::RE2 expression_;
  uint64_t per_byte_ = 1;

  std::vector<re2::StringPiece> groups_;
};

// Where argument `index` says to begin, from 0; over the size: nowhere.
size_t StartOf(lua_State* lua, int index, size_t size) {
  lua_Integer start = luaL_optinteger(lua, index, 1);
  if (start < 0) {
    start =
        std::max<lua_Integer>(1, static_cast<lua_Integer>(size) + start + 1);
  }
  start = std::max<lua_Integer>(1, start);
  return start > static_cast<lua_Integer>(size) + 1
             ? size + 1
             : static_cast<size_t>(start) - 1;
}

int FindIn(lua_State* lua) {
  const absl::string_view text = TextArgument(lua, 1);
  const absl::string_view pattern = TextArgument(lua, 2);
  const size_t start = StartOf(lua, 3, text.size());
  if (lua_toboolean(lua, 4) != 0) {
    LuaSandbox::Charge(
        lua,
        1 + text.size() * (std::min(pattern.size(), text.size()) + 1) / 64);
    const size_t found = start > text.size() ? absl::string_view::npos
                                             : text.find(pattern, start);
    if (found == absl::string_view::npos) {
      lua_pushnil(lua);
      return 1;
    }
    lua_pushinteger(lua, static_cast<lua_Integer>(found) + 1);
    lua_pushinteger(lua, static_cast<lua_Integer>(found + pattern.size()));
    return 2;
  }
  Matcher matcher(lua, 1, 2);
  if (!matcher.Find(start)) {
    lua_pushnil(lua);
    return 1;
  }
  lua_pushinteger(lua, static_cast<lua_Integer>(matcher.begin()) + 1);
  lua_pushinteger(lua, static_cast<lua_Integer>(matcher.end()));
  return 2 + (matcher.captures() == 0 ? 0 : matcher.PushCaptures());
}

int MatchIn(lua_State* lua) {
  Matcher matcher(lua, 1, 2);
  if (matcher.Find(StartOf(lua, 3, matcher.text().size()))) {
    return matcher.PushCaptures();
  }
  lua_pushnil(lua);
  return 1;
}

// Upvalues: text, pattern, where to go on, where the last match ended.
int NextMatch(lua_State* lua) {
  lua_settop(lua, 0);
  lua_pushvalue(lua, lua_upvalueindex(1));
  lua_pushvalue(lua, lua_upvalueindex(2));
  Matcher matcher(lua, 1, 2);
  size_t at = static_cast<size_t>(lua_tointeger(lua, lua_upvalueindex(3)));
  const lua_Integer last = lua_tointeger(lua, lua_upvalueindex(4));
  while (matcher.Find(at)) {
    const size_t end = matcher.end();
    if (static_cast<lua_Integer>(end) == last) {
      at = std::max(at, matcher.begin()) + 1;
      continue;
    }
    lua_pushinteger(lua, static_cast<lua_Integer>(end));
    lua_copy(lua, -1, lua_upvalueindex(3));
    lua_copy(lua, -1, lua_upvalueindex(4));
    return matcher.PushCaptures();
  }
  return 0;
}

int MatchesIn(lua_State* lua) {
  luaL_checkstring(lua, 1);
  if (TextArgument(lua, 2).substr(0, 1) == "^") {
    return luaL_error(lua, "a pattern of gmatch cannot begin with '^'");
  }
  lua_settop(lua, 2);
  lua_pushinteger(lua, 0);
  lua_pushinteger(lua, -1);
  lua_pushcclosure(lua, NextMatch, 4);
  return 1;
}

// What a match becomes where the replacement is a text with %0 to %9.
void AppendReplaced(lua_State* lua, const Matcher& matcher, std::string* out) {
  const absl::string_view text = TextArgument(lua, 3);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      *out += text[i];
      continue;
    }
    ++i;
    if (i < text.size() && text[i] == '%') {
      *out += '%';
      continue;
    }
    if (i == text.size() ||
        std::isdigit(static_cast<unsigned char>(text[i])) == 0) {
      luaL_error(lua, "invalid use of '%%' in replacement string");
    }
    int number = text[i] - '0';
    // Without captures %1 is the whole match.
    if (number == 1 && matcher.captures() == 0) number = 0;
    if (number > matcher.captures()) {
      luaL_error(lua, "invalid capture index in replacement string");
    }
    matcher.PushCapture(number);
    *out += std::string(TextArgument(lua, -1));
    lua_pop(lua, 1);
  }
}

void AppendMatch(lua_State* lua, const Matcher& matcher, std::string* out) {
  const int type = lua_type(lua, 3);
  if (type == LUA_TFUNCTION) {
    lua_pushvalue(lua, 3);
    lua_call(lua, matcher.PushCaptures(), 1);
  } else if (type == LUA_TTABLE) {
    matcher.PushCapture(matcher.captures() == 0 ? 0 : 1);
    lua_rawget(lua, 3);
  } else {
    AppendReplaced(lua, matcher, out);
    return;
  }
  if (lua_toboolean(lua, -1) == 0) {
    lua_pop(lua, 1);
    matcher.PushCapture(0);
    const absl::string_view whole = TextArgument(lua, -1);
    out->append(whole.data(), whole.size());
  } else if (lua_isstring(lua, -1) != 0) {
    const absl::string_view text = TextArgument(lua, -1);
    out->append(text.data(), text.size());
  } else {
    luaL_error(lua, "invalid replacement value (a %s)",
               luaL_typename(lua, -1));
  }
  lua_pop(lua, 1);
}

int ReplaceIn(lua_State* lua) {
  const int type = lua_type(lua, 3);
  luaL_argexpected(lua,
                   type == LUA_TNUMBER || type == LUA_TSTRING ||
                       type == LUA_TFUNCTION || type == LUA_TTABLE,
                   3, "string/function/table");
  if (type == LUA_TNUMBER) lua_tostring(lua, 3);
  Matcher matcher(lua, 1, 2);
  const absl::string_view text = matcher.text();
  const lua_Integer most = luaL_optinteger(
      lua, 4, static_cast<lua_Integer>(text.size()) + 1);
  std::string out;
  lua_Integer count = 0;
  size_t at = 0;    // What is not in `out` yet.
  size_t from = 0;  // Where to look.
  lua_Integer last = -1;
  while (count < most && matcher.Find(from)) {
    const size_t begin = matcher.begin();
    const size_t end = matcher.end();
    if (static_cast<lua_Integer>(end) == last) {
      from = std::max(from, begin) + 1;
      continue;
    }
    out.append(text.data() + at, begin - at);
    AppendMatch(lua, matcher, &out);
    if (out.size() > LuaSandbox::kMaxString) {
      return luaL_error(lua, "the text gets too long");
    }
    ++count;
    at = end;
    from = end;
    last = static_cast<lua_Integer>(end);
    if (matcher.anchored()) break;
  }
  out.append(text.data() + at, text.size() - at);
  LuaSandbox::Charge(lua, out.size() / 16);
  lua_pushlstring(lua, out.data(), out.size());
  lua_pushinteger(lua, count);
  return 2;
}

}  // namespace

void SetMatching(lua_State* lua) {
  static constexpr luaL_Reg kFunctions[] = {{"find", FindIn},
                                            {"match", MatchIn},
                                            {"gmatch", MatchesIn},
                                            {"gsub", ReplaceIn},
                                            {nullptr, nullptr}};
  luaL_setfuncs(lua, kFunctions, 0);
}

}  // namespace flotilla::agent
