// SPDX-License-Identifier: Apache-2.0
//
// LuaSandbox runs one Lua script that nobody vouches for, once. The script sees
// a JSON value as global `obj`, and of Lua's libraries string, table, math and
// the plain functions of base, without anything that reaches outside, loads
// code, catches errors, makes coroutines or sets metatables (finalizers would
// run unwatched).
//
// It may take a number of steps (instructions of Lua's machine, and what its
// library functions cost), and memory: at once, altogether, and for each
// string and table. What is left bounds the time: well under a second.

#ifndef FLOTILLA_AGENT_HEALTH_LUA_SANDBOX_H_
#define FLOTILLA_AGENT_HEALTH_LUA_SANDBOX_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

struct lua_State;

namespace flotilla::agent {

// Thread-compatible.
class LuaSandbox {
 public:
  static constexpr int64_t kMaxSteps = 50'000;
  static constexpr size_t kMaxMemory = size_t{8} << 20;
  static constexpr size_t kMaxAllocated = size_t{64} << 20;
  static constexpr size_t kMaxBlock = size_t{256} << 10;
  static constexpr size_t kMaxString = size_t{64} << 10;
  static constexpr size_t kMaxScript = size_t{32} << 10;

  LuaSandbox() = default;
  LuaSandbox(const LuaSandbox&) = delete;
  LuaSandbox& operator=(const LuaSandbox&) = delete;

  // What the script returns: `status` and `message` of a table. Errors say
  // "line N: " and why.
  struct Answer {
    bool is_table = false;
    std::string status;
    std::string message;
  };
  absl::StatusOr<Answer> Run(absl::string_view script,
                             const nlohmann::json& obj);

  // Takes `steps` off; raises a Lua error when none are left. For the library
  // functions of the sandbox.
  static void Charge(lua_State* lua, uint64_t steps);

 private:
  struct Callbacks;

  std::string InWords(absl::string_view error) const;

  int64_t steps_left_ = kMaxSteps;
  size_t memory_ = 0;
  size_t allocated_ = 0;
  bool memory_refused_ = false;
  // Where the script is; 0: nowhere yet.
  int line_ = 0;
  Answer answer_;
  absl::string_view script_;
  const nlohmann::json* object_ = nullptr;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_HEALTH_LUA_SANDBOX_H_
