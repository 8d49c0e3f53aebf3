// SPDX-License-Identifier: Apache-2.0

#include "agent/health/lua_libraries.h"

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "absl/strings/string_view.h"
#include "agent/health/lua_matching.h"
#include "agent/health/lua_sandbox.h"

namespace flotilla::agent {
namespace {

absl::string_view TextArgument(lua_State* lua, int index) {
  size_t size = 0;
  const char* const bytes = luaL_checklstring(lua, index, &size);
  return {bytes, size};
}

// What a function may have to walk over: its texts and lists.
uint64_t CostOfArguments(lua_State* lua) {
  uint64_t cost = 1;
  for (int i = 1; i <= lua_gettop(lua); ++i) {
    const int type = lua_type(lua, i);
    if (type == LUA_TTABLE) cost += lua_rawlen(lua, i);
    if (type == LUA_TSTRING) cost += lua_rawlen(lua, i) / 16;
  }
  return cost;
}

int CallOriginal(lua_State* lua) {
  return lua_tocfunction(lua, lua_upvalueindex(1))(lua);
}

int Charged(lua_State* lua) {
  LuaSandbox::Charge(lua, CostOfArguments(lua));
  return CallOriginal(lua);
}

int Repeat(lua_State* lua) {
  const lua_Integer count = luaL_checkinteger(lua, 2);
  // It walks over nothing, too, as often as it is told.
  LuaSandbox::Charge(lua, CostOfArguments(lua) +
                              (count > 0 ? static_cast<uint64_t>(count) / 16
                                         : 0));
  return CallOriginal(lua);
}

int CharsOf(lua_State* lua) {
  LuaSandbox::Charge(lua, static_cast<uint64_t>(lua_gettop(lua)));
  for (int i = 1; i <= lua_gettop(lua); ++i) {
    luaL_argcheck(lua, luaL_checkinteger(lua, i) != 0, i,
                  "a NUL character is not supported here");
  }
  return CallOriginal(lua);
}

int Format(lua_State* lua) {
  LuaSandbox::Charge(lua, CostOfArguments(lua));
  CallOriginal(lua);
  if (TextArgument(lua, -1).find('\0') != absl::string_view::npos) {
    return luaL_error(lua, "a NUL character is not supported here");
  }
  return 1;
}

int Sort(lua_State* lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  const uint64_t size = lua_rawlen(lua, 1);
  uint64_t rounds = 1;
  while (rounds < 64 && (uint64_t{1} << rounds) < size) ++rounds;
  // Two texts are compared without a look at the steps.
  LuaSandbox::Charge(lua, std::min(size, uint64_t{1} << 40) * rounds * 8 + 1);
  return CallOriginal(lua);
}

// Takes `names` from the table on top; pushes a table of them, each called
// through `wrapper`.
void Choose(lua_State* lua, std::initializer_list<const char*> names,
            lua_CFunction wrapper) {
  for (const char* const name : names) {
    lua_getfield(lua, -2, name);
    if (lua_iscfunction(lua, -1) != 0) lua_pushcclosure(lua, wrapper, 1);
    lua_setfield(lua, -2, name);
  }
}

// Pushes a library as Lua has it, and above it an empty table.
void Open(lua_State* lua, const char* name, lua_CFunction open) {
  luaL_requiref(lua, name, open, 0);
  lua_newtable(lua);
}

// Names the table on top in the globals below the library, and drops both.
void Name(lua_State* lua, const char* name) {
  lua_setfield(lua, -3, name);
  lua_pop(lua, 1);
}

}  // namespace

void PushSafeLibraries(lua_State* lua) {
  lua_newtable(lua);

  luaL_requiref(lua, LUA_GNAME, luaopen_base, 0);
  for (const char* const name :
       {"assert", "error", "ipairs", "next", "pairs", "rawequal", "rawget",
        "rawlen", "select", "type"}) {
    lua_getfield(lua, -1, name);
    lua_setfield(lua, -3, name);
  }
  for (const char* const name : {"tonumber", "tostring"}) {
    lua_getfield(lua, -1, name);
    lua_pushcclosure(lua, Charged, 1);
    lua_setfield(lua, -3, name);
  }
  lua_pop(lua, 1);

  Open(lua, LUA_STRLIBNAME, luaopen_string);
  Choose(lua, {"byte", "len", "lower", "reverse", "sub", "upper"}, Charged);
  Choose(lua, {"rep"}, Repeat);
  Choose(lua, {"char"}, CharsOf);
  Choose(lua, {"format"}, Format);
  SetMatching(lua);
  // What s:method() finds.
  lua_pushliteral(lua, "");
  lua_getmetatable(lua, -1);
  lua_pushvalue(lua, -3);
  lua_setfield(lua, -2, "__index");
  lua_pop(lua, 2);
  Name(lua, LUA_STRLIBNAME);

  Open(lua, LUA_TABLIBNAME, luaopen_table);
  Choose(lua, {"concat", "insert", "remove", "unpack"}, Charged);
  Choose(lua, {"sort"}, Sort);
  lua_getfield(lua, -1, "unpack");
  lua_setfield(lua, -4, "unpack");  // Its name in Lua 5.1.
  Name(lua, LUA_TABLIBNAME);

  Open(lua, LUA_MATHLIBNAME, luaopen_math);
  for (const char* const name :
       {"abs", "ceil", "floor", "fmod", "huge", "max", "maxinteger", "min",
        "mininteger", "modf", "pi", "sqrt", "tointeger", "type"}) {
    lua_getfield(lua, -2, name);
    lua_setfield(lua, -2, name);
  }
  Name(lua, LUA_MATHLIBNAME);
}

}  // namespace flotilla::agent
