// SPDX-License-Identifier: Apache-2.0
//
// string.find, match, gmatch and gsub for a LuaSandbox: Lua's patterns in
// linear time (lua_pattern.h).

#ifndef FLOTILLA_AGENT_HEALTH_LUA_MATCHING_H_
#define FLOTILLA_AGENT_HEALTH_LUA_MATCHING_H_

#include "lua5.4/lua.hpp"

namespace flotilla::agent {

// Puts the functions into the table on top. May raise.
void SetMatching(lua_State* lua);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_HEALTH_LUA_MATCHING_H_
