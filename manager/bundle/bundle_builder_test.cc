// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_builder.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/bundle/built_tree.h"
#include "manager/bundle/bundle_name.h"
#include "manager/documents/documents.h"
#include "manager/gitsync/memory_tree.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

TEST(BundleBuilder, MakesEachPathABundle) {
  const BuildResult result = Build(
      {{"simple/a.yaml", "a"}, {"helm/Chart.yaml", "c"}, {"other/x.yaml", "x"}},
      {"simple", "/helm/"});

  EXPECT_THAT(result.errors, IsEmpty());
  EXPECT_THAT(Names(result), ElementsAre("repo-helm", "repo-simple"));
  EXPECT_THAT(FileNames(result.bundles[1]), ElementsAre("a.yaml"));
}

TEST(BundleBuilder, MakesTheWholeRepositoryABundleWithoutPaths) {
  const BuildResult result = Build({{"a.yaml", "a"}, {"sub/b.txt", "b"}});

  EXPECT_THAT(Names(result), ElementsAre("repo"));
  EXPECT_THAT(FileNames(result.bundles[0]),
              ElementsAre("a.yaml", "sub/b.txt"));
}

TEST(BundleBuilder, MakesANestedDirectoryABundleOnlyWithFleetYaml) {
  const BuildResult result = Build({{"a.yaml", "a"},
                                    {"n/fleet.yaml", "name: nested\n"},
                                    {"n/b.yaml", "b"},
                                    {"m/fleet.yml", ""},
                                    {"m/c.yaml", "c"},
                                    {"k/d.yaml", "d"}});

  EXPECT_THAT(Names(result), ElementsAre("nested", "repo", "repo-m"));
  // The outer one ships the nested files too.
  EXPECT_THAT(FileNames(result.bundles[1]),
              ElementsAre("a.yaml", "k/d.yaml", "m/c.yaml", "m/fleet.yml",
                          "n/b.yaml", "n/fleet.yaml"));
  EXPECT_THAT(FileNames(result.bundles[0]), ElementsAre("b.yaml"));
  EXPECT_THAT(FileNames(result.bundles[2]),
              ElementsAre("c.yaml", "fleet.yml"));
}

TEST(BundleBuilder, MakesNoBundleOfARootWithNestedOnesOnly) {
  const BuildResult result = Build({{"README.md", "r"},
                                    {".github/workflows/ci.yml", "ci"},
                                    {"a/fleet.yaml", ""},
                                    {"a/a.yaml", "a"},
                                    {"a/sub/b.yaml", "b"}});

  EXPECT_THAT(Names(result), ElementsAre("repo-a"));
}

TEST(BundleBuilder, ExpandsGlobsOfOnePathPart) {
  const Files files = {{"apps/a/x.yaml", "x"},
                       {"apps/b/x.yaml", "x"},
                       {"apps/c.yaml", "x"},
                       {"deep/apps/c/x.yaml", "x"}};

  EXPECT_THAT(Names(Build(files, {"apps/*"})),
              ElementsAre("repo-apps-a", "repo-apps-b"));
  EXPECT_THAT(Names(Build(files, {"*/[ab]"})),
              ElementsAre("repo-apps-a", "repo-apps-b"));
  EXPECT_THAT(Names(Build(files, {"apps/a", "apps/*"})),
              ElementsAre("repo-apps-a", "repo-apps-b"));
}

TEST(BundleBuilder, SaysSoWhenThereIsNothing) {
  for (const auto& [files, paths] :
       std::vector<std::pair<Files, std::vector<std::string>>>{
           {{}, {}},
           {{{"README.md", "x"}}, {}},
           {{{"a/x.txt", "x"}}, {"a"}},
           {{{"a/x.yaml", "x"}}, {"b*"}},
           {{{"a/x.yaml", "x"}}, {"["}}}) {
    const BuildResult result = Build(files, paths);
    ASSERT_THAT(result.errors, SizeIs(1));
    EXPECT_THAT(
        result.errors[0].message(),
        HasSubstr("no resource found at the following paths to deploy: ["));
    EXPECT_THAT(result.errors[0].message(),
                HasSubstr(paths.empty() ? "/" : paths[0]));
  }
}

TEST(BundleBuilder, NamesAPathThatIsNotThere) {
  const BuildResult result = Build({{"a/x.yaml", "x"}}, {"a", "typo"});

  ASSERT_THAT(result.errors, SizeIs(1));
  EXPECT_THAT(result.errors[0].message(),
              HasSubstr("paths to deploy: [typo]"));
}

TEST(BundleBuilder, RefusesPathsThatLeaveTheTreeOrAreFiles) {
  EXPECT_THAT(Build({{"a/x.yaml", "x"}}, {"../x"}).errors, SizeIs(1));
  EXPECT_THAT(Build({{"a/x.yaml", "x"}}, {"a/x.yaml"}).errors, SizeIs(1));
}

TEST(BundleBuilder, LeavesOutHiddenFilesAndFleetYaml) {
  const BuildResult result = Build({{"a/fleet.yaml", ""},
                                    {"a/x.yaml", "x"},
                                    {"a/.hidden.yaml", "x"},
                                    {"a/.dir/x.yaml", "x"},
                                    {"a/sub/.git/config", "x"},
                                    {"a/sub/fleet.txt", "x"}},
                                   {"a"});

  EXPECT_THAT(FileNames(result.bundles[0]),
              ElementsAre("sub/fleet.txt", "x.yaml"));
}

TEST(BundleBuilder, DropsADirectoryWithoutFiles) {
  const BuildResult result =
      Build({{"a/fleet.yaml", ""}, {"b/x.yaml", "x"}}, {"a", "b"});

  EXPECT_THAT(Names(result), ElementsAre("repo-b"));
  ASSERT_THAT(result.warnings, SizeIs(1));
  EXPECT_THAT(result.warnings[0].message(), HasSubstr("no file to deploy"));
}

TEST(BundleBuilder, MergesValuesFilesOverInlineValues) {
  const BuildResult result = Build({{"a/fleet.yaml", R"(
helm:
  chart: .
  values: {a: 1, m: {w: 1, x: 1}, l: [1, 2]}
  valuesFiles: [one.yaml, v/two.yaml]
targetCustomizations:
- clusterName: x
  helm: {values: {a: 5}, valuesFiles: [three.yaml]}
)"},
                                    {"a/Chart.yaml", "name: c"},
                                    {"a/one.yaml", "m: {x: 2}\nl: [3]\n"},
                                    {"a/v/two.yaml", "m: {z: 3}\n"},
                                    {"a/three.yaml", "a: 6\n"}},
                                   {"a"});

  ASSERT_THAT(result.errors, IsEmpty());
  const FleetYaml& yaml = result.bundles[0].content->yaml;
  EXPECT_EQ(yaml.options.helm().values_json(),
            R"({"a":1,"l":[3],"m":{"w":1,"x":2,"z":3}})");
  EXPECT_EQ(yaml.customizations[0].options().helm().values_json(),
            R"({"a":6})");
  EXPECT_THAT(FileNames(result.bundles[0]), ElementsAre("Chart.yaml"));
}

TEST(BundleBuilder, ReadsTheRootsValuesFilesOnlyWithAChart) {
  const BuildResult result =
      Build({{"a/fleet.yaml", "helm:\n  valuesFiles: [v.yaml]\n"},
             {"a/Chart.yaml", "name: c"},
             {"a/v.yaml", "a: 1"}},
            {"a"});

  EXPECT_THAT(result.errors, IsEmpty());
  ASSERT_THAT(result.warnings, SizeIs(1));
  EXPECT_THAT(result.warnings[0].message(), HasSubstr("chart: ."));
  EXPECT_EQ(result.warnings[0].line(), 2);
  EXPECT_EQ(result.bundles[0].content->yaml.options.helm().values_json(), "");
}

TEST(BundleBuilder, WarnsWhenAFileGoesForItsNameOnly) {
  const BuildResult result =
      Build({{"a/fleet.yaml", "helm: {chart: c, valuesFiles: [values.yaml]}"},
             {"a/values.yaml", "a: 1"},
             {"a/c/Chart.yaml", "name: c"},
             {"a/c/values.yaml", "a: 1"}},
            {"a"});

  EXPECT_THAT(result.errors, IsEmpty());
  EXPECT_THAT(FileNames(result.bundles[0]), ElementsAre("c/Chart.yaml"));
  ASSERT_THAT(result.warnings, SizeIs(1));
  EXPECT_EQ(result.warnings[0].file(), "a/c/values.yaml");
}

struct Row {
  const char* fleet_yaml;
  const char* file;
  int line;
  const char* words;
};

class BuilderErrors : public ::testing::TestWithParam<Row> {};

TEST_P(BuilderErrors, AreSeenWithFileAndLine) {
  const BuildResult result =
      Build({{"a/fleet.yaml", GetParam().fleet_yaml},
             {"a/x.yaml", "x"},
             {"a/broken.yaml", "a: 1\nb: [\n"},
             {"a/list.yaml", "- a\n"},
             {"a/empty/x.txt", "x"},
             {"a/packed.tgz", "x"},
             {"elsewhere/Chart.yaml", "x"}},
            {"a"});

  ASSERT_THAT(result.errors, SizeIs(1));
  EXPECT_EQ(result.errors[0].file(), GetParam().file);
  EXPECT_EQ(result.errors[0].line(), GetParam().line);
  EXPECT_THAT(result.errors[0].message(), HasSubstr(GetParam().words));
  EXPECT_THAT(result.bundles, IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(
    Table, BuilderErrors,
    ::testing::Values(
        Row{"helm:\n  chart: .\n", "a/fleet.yaml", 2, "has no Chart.yaml"},
        Row{"helm:\n  chart: nginx\n", "a/fleet.yaml", 2,
            "a chart from elsewhere needs helm.repo"},
        Row{"helm:\n  repo: https://r\n", "a/fleet.yaml", 2,
            "helm.chart must name a chart"},
        Row{"helm:\n  chart: packed.tgz\n", "a/fleet.yaml", 2,
            "unpack the chart"},
        Row{"helm:\n  chart: ../elsewhere\n", "a/fleet.yaml", 2,
            "must lie in the bundle's directory"},
        Row{"helm:\n  chart: ../../elsewhere\n", "a/fleet.yaml", 2, "leaves"},
        Row{"targets:\n- clusterName: x\n  helm:\n    chart: empty\n",
            "a/fleet.yaml", 4, "has no Chart.yaml"},
        Row{"targets:\n- clusterName: x\n  helm:\n    valuesFiles:\n"
            "    - nope.yaml\n",
            "a/fleet.yaml", 5, "names \"nope.yaml\", which cannot be read"},
        Row{"targets:\n- clusterName: x\n  helm: {valuesFiles: "
            "[broken.yaml]}\n",
            "a/broken.yaml", 3, ""},
        Row{"targets:\n- clusterName: x\n  helm: {valuesFiles: [list.yaml]}\n",
            "a/list.yaml", 1, "not a map"},
        Row{"a: [", "a/fleet.yaml", 1, ""}));

TEST(BundleBuilder, NamesBothDirectoriesOfOneName) {
  const BuildResult result =
      Build({{"a/fleet.yaml", "name: same"}, {"a/x.yaml", "x"},
             {"b/fleet.yaml", "name: same"}, {"b/x.yaml", "x"}});

  ASSERT_THAT(result.errors, SizeIs(1));
  EXPECT_THAT(result.errors[0].message(), HasSubstr("\"a\" and \"b\""));
  EXPECT_THAT(result.errors[0].message(), HasSubstr("same"));
}

TEST(BundleBuilder, FollowsLinksInsideTheTreeOnly) {
  const Files files = {{"a/x.yaml", "x"}, {"shared/y.yaml", "y"}};

  const BuildResult good =
      Build(files, {"a"}, {{"a/y.yaml", "../shared/y.yaml"}});
  EXPECT_THAT(good.errors, IsEmpty());
  EXPECT_THAT(FileNames(good.bundles[0]), ElementsAre("x.yaml", "y.yaml"));

  for (const char* target : {"/etc/passwd", "../../x", "nothing", "loop"}) {
    const BuildResult bad = Build(files, {"a"}, {{"a/loop", target}});
    ASSERT_THAT(bad.errors, SizeIs(1)) << target;
    EXPECT_EQ(bad.errors[0].file(), "a/loop");
    EXPECT_THAT(bad.errors[0].message(), HasSubstr("symbolic link"));
  }
}

TEST(BundleBuilder, SaysWhyAFileCannotBeUsed) {
  const BuildResult result =
      Build({{"a/x.yaml", "x"}, {"a/y\nz.yaml", "y"}}, {"a"});

  ASSERT_THAT(result.errors, SizeIs(1));
  EXPECT_THAT(result.errors[0].message(), HasSubstr("rename it"));
}

TEST(BundleBuilder, DoesNotMindABrokenLinkThatIsLeftOut) {
  const BuildResult result =
      Build({{"a/x.yaml", "x"}, {"a/.fleetignore", "bad\n"}}, {"a"},
            {{"a/bad", "/etc/passwd"}, {"b", "/etc"}});

  EXPECT_THAT(result.errors, IsEmpty());
}

TEST(BundleBuilder, ReadsOnlyWhatChanged) {
  Files files = {{"a/x.yaml", "1"}, {"b/x.yaml", "1"}, {"c/x.yaml", "1"}};
  MemoryTree first(files);
  const BuildResult before =
      BuildBundles(first, GitRepo({"a", "b", "c"}));
  BundleCache cache;
  for (const BuiltBundle& bundle : before.bundles) {
    cache[bundle.content->place()] = bundle.content;
  }
  EXPECT_EQ(before.read_directories, 3);

  files["b/x.yaml"] = "2";
  MemoryTree second(files);
  const BuildResult after =
      BuildBundles(second, GitRepo({"a", "b", "c"}), cache);

  EXPECT_EQ(after.read_directories, 1);
  EXPECT_EQ(after.bundles[0].content, before.bundles[0].content);
  EXPECT_EQ(after.bundles[0].fresh, nullptr);
  EXPECT_EQ(after.bundles[1].content->files[0].bytes, "2");
}

TEST(BundleBuilder, KeepsLimits) {
  MemoryTree tree(Files{{"a.yaml", std::string(100, 'x')}, {"b.yaml", "x"}});
  BuildLimits limits;

  limits.max_file_bytes = 99;
  EXPECT_THAT(BuildBundles(tree, GitRepo(), {}, limits).errors, SizeIs(1));
  limits = BuildLimits();
  limits.max_bundle_files = 1;
  EXPECT_THAT(BuildBundles(tree, GitRepo(), {}, limits).errors, SizeIs(1));
  limits = BuildLimits();
  limits.max_read_bytes = 100;
  EXPECT_THAT(BuildBundles(tree, GitRepo(), {}, limits).errors, SizeIs(1));
}

TEST(BundleBuilder, GivesUpOnPatternsThatLinksMakeEndless) {
  MemoryTree tree(Files{{"x/a.yaml", "x"}}, {{"l", "."}, {"m", "."}});

  const BuildResult result =
      BuildBundles(tree, GitRepo({"*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*"}));

  EXPECT_THAT(result.errors, SizeIs(1));
}

storage::v1::Document Explicit(
    const std::vector<std::pair<std::string, std::string>>& bundles) {
  storage::v1::Document document = GitRepo();
  for (const auto& [base, options] : bundles) {
    auto* bundle = document.mutable_git_repo()->add_bundles();
    bundle->set_base(base);
    bundle->set_options(options);
  }
  return document;
}

TEST(BundleBuilder, MakesSeveralBundlesOfOneDirectoryAsListed) {
  MemoryTree tree(Files{{"app/x.yaml", "x"},
                        {"app/fleet.yaml", "namespace: none"},
                        {"app/dev.yaml", "namespace: dev"},
                        {"app/sub/prod.yaml", "namespace: prod"},
                        {"opt/all.yaml", "namespace: all"},
                        {"other/y.yaml", "y"}});
  storage::v1::Document repo = Explicit({{"app", "dev.yaml"},
                                         {"/app", "sub/prod.yaml"},
                                         {"app", "../opt/all.yaml"},
                                         {"app", ""}});
  repo.mutable_git_repo()->add_paths("other");

  const BuildResult result = BuildBundles(tree, repo);

  EXPECT_THAT(result.errors, IsEmpty()) << DescribeProblems(result.errors);
  std::map<std::string, std::string> namespaces;
  for (const BuiltBundle& bundle : result.bundles) {
    namespaces[bundle.name] = bundle.content->yaml.options.namespace_();
  }
  EXPECT_THAT(namespaces,
              UnorderedElementsAre(Pair("repo-app-dev", "dev"),
                                   Pair("repo-app-sub-prod", "prod"),
                                   Pair("repo-opt-all", "all"),
                                   Pair("repo-app", "none")));
  // The options file and fleet.yaml are no files of the bundle.
  EXPECT_THAT(FileNames(result.bundles[0]),
              ElementsAre("dev.yaml", "sub/prod.yaml", "x.yaml"));
  EXPECT_THAT(FileNames(result.bundles[1]),
              ElementsAre("sub/prod.yaml", "x.yaml"));
}

TEST(BundleBuilder, SaysWhatIsWrongWithListedBundles) {
  MemoryTree tree(Files{{"app/x.yaml", "x"}, {"app/a.yaml", ""}});
  for (const auto& [bundles, words] :
       std::vector<std::pair<std::vector<std::pair<std::string, std::string>>,
                             std::string>>{
           {{{"nope", ""}}, "take it out of spec.bundles"},
           {{{"app/x.yaml", ""}}, "not a directory"},
           {{{"app", "nope.yaml"}}, "options file \"nope.yaml\""},
           {{{"app", "../../x.yaml"}}, "leaves"},
           {{{"app", "a.yaml"}, {"/app", "a.yaml"}}, "twice"},
           {{{"app", "a.yaml"}, {"app", "a.yml"}}, "a.yml"}}) {
    const BuildResult result = BuildBundles(tree, Explicit(bundles));
    ASSERT_THAT(result.errors, SizeIs(1)) << words;
    EXPECT_THAT(result.errors[0].message(), HasSubstr(words));
  }
}

TEST(BundleBuilder, NamesBothDirectoriesOfOneCutName) {
  // Two paths whose names differ, given one name by hand, and the cut name of
  // a long path written as the name of another.
  const std::string deep = "long/" + std::string(60, 'x');
  const BuildResult result =
      Build({{deep + "/a.yaml", "a"},
             {"b/fleet.yaml",
              "name: " + ReleaseName("repo-long-" + std::string(60, 'x'))},
             {"b/x.yaml", "x"}},
            {deep, "b"});

  ASSERT_THAT(result.errors, SizeIs(1));
  EXPECT_THAT(result.errors[0].message(), HasSubstr("\"b\" and \"long/xxx"));
}

TEST(BundleBuilder, ReadsAgainWhatChangedOutsideTheDirectory) {
  Files files = {{"a/fleet.yaml", "helm: {chart: ., valuesFiles: [../v.yaml]}"},
                 {"a/Chart.yaml", "name: a"},
                 {"v.yaml", "x: 1"}};
  MemoryTree first(files);
  const BuildResult before = BuildBundles(first, GitRepo({"a"}));
  ASSERT_THAT(before.errors, IsEmpty()) << DescribeProblems(before.errors);
  const BundleCache cache = {
      {before.bundles[0].content->place(), before.bundles[0].content}};
  MemoryTree same(files);
  EXPECT_EQ(BuildBundles(same, GitRepo({"a"}), cache).read_directories, 0);

  files["v.yaml"] = "x: 2";
  MemoryTree second(files);
  const BuildResult after = BuildBundles(second, GitRepo({"a"}), cache);

  EXPECT_EQ(after.read_directories, 1);
  EXPECT_EQ(after.bundles[0].content->yaml.options.helm().values_json(),
            R"({"x":2})");
}

}  // namespace
}  // namespace flotilla::manager
