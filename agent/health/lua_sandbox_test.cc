// SPDX-License-Identifier: Apache-2.0

#include "agent/health/lua_sandbox.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using nlohmann::json;

absl::StatusOr<LuaSandbox::Answer> RunScript(absl::string_view script,
                                       const json& obj = json::object()) {
  LuaSandbox sandbox;
  return sandbox.Run(script, obj);
}

// The value of an expression as text.
std::string Value(const std::string& expression,
                  const json& obj = json::object()) {
  const absl::StatusOr<LuaSandbox::Answer> answer = RunScript(
      absl::StrCat("return {status = 'x', message = ", expression, "}"), obj);
  return answer.ok() ? answer->message : std::string(answer.status().message());
}

TEST(LuaSandbox, AScriptSeesTheObject) {
  const json obj = json::parse(R"({"a": {"list": [1, 2.5, "x", true, null,
      {"deep": "y"}]}, "big": 18446744073709551615, "nul": "a\u0000b",
      "metadata": {"managedFields": [1], "name": "n"}})");
  EXPECT_EQ(Value("obj.a.list[1] + obj.a.list[2]", obj), "3.5");
  EXPECT_EQ(Value("obj.a.list[3] .. obj.a.list[6].deep", obj), "xy");
  EXPECT_EQ(Value("tostring(obj.a.list[4])", obj), "true");
  EXPECT_EQ(Value("tostring(obj.a.list[5])", obj), "nil");
  EXPECT_EQ(Value("#obj.a.list", obj), "6");
  EXPECT_EQ(Value("type(obj.big)", obj), "number");
  EXPECT_EQ(Value("obj.nul", obj), "a?b");
  EXPECT_EQ(Value("obj.metadata.name", obj), "n");
  EXPECT_EQ(Value("tostring(obj.metadata.managedFields)", obj), "nil");
}

TEST(LuaSandbox, TakesAHealthCheckInTheStyleOfArgoCd) {
  constexpr char kScript[] = R"(
    hs = {}
    hs.status = "Progressing"
    hs.message = "Waiting for the widget"
    if obj.status ~= nil then
      if obj.status.conditions ~= nil then
        for i, condition in ipairs(obj.status.conditions) do
          if condition.type == "Ready" and condition.status == "False" then
            hs.status = "Degraded"
            hs.message = condition.message
            return hs
          end
          if condition.type == "Ready" and condition.status == "True" then
            hs.status = "Healthy"
            hs.message = string.format("%s: %d of %d", condition.message,
                                       obj.status.ready, obj.spec.size)
            return hs
          end
        end
      end
    end
    return hs)";
  const auto silent = RunScript(kScript);
  ASSERT_TRUE(silent.ok()) << silent.status();
  EXPECT_EQ(silent->status, "Progressing");
  const auto ready = RunScript(kScript, json::parse(R"({"spec": {"size": 3},
      "status": {"ready": 3, "conditions": [{"type": "Other"},
      {"type": "Ready", "status": "True", "message": "all"}]}})"));
  ASSERT_TRUE(ready.ok()) << ready.status();
  EXPECT_EQ(ready->status, "Healthy");
  EXPECT_EQ(ready->message, "all: 3 of 3");
}

TEST(LuaSandbox, HasTheHarmlessPartsOfTheLibraries) {
  const std::vector<std::pair<std::string, std::string>> kCases = {
      {"('ab'):rep(3, '-')", "ab-ab-ab"},
      {"('x'):upper() .. string.lower('Y')", "Xy"},
      {"string.sub('hello', 2, -2)", "ell"},
      {"string.format('%5.2f|%s|%q', 1.5, 'a', 'b')", " 1.50|a|\"b\""},
      {"string.char(72, 105)", "Hi"},
      {"('abc'):byte(2)", "98"},
      {"('abc'):len() + #'de'", "5"},
      {"table.concat({1, 2, 3}, ',')", "1,2,3"},
      {"(function() local t = {3, 1, 2} table.sort(t) table.insert(t, 9) "
       "table.remove(t, 1) return table.concat(t, ' ') end)()",
       "2 3 9"},
      {"(function() local t = {'b', 'a'} table.sort(t, function(x, y) return "
       "x < y end) return t[1] end)()",
       "a"},
      {"select('#', table.unpack({1, 2, 3}))", "3"},
      {"select('#', unpack({1, 2}))", "2"},
      {"math.max(1, 7, 3) + math.floor(2.9)", "9"},
      {"tostring(tonumber('0x10')) .. tostring(nil)", "16nil"},
      {"(function() local n = 0 for k, v in pairs({a = 1, b = 2}) do n = n + v "
       "end return n end)()",
       "3"},
      {"rawlen({1, 2})", "2"},
  };
  for (const auto& [expression, wanted] : kCases) {
    EXPECT_EQ(Value(expression), wanted) << expression;
  }
}

TEST(LuaSandbox, MatchesLuasPatterns) {
  const std::vector<std::pair<std::string, std::string>> kCases = {
      {"('a 12 b 34'):match('%d+')", "12"},
      {"('a 12 b 34'):match('(%a) (%d+)$')", "b"},
      {"tostring(('abc'):match('^b'))", "nil"},
      {"('key = value'):match('^(%w+)%s*=%s*(%w+)$')", "key"},
      {"('x.y'):match('[^.]+')", "x"},
      {"('a]b'):match('[]]')", "]"},
      {"('a-b'):match('[a%-]+')", "a-"},
      {"('f(x)'):match('%((.-)%)')", "x"},
      {"('<<a>>'):match('<(.-)>')", "<a"},
      {"('aXb'):match('[%u]')", "X"},
      {"('ab1'):match('[%A]')", "1"},
      {"('3/5'):find('/')", "2"},
      {"select(2, ('3/5 x'):find('%d/%d'))", "3"},
      {"select(3, ('3/5 x'):find('()/'))", "2"},
      {"('a.b'):find('.', 1, true)", "2"},
      {"('abcabc'):find('b', 3)", "5"},
      {"('abcabc'):find('b', -2)", "5"},
      {"tostring(('abc'):find('b', 9))", "nil"},
      {"('hello world'):gsub('o', '0')", "hell0 w0rld"},
      {"select(2, ('hello world'):gsub('o', '0', 1))", "1"},
      {"('hello'):gsub('', '-')", "-h-e-l-l-o-"},
      {"('abc'):gsub('%w', '%0%0')", "aabbcc"},
      {"('a b'):gsub('(%w) (%w)', '%2 %1')", "b a"},
      {"('abc'):gsub('b*', 'x')", "xaxcx"},
      {"('$name is'):gsub('%$(%w+)', {name = 'it'})", "it is"},
      {"('abc'):gsub('.', function(c) if c == 'b' then return 'B' end end)",
       "aBc"},
      {"('  trim '):gsub('^%s+', '')", "trim "},
      {"(function() local s = '' for k, v in ('a=1,b=2'):gmatch('(%w+)=(%w+)') "
       "do s = s .. k .. v end return s end)()",
       "a1b2"},
      {"(function() local n = 0 for w in ('one two  three'):gmatch('%S+') do n "
       "= n + 1 end return n end)()",
       "3"},
      {"(function() local n = 0 for w in ('abc'):gmatch('') do n = n + 1 end "
       "return n end)()",
       "4"},
  };
  for (const auto& [expression, wanted] : kCases) {
    EXPECT_EQ(Value(absl::StrCat("(", expression, ")")), wanted) << expression;
  }
  for (const auto& [expression, words] :
       std::vector<std::pair<std::string, std::string>>{
           {"('x'):match('%bxy')", "%b in patterns is not supported"},
           {"('x'):match('%f[a]')", "%f in patterns is not supported"},
           {"('x'):match('(x)%1')", "%1 in patterns is not supported"},
           {"('x'):match('(')", "unfinished capture"},
           {"('x'):match(')')", "no capture to close"},
           {"('x'):match('[a')", "missing ']'"},
           {"('x'):match('%')", "ends with '%'"},
           {"('x'):gsub('x', '%2')", "invalid capture index"},
           {"('x'):gsub('x', '%')", "invalid use of '%'"},
           {"('x'):gsub('x', true)", "string/function/table expected"},
           {"('x'):gmatch('^x')", "cannot begin with '^'"},
       }) {
    EXPECT_THAT(Value(expression), HasSubstr(words)) << expression;
  }
}

TEST(LuaSandbox, ErrorsSayTheLine) {
  for (const auto& [script, words] :
       std::vector<std::pair<std::string, std::string>>{
           {"\n\nreturn obj.a.b", "line 3: attempt to index a nil value"},
           {"\nif x then", "line 2: 'end' expected"},
           {"\n\n\nerror('mine')", "line 4: mine"},
           {"\nerror({code = 1})", "line 2: it raises an error that is no text"},
           {"\nerror()", "line 2: it raises an error that is no text"},
           {"\nerror('x', 0)", "line 2: x"},
           {"\nassert(false, 'never')", "line 2: never"},
           {"\nos.exit(1)", "line 2: attempt to index a nil value (global 'os')"},
           {"\nlocal x = {} + 1", "line 2: attempt to perform arithmetic"},
           {"\nlocal s = ('x'):rep('y')", "line 2: bad argument"},
       }) {
    const auto answer = RunScript(script);
    EXPECT_THAT(answer, StatusIs(absl::StatusCode::kInvalidArgument)) << script;
    EXPECT_THAT(std::string(answer.status().message()), StartsWith(words))
        << script;
  }
}

TEST(LuaSandbox, NothingReachesOutside) {
  for (const char* const name :
       {"os", "io", "debug", "package", "require", "load", "loadstring",
        "loadfile", "dofile", "collectgarbage", "print", "pcall", "xpcall",
        "coroutine", "setmetatable", "getmetatable", "rawset", "utf8", "_G",
        "warn", "string.dump", "string.pack", "math.random",
        "math.randomseed"}) {
    EXPECT_EQ(Value(absl::StrCat("tostring(", name, ")")), "nil") << name;
  }
  EXPECT_THAT(RunScript("\x1bLua"),
              StatusIs(absl::StatusCode::kInvalidArgument));
  // One run leaves nothing to the next.
  EXPECT_TRUE(RunScript("string.rep = nil\nobj = nil\nreturn {}").ok());
  EXPECT_EQ(Value("('a'):rep(2)"), "aa");
}

TEST(LuaSandbox, HostileScriptsEnd) {
  const std::vector<std::pair<std::string, std::string>> kCases = {
      // Time.
      {"while true do end", "steps"},
      {"\nfor i = 1, 1e308 do end", "line 2: it takes more than"},
      {"::a:: goto a", "steps"},
      {"local function f() return f() end\nf()", "steps"},
      {"repeat local s = 'a' < 'b' until false", "steps"},
      {"('x'):rep(1e9)", "steps"},
      {"(''):rep(1e15)", "steps"},
      {"local t = {}\nfor i = 1, 50 do t[2^i] = 1 t[i] = 1 end\n"
       "while true do table.insert(t, 1, 1) end",
       "steps"},
      {"local t = {1}\nfor k in pairs(t) do t[k] = nil t[1] = 1 end\n"
       "while next(t) do end",
       "steps"},
      {"local t = {}\nfor i = 1, 4000 do t[i] = 'x' end\n"
       "while true do table.sort(t) end",
       "steps"},
      {"for i = 1, 1e9 do tostring(i) end", "steps"},
      {"local s = ('a'):rep(20000)\nwhile true do local b = s == s .. 'x' end",
       ""},
      {"local s = ('a'):rep(30000)\nwhile true do s:upper() end", ""},
      {"local s = ('1'):rep(30000)\nwhile true do tonumber(s, 7) end", "steps"},
      // Patterns.
      {"local s = ('a'):rep(30000)\n"
       "return s:match(('a-'):rep(30) .. 'b')",
       "steps"},
      {"return (('a'):rep(30000)):find(('.-'):rep(20) .. 'b')", "steps"},
      {"while true do ('x'):match('x') end", "steps"},
      {"return ('x'):match(('x'):rep(300))", "pattern is too large"},
      {"return ('x'):match(('(x)'):rep(40))", "pattern is too large"},
      {"return ('x'):rep(30000):gsub('x', ('y'):rep(100))", "too long"},
      {"('x'):rep(1000):gsub('x', function() while true do end end)", "steps"},
      {"local s = ('x'):rep(60000)\nwhile true do s:find(s, 1, true) end",
       "steps"},
      // Memory.
      {"local s = 'x'\nwhile true do s = s .. s end",
       "line 2: it takes too much memory"},
      {"local t = {}\nfor i = 1, 1e9 do t[i] = i end", "memory"},
      {"local s = ('x'):rep(30000)\nlocal t = {}\n"
       "while true do t = {t, s .. #t} end",
       "line 3: it takes too much memory"},
      {"local s = ('x'):rep(60000)\nwhile true do local t = s .. 'y' end",
       "memory"},
      {"local s = ('x'):rep(100000)", "memory"},
      {"table.unpack({}, 1, 1e7)", "too many results"},
      {"local s = ('x'):rep(60000)\nlocal t = {}\n"
       "for i = 1, 100 do t[i] = s end\ntable.concat(t)",
       "memory"},
      {"local s = ('x'):rep(20000)\nlocal t = {}\n"
       "for i = 1, 20 do t[i] = s end\n"
       "string.format(('%s'):rep(20), table.unpack(t))",
       "memory"},
      // Depth.
      {"local function f() return 1 + f() end\nf()", ""},
      {absl::StrCat("return ", std::string(300, '('), "1",
                    std::string(300, ')')),
       ""},
      {absl::StrCat("return ", std::string(20000, '{')), ""},
      {"(('x'):rep(9)):gsub('x', function(c) return ('x'):gsub('x', "
       "function(d) return (d:gsub('x', obj.f or string.upper)) end) end)\n"
       "local f f = function(c) return ('x'):gsub('x', f) end f()",
       ""},
      {"local t = {} t.t = t error(t)", "no text"},
      // Doors.
      {"getmetatable('').__index = nil", "nil value"},
      {"setmetatable({}, {__gc = function() while true do end end})",
       "nil value"},
      {"local t <close> = {}", "non-closable"},
      {"coroutine.wrap(function() end)()", "nil value"},
      {"return ('\\0'):rep(3)", "NUL"},
      {"return string.char(0)", "NUL"},
      {"return string.format('%5c', 0)", "NUL"},
      {std::string("return 'a\0b'", 12), "NUL"},
      {std::string(40000, ' '), "over 32 KiB"},
  };
  for (const auto& [script, words] : kCases) {
    const auto answer = RunScript(script);
    EXPECT_FALSE(answer.ok()) << script.substr(0, 200);
    EXPECT_THAT(std::string(answer.status().message()), HasSubstr(words))
        << script.substr(0, 200);
  }
}

TEST(LuaSandbox, LargeObjectsAreReadOrRefused) {
  json wide = json::object();
  for (int i = 0; i < 2000; ++i) wide[absl::StrCat("key", i)] = i;
  EXPECT_EQ(Value("obj.key1999", wide), "1999");
  json list = json::array();
  for (int i = 0; i < 100000; ++i) list.push_back(i);
  EXPECT_THAT(Value("'x'", json{{"list", list}}), HasSubstr("memory"));
  EXPECT_EQ(Value("#obj.text", json{{"text", std::string(100000, 'x')}}),
            "32768");
  json deep = json::object();
  for (int i = 0; i < 5000; ++i) deep = json{{"a", std::move(deep)}};
  EXPECT_THAT(RunScript("return {status = 'Healthy'}", deep),
              StatusIs(absl::StatusCode::kOk));
}

}  // namespace
}  // namespace flotilla::agent
