// SPDX-License-Identifier: Apache-2.0

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/bundle/built_tree.h"
#include "manager/bundle/bundle_builder.h"
#include "manager/bundle/chart_needs.h"
#include "manager/documents/documents.h"
#include "manager/gitsync/memory_tree.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// hostile-input, rows 1 and 9.
struct LinkRow {
  const char* target;
  const char* words;  // Empty: the link may be followed.
};

class HostileLinks : public ::testing::TestWithParam<LinkRow> {};

TEST_P(HostileLinks, LeadNowhereOutsideTheTree) {
  const BuildResult result = Build({{"a/x.yaml", "x"},
                                    {"a/sub/y.yaml", "y"},
                                    {"b/z.yaml", "z"}},
                                   {"a"},
                                   {{"a/link", GetParam().target},
                                    {"chain1", "chain2"},
                                    {"chain2", "b/z.yaml"},
                                    {"round1", "round2"},
                                    {"round2", "round1"}});

  if (GetParam().words[0] == '\0') {
    EXPECT_THAT(result.errors, IsEmpty()) << DescribeProblems(result.errors);
    EXPECT_THAT(Names(result), ElementsAre("repo-a"));
    return;
  }
  ASSERT_THAT(result.errors, SizeIs(1));
  EXPECT_EQ(result.errors[0].file(), "a/link");
  EXPECT_THAT(result.errors[0].message(), HasSubstr(GetParam().words));
}

INSTANTIATE_TEST_SUITE_P(
    Table, HostileLinks,
    ::testing::Values(LinkRow{"/etc/passwd", "outside the repository"},
                      LinkRow{"../../etc/passwd", "leaves the repository"},
                      LinkRow{"../b/../../x", "leaves the repository"},
                      LinkRow{"../round1", "circle"},
                      LinkRow{"link", "circle"},
                      LinkRow{"nothing", "does not exist"},
                      LinkRow{"", "outside the repository"},
                      LinkRow{".", "a directory that it lies in"},
                      LinkRow{"..", "a directory that it lies in"},
                      LinkRow{"sub", ""}, LinkRow{"../b", ""},
                      LinkRow{"../chain1", ""},
                      LinkRow{"sub/../x.yaml", ""}));

TEST(HostileTrees, PathsThatLeaveTheTreeAreRefused) {
  for (const char* path :
       {"../x", "a/../../b", "a\\b", "a\rb", "..", "a/../..", "\xff"}) {
    const BuildResult result = Build({{"a/x.yaml", "x"}}, {path});
    ASSERT_THAT(result.errors, SizeIs(1)) << path;
    EXPECT_THAT(result.bundles, IsEmpty());
  }
  // A slash at the beginning is the root's.
  EXPECT_THAT(Names(Build({{"a/x.yaml", "x"}}, {"/a", "./a/.", "a/b/.."})),
              ElementsAre("repo-a"));
}

TEST(HostileTrees, GitDirectoriesAreNeverRead) {
  for (const char* name : {".GIT", ".git", ".git::$INDEX_ALLOCATION"}) {
    const BuildResult result =
        Build({{"a/x.yaml", "x"},
               {absl::StrCat("a/", name, "/fleet.yaml"), "name: evil"},
               {absl::StrCat("a/", name, "/config"), "canary"}},
              {"a"});
    for (const BuiltBundle& bundle : result.bundles) {
      EXPECT_EQ(bundle.name, "repo-a");
      EXPECT_THAT(FileNames(bundle), ElementsAre("x.yaml"));
    }
  }
}

TEST(HostileTrees, NamesThatDifferInCaseStayApart) {
  const BuildResult result = Build({{"App/fleet.yaml", ""},
                                    {"App/x.yaml", "1"},
                                    {"app/fleet.yaml", ""},
                                    {"app/x.yaml", "2"},
                                    {"app/X.yaml", "3"},
                                    {"-rf/fleet.yaml", ""},
                                    {"-rf/-rf.yaml", "4"}});

  EXPECT_THAT(result.errors, IsEmpty()) << DescribeProblems(result.errors);
  EXPECT_THAT(result.bundles, SizeIs(3));
  std::set<std::string> names;
  for (const BuiltBundle& bundle : result.bundles) names.insert(bundle.name);
  EXPECT_THAT(names, SizeIs(3));
}

TEST(HostileTrees, VeryManyEntriesAreAnErrorNotAMemoryFault) {
  Files files;
  for (int i = 0; i < 100'001; ++i) {
    files[absl::StrCat("d/", i, ".yaml")] = "x";
  }
  const BuildResult result = Build(files);
  ASSERT_THAT(result.errors, Not(IsEmpty()));
  EXPECT_EQ(result.errors[0].code(), "RESOURCE_EXHAUSTED");
  EXPECT_THAT(result.bundles, IsEmpty());
}

TEST(HostileTrees, NestedBundlesDoNotMultiplyWithoutEnd) {
  // Each level ships all below it.
  Files files;
  std::string directory;
  for (int i = 0; i < 40; ++i) {
    absl::StrAppend(&directory, i == 0 ? "" : "/", "d");
    files[directory + "/fleet.yaml"] = "";
    for (int k = 0; k < 50; ++k) {
      files[absl::StrCat(directory, "/", k, ".yaml")] = "x";
    }
  }
  MemoryTree tree(files);
  BuildLimits limits;
  limits.max_entries = 10'000;

  const BuildResult result = BuildBundles(tree, GitRepo(), {}, limits);

  ASSERT_THAT(result.errors, SizeIs(1));
  EXPECT_EQ(result.errors[0].code(), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(result.read_directories, 0);
}

TEST(HostileTrees, PathsThatShareFilesDoNotMultiplyThem) {
  Files files;
  Files links;
  for (int i = 0; i < 100; ++i) {
    files[absl::StrCat("shared/", i, ".txt")] = "x";
    links[absl::StrCat("l", i)] = "shared";
  }
  MemoryTree tree(files, links);
  BuildLimits limits;
  limits.max_walked = 5000;

  for (const char* pattern : {"*", "*/*"}) {
    const BuildResult result =
        BuildBundles(tree, GitRepo({pattern}), {}, limits);

    ASSERT_THAT(result.errors, SizeIs(1)) << pattern;
    EXPECT_THAT(result.errors[0].message(), HasSubstr("more than 5000"));
  }
}

TEST(HostileTrees, IgnoreFilesCountAsReadAndEndSoon) {
  Files files = {{"a/x.yaml", "x"}};
  for (int i = 0; i < 100; ++i) {
    files[absl::StrCat("a/d", i, "/.fleetignore")] =
        "#" + std::string(10'000, 'c');
  }
  MemoryTree tree(files);
  BuildLimits limits;
  limits.max_read_bytes = 100'000;

  const BuildResult result = BuildBundles(tree, GitRepo({"a"}), {}, limits);

  ASSERT_THAT(result.errors, SizeIs(1));
  EXPECT_THAT(result.errors[0].message(), HasSubstr("more than 100000 bytes"));
}

TEST(HostileTrees, MatchingEndsWithItsBudget) {
  const Files files = {{"aaaaaaaa/x.yaml", "x"},
                       {"b/.fleetignore", "*a*a*a*b\n"},
                       {"b/aaaaaaaa.yaml", "x"}};
  BuildLimits limits;
  limits.max_match_steps = 10;
  for (const char* path : {"*a*a*a*b", "b"}) {
    MemoryTree tree(files);

    const BuildResult result =
        BuildBundles(tree, GitRepo({path}), {}, limits);

    ASSERT_THAT(result.errors, SizeIs(1)) << path;
    EXPECT_THAT(result.errors[0].message(), HasSubstr("too long to match"));
  }
}

TEST(HostileTrees, DependenciesStayInTheRepository) {
  for (const char* repository :
       {"file:///etc", "file://../../etc", "file://../nothing"}) {
    const BuildResult result =
        Build({{"a/Chart.yaml",
                absl::StrCat("dependencies: [{name: x, repository: '",
                             repository, "'}]")}},
              {"a"});
    ASSERT_THAT(result.errors, SizeIs(1)) << repository;
    EXPECT_EQ(result.errors[0].file(), "a/Chart.yaml");
  }
  const BuildResult named =
      Build({{"a/Chart.yaml",
              "dependencies: [{name: ../../x, repository: 'file://../b'}]"},
             {"b/Chart.yaml", "name: b"}},
            {"a"});
  ASSERT_THAT(named.errors, SizeIs(1));
  EXPECT_THAT(named.errors[0].message(), HasSubstr("not a name"));
}

TEST(HostileTrees, SecretsOfAUrlAreNotShown) {
  ChartNeed need;
  need.chart = "git::https://user:canary@h/r//c?sshkey=canary";
  EXPECT_THAT(DescribeChart(need), Not(HasSubstr("canary")));
  need.chart = "c";
  need.repo = "https://u:canary@h/charts?token=canary";
  EXPECT_THAT(DescribeChart(need), Not(HasSubstr("canary")));
}

}  // namespace
}  // namespace flotilla::manager
