// SPDX-License-Identifier: Apache-2.0

#include "common/yaml/documents.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

json Value(const std::string& text) {
  absl::StatusOr<YamlDocument> document = ParseYaml(text);
  if (!document.ok()) return std::string(document.status().message());
  return document->value;
}

// What sigs.k8s.io/yaml v1.6 makes of "v: <scalar>".
TEST(Documents, ResolvesScalarsAsKubernetesDoes) {
  const struct {
    const char* scalar;
    json want;
  } kCases[] = {
      {"yes", true},
      {"no", false},
      {"on", true},
      {"Off", false},
      {"y", true},
      {"N", false},
      {"true", true},
      {"TRUE", true},
      {"tRUE", "tRUE"},
      {"~", nullptr},
      {"null", nullptr},
      {"Null", nullptr},
      {"", nullptr},
      {"nULL", "nULL"},
      {"\"yes\"", "yes"},
      {"'12'", "12"},
      {"\"\"", ""},
      {"12", 12},
      {"-12", -12},
      {"+12", 12},
      {"0", 0},
      {"-0", 0},
      {"0x1F", 31},
      {"-0x1F", -31},
      {"0o17", 15},
      {"017", 15},
      {"08", 8},
      {"0b101", 5},
      {"-0b101", -5},
      {"1_000", 1000},
      {"0_7", 7},
      {"_1", "_1"},
      {"9223372036854775807", INT64_MAX},
      {"-9223372036854775808", INT64_MIN},
      {"18446744073709551615", UINT64_MAX},
      {"9007199254740993", 9007199254740993},
      {"1.5", 1.5},
      {"1.0", 1},
      {"1.", 1},
      {".5", 0.5},
      {"-.5", -0.5},
      {".1_0", 0.1},
      {".1__0", ".1__0"},
      {"._1", "._1"},
      {"1e3", 1000},
      {"0223372036854775808", 223372036854775800},
      {"-123456789012345678.0", -123456789012345680},
      {"1E-2", 0.01},
      {"1e999", "1e999"},
      {"1.2.3", "1.2.3"},
      {"1:30", "1:30"},
      {"12:30:45", "12:30:45"},
      {"2001-12-14", "2001-12-14"},
      {"2001-12-14T21:59:43Z", "2001-12-14T21:59:43Z"},
      {"0x", "0x"},
      {"1e", "1e"},
      {"10Gi", "10Gi"},
      {"100m", "100m"},
      {"!!str 12", "12"},
      {"!!int \"12\"", 12},
      {"!!float 1", 1},
      {"!!bool yes", true},
      {"!!binary aGVsbG8=", "hello"},
      {"! 12", "12"},
      {"<<", "<<"},
      {"a # comment", "a"},
      {"a#b", "a#b"},
      {"http://a.b:80/c", "http://a.b:80/c"},
      {"\"\\u00e9\\t\"", "é\t"},
      {"[a, 1, {b: c}]", json::parse(R"(["a",1,{"b":"c"}])")},
      {"{}", json::object()},
      {"\t12", 12},
  };
  for (const auto& test : kCases) {
    const json got = Value(absl::StrCat("v: ", test.scalar, "\n"));
    ASSERT_TRUE(got.is_object()) << test.scalar << ": " << got;
    EXPECT_EQ(got["v"], test.want) << test.scalar;
    EXPECT_EQ(got["v"].is_string(), test.want.is_string()) << test.scalar;
  }
}

TEST(Documents, MakesKeysStrings) {
  EXPECT_EQ(Value("1: a\n0x10: b\ntrue: c\nyes: d\n1.5: e\n\"2\": f\n").dump(),
            "\"line 4, column 1: the key \\\"true\\\" is there twice in the "
            "same map\"");
  EXPECT_EQ(Value("1: a\n0x10: b\nyes: c\n1.5: e\n1234567.5: f\n").dump(),
            R"({"1":"a","1.2345675e+06":"f","1.5":"e","16":"b","true":"c"})");
  EXPECT_EQ(Value(".INF: a\n-.inf: b\n.nan: c\n").dump(),
            R"({"-.inf":"b",".inf":"a",".nan":"c"})");
}

TEST(Documents, ReadsBlockScalarsAndFolding) {
  EXPECT_EQ(Value("a: |\n  x"), json::parse(R"({"a":"x"})"));
  EXPECT_EQ(Value("a: |\n  x\n"), json::parse(R"({"a":"x\n"})"));
  EXPECT_EQ(Value("a: |+\n  x\n\n"), json::parse(R"({"a":"x\n\n"})"));
  EXPECT_EQ(Value("a: >+\n  x\n\n\nb: >+ # +\n  y\nc: > # +\n  z\n\n"),
            json::parse(R"({"a":"x\n\n\n","b":"y\n","c":"z\n"})"));
  EXPECT_EQ(Value("a: >\n  x\n  "), json::parse(R"({"a":"x\n"})"));
  EXPECT_EQ(Value("a: |\n  x\n...\n"), json::parse(R"({"a":"x\n"})"));
  EXPECT_EQ(Value("a: |\n  x\n   y\n\nb: |-\n  z\nc: >\n  p\n  q\n\n  r\n"),
            json::parse(R"({"a":"x\n y\n","b":"z","c":"p q\nr\n"})"));
}

TEST(Documents, ExpandsAnchorsAndMergeKeys) {
  EXPECT_EQ(Value("a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\nc: *x\n"),
            json::parse(R"({"a":{"p":1,"q":2},"b":{"p":1,"q":3},
                            "c":{"p":1,"q":2}})"));
  EXPECT_EQ(Value("a: &x {p: 1}\nb: &y {p: 2, r: 3}\n"
                  "c:\n  z: 0\n  <<: [*x, *y]\n")["c"],
            json::parse(R"({"p":1,"r":3,"z":0})"));
  // As go-yaml v2, and so Fleet: what stands later wins.
  EXPECT_EQ(Value("x: &x {a: 1}\nb: {a: 2, <<: *x}\nc: {<<: *x, a: 2}\n"),
            json::parse(R"({"x":{"a":1},"b":{"a":1},"c":{"a":2}})"));
  EXPECT_EQ(Value("x: &x {a: 1}\nz: &z {a: 3}\nb: {<<: *x, <<: *z}\n")["b"],
            json::parse(R"({"a":3})"));
  EXPECT_EQ(Value("x: &x {a: 1}\nb: {<<: *x, a: 2, a: 3}\n").is_string(),
            true);
  EXPECT_EQ(Value("a: &x 12\nb: *x\nc: &s foo\nd: *s\n"),
            json::parse(R"({"a":12,"b":12,"c":"foo","d":"foo"})"));
}

TEST(Documents, SplitsDocumentsAndSkipsEmptyOnes) {
  absl::StatusOr<std::vector<YamlDocument>> documents = ParseYamlDocuments(
      "# head\n---\na: 1\n---\n# nothing\n---\n---\nnull\n---\nb:\n  c: 2\n"
      "...\n");

  ASSERT_THAT(documents, IsOk());
  ASSERT_EQ(documents->size(), 2u);
  EXPECT_EQ((*documents)[0].value, json::parse(R"({"a":1})"));
  EXPECT_EQ((*documents)[0].line, 3);
  EXPECT_EQ((*documents)[1].line, 10);
  EXPECT_EQ((*documents)[1].LineOf("/b/c"), 11);
  EXPECT_EQ((*documents)[1].LineOf("/b/c/nothing/there"), 11);
  EXPECT_EQ((*documents)[1].LineOf("/nothing"), 10);
}

TEST(Documents, KnowsLinesOfItemsAndOfKeysWithSlashes) {
  absl::StatusOr<YamlDocument> document =
      ParseYaml("a:\n- b: 1\n  c: 2\n- d: 3\n\"x/y~z\": 4\n");

  ASSERT_THAT(document, IsOk());
  EXPECT_EQ(document->LineOf("/a/0/c"), 3);
  EXPECT_EQ(document->LineOf("/a/1"), 4);
  EXPECT_EQ(document->LineOf("/x~1y~0z"), 5);
}

TEST(Documents, TakesKeysWithoutAValue) {
  EXPECT_EQ(Value("a:\nb :\n? c\n? d\n:\n? e"),
            json::parse(R"({"a":null,"b":null,"c":null,"d":null,"e":null})"));
  EXPECT_EQ(Value("a: {b, c: }\nd: [e: ]\n'f':\n&x g:\nh:"),
            json::parse(R"({"a":{"b":null,"c":null},"d":[{"e":null}],"f":null,
                            "g":null,"h":null})"));
}

TEST(Documents, ReadsNothingAsNull) {
  for (const char* text : {"", "\n\n", "# words\n", "---\n", "\xEF\xBB\xBF"}) {
    absl::StatusOr<YamlDocument> document = ParseYaml(text);
    ASSERT_THAT(document, IsOk()) << text;
    EXPECT_TRUE(document->value.is_null()) << text;
  }
}

TEST(Documents, ReadsJsonAsJson) {
  EXPECT_EQ(Value("{\"a\":\t\"\\ud83d\\ude00 \\/\",\n\t\"b\": 1.0}"),
            json::parse(R"({"a":"😀 /","b":1})"));
  EXPECT_EQ(Value("{a: yes}"), json::parse(R"({"a":true})"));
  absl::StatusOr<std::vector<YamlDocument>> documents =
      ParseYamlDocuments("{\"a\":1}\n{\"b\":2}\n---\n{\"c\":\"}\"}\n");
  ASSERT_THAT(documents, IsOk());
  ASSERT_EQ(documents->size(), 3u);
  EXPECT_EQ((*documents)[2].line, 4);
}

TEST(Documents, TakesByteOrderMarksAndCarriageReturns) {
  EXPECT_EQ(Value("\xEF\xBB\xBF"
                  "a: |\r\n  x\r\n  y\r\nb: 1\r\n"),
            json::parse(R"({"a":"x\ny\n","b":1})"));
}

TEST(Documents, TakesUtf16BehindItsMark) {
  const std::string little("\xFF\xFE" "a\0:\0 \0\xE9\0\n\0", 12);
  EXPECT_EQ(Value(little), json::parse(R"({"a":"é"})"));
  const std::string big("\xFE\xFF\0a\0:\0 \xD8\x3D\xDE\0\0\n", 14);
  EXPECT_EQ(Value(big), json::parse(R"({"a":"😀"})"));
  for (const std::string& broken :
       {std::string("\xFF\xFE" "a", 3), std::string("\xFF\xFE\x3D\xD8", 4),
        std::string("\xFF\xFE\0\xDE" "a\0", 6)}) {
    EXPECT_THAT(ParseYaml(broken),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("not UTF-16")));
  }
}

TEST(Documents, EscapesAreText) {
  const json got = Value("\"\\N\": \"a\\_b\\N é\\N\"\n");

  EXPECT_EQ(got, json::parse(R"({"\u0085":"a\u00a0b\u0085 é\u0085"})"));
  EXPECT_EQ(json::parse(got.dump()), got);
}

TEST(Documents, SaysLineAndColumnOfEveryError) {
  const struct {
    const char* text;
    int line;
    const char* words;
  } kCases[] = {
      {"a: 1\nb: 2\na: 3\n", 3, "the key \"a\" is there twice"},
      {"a:\n  - b\n c: d\n", 3, ""},
      {"a: b\n  c: d\n", 2, ""},
      {"a: [1, 2\nb: 3\n", 2, ""},
      {"a: \"x\n", 2, ""},
      {"a: \"x", 1, ""},
      {"a: 'x\n\n\n", 4, ""},
      {"a: *x\n", 1, ""},
      {"a: 1\nb: .inf\n", 2, ".inf"},
      {"a: 1\nb: !!python/object:os.system x\n", 2, "not supported"},
      {"a: !include /etc/passwd\n", 1, "not supported"},
      {"a: !!int x\n", 1, "no !!int"},
      {"a: 1\n? {b: c}\n: d\n", 2, "cannot be a key"},
      {"a: 1\n~: d\n", 2, "null cannot be a key"},
      {"a: &x [*x]\n", 1, "an alias stands inside"},
      {"a: 1\n<<: 3\n", 2, "must be a map"},
      {"a: \x01\n", 1, "control characters"},
      {"a: 1\nb: \xff\n", 2, "not UTF-8"},
      {"a: \xed\xa0\x80\n", 1, "not UTF-8"},
      {"a: !!binary //4=\n", 1, "binaryData"},
      {"a:\n\tb: 1\n", 2, ""},
      {"a: b\nc", 2, "colon"},
      {"a: b\nc \n", 2, "colon"},
      {"a:\n  b: 1\n  c: # x\nd # e: f\n", 4, "colon"},
      {"a: b\nc d\n---\ne: f\n", 2, "colon"},
      {"# x\n%a: b\n", 2, "directive"},
  };
  for (const auto& test : kCases) {
    absl::StatusOr<YamlDocument> document = ParseYaml(test.text);
    ASSERT_THAT(document, StatusIs(absl::StatusCode::kInvalidArgument))
        << test.text;
    EXPECT_EQ(YamlErrorLine(document.status()), test.line)
        << test.text << document.status();
    EXPECT_THAT(std::string(document.status().message()),
                HasSubstr(test.words));
    EXPECT_EQ(absl::StrCat("line ", test.line, ", column "),
              document.status().message().substr(
                  0, absl::StrCat("line ", test.line, ", column ").size()));
    EXPECT_FALSE(
        absl::StartsWith(YamlErrorText(document.status()), "line "));
  }
  EXPECT_THAT(ParseYaml("a: 1\n---\nb: 2\n"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(Documents, HoldsItsLimits) {
  YamlLimits limits;
  limits.max_bytes = 1 << 20;
  limits.max_nodes = 10000;
  limits.max_documents = 10;
  limits.max_string_bytes = 100000;
  std::string laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 12; ++i) {
    absl::StrAppend(&laughs, "a", i, ": &a", i, " [");
    for (int k = 0; k < 10; ++k) {
      absl::StrAppend(&laughs, k > 0 ? "," : "", "*a", i - 1);
    }
    absl::StrAppend(&laughs, "]\n");
  }
  std::string merges = "a0: &a0 {k: v}\n";
  std::string big = "a: &a " + std::string(60000, 'x') + "\nb: *a\nc: *a\n";
  std::string documents;
  for (int i = 0; i < 12; ++i) documents += "---\na: 1\n";
  std::string keys;
  for (int i = 0; i < 20000; ++i) absl::StrAppend(&keys, "k", i, ": 1\n");
  std::string aliases = "a: &a [1]\nb:\n";
  for (int i = 0; i < 9000; ++i) aliases += "- *a\n";
  for (const std::string& text :
       {laughs, big, documents, keys, aliases, std::string(100001, '['),
        std::string(500, '[') + std::string(500, ']'),
        std::string(200000, '\n') + std::string((1 << 20), ' '),
        "a: " + std::string(200000, 'x'),
        "[" + std::string(300, '{') + std::string(300, '}') + "]"}) {
    absl::StatusOr<std::vector<YamlDocument>> got =
        ParseYamlDocuments(text, limits);
    EXPECT_FALSE(got.ok()) << text.substr(0, 60);
  }
  std::string deep;
  for (int i = 0; i < 150; ++i) {
    deep += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  }
  EXPECT_THAT(ParseYaml(deep), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(ParseYamlDocuments(laughs, limits),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(ParseJson(std::string(200, '[') + std::string(200, ']')),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(Documents, ErrorsHoldNoValues) {
  for (const char* text :
       {"a: canary: b\n", "a: \"canary\n", "a: !!int canary\n", "- canary\nb",
        "{\"a\": canary", "a: [canary", "a: 'canary' x", "a: @canary",
        "a: `canary`", "a: %canary", "canary\n b: - c"}) {
    absl::StatusOr<YamlDocument> document = ParseYaml(text);
    if (document.ok()) continue;
    EXPECT_FALSE(absl::StrContains(document.status().message(), "canary"))
        << document.status();
  }
  EXPECT_FALSE(absl::StrContains(
      ParseJson("{\"a\": \"canary").status().message(), "canary"));
}

TEST(Documents, ParsesStrictJson) {
  EXPECT_THAT(ParseJson("{\"a\":[1,-2,18446744073709551615,1.5,null,true]}"),
              IsOkAndHolds(json::parse(
                  "{\"a\":[1,-2,18446744073709551615,1.5,null,true]}")));
  for (const char* text : {"", "{", "{a:1}", "[1,]", "{\"a\":1,\"a\":2}", "nan",
                           "1e999", "{} x", "\"\xff\""}) {
    EXPECT_FALSE(ParseJson(text).ok()) << text;
  }
  EXPECT_EQ(YamlErrorLine(ParseJson("{\n\"a\": x}").status()), 2);
}

TEST(Documents, WritesYamlThatReadsBack) {
  const std::vector<json> kStrings = {
      "", " ", "a", "yes", "y", "null", "~", "12", "0x1f", "1.5", ".inf",
      "1e3", "1_000", "2001-01-01", "12:30:45", "a: b", "a:b", "a #b", "a#b",
      "#a", "- a", "-", "?", "&a", "*a", "!a", "%a", "@a", "`a`", "{a}",
      "[a]", "|", ">", "'a'", "\"a\"", "a\nb", "a\nb\n", "a\nb\n\n", "\na",
      " a\nb", "a \nb", "a\n \nb", "a\n\n\nb", "a\tb", "\ta", "a\t\nb",
      "\x01", "\x7f", "\xC2\x85", "\xC2\x80", "\xE2\x80\xA8", "a\xE2\x80\xA8" "b\n",
      "\xEF\xBB\xBF" "a", "é", "😀", "a\r\nb", "a\\b", "---", "...", "--- a\nb",
      "key: |\n  x\n", "<<", "=", "true ", " true", "a:", "10.0.0.1", "1.2.3",
      "nginx:1.25", "a, b", "100m", "$(X)", std::string(3000, 'x'),
      "- a\n- b\n", "# a\nb", "+1", "0b1", "0o7", "07", "_1", "a  b"};
  for (const json& text : kStrings) {
    for (const json& value :
         {text, json{{"k", text}}, json::array({text, text}),
          json{{"a", {{"b", json::array({json{{"c", text}, {"d", 1}}})}}}}}) {
      const std::string yaml = ToYaml(value);
      absl::StatusOr<YamlDocument> again = ParseYaml(yaml);
      ASSERT_THAT(again, IsOk()) << yaml;
      EXPECT_EQ(again->value, value) << yaml;
    }
    const json keyed = {{text.get<std::string>(), 1}};
    EXPECT_EQ(Value(ToYaml(keyed)), keyed) << ToYaml(keyed);
  }
  for (const json& value :
       {json(1), json(-1), json(1.5), json(1e20), json(1e-7), json(UINT64_MAX),
        json(true), json(nullptr), json::object(), json::array(),
        json::parse(R"({"a":{},"b":[],"c":[[1,2],[],[[3]]],"d":[{},{"e":[]}]})"),
        json::parse(R"([[{"a":1,"b":{"c":2}}],[[]]])")}) {
    EXPECT_EQ(Value(ToYaml(value)), value) << ToYaml(value);
  }
}

TEST(Documents, WritesYamlForPeople) {
  EXPECT_EQ(ToYaml(json::parse(R"({"apiVersion":"apps/v1","kind":"Deployment",
      "metadata":{"name":"a","labels":{"on":"yes"}},
      "spec":{"ports":[{"port":80,"name":"http"},{"port":81}],
      "args":["-c","a: b"],"text":"x\ny\n"}})")),
            "apiVersion: apps/v1\n"
            "kind: Deployment\n"
            "metadata:\n"
            "  labels:\n"
            "    \"on\": \"yes\"\n"
            "  name: a\n"
            "spec:\n"
            "  args:\n"
            "  - \"-c\"\n"
            "  - \"a: b\"\n"
            "  ports:\n"
            "  - name: http\n"
            "    port: 80\n"
            "  - port: 81\n"
            "  text: |\n"
            "    x\n"
            "    y\n");
}

TEST(YamlDocuments, TakesDoubtfulTextWhereItIsAsked) {
  YamlLimits lenient;
  lenient.lenient = true;
  const std::string text =
      "a: 1\nb: {c: 1, c: 2}\na: {d: 3}\n---\nsecond: true\n";
  const YamlDocument document = *ParseYaml(text, lenient);
  EXPECT_EQ(document.value.dump(), R"({"a":{"d":3},"b":{"c":2}})");
  EXPECT_EQ(document.LineOf("/a/d"), 3);
  std::vector<std::string> doubts;
  for (const YamlDoubt& doubt : document.doubts) {
    doubts.push_back(absl::StrCat(doubt.line, ": ", doubt.text));
  }
  EXPECT_THAT(
      doubts,
      ::testing::ElementsAre(
          "2: the key \"c\" is there twice in the same map; the last one counts",
          "3: the key \"a\" is there twice in the same map; the last one counts",
          "5: a second document begins here; the first one alone counts"));

  // JSON, too.
  const YamlDocument braces = *ParseYaml(R"({"a": 1, "a": 2})", lenient);
  EXPECT_EQ(braces.value.dump(), R"({"a":2})");
  EXPECT_EQ(braces.doubts.size(), 1);

  EXPECT_FALSE(ParseYaml(text).ok());
  EXPECT_FALSE(ParseYaml("a: 1\na: 2\n").ok());
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "a: 1\n";
  const YamlDocument bounded = *ParseYaml(many, lenient);
  EXPECT_EQ(bounded.doubts.size(), 100);
}

}  // namespace
}  // namespace flotilla
