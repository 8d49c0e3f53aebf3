// SPDX-License-Identifier: Apache-2.0

#include "common/log/log_line.h"

#include <string>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla {
namespace {

LogRecord Record(absl::string_view message) {
  LogRecord record;
  record.time = absl::FromUnixMillis(1700000000123);
  record.level = LogLevel::kWarning;
  record.file = "manager/store/store.cc";
  record.line = 7;
  record.message = message;
  return record;
}

TEST(FormatLogLine, WritesText) {
  EXPECT_EQ(FormatLogLine(Record("disk is slow"), LogFormat::kText),
            "2023-11-14T22:13:20.123Z warning disk is slow  "
            "[manager/store/store.cc:7]");
}

TEST(FormatLogLine, WritesJsonThatParsesWhateverTheMessage) {
  for (const std::string& message :
       {std::string("plain"), std::string("\"quoted\" \\ back"),
        std::string("two\nlines"), std::string("\x1b[31m\0nul", 10),
        std::string("bad \xff\xc3 utf-8")}) {
    const std::string line =
        FormatLogLine(Record(message), LogFormat::kJson);

    const auto json = nlohmann::json::parse(line, nullptr, false);
    ASSERT_FALSE(json.is_discarded()) << line;
    EXPECT_EQ(json["level"], "warning");
    EXPECT_EQ(json["source"], "manager/store/store.cc:7");
    EXPECT_EQ(json["message"], EscapeForLog(message));
    EXPECT_EQ(line.find('\n'), std::string::npos);
  }
}

TEST(EscapeForLog, EscapesWhatWouldBreakTheLineOrTheTerminal) {
  EXPECT_EQ(EscapeForLog("a\nb\r\tc"), "a\\nb\\r\\tc");
  EXPECT_EQ(EscapeForLog("\x1b[2J\x7f"), "\\x1b[2J\\x7f");
  EXPECT_EQ(EscapeForLog("\xc2\x9b"), "\\x9b");
  EXPECT_EQ(EscapeForLog("\u2028\u202e"), "\\u2028\\u202e");
}

TEST(EscapeForLog, KeepsTextOfAllTongues) {
  EXPECT_EQ(EscapeForLog("grün 日本 🚢"), "grün 日本 🚢");
}

TEST(EscapeForLog, EscapesBytesThatAreNotUtf8) {
  EXPECT_EQ(EscapeForLog("\xff"), "\\xff");
  EXPECT_EQ(EscapeForLog("\xc3"), "\\xc3");
  EXPECT_EQ(EscapeForLog("\xc0\xaf"), "\\xc0\\xaf");
  EXPECT_EQ(EscapeForLog("\xed\xa0\x80"), "\\xed\\xa0\\x80");
}

}  // namespace
}  // namespace flotilla
