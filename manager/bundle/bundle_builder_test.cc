// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_builder.h"

#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/status_matchers.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/bundle/bundle_name.h"
#include "manager/bundle/bundle_revision.h"
#include "manager/bundle/chart_needs.h"
#include "manager/bundle/corpus.h"
#include "manager/documents/documents.h"
#include "manager/gitsync/directory_tree.h"
#include "manager/gitsync/file_tree.h"
#include "manager/gitsync/memory_tree.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using storage::v1::HelmOptions;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

using Files = std::map<std::string, std::string>;

storage::v1::Document GitRepo(std::vector<std::string> paths = {}) {
  storage::v1::Document document;
  document.set_kind("GitRepo");
  document.set_workspace("fleet-default");
  document.set_name("repo");
  document.mutable_git_repo();
  for (const std::string& path : paths) {
    document.mutable_git_repo()->add_paths(path);
  }
  return document;
}

BuildResult Build(const Files& files, std::vector<std::string> paths = {},
                  const Files& links = {}) {
  MemoryTree tree(files, links);
  return BuildBundles(tree, GitRepo(std::move(paths)));
}

std::vector<std::string> Names(const BuildResult& result) {
  std::vector<std::string> names;
  for (const BuiltBundle& bundle : result.bundles) names.push_back(bundle.name);
  return names;
}

std::vector<std::string> FileNames(const BuiltBundle& bundle) {
  std::vector<std::string> names;
  for (const ContentFile& file : bundle.content->files) {
    names.push_back(file.name);
  }
  return names;
}

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

TEST(BundleBuilder, PutsTheSettingsOfTheGitRepoIntoTheRevision) {
  MemoryTree tree(Files{{"fleet.yaml",
                         "namespace: own\nlabels: {a: fleet, b: fleet}\n"
                         "targetCustomizations:\n"
                         "- {clusterName: x, namespace: custom}\n"},
                        {"x.yaml", "x"}});
  storage::v1::Document repo = GitRepo();
  repo.mutable_git_repo()->set_target_namespace("forced");
  repo.mutable_git_repo()->set_keep_resources(true);
  repo.mutable_git_repo()->set_correct_drift(storage::v1::TRI_STATE_FALSE);
  auto* label = repo.add_labels();
  label->set_key("a");
  label->set_value("repo");
  const BuildResult built = BuildBundles(tree, repo);

  const storage::v1::BundleRevision revision =
      MakeRevision(built.bundles[0], repo);

  EXPECT_EQ(revision.options().namespace_(), "forced");
  EXPECT_EQ(revision.customizations(0).options().namespace_(), "forced");
  EXPECT_TRUE(revision.options().keep_resources());
  EXPECT_EQ(revision.source_correct_drift(), storage::v1::TRI_STATE_FALSE);
  ASSERT_EQ(revision.targets_size(), 1);
  EXPECT_EQ(revision.targets(0).cluster_group(), "default");
  std::vector<std::string> labels;
  for (const auto& pair : revision.labels()) {
    labels.push_back(absl::StrCat(pair.key(), "=", pair.value()));
  }
  EXPECT_THAT(labels, ElementsAre("a=fleet", "b=fleet",
                                  "fleet.cattle.io/repo-name=repo"));
}

TEST(BundleBuilder, MakesARevisionOfABundleDocument) {
  const ParsedDocuments parsed = ParseDocuments(
      {{"f", "apiVersion: fleet.cattle.io/v1alpha1\nkind: Bundle\n"
             "metadata: {name: b, labels: {a: b}}\nspec:\n"
             "  helm: {chart: ., values: {a: 1}, valuesFiles: [v.yaml]}\n"
             "  resources:\n  - {name: v.yaml, content: 'a: 2'}\n"
             "  - {name: Chart.yaml, content: 'name: c'}\n"
             "  targets: [{clusterSelector: {}}]\n"}},
      "");
  ASSERT_THAT(parsed.errors, IsEmpty());
  const storage::v1::Document& document = parsed.documents[0].document;

  const auto revision = MakeDocumentRevision(
      document,
      [](const std::string&) -> absl::StatusOr<std::string> {
        return std::string("a: 2");
      });

  ASSERT_THAT(revision, IsOk());
  EXPECT_EQ(revision->revision.options().helm().values_json(), R"({"a":2})");
  EXPECT_EQ(revision->revision.targets_size(), 1);
  EXPECT_EQ(revision->revision.customizations_size(), 0);
  const auto read =
      [](const std::string&) -> absl::StatusOr<std::string> {
    return absl::NotFoundError("not there");
  };
  EXPECT_THAT(
      MakeDocumentRevision(document, read),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not there")));
}

TEST(BundleBuilder, AsksForAChartThatABundleDocumentDoesNotCarry) {
  storage::v1::Document document;
  HelmOptions& helm =
      *document.mutable_bundle()->mutable_options()->mutable_helm();
  helm.set_chart("oci://registry/chart");
  const auto read =
      [](const std::string&) -> absl::StatusOr<std::string> {
    return absl::NotFoundError("not there");
  };

  const auto draft = MakeDocumentRevision(document, read);
  ASSERT_THAT(draft, IsOk());
  ASSERT_THAT(draft->needs, SizeIs(1));
  EXPECT_EQ(draft->needs[0].chart, "oci://registry/chart");

  document.mutable_bundle()->add_resources()->set_name(
      absl::StrCat(draft->needs[0].prefix, "/Chart.yaml"));
  EXPECT_THAT(MakeDocumentRevision(document, read)->needs, IsEmpty());

  helm.set_chart("nowhere");
  EXPECT_THAT(MakeDocumentRevision(document, read),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("no Chart.yaml in spec.resources")));
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

TEST(BundleBuilder, AsksForChartsFromElsewhere) {
  const BuildResult result = Build({{"a/fleet.yaml", R"(
helm:
  repo: https://charts.example.com
  chart: web
  version: 1.x
targetCustomizations:
- clusterName: same
  helm: {values: {a: 1}}
- clusterName: newer
  helm: {version: 2.0.0}
- clusterName: other
  helm: {repo: "oci://r/x", chart: "", version: "3"}
- clusterName: none
)"}},
                                   {"a"});

  ASSERT_THAT(result.errors, IsEmpty()) << DescribeProblems(result.errors);
  ASSERT_THAT(result.bundles, SizeIs(1));
  const auto& needs = result.bundles[0].content->charts;
  ASSERT_THAT(needs, SizeIs(3));
  EXPECT_EQ(needs[0].prefix,
            ChartPrefix("web", "https://charts.example.com", "1.x"));
  EXPECT_EQ(needs[0].directory, "a");
  EXPECT_EQ(needs[0].file, "a/fleet.yaml");
  EXPECT_EQ(needs[0].line, 4);
  EXPECT_EQ(needs[1].version, "2.0.0");
  EXPECT_EQ(needs[1].chart, "web");
  EXPECT_EQ(needs[2].repo, "oci://r/x");
  const auto& yaml = result.bundles[0].content->yaml;
  EXPECT_EQ(yaml.customizations[0].options().helm().chart(), "web");
  EXPECT_FALSE(yaml.customizations[3].options().has_helm());

  // Attached, sorted, once each.
  FetchedCharts fetched;
  for (const ChartNeed& need : needs) {
    FetchedChart& chart = fetched[ChartNeedKey(need)];
    chart.version = need.version;
    chart.files.emplace_back().set_name("Chart.yaml");
  }
  storage::v1::BundleRevision revision =
      MakeRevision(result.bundles[0], GitRepo());
  ASSERT_THAT(AttachCharts(needs, fetched, {}, revision), IsOk());
  EXPECT_EQ(revision.charts_size(), 3);
  EXPECT_EQ(revision.files_size(), 3);
  EXPECT_THAT(AttachCharts(needs, {}, {}, revision),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  BundleSizeLimits tight;
  tight.max_files = 2;
  revision = MakeRevision(result.bundles[0], GitRepo());
  EXPECT_THAT(AttachCharts(needs, fetched, tight, revision),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(BundleBuilder, TellsAddressesFromDirectories) {
  for (const char* address :
       {"https://h/c.tgz", "oci://h/c", "git::ssh://h/r//c",
        "github.com/o/r//c", "git@h:o/r"}) {
    EXPECT_TRUE(IsChartAddress(address)) << address;
  }
  for (const char* path : {"c", "./c", "a/b@c:d", "github.com", ""}) {
    EXPECT_FALSE(IsChartAddress(path)) << path;
  }
}

constexpr char kChartWithDependencies[] = R"(apiVersion: v2
name: app
version: 1.0.0
dependencies:
- {name: db, version: ^1, repository: "https://charts.example.com"}
- {name: cache, version: 1.0.0, repository: "https://charts.example.com"}
- {name: lib, version: 1.0.0, repository: "file://../lib"}
- {name: own, version: 1.0.0}
)";

TEST(BundleBuilder, AsksForDependenciesThatAreNotThere) {
  Files files = {{"a/fleet.yaml", "helm: {chart: app}"},
                 {"a/app/Chart.yaml", kChartWithDependencies},
                 {"a/app/Chart.lock", "lock"},
                 {"a/app/charts/cache-1.0.0.tgz", "x"},
                 {"a/app/charts/own/Chart.yaml", "name: own"},
                 {"a/unused/Chart.yaml", kChartWithDependencies},
                 {"a/lib/Chart.yaml", "name: lib"},
                 {"a/lib/templates/_h.tpl", "x"}};
  const BuildResult result = Build(files, {"a"});

  ASSERT_THAT(result.errors, IsEmpty()) << DescribeProblems(result.errors);
  const BundleContent& content = *result.bundles[0].content;
  ASSERT_THAT(content.charts, SizeIs(1));
  const ChartNeed& need = content.charts[0];
  EXPECT_EQ(need.prefix, "app");
  EXPECT_EQ(need.file, "a/app/Chart.yaml");
  EXPECT_THAT(need.chart_yaml, HasSubstr("db"));
  EXPECT_THAT(need.chart_yaml, Not(HasSubstr("cache")));
  EXPECT_EQ(need.chart_lock, "lock");
  EXPECT_THAT(FileNames(result.bundles[0]),
              IsSupersetOf({"app/charts/lib/Chart.yaml",
                            "app/charts/lib/templates/_h.tpl"}));

  files["a/fleet.yaml"] = "helm: {chart: app, disableDependencyUpdate: true}";
  const BuildResult without = Build(files, {"a"});
  EXPECT_THAT(without.bundles[0].content->charts, IsEmpty());
  EXPECT_THAT(FileNames(without.bundles[0]),
              Not(Contains("app/charts/lib/Chart.yaml")));
}

TEST(BundleBuilder, ReadsTheDependenciesOfOldCharts) {
  Files files = {
      {"a/Chart.yaml", "apiVersion: v1\nname: app\nversion: 1.0.0\n"},
      {"a/requirements.yaml",
       "dependencies:\n"
       "- {name: db, version: ^1, repository: 'https://charts.example.com'}\n"
       "- {name: lib, repository: 'file://../lib'}\n"},
      {"a/requirements.lock", "lock"},
      {"a/Chart.lock", "not this one"},
      {"lib/Chart.yaml", "name: lib"}};
  const BuildResult result = Build(files, {"a"});

  ASSERT_THAT(result.errors, IsEmpty()) << DescribeProblems(result.errors);
  const BundleContent& content = *result.bundles[0].content;
  ASSERT_THAT(content.charts, SizeIs(1));
  EXPECT_EQ(content.charts[0].file, "a/requirements.yaml");
  EXPECT_THAT(content.charts[0].chart_yaml,
              AllOf(HasSubstr("db"), Not(HasSubstr("lib"))));
  EXPECT_EQ(content.charts[0].chart_lock, "lock");
  EXPECT_THAT(FileNames(result.bundles[0]), Contains("charts/lib/Chart.yaml"));

  files["a/fleet.yaml"] = "helm: {disableDependencyUpdate: true}";
  const BuildResult without = Build(files, {"a"});
  EXPECT_THAT(without.bundles[0].content->charts, IsEmpty());
  EXPECT_THAT(FileNames(without.bundles[0]),
              Not(Contains("charts/lib/Chart.yaml")));
  files.erase("a/fleet.yaml");

  // What is vendored is not asked for.
  files["a/charts/db-1.4.0.tgz"] = "x";
  EXPECT_THAT(Build(files, {"a"}).bundles[0].content->charts, IsEmpty());

  files["a/requirements.yaml"] = "dependencies: [";
  const BuildResult broken = Build(files, {"a"});
  ASSERT_THAT(broken.errors, SizeIs(1));
  EXPECT_EQ(broken.errors[0].file(), "a/requirements.yaml");
}

TEST(BundleBuilder, CopiesDependenciesOfDependencies) {
  Files files = {
      {"a/Chart.yaml",
       "dependencies: [{name: one, repository: 'file://../libs/one'}]"},
      {"libs/one/Chart.yaml",
       "dependencies: [{name: two, repository: 'file://../two'}]"},
      {"libs/two/Chart.yaml", "name: two"}};
  const BuildResult good = Build(files, {"a"});
  EXPECT_THAT(good.errors, IsEmpty()) << DescribeProblems(good.errors);
  EXPECT_THAT(FileNames(good.bundles[0]),
              ElementsAre("Chart.yaml", "charts/one/Chart.yaml",
                          "charts/one/charts/two/Chart.yaml"));

  files["libs/two/Chart.yaml"] =
      "dependencies: [{name: one, repository: 'file://../one'}]";
  const BuildResult circle = Build(files, {"a"});
  ASSERT_THAT(circle.errors, SizeIs(1));
  EXPECT_THAT(circle.errors[0].message(), HasSubstr("circle"));
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

TEST(BundleBuilder, LetsOverrideTargetsReplaceThoseOfTheGitRepo) {
  Files files = {{"fleet.yaml",
                  "overrideTargets: [{clusterName: a}]\n"
                  "targetCustomizations: [{clusterName: b}]\n"},
                 {"x.yaml", "x"}};
  MemoryTree tree(files);
  storage::v1::BundleRevision revision =
      MakeRevision(BuildBundles(tree, GitRepo()).bundles[0], GitRepo());
  ASSERT_EQ(revision.targets_size(), 1);
  EXPECT_EQ(revision.targets(0).cluster_name(), "a");
  EXPECT_EQ(revision.customizations_size(), 1);

  // Without any, Fleet takes customizations as targets.
  files["fleet.yaml"] =
      "overrideTargets: []\ntargetCustomizations: [{clusterName: b}]\n";
  MemoryTree empty(files);
  revision = MakeRevision(BuildBundles(empty, GitRepo()).bundles[0], GitRepo());
  ASSERT_EQ(revision.targets_size(), 1);
  EXPECT_EQ(revision.targets(0).cluster_name(), "b");
  EXPECT_EQ(revision.customizations_size(), 0);
}

TEST(BundleBuilder, FollowsThePrecedenceOfGitRepoAndFleetYaml) {
  MemoryTree tree(Files{{"fleet.yaml",
                         "serviceAccount: own\npaused: false\n"
                         "keepResources: true\n"
                         "annotations: {x: y}\n"
                         "targetCustomizationMode: AllMatches\n"
                         "dependsOn: [{name: base}]\n"
                         "rolloutStrategy: {maxUnavailable: 10%}\n"
                         "targetCustomizations:\n"
                         "- {clusterName: x, serviceAccount: target}\n"},
                        {"x.yaml", "x"}});
  const BuildResult built = BuildBundles(tree, GitRepo());
  ASSERT_THAT(built.errors, IsEmpty()) << DescribeProblems(built.errors);
  storage::v1::Document repo = GitRepo();
  storage::v1::BundleRevision plain = MakeRevision(built.bundles[0], repo);
  EXPECT_EQ(plain.options().service_account(), "own");
  EXPECT_TRUE(plain.options().keep_resources());
  EXPECT_FALSE(plain.paused());
  EXPECT_TRUE(plain.all_matches());
  ASSERT_EQ(plain.depends_on_size(), 1);
  EXPECT_EQ(plain.rollout().max_unavailable(), "10%");
  ASSERT_EQ(plain.annotations_size(), 1);

  auto& spec = *repo.mutable_git_repo();
  spec.set_service_account("repo");
  spec.set_paused(true);
  spec.set_delete_namespace(true);
  spec.set_force_sync_generation(7);
  spec.set_correct_drift(storage::v1::TRI_STATE_TRUE);
  spec.set_correct_drift_force(true);
  const storage::v1::BundleRevision forced =
      MakeRevision(built.bundles[0], repo);
  EXPECT_EQ(forced.options().service_account(), "repo");
  EXPECT_EQ(forced.customizations(0).options().service_account(), "target");
  EXPECT_TRUE(forced.paused());
  EXPECT_TRUE(forced.options().delete_namespace());
  EXPECT_EQ(forced.options().force_sync_generation(), 7);
  EXPECT_TRUE(forced.options().correct_drift_force());
}

TEST(BundleBuilder, SplitsTheTargetsOfABundleDocumentByPosition) {
  storage::v1::Document document;
  storage::v1::BundleSpec& spec = *document.mutable_bundle();
  for (const char* name : {"c0", "c1", "t0"}) {
    spec.add_targets()->set_name(name);
  }
  spec.set_paused(true);
  const auto read =
      [](const std::string&) -> absl::StatusOr<std::string> {
    return absl::NotFoundError("not there");
  };
  EXPECT_EQ(MakeDocumentRevision(document, read)->revision.targets_size(), 3);

  spec.add_target_restrictions()->set_name("r");
  storage::v1::BundleRevision revision =
      MakeDocumentRevision(document, read)->revision;
  ASSERT_EQ(revision.customizations_size(), 2);
  ASSERT_EQ(revision.targets_size(), 1);
  EXPECT_EQ(revision.targets(0).name(), "t0");
  EXPECT_EQ(revision.restrictions_size(), 1);
  EXPECT_TRUE(revision.paused());

  for (int i = 0; i < 5; ++i) spec.add_target_restrictions();
  revision = MakeDocumentRevision(document, read)->revision;
  EXPECT_EQ(revision.targets_size(), 3);
  EXPECT_EQ(revision.customizations_size(), 0);
}

TEST(BundleBuilder, MakesARevisionOfAHelmOpAndItsChart) {
  storage::v1::Document document;
  document.set_kind("HelmOp");
  document.set_name("op");
  auto& spec = *document.mutable_helm_op();
  auto& helm = *spec.mutable_bundle()->mutable_options()->mutable_helm();
  helm.set_repo("https://r");
  helm.set_chart("web");
  helm.set_version("1.x");
  helm.add_values_files("values-prod.yaml");
  storage::v1::ChartSource chart;
  chart.set_version("1.2.3");
  chart.add_files()->set_name("Chart.yaml");
  const auto read =
      [](const std::string& name) -> absl::StatusOr<std::string> {
    if (name == "values-prod.yaml") return std::string("a: 1");
    return absl::NotFoundError("not there");
  };

  const auto draft = MakeHelmOpRevision(document, chart, read);

  ASSERT_THAT(draft, IsOk());
  const storage::v1::BundleRevision& revision = draft->revision;
  const std::string prefix = ChartPrefix("web", "https://r", "1.x");
  ASSERT_EQ(revision.files_size(), 1);
  EXPECT_EQ(revision.files(0).name(), prefix + "/Chart.yaml");
  ASSERT_EQ(revision.charts_size(), 1);
  EXPECT_EQ(revision.charts(0).resolved_version(), "1.2.3");
  EXPECT_EQ(revision.options().helm().values_json(), R"({"a":1})");
  ASSERT_EQ(revision.targets_size(), 1);
  EXPECT_EQ(revision.targets(0).cluster_group(), "default");
  ASSERT_EQ(revision.labels_size(), 1);
  EXPECT_EQ(revision.labels(0).value(), "op");

  auto& target = *spec.mutable_bundle()->add_targets();
  target.mutable_options()->mutable_helm()->set_version("2");
  EXPECT_THAT(MakeHelmOpRevision(document, chart, read),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("another chart")));
}

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
