// SPDX-License-Identifier: Apache-2.0

#include "agent/health/lua_sandbox.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "agent/health/lua_libraries.h"
#include "lua5.4/lua.hpp"

namespace flotilla::agent {
namespace {

using nlohmann::json;

constexpr char kChunk[] = "=script";
constexpr int kHookEvery = 100;
// Texts of the object are cut there: a script looks at states and messages.
constexpr size_t kMaxObjectText = size_t{32} << 10;

LuaSandbox& Of(lua_State* lua) {
  return **static_cast<LuaSandbox**>(lua_getextraspace(lua));
}

// Without NUL, after which comparing texts gets slow.
void PushText(lua_State* lua, const std::string& text) {
  std::string clean = text.substr(0, kMaxObjectText);
  std::replace(clean.begin(), clean.end(), '\0', '?');
  lua_pushlstring(lua, clean.data(), clean.size());
}

void PushJson(lua_State* lua, const json& value) {
  luaL_checkstack(lua, 4, "the object is too deep");
  switch (value.type()) {
    case json::value_t::object:
      lua_createtable(lua, 0, static_cast<int>(value.size()));
      for (auto member = value.begin(); member != value.end(); ++member) {
        // Long, and no rule needs it.
        if (member.key() == "managedFields") continue;
        PushText(lua, member.key());
        PushJson(lua, *member);
        lua_rawset(lua, -3);
      }
      return;
    case json::value_t::array: {
      lua_createtable(lua, static_cast<int>(value.size()), 0);
      lua_Integer index = 0;
      for (const json& item : value) {
        PushJson(lua, item);
        lua_rawseti(lua, -2, ++index);
      }
      return;
    }
    case json::value_t::string:
      PushText(lua, value.get_ref<const std::string&>());
      return;
    case json::value_t::boolean:
      lua_pushboolean(lua, value.get<bool>() ? 1 : 0);
      return;
    case json::value_t::number_integer:
      lua_pushinteger(lua, value.get<int64_t>());
      return;
    case json::value_t::number_unsigned:
      if (value.get<uint64_t>() <= uint64_t{INT64_MAX}) {
        lua_pushinteger(lua, value.get<int64_t>());
        return;
      }
      [[fallthrough]];
    case json::value_t::number_float:
      lua_pushnumber(lua, value.get<double>());
      return;
    default:
      lua_pushnil(lua);
      return;
  }
}

std::string FieldOf(lua_State* lua, int index, const char* name) {
  std::string text;
  lua_getfield(lua, index, name);
  size_t size = 0;
  if (const char* const bytes = lua_tolstring(lua, -1, &size)) {
    text.assign(bytes, size);
  }
  lua_pop(lua, 1);
  return text;
}

}  // namespace

// What Lua calls. Its errors are exceptions: nothing here is noexcept.
struct LuaSandbox::Callbacks {
  static void* Allocate(void* sandbox, void* block, size_t old_size,
                        size_t new_size) {
    LuaSandbox& self = *static_cast<LuaSandbox*>(sandbox);
    // For a new block Lua says here what it is for.
    const bool is_text = block == nullptr && old_size == LUA_TSTRING;
    if (block == nullptr) old_size = 0;
    if (new_size == 0) {
      self.memory_ -= old_size;
      std::free(block);
      return nullptr;
    }
    if (new_size > old_size) {
      const size_t limit = is_text ? kMaxString : kMaxBlock;
      if (new_size > limit ||
          self.memory_ - old_size + new_size > kMaxMemory ||
          self.allocated_ + new_size > kMaxAllocated) {
        self.memory_refused_ = true;
        return nullptr;
      }
      self.allocated_ += new_size;
    }
    void* const moved = std::realloc(block, new_size);
    if (moved != nullptr) self.memory_ += new_size - old_size;
    return moved;
  }

  static void Hook(lua_State* lua, lua_Debug* event) {
    LuaSandbox& self = Of(lua);
    if (event->event == LUA_HOOKLINE) {
      self.line_ = event->currentline;
      return;
    }
    self.steps_left_ -= kHookEvery;
    if (self.steps_left_ >= 0) return;
    lua_getinfo(lua, "l", event);
    if (event->currentline > 0) self.line_ = event->currentline;
    lua_pushfstring(lua, "it takes more than %d steps",
                    static_cast<int>(kMaxSteps));
    lua_error(lua);
  }

  // All that can fail.
  static int Main(lua_State* lua) {
    LuaSandbox& self = Of(lua);
    PushSafeLibraries(lua);
    PushJson(lua, *self.object_);
    lua_setfield(lua, -2, "obj");
    // Text only: code made beforehand could break the machine.
    if (luaL_loadbufferx(lua, self.script_.data(), self.script_.size(), kChunk,
                         "t") != LUA_OK) {
      return lua_error(lua);
    }
    lua_pushvalue(lua, -2);
    if (lua_setupvalue(lua, -2, 1) == nullptr) {
      return luaL_error(lua, "the script has no environment");
    }
    lua_sethook(lua, Hook, LUA_MASKCOUNT | LUA_MASKLINE, kHookEvery);
    lua_call(lua, 0, 1);
    lua_sethook(lua, nullptr, 0, 0);
    if (lua_istable(lua, -1)) {
      self.answer_.is_table = true;
      self.answer_.status = FieldOf(lua, -1, "status");
      self.answer_.message = FieldOf(lua, -1, "message");
    }
    return 0;
  }
};

void LuaSandbox::Charge(lua_State* lua, uint64_t steps) {
  LuaSandbox& self = Of(lua);
  const uint64_t left = static_cast<uint64_t>(
      std::max<int64_t>(self.steps_left_, 0));
  if (steps > left) {
    self.steps_left_ = 0;
    lua_pushfstring(lua, "it takes more than %d steps",
                    static_cast<int>(kMaxSteps));
    lua_error(lua);
  }
  self.steps_left_ -= static_cast<int64_t>(steps);
}

absl::StatusOr<LuaSandbox::Answer> LuaSandbox::Run(absl::string_view script,
                                                   const json& obj) {
  if (script.size() > kMaxScript) {
    return absl::InvalidArgumentError("line 1: the script is over 32 KiB");
  }
  const absl::string_view nul("\0", 1);
  for (const absl::string_view refused :
       {nul, absl::string_view("\\0"), absl::string_view("\\x00"),
        absl::string_view("\\u{0")}) {
    const size_t found = script.find(refused);
    if (found == absl::string_view::npos) continue;
    const auto line =
        std::count(script.begin(), script.begin() + found, '\n') + 1;
    return absl::InvalidArgumentError(absl::StrCat(
        "line ", line, ": a NUL character is not supported here"));
  }
  script_ = script;
  object_ = &obj;
  const std::unique_ptr<lua_State, void (*)(lua_State*)> lua(
      lua_newstate(Callbacks::Allocate, this), lua_close);
  if (lua == nullptr) return absl::ResourceExhaustedError("out of memory");
  *static_cast<LuaSandbox**>(lua_getextraspace(lua.get())) = this;
  lua_pushcfunction(lua.get(), Callbacks::Main);
  const int result = lua_pcall(lua.get(), 0, 0, 0);
  if (result == LUA_OK) return answer_;
  if (result == LUA_ERRMEM || memory_refused_) {
    return absl::ResourceExhaustedError(
        InWords("it takes too much memory"));
  }
  size_t size = 0;
  const char* const said = lua_type(lua.get(), -1) == LUA_TSTRING
                               ? lua_tolstring(lua.get(), -1, &size)
                               : nullptr;
  return absl::InvalidArgumentError(
      InWords(said == nullptr ? absl::string_view("it raises an error that is "
                                                  "no text")
                              : absl::string_view(said, size)));
}

// Lua says "script:3: why".
std::string LuaSandbox::InWords(absl::string_view error) const {
  if (absl::ConsumePrefix(&error, "script:")) {
    const size_t colon = error.find(':');
    int line = 0;
    if (colon != absl::string_view::npos &&
        absl::SimpleAtoi(error.substr(0, colon), &line)) {
      error.remove_prefix(colon + 1);
      return absl::StrCat("line ", line, ":", error);
    }
  }
  return line_ == 0 ? std::string(error)
                    : absl::StrCat("line ", line_, ": ", error);
}

}  // namespace flotilla::agent
