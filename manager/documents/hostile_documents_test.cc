// SPDX-License-Identifier: Apache-2.0
//
// fleet.yaml and documents that mean harm: bombs, depth, and texts that would
// reach a terminal or a log.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/documents/document_json.h"
#include "manager/documents/documents.h"
#include "manager/documents/fleet_yaml.h"

namespace flotilla::manager {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

std::string Repeat(absl::string_view text, size_t times) {
  std::string out;
  out.reserve(text.size() * times);
  for (size_t i = 0; i < times; ++i) absl::StrAppend(&out, text);
  return out;
}

std::string DeepBlock(int depth) {
  std::string out;
  // Indentation alone would be gigabytes: "- - - ..." nests on one line.
  for (int i = 0; i < depth; ++i) out += "- ";
  return out + "x\n";
}

std::string Laughs() {
  std::string out = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string before = absl::StrCat("*a", i - 1);
    absl::StrAppend(&out, "a", i, ": &a", i, " [",
                    absl::StrJoin(std::vector<std::string>(10, before), ", "),
                    "]\n");
  }
  return out;
}

struct Row {
  const char* name;
  std::string text;
};

std::vector<Row> Bombs() {
  constexpr size_t kDeep = 100000;
  return {
      {"flow lists", absl::StrCat("helm: ", Repeat("[", kDeep))},
      {"closed flow lists",
       absl::StrCat("helm: {values: ", Repeat("[", kDeep), Repeat("]", kDeep),
                    "}\n")},
      {"flow maps", absl::StrCat("helm: ", Repeat("{a: ", kDeep))},
      {"block lists", absl::StrCat("helm:\n  ", DeepBlock(kDeep))},
      {"JSON", absl::StrCat("{\"helm\":", Repeat("[", kDeep))},
      {"question marks", Repeat("? ", kDeep)},
      {"aliases", Laughs()},
      {"an alias to itself", "a: &a [*a]\n"},
      {"merge keys", absl::StrCat("a: &a {", "b: 1}\n", Laughs(),
                                  "c: {<<: [*a, *a11]}\n")},
      {"a long text", absl::StrCat("name: ", Repeat("x", 20 << 20), "\n")},
      {"tags", "helm: !!python/object/apply:os.system [id]\n"},
      {"an include", "helm: !include /etc/passwd\n"},
      {"many lines", Repeat("\n", 20 << 20)},
  };
}

TEST(HostileDocuments, BombsAreErrorsOfFleetYaml) {
  for (const Row& row : Bombs()) {
    const FleetYaml yaml = ParseFleetYaml(row.text, "f", "GitRepo a/b");
    ASSERT_THAT(yaml.errors, SizeIs(1)) << row.name;
    EXPECT_LE(yaml.errors[0].message().size(), 4096) << row.name;
  }
}

TEST(HostileDocuments, BombsAreErrorsOfDocuments) {
  for (const Row& row : Bombs()) {
    const ParsedDocuments parsed = ParseDocuments({{"f", row.text}}, "");
    EXPECT_THAT(parsed.errors, SizeIs(1)) << row.name;
    EXPECT_THAT(parsed.documents, IsEmpty()) << row.name;
  }
}

TEST(HostileDocuments, AMillionDocumentsAreOneError) {
  const ParsedDocuments parsed =
      ParseDocuments({{"f", Repeat("---\na\n", 1000000)}}, "");

  EXPECT_THAT(parsed.errors, SizeIs(1));
}

TEST(HostileDocuments, ManyKeysAreABoundedNumberOfWarnings) {
  std::string text;
  for (int i = 0; i < 90000; ++i) {
    absl::StrAppend(&text, "targetCustomizationMoode", i, ": 1\n");
  }

  const FleetYaml yaml = ParseFleetYaml(text, "f", "");

  EXPECT_THAT(yaml.errors, IsEmpty());
  EXPECT_THAT(yaml.warnings, SizeIs(101));
}

std::string Bundle(absl::string_view resources) {
  return absl::StrCat(
      "apiVersion: fleet.cattle.io/v1alpha1\nkind: Bundle\n"
      "metadata: {name: b}\nspec:\n  resources:\n",
      resources);
}

TEST(HostileDocuments, PackedFilesAreBoundedEachAndTogether) {
  const std::string bomb = EncodeContent(std::string(40 << 20, '\0'));
  ASSERT_LT(bomb.size(), 100000);
  ParsedDocuments parsed = ParseDocuments(
      {{"f", Bundle(absl::StrCat("  - {name: a, encoding: base64+gz, content: ",
                                 bomb, "}\n"))}},
      "");
  ASSERT_THAT(parsed.errors, SizeIs(1));
  EXPECT_THAT(parsed.errors[0].message(), HasSubstr("unpacks to more than"));

  const std::string half = EncodeContent(std::string(20 << 20, '\0'));
  std::string files;
  for (int i = 0; i < 3; ++i) {
    absl::StrAppend(&files, "  - {name: f", i,
                    ", encoding: base64+gz, content: ", half, "}\n");
  }
  parsed = ParseDocuments({{"f", Bundle(files)}}, "");
  EXPECT_THAT(parsed.errors, Not(IsEmpty()));
  EXPECT_THAT(parsed.documents, IsEmpty());
}

// Escape sequences, a bell, changes of direction, invisible characters, C1.
constexpr char kPoison[] =
    "\\e]0;x\\a\\e[2J\\r\\n\\b\\u202e\\u2066\\u200b\\u009b31m\\ufeff\\u2028";

void ExpectClean(const std::vector<core::v1::Problem>& problems) {
  for (const core::v1::Problem& problem : problems) {
    for (const std::string& text : {problem.message(), problem.subject()}) {
      for (const char* bad : {"\x1b", "\a", "\r", "\n", "\b", "\xe2\x80\xae",
                              "\xe2\x81\xa6", "\xe2\x80\x8b", "\xc2\x9b",
                              "\xef\xbb\xbf", "\xe2\x80\xa8"}) {
        EXPECT_THAT(text, Not(HasSubstr(bad)));
      }
      EXPECT_LE(text.size(), 4096);
    }
  }
}

TEST(HostileDocuments, TextsForTerminalsAndLogsAreClean) {
  const std::string poison = absl::StrCat("\"", kPoison, "\"");
  for (const std::string& text :
       {absl::StrCat(poison, ": 1\n"), absl::StrCat("name: ", poison, "\n"),
        absl::StrCat("labels: {", poison, ": ", poison, "}\n"),
        absl::StrCat("helm: {", poison, ": 1, values: ", poison, "}\n"),
        absl::StrCat("dependsOn: [{name: a, acceptedStates: [", poison, "]}]"),
        absl::StrCat("targetCustomizationMode: ", poison, "\n"),
        absl::StrCat(poison, ": 1\n", poison, ": 2\n"),
        absl::StrCat("kustomize: {dir: ", poison, "}\n"),
        std::string("a: \"\\\x1b\"\n"),
        absl::StrCat("name: [", Repeat("x", 100000), "]\n"),
        absl::StrCat(Repeat("k", 1000), ": {a: 1}\n")}) {
    const FleetYaml yaml = ParseFleetYaml(text, "f", "GitRepo a/b");
    EXPECT_FALSE(yaml.errors.empty() && yaml.warnings.empty()) << text;
    ExpectClean(yaml.errors);
    ExpectClean(yaml.warnings);
  }
  for (const std::string& text :
       {absl::StrCat("kind: ", poison, "\n"),
        absl::StrCat("kind: GitRepo\napiVersion: ", poison, "\n"),
        absl::StrCat("apiVersion: fleet.cattle.io/v1alpha1\nkind: GitRepo\n"
                     "metadata: {name: ",
                     poison, ", namespace: ", poison, "}\n"),
        absl::StrCat("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n"
                     "stringData: {",
                     poison, ": a}\ntype: ", poison, "\n"),
        Bundle(absl::StrCat("  - {name: ", poison, ", content: a}\n"))}) {
    const ParsedDocuments parsed = ParseDocuments({{"f", text}}, "");
    EXPECT_THAT(parsed.errors, Not(IsEmpty())) << text;
    ExpectClean(parsed.errors);
    ExpectClean(parsed.warnings);
  }
}

TEST(HostileDocuments, OddShapesAreErrors) {
  for (const char* text :
       {"apiVersion: [1]\nkind: GitRepo\n", "apiVersion: v1\nkind: {a: b}\n",
        "apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\nmetadata: []\n",
        "apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\n"
        "metadata: {name: 7}\n",
        "apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\n"
        "metadata: {name: a, labels: [a]}\n",
        "apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\n"
        "metadata: {name: a}\nspec: text\n",
        "kind: List\nitems: [1, null, [], {kind: List, items: [{}]}]\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: [a]\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: 1}\n",
        "apiVersion: fleet.cattle.io/v1alpha1\nkind: Policy\n"
        "metadata: {name: a}\ngitRepo: [x]\n",
        "apiVersion: fleet.cattle.io/v1alpha1\nkind: HelmOp\n"
        "metadata: {name: a}\nspec: {helm: text}\n"}) {
    const ParsedDocuments parsed = ParseDocuments({{"f", text}}, "");
    EXPECT_THAT(parsed.errors, Not(IsEmpty())) << text;
    EXPECT_THAT(parsed.documents, IsEmpty()) << text;
  }
}

}  // namespace
}  // namespace flotilla::manager
