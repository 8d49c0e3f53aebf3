// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_revision.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/status/status_matchers.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/bundle/built_tree.h"
#include "manager/bundle/bundle_builder.h"
#include "manager/bundle/chart_needs.h"
#include "manager/documents/documents.h"
#include "manager/gitsync/memory_tree.h"

namespace flotilla::manager {
namespace {

using storage::v1::HelmOptions;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(BundleRevision, PutsTheSettingsOfTheGitRepoIntoTheRevision) {
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

TEST(BundleRevision, MakesARevisionOfABundleDocument) {
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

TEST(BundleRevision, AsksForAChartThatABundleDocumentDoesNotCarry) {
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

TEST(BundleRevision, LetsOverrideTargetsReplaceThoseOfTheGitRepo) {
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

TEST(BundleRevision, FollowsThePrecedenceOfGitRepoAndFleetYaml) {
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

TEST(BundleRevision, SplitsTheTargetsOfABundleDocumentByPosition) {
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

TEST(BundleRevision, MakesARevisionOfAHelmOpAndItsChart) {
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

}  // namespace
}  // namespace flotilla::manager
