// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/field_reader.h"

#include <string>

#include "absl/status/statusor.h"
#include "common/yaml/documents.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

YamlDocument Yaml(absl::string_view text) {
  absl::StatusOr<YamlDocument> document = ParseYaml(text);
  EXPECT_TRUE(document.ok()) << document.status();
  return *std::move(document);
}

TEST(FieldReader, GivesFieldsOfTheirTypes) {
  const YamlDocument yaml =
      Yaml("s: text\nb: true\ni: 7\nl: [a, b]\nm: {k: v}\n");
  ProblemLog log("f.yaml", "subject", &yaml);
  FieldReader reader(yaml.value, "", log);

  EXPECT_EQ(reader.String("s"), "text");
  EXPECT_TRUE(reader.Bool("b"));
  EXPECT_EQ(reader.Int("i"), 7);
  EXPECT_THAT(reader.Strings("l"), ElementsAre("a", "b"));
  EXPECT_THAT(reader.StringMap("m"),
              ElementsAre(::testing::Pair("k", "v")));
  reader.Finish();

  EXPECT_THAT(log.errors(), IsEmpty());
  EXPECT_THAT(log.warnings(), IsEmpty());
}

TEST(FieldReader, TreatsNullAsAbsent) {
  const YamlDocument yaml = Yaml("s: null\nl:\n");
  ProblemLog log("f.yaml", "", &yaml);
  FieldReader reader(yaml.value, "", log);

  EXPECT_EQ(reader.String("s"), "");
  EXPECT_THAT(reader.Strings("l"), IsEmpty());
  EXPECT_FALSE(reader.Object("s").has_value());
  EXPECT_THAT(log.errors(), IsEmpty());
}

TEST(FieldReader, SaysWhereAndThatAStringWantsQuotes) {
  const YamlDocument yaml = Yaml("a: 1\nspec:\n  branch: 1.5\n");
  ProblemLog log("dir/f.yaml", "GitRepo a/b", &yaml);
  FieldReader root(yaml.value, "", log);
  FieldReader spec = *root.Object("spec");

  EXPECT_EQ(spec.String("branch"), "");

  ASSERT_THAT(log.errors(), SizeIs(1));
  EXPECT_EQ(log.errors()[0].file(), "dir/f.yaml");
  EXPECT_EQ(log.errors()[0].line(), 3);
  EXPECT_EQ(log.errors()[0].subject(), "GitRepo a/b");
  EXPECT_THAT(log.errors()[0].message(), HasSubstr("spec.branch"));
  EXPECT_THAT(log.errors()[0].message(), HasSubstr("quotes"));
}

TEST(FieldReader, WarnsOfAnUnknownKeyWithTheNearestOne) {
  const YamlDocument yaml = Yaml("namspace: x\nzzzzzz: 1\n");
  ProblemLog log("f.yaml", "", &yaml);
  FieldReader reader(yaml.value, "", log);

  reader.String("namespace");
  reader.Finish();

  ASSERT_THAT(log.warnings(), SizeIs(2));
  EXPECT_THAT(log.warnings()[0].message(),
              HasSubstr("did you mean \"namespace\"?"));
  EXPECT_EQ(log.warnings()[0].line(), 1);
  EXPECT_THAT(log.warnings()[1].message(),
              ::testing::Not(HasSubstr("did you mean")));
}

TEST(FieldReader, SaysOfAKeyWithoutEffectWhatHappensUnlessItIsADefault) {
  const YamlDocument yaml = Yaml(
      "a: false\nb: 0\nc: ''\nd: []\ne: {}\nf: {x: {y: null}}\n"
      "g: true\nh: 15m\ni: 10m\n");
  ProblemLog log("f.yaml", "", &yaml);
  FieldReader reader(yaml.value, "", log);

  for (const char* key : {"a", "b", "c", "d", "e", "f", "g", "z"}) {
    reader.NoEffect(key, "nothing is done");
  }
  reader.NoEffect("h", "nothing is done", {"15m"});
  reader.NoEffect("i", "nothing is done", {"15m"});
  reader.Finish();

  EXPECT_THAT(log.errors(), IsEmpty());
  ASSERT_THAT(log.warnings(), SizeIs(2));
  EXPECT_EQ(log.warnings()[0].line(), 7);
  EXPECT_EQ(log.warnings()[0].message(), "g: has no effect: nothing is done");
  EXPECT_EQ(log.warnings()[1].line(), 9);
}

TEST(FieldReader, TakesNullForTheZeroOfATypeAsGoDoes) {
  const YamlDocument yaml = Yaml(
      "s: null\nl: [a, null]\nm: {k: null}\no: [null]\nb: ~\n");
  ProblemLog log("f.yaml", "", &yaml);
  FieldReader reader(yaml.value, "", log);

  EXPECT_EQ(reader.String("s"), "");
  EXPECT_THAT(reader.Strings("l"), ElementsAre("a", ""));
  EXPECT_EQ(reader.StringMap("m").at("k"), "");
  std::vector<FieldReader> objects = reader.Objects("o");
  ASSERT_THAT(objects, SizeIs(1));
  EXPECT_FALSE(objects[0].Has("x"));
  EXPECT_EQ(reader.OptionalBool("b"), std::nullopt);
  EXPECT_TRUE(log.ok());
}

TEST(FieldReader, ReadsNumbersAsTextOnlyWhenLenient) {
  const YamlDocument yaml = Yaml("v: 1.10\nm: {a: true, b: 3}\n");
  ProblemLog log("f.yaml", "", &yaml);
  log.set_lenient();
  FieldReader reader(yaml.value, "", log);

  EXPECT_EQ(reader.String("v"), "1.1");
  EXPECT_EQ(reader.StringMap("m").at("a"), "true");
  EXPECT_EQ(reader.StringMap("m").at("b"), "3");
  EXPECT_TRUE(log.ok());
  EXPECT_THAT(log.warnings()[0].message(),
              HasSubstr("is read as \"1.1\"; write it in quotes"));

  ProblemLog strict("f.yaml", "", &yaml);
  FieldReader strict_reader(yaml.value, "", strict);
  EXPECT_EQ(strict_reader.String("v"), "");
  EXPECT_FALSE(strict.ok());
}

TEST(FieldReader, TakesKeysInAnyCaseOnlyWhenLenient) {
  const YamlDocument yaml = Yaml("\nNameSpace: x\n");
  ProblemLog log("f.yaml", "", &yaml);
  log.set_lenient();
  FieldReader reader(yaml.value, "", log);

  EXPECT_EQ(reader.String("namespace"), "x");
  EXPECT_EQ(reader.LineOf("namespace"), 2);
  reader.Finish();
  ASSERT_THAT(log.warnings(), SizeIs(1));
  EXPECT_EQ(log.warnings()[0].message(),
            "NameSpace: is read as \"namespace\"; write it so");

  ProblemLog strict("f.yaml", "", &yaml);
  FieldReader strict_reader(yaml.value, "", strict);
  EXPECT_EQ(strict_reader.String("namespace"), "");
  strict_reader.Finish();
  EXPECT_THAT(strict.warnings()[0].message(), HasSubstr("did you mean"));
}

TEST(FieldReader, RecordsTheKeysThatWereAskedFor) {
  const YamlDocument yaml = Yaml("a: {b: 1}\nc: [{d: 1}]\n");
  ProblemLog log("f.yaml", "", &yaml);
  std::set<std::string> keys;
  log.set_key_record(&keys);
  FieldReader reader(yaml.value, "", log);

  reader.Object("a")->Int("b");
  reader.Objects("c")[0].Int("d");
  reader.Ignored({"e"});

  EXPECT_THAT(keys, ElementsAre("a", "a.b", "c", "c[].d", "e"));
}

TEST(FieldReader, RefusesANumberOfMoreThan32Bits) {
  const YamlDocument yaml = Yaml("a: 3000000000\nb: -5\n");
  ProblemLog log("f.yaml", "", &yaml);
  FieldReader reader(yaml.value, "", log);

  EXPECT_EQ(reader.Int32("a"), 0);
  EXPECT_EQ(reader.Int32("b"), -5);
  EXPECT_THAT(log.errors(), SizeIs(1));
}

TEST(FieldReader, KeepsControlCharactersOutOfMessages) {
  EXPECT_EQ(ShownText("a\x1b[31mb\n"), "a?[31mb?");
  EXPECT_EQ(ShownText(std::string(100, 'x')).size(), 83);
  EXPECT_EQ(CleanText("\xc3\xbc\xe2\x80\xae\xc2\x9b\xff\xe2\x80\x8b"),
            "\xc3\xbc????");
  EXPECT_EQ(CleanText("\xed\xa0\x80\xf0\x9f\x98\x80\xc0\xaf"),
            "???\xf0\x9f\x98\x80??");
}

TEST(FieldReader, EndsAFloodOfProblems) {
  std::string text;
  for (int i = 0; i < 500; ++i) text += "k" + std::to_string(i) + ": 1\n";
  const YamlDocument yaml = Yaml(text);
  ProblemLog log("f.yaml", "", &yaml);
  FieldReader reader(yaml.value, "", log);

  reader.Finish();

  ASSERT_THAT(log.warnings(), SizeIs(ProblemLog::kMaxProblems + 1));
  EXPECT_THAT(log.warnings().back().message(), HasSubstr("more problems"));
}

TEST(FieldReader, FindsTheNearestWord) {
  EXPECT_EQ(NearestWord("clusterselector", {"clusterSelector", "x"}),
            "clusterSelector");
  EXPECT_EQ(NearestWord("vales", {"values", "valuesFiles"}), "values");
  EXPECT_EQ(NearestWord("q", {"values"}), "");
}

TEST(FieldReader, ShowsPointersAsPeopleWriteThem) {
  EXPECT_EQ(PathOfPointer(""), "");
  EXPECT_EQ(PathOfPointer("/spec/targets/0/name"), "spec.targets[0].name");
  EXPECT_EQ(PathOfPointer("/metadata/labels/a~1b"), "metadata.labels.a/b");
}

}  // namespace
}  // namespace flotilla::manager
