// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_name.h"

#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/bundle/corpus.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;

int CheckTable(const json& table) {
  int checked = 0;
  for (const json& row : table["cases"]) {
    const std::string rule = row["rule"].get<std::string>();
    const std::string wanted = row["out"].get<std::string>();
    std::string found;
    if (rule == "limit") {
      found = LimitName(row["in"].get<std::string>(),
                        row["max"].get<size_t>());
    } else if (rule == "release-name") {
      found = ReleaseName(row["in"].get<std::string>());
    } else if (rule == "safe-concat") {
      found = SafeConcat(row["in"].get<std::vector<std::string>>());
    } else {
      ADD_FAILURE() << "no such rule: " << rule;
    }
    EXPECT_EQ(found, wanted) << row.dump();
    ++checked;
  }
  return checked;
}

TEST(BundleName, FollowsTheVectorsOfTheTree) {
  EXPECT_GE(CheckTable(ReadTable("manager/bundle/testdata/names.yaml")), 10);
}

TEST(BundleName, FollowsTheVectorsOfTheCorpus) {
  const std::optional<json> table = ReadCorpusTable("names.yaml");
  if (!table.has_value()) return;

  const int checked = CheckTable(*table);

  std::cout << checked << " vectors of the corpus checked" << std::endl;
  EXPECT_GT(checked, 0);
}

TEST(BundleName, JoinsTheRepositoryAndTheDirectory) {
  EXPECT_EQ(BundleName("simple", ""), "simple");
  EXPECT_EQ(BundleName("simple", "apps/web"), "simple-apps-web");
}

TEST(BundleName, TellsDirectoriesApartThatDifferInCaseOnly) {
  EXPECT_NE(BundleName("repo", "App"), BundleName("repo", "app"));
}

TEST(BundleName, Md5IsTheOneOfTheRfc) {
  EXPECT_EQ(Md5Hex(""), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(Md5Hex("abc"), "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_EQ(Md5Hex("1234567890123456789012345678901234567890123456789012345678"
                   "9012345678901234567890"),
            "57edf4a22be3c955ac49da2e2107b67a");
}

}  // namespace
}  // namespace flotilla::manager
