// SPDX-License-Identifier: Apache-2.0
//
// The functions that a script in a LuaSandbox may call. Each charges what it
// costs before it works: the machine counts instructions, and one of them can
// call a function that is busy for a day.

#ifndef FLOTILLA_AGENT_HEALTH_LUA_LIBRARIES_H_
#define FLOTILLA_AGENT_HEALTH_LUA_LIBRARIES_H_

#include "lua5.4/lua.hpp"

namespace flotilla::agent {

// Pushes the table of the script's globals. May raise.
void PushSafeLibraries(lua_State* lua);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_HEALTH_LUA_LIBRARIES_H_
