// SPDX-License-Identifier: Apache-2.0
//
// Holds docs/compatibility.md against the parsers: they record every key that
// they ask for while they read documents that hold all of them.

#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/yaml/documents.h"
#include "flotilla/core/v1/core.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/documents/documents.h"
#include "manager/documents/fleet_yaml.h"

namespace flotilla::manager {
namespace {

using ::testing::AnyOf;

constexpr char kPage[] = "docs/compatibility.md";
constexpr char kFleetYaml[] = "manager/documents/testdata/fleet_all_keys.yaml";
constexpr char kDocuments[] =
    "manager/documents/testdata/documents_all_keys.yaml";

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return std::string(std::istreambuf_iterator<char>(file),
                     std::istreambuf_iterator<char>());
}

// Section, key, status.
using Page = std::map<std::string, std::map<std::string, std::string>>;

Page ReadPage() {
  Page page;
  std::string section;
  for (const std::string& line :
       std::vector<std::string>(absl::StrSplit(ReadFile(kPage), '\n'))) {
    absl::string_view rest = line;
    if (absl::ConsumePrefix(&rest, "## ")) section = std::string(rest);
    if (!absl::ConsumePrefix(&rest, "| `")) continue;
    const std::vector<std::string> cells = absl::StrSplit(rest, " | ");
    EXPECT_EQ(cells.size(), 3) << line;
    if (cells.size() != 3) continue;
    const std::string key(absl::StripSuffix(cells[0], "`"));
    EXPECT_THAT(cells[1], AnyOf("same", "better", "not yet", "no effect"))
        << line;
    EXPECT_TRUE(absl::EndsWith(cells[2], ". |")) << line;
    EXPECT_TRUE(page[section].emplace(key, cells[1]).second)
        << "twice: " << line;
  }
  return page;
}

// What stands before a target, and before the fields of a bundle.
const char* const kTargets[] = {
    "targets[].", "targetCustomizations[].", "overrideTargets[].",
    "targetRestrictions[].", "rolloutStrategy.partitions[]."};

// Where a key of `kind` may be explained: sections and names, nearest first.
std::vector<std::pair<std::string, std::string>> Places(
    const std::string& kind, const std::string& key) {
  std::vector<std::pair<std::string, std::string>> places = {{kind, key}};
  if (kind != "fleet.yaml") places.emplace_back("Metadata", key);
  for (const char* part : {"matchLabels", "matchExpressions"}) {
    const size_t at = key.rfind(absl::StrCat(".", part));
    if (at != std::string::npos) {
      places.emplace_back("Label selectors", key.substr(at + 1));
    }
  }
  absl::string_view rest = key;
  const bool bundle = kind == "fleet.yaml" || kind == "Bundle" ||
                      kind == "HelmOp";
  if (kind != "fleet.yaml" && !absl::ConsumePrefix(&rest, "spec.")) {
    return places;
  }
  if (bundle) {
    places.emplace_back("Bundles", std::string(rest));
    places.emplace_back("Options", std::string(rest));
  }
  for (const char* prefix : kTargets) {
    absl::string_view inner = rest;
    if (!absl::ConsumePrefix(&inner, prefix)) continue;
    places.emplace_back("Criteria", std::string(inner));
    if (bundle) places.emplace_back("Options", std::string(inner));
  }
  return places;
}

// Keys that the parsers ask for, by kind.
std::map<std::string, std::set<std::string>> AskedKeys() {
  std::map<std::string, std::set<std::string>> asked;
  const FleetYaml fleet_yaml =
      ParseFleetYaml(ReadFile(kFleetYaml), "f", "", &asked["fleet.yaml"]);
  EXPECT_EQ(DescribeProblems(fleet_yaml.errors), "");
  const auto documents = ParseYamlDocuments(ReadFile(kDocuments));
  EXPECT_TRUE(documents.ok());
  for (const YamlDocument& document : *documents) {
    const ParsedDocuments parsed =
        ParseDocuments({{"f", document.value.dump()}}, "",
                       &asked[document.value["kind"].get<std::string>()]);
    EXPECT_EQ(DescribeProblems(parsed.errors), "");
  }
  return asked;
}

TEST(Compatibility, ThePageHasTheKeysOfTheParsersAndNoOthers) {
  const Page page = ReadPage();
  std::set<std::pair<std::string, std::string>> used;
  for (const auto& [kind, keys] : AskedKeys()) {
    for (const std::string& key : keys) {
      bool found = false;
      for (const auto& [section, name] : Places(kind, key)) {
        const auto it = page.find(section);
        if (it == page.end() || it->second.count(name) == 0) continue;
        used.emplace(section, name);
        found = true;
        break;
      }
      EXPECT_TRUE(found) << kPage << " lacks " << key << " of " << kind;
    }
  }
  for (const auto& [section, rows] : page) {
    if (section == "Kinds" || section == "Features") continue;
    for (const auto& [key, status] : rows) {
      EXPECT_TRUE(used.count({section, key}) > 0)
          << "no parser asks for " << key << " of section " << section;
    }
  }
}

TEST(Compatibility, ThePageHasEveryKind) {
  std::set<std::string> known;
  for (const absl::string_view kind : absl::StrSplit(AcceptedKinds(), ", ")) {
    known.emplace(kind);
  }
  for (const std::string& kind : PassedOverKindNames()) known.insert(kind);
  std::set<std::string> shown;
  const Page page = ReadPage();
  for (const auto& [kind, status] : page.at("Kinds")) shown.insert(kind);
  EXPECT_EQ(shown, known);
}

// "spec.targets[0].helm" of a message becomes "spec.targets[].helm".
std::string KeyOfMessage(absl::string_view message) {
  std::string key;
  bool index = false;
  for (const char c : message.substr(0, message.find(": "))) {
    if (c == ']') index = false;
    if (!index) key.push_back(c);
    if (c == '[') index = true;
  }
  return key;
}

TEST(Compatibility, AKeyWithoutEffectIsCalledSo) {
  const Page page = ReadPage();
  std::vector<std::pair<std::string, core::v1::Problem>> warnings;
  for (const core::v1::Problem& warning :
       ParseFleetYaml(ReadFile(kFleetYaml), "f", "").warnings) {
    warnings.emplace_back("fleet.yaml", warning);
  }
  for (const core::v1::Problem& warning :
       ParseDocuments({{"f", ReadFile(kDocuments)}}, "").warnings) {
    const std::vector<std::string> subject =
        absl::StrSplit(warning.subject(), ' ');
    warnings.emplace_back(subject[0], warning);
  }
  int checked = 0;
  // What means something in other places.
  const std::set<std::string> elsewhere = {
      "forceSyncGeneration", "targetRestrictions", "resources",
      "spec.resources", "spec.paths"};
  for (const auto& [kind, warning] : warnings) {
    if (!absl::StrContains(warning.message(), ": has no effect")) continue;
    const std::string key = KeyOfMessage(warning.message());
    if (elsewhere.count(key) > 0) continue;
    for (const auto& [section, name] : Places(kind, key)) {
      const auto it = page.find(section);
      if (it == page.end() || it->second.count(name) == 0) continue;
      EXPECT_THAT(it->second.at(name), AnyOf("not yet", "no effect"))
          << kind << " " << warning.message();
      ++checked;
      break;
    }
  }
  EXPECT_GT(checked, 20);
}

}  // namespace
}  // namespace flotilla::manager
