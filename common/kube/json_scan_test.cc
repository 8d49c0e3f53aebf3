// SPDX-License-Identifier: Apache-2.0

#include "common/kube/json_scan.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/kube/kube_client.h"

namespace flotilla {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

std::vector<std::pair<std::string, std::string>> MembersOf(
    absl::string_view text) {
  std::vector<std::pair<std::string, std::string>> members;
  EXPECT_TRUE(
      ForEachMember(text, [&](absl::string_view name, absl::string_view value) {
        members.emplace_back(std::string(name), std::string(value));
        return true;
      }));
  return members;
}

bool Walks(absl::string_view text) {
  return ForEachMember(
      text, [](absl::string_view, absl::string_view) { return true; });
}

TEST(JsonScanTest, CutsMembersAtTheirBrackets) {
  EXPECT_THAT(
      MembersOf(R"( {"a":"x\"}{","b": {"c":[1,{"d":"]"}]} ,"e":-1.5,
                             "f":null,"g":[]} )"),
      ElementsAre(Pair("a", R"("x\"}{")"), Pair("b", R"({"c":[1,{"d":"]"}]})"),
                  Pair("e", "-1.5"), Pair("f", "null"), Pair("g", "[]")));
  EXPECT_TRUE(MembersOf("{}").empty());
}

TEST(JsonScanTest, BackslashesBeforeAQuoteAreCounted) {
  EXPECT_THAT(MembersOf(R"({"a":"x\\","b":"\\\"","c":1})"),
              ElementsAre(Pair("a", R"("x\\")"), Pair("b", R"("\\\"")"),
                          Pair("c", "1")));
}

TEST(JsonScanTest, BrokenTextIsRefused) {
  for (const char* text :
       {"", "[]", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{a:1}",
        "{\"a\":\"x}", "{\"a\":{\"b\":1}", "{\"a\" 1}", "{\"a\":,}",
        "{\"a\":1 \"b\":2}"}) {
    EXPECT_FALSE(Walks(text)) << text;
  }
  EXPECT_FALSE(Walks("{\"a\":" + std::string(1000000, '[')));
}

TEST(JsonScanTest, EndsEarlyWhenTold) {
  int seen = 0;
  EXPECT_TRUE(ForEachMember(R"({"a":1,"b":2, broken)",
                            [&](absl::string_view, absl::string_view) {
                              ++seen;
                              return false;
                            }));
  EXPECT_EQ(seen, 1);
}

TEST(JsonScanTest, ItemsOfAList) {
  std::vector<std::string> items;
  EXPECT_TRUE(
      ForEachItem(R"([{"a":1}, 2 ,"x,y"])", [&](absl::string_view item) {
        items.emplace_back(item);
        return true;
      }));
  EXPECT_THAT(items, ElementsAre(R"({"a":1})", "2", R"("x,y")"));
}

TEST(JsonScanTest, TextIsUnescaped) {
  EXPECT_EQ(ScanText(R"("plain")"), "plain");
  EXPECT_EQ(ScanText(R"("a\u00fc\n")"), "aü\n");
  EXPECT_EQ(ScanText("17"), "");
  EXPECT_EQ(ScanText(R"("\u12")"), "");
}

TEST(JsonScanTest, HeadIsReadFromMetadata) {
  ObjectHead head;
  ASSERT_TRUE(ScanHead(
      R"({"kind":"X","metadata":{"name":"a","namespace":"n","uid":"u",
          "resourceVersion":"42","generation":7,
          "labels":{"name":"not this"},
          "deletionTimestamp":"2026-01-01T00:00:00Z"},
          "spec":{"metadata":{"name":"nor this"}}})",
      &head));
  EXPECT_EQ(head.name, "a");
  EXPECT_EQ(head.ns, "n");
  EXPECT_EQ(head.uid, "u");
  EXPECT_EQ(head.resource_version, "42");
  EXPECT_EQ(head.generation, 7);
  EXPECT_TRUE(head.deleting);
}

TEST(JsonScanTest, OddHeadsStayEmpty) {
  ObjectHead head;
  EXPECT_TRUE(ScanHead(R"({"metadata":{"name":7,"generation":"x",
                           "deletionTimestamp":null}})",
                       &head));
  EXPECT_EQ(head.name, "");
  EXPECT_EQ(head.generation, 0);
  EXPECT_FALSE(head.deleting);
  EXPECT_TRUE(ScanHead("{}", &head));
  EXPECT_FALSE(ScanHead(R"({"metadata":null})", &head));
  EXPECT_FALSE(ScanHead("null", &head));
}

}  // namespace
}  // namespace flotilla
