// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_charts.h"


#include "absl/status/status.h"
#include "common/status/status_matchers.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/bundle/built_tree.h"
#include "manager/bundle/bundle_builder.h"
#include "manager/bundle/bundle_revision.h"
#include "manager/bundle/chart_needs.h"
#include "manager/documents/documents.h"

namespace flotilla::manager {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::SizeIs;

TEST(BundleCharts, AsksForChartsFromElsewhere) {
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

TEST(BundleCharts, TellsAddressesFromDirectories) {
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

TEST(BundleCharts, AsksForDependenciesThatAreNotThere) {
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

TEST(BundleCharts, RefusesADependencyThatIsNowhere) {
  Files files = {{"a/Chart.yaml", "dependencies: [{name: db, version: 1}]"},
                 {"a/templates/c.yaml", "x"}};
  const BuildResult result = Build(files, {"a"});
  ASSERT_THAT(result.errors, SizeIs(1));
  EXPECT_EQ(result.errors[0].file(), "a/Chart.yaml");
  EXPECT_THAT(result.errors[0].message(), HasSubstr("\"db\""));

  files["a/fleet.yaml"] = "helm: {disableDependencyUpdate: true}";
  EXPECT_THAT(Build(files, {"a"}).errors, IsEmpty());
}

TEST(BundleCharts, ReadsTheDependenciesOfOldCharts) {
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

TEST(BundleCharts, CopiesDependenciesOfDependencies) {
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

}  // namespace
}  // namespace flotilla::manager
