// SPDX-License-Identifier: Apache-2.0

#include <iostream>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/bundle/built_tree.h"
#include "manager/bundle/bundle_builder.h"
#include "manager/bundle/bundle_revision.h"
#include "manager/bundle/corpus.h"
#include "manager/documents/documents.h"
#include "manager/gitsync/directory_tree.h"
#include "manager/gitsync/file_tree.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

TEST(BundleBuilder, IgnoresFilesAsTheCorpusSays) {
  const std::optional<nlohmann::json> table =
      ReadCorpusTable("fleetignore.yaml");
  if (!table.has_value()) return;

  int checked = 0;
  for (const nlohmann::json& row : (*table)["cases"]) {
    Files files;
    for (const auto& item : row["files"].items()) {
      files[absl::StrCat("dir/", item.key())] =
          item.value().get<std::string>();
    }
    const BuildResult result = Build(files, {"dir"});
    // The table's fleet.yaml names a values file and no chart: a warning only.
    ASSERT_THAT(result.errors, IsEmpty()) << row["case"];
    ASSERT_THAT(result.bundles, SizeIs(1)) << row["case"];
    std::vector<std::string> kept;
    for (const auto& name : row["kept"]) kept.push_back(name);
    EXPECT_THAT(FileNames(result.bundles[0]),
                ::testing::UnorderedElementsAreArray(kept))
        << row["case"];
    ++checked;
  }
  std::cout << checked << " cases of the corpus checked" << std::endl;
}

// Every repository of the corpus is read to the end, whatever is in it.
TEST(BundleBuilder, ReadsTheRepositoriesOfTheCorpus) {
  const std::string folder = CorpusFolder();
  if (folder.empty()) return;

  for (const char* name :
       {"fleet-examples", "fleet-test-data", "fleet-cli-assets"}) {
    auto tree = DirectoryTree::Open(absl::StrCat(folder, "/", name));
    if (!tree.ok()) continue;
    const BuildResult result = BuildBundles(**tree, GitRepo());
    std::cout << name << ": " << result.bundles.size() << " bundles, "
              << result.errors.size() << " errors" << std::endl;
    for (const auto& error : result.errors) {
      EXPECT_EQ(error.message().find('\n'), std::string::npos);
    }
  }
  auto simple = DirectoryTree::Open(absl::StrCat(folder, "/fleet-examples"));
  if (!simple.ok()) return;
  const BuildResult result =
      BuildBundles(**simple, GitRepo({"simple", "single-cluster/helm",
                                      "single-cluster/manifests"}));
  EXPECT_THAT(result.errors, IsEmpty()) << DescribeProblems(result.errors);
  EXPECT_THAT(Names(result),
              ElementsAre("repo-simple", "repo-single-cluster-helm",
                          "repo-single-cluster-manifests"));
}

// Every directory of the corpus with YAML in it, as spec.paths may name it.
// One that the corpus made to be refused says so in its name.
TEST(BundleBuilder, BuildsEachDirectoryOfTheCorpus) {
  const std::string folder = CorpusFolder();
  if (folder.empty()) return;

  int built = 0;
  int refused = 0;
  int needs = 0;
  for (const char* name :
       {"fleet-examples", "fleet-test-data", "fleet-cli-assets"}) {
    auto tree = DirectoryTree::Open(absl::StrCat(folder, "/", name));
    if (!tree.ok()) continue;
    const auto entries = (*tree)->Walk("");
    ASSERT_THAT(entries, IsOk());
    std::set<std::string> directories;
    for (const TreeEntry& entry : *entries) {
      if (entry.kind != TreeEntry::Kind::kFile ||
          absl::StartsWith(entry.path, ".") ||
          absl::StrContains(entry.path, "/.") ||
          !(absl::EndsWith(entry.path, ".yaml") ||
            absl::EndsWith(entry.path, ".yml"))) {
        continue;
      }
      const size_t slash = entry.path.rfind('/');
      if (slash != std::string::npos) {
        directories.insert(entry.path.substr(0, slash));
      }
    }
    for (const std::string& directory : directories) {
      const BuildResult result = BuildBundles(**tree, GitRepo({directory}));
      if (absl::StrContains(directory, "invalid")) {
        EXPECT_THAT(result.errors, Not(IsEmpty())) << name << "/" << directory;
        ++refused;
        continue;
      }
      // A directory with values files of its neighbours only is no bundle.
      for (const auto& error : result.errors) {
        EXPECT_THAT(error.message(), HasSubstr("no resource found"))
            << name << "/" << directory << " " << error.file();
      }
      built += static_cast<int>(result.bundles.size());
      for (const BuiltBundle& bundle : result.bundles) {
        needs += static_cast<int>(bundle.content->charts.size());
        EXPECT_GT(MakeRevision(bundle, GitRepo()).targets_size(), 0)
            << bundle.name;
      }
    }
  }
  std::cout << built << " bundles, " << needs << " downloads, " << refused
            << " refused as meant" << std::endl;
  EXPECT_GT(built, 50);
}

}  // namespace
}  // namespace flotilla::manager
