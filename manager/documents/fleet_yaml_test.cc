// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/fleet_yaml.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

FleetYaml Parse(absl::string_view text) {
  return ParseFleetYaml(text, "app/fleet.yaml", "GitRepo fleet-default/r");
}

TEST(FleetYaml, ReadsAllKeysThatAreHonoured) {
  const FleetYaml yaml = Parse(R"(
name: web
namespace: forced
defaultNamespace: fallback
labels: {b: "2", a: "1"}
keepResources: true
correctDrift: {enabled: false}
helm:
  chart: ./chart
  releaseName: web-release
  values: {replicas: 2, image: {tag: "1"}}
  valuesFiles: [values.yaml, prod.yaml]
  takeOwnership: true
targetCustomizations:
- name: prod
  clusterSelector: {matchLabels: {env: prod}}
  helm: {values: {replicas: 3}}
- clusterGroup: canaries
  doNotDeploy: true
)");

  EXPECT_THAT(yaml.errors, IsEmpty());
  EXPECT_THAT(yaml.warnings, IsEmpty());
  EXPECT_EQ(yaml.name, "web");
  EXPECT_EQ(yaml.options.namespace_(), "forced");
  EXPECT_EQ(yaml.options.default_namespace(), "fallback");
  ASSERT_EQ(yaml.labels.size(), 2);
  EXPECT_EQ(yaml.labels[0].key(), "a");
  EXPECT_TRUE(yaml.options.keep_resources());
  EXPECT_EQ(yaml.options.correct_drift(), storage::v1::TRI_STATE_FALSE);
  EXPECT_EQ(yaml.options.helm().chart(), "./chart");
  EXPECT_EQ(yaml.options.helm().release_name(), "web-release");
  EXPECT_EQ(yaml.options.helm().values_json(),
            R"({"image":{"tag":"1"},"replicas":2})");
  EXPECT_TRUE(yaml.options.helm().take_ownership());
  EXPECT_THAT(yaml.options.helm().values_files(),
              ElementsAre("values.yaml", "prod.yaml"));
  EXPECT_EQ(yaml.lines.helm_chart, 9);
  EXPECT_THAT(yaml.lines.values_files, ElementsAre(12, 12));
  ASSERT_EQ(yaml.customizations.size(), 2);
  EXPECT_EQ(yaml.customizations[0].name(), "prod");
  EXPECT_EQ(yaml.customizations[0].options().helm().values_json(),
            R"({"replicas":3})");
  EXPECT_EQ(yaml.customizations[1].name(), "target001");
  EXPECT_TRUE(yaml.customizations[1].do_not_deploy());
}

TEST(FleetYaml, TakesAnEmptyFileAsNothing) {
  for (const char* text : {"", "# only a comment\n", "---\n", "{}"}) {
    const FleetYaml yaml = Parse(text);
    EXPECT_THAT(yaml.errors, IsEmpty()) << text;
    EXPECT_EQ(yaml.options.ByteSizeLong(), 0) << text;
  }
}

TEST(FleetYaml, PutsTargetsBeforeCustomizations) {
  const FleetYaml yaml = Parse(
      "targetCustomizations: [{clusterName: b}]\n"
      "targets: [{clusterName: a}]\n");

  ASSERT_EQ(yaml.customizations.size(), 2);
  EXPECT_EQ(yaml.customizations[0].cluster_name(), "a");
  EXPECT_EQ(yaml.customizations[1].cluster_name(), "b");
  EXPECT_EQ(yaml.customizations[1].name(), "target001");
}

TEST(FleetYaml, TellsAnAbsentSelectorFromAnEmptyOne) {
  const FleetYaml yaml = Parse(
      "targetCustomizations:\n- clusterSelector: {}\n- clusterName: x\n"
      "- name: nothing\n");

  EXPECT_TRUE(yaml.customizations[0].has_cluster_selector());
  EXPECT_FALSE(yaml.customizations[1].has_cluster_selector());
  ASSERT_THAT(yaml.warnings, SizeIs(1));
  EXPECT_THAT(yaml.warnings[0].message(), HasSubstr("matches no cluster"));
  EXPECT_EQ(yaml.warnings[0].line(), 4);
}

struct Row {
  const char* text;
  const char* words;
  int line;
};

class FleetYamlErrors : public ::testing::TestWithParam<Row> {};

TEST_P(FleetYamlErrors, AreSeenWithFileAndLine) {
  const FleetYaml yaml = Parse(GetParam().text);

  ASSERT_THAT(yaml.errors, SizeIs(1)) << GetParam().text;
  EXPECT_THAT(yaml.errors[0].message(), HasSubstr(GetParam().words));
  EXPECT_EQ(yaml.errors[0].line(), GetParam().line);
  EXPECT_EQ(yaml.errors[0].file(), "app/fleet.yaml");
  EXPECT_EQ(yaml.errors[0].subject(), "GitRepo fleet-default/r");
}

INSTANTIATE_TEST_SUITE_P(
    Table, FleetYamlErrors,
    ::testing::Values(
        Row{"name: x\nhelm:\n  repo: https://charts.example.com\n",
            "helm.repo: is a field of Fleet that is known but not supported",
            3},
        Row{"helm:\n  version: 1.2.3\n", "helm.version", 2},
        Row{"kustomize:\n  dir: overlays/dev\n", "kustomize.dir", 2},
        Row{"yaml:\n  overlays: [a]\n", "yaml", 1},
        Row{"diff:\n  comparePatches: [{kind: X}]\n", "diff", 1},
        Row{"dependsOn: [{name: x}]\n", "dependsOn", 1},
        Row{"paused: true\n", "paused", 1},
        Row{"serviceAccount: x\n", "serviceAccount", 1},
        Row{"overrideTargets: []\n", "overrideTargets", 1},
        Row{"rolloutStrategy: {maxUnavailable: 0}\n", "rolloutStrategy", 1},
        Row{"targetCustomizationMode: AllMatches\n",
            "targetCustomizationMode", 1},
        Row{"correctDrift:\n  enabled: true\n  force: true\n",
            "correctDrift.force", 3},
        Row{"\nhelm:\n  atomic: true\n", "helm.atomic", 3},
        Row{"targetCustomizations:\n- clusterName: a\n"
            "  yaml: {overlays: [x]}\n",
            "targetCustomizations[0].yaml", 3},
        Row{"helm:\n  values:\n    a:\n      b: x-${ .ClusterName }\n",
            "helm.values.a.b", 4},
        Row{"helm:\n  values: {n: global.fleet.clusterLabels.env}\n",
            "template", 2},
        Row{"name: Not_A_Name\n", "not a valid name", 1},
        Row{"namespace: a.b\n", "not a valid name", 1},
        Row{"helm:\n  releaseName: "
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
            "at most 53", 2},
        Row{"namespace: [a]\n", "must be a string", 1},
        Row{"helm:\n  values: [1]\n", "must be a map", 2},
        Row{"labels:\n  env: true\n", "write it in quotes", 2},
        Row{"targetCustomizations:\n- clusterSelector:\n    matchExpressions:\n"
            "    - {key: env, operator: in, values: [a]}\n",
            "not one of In, NotIn, Exists, DoesNotExist", 4},
        Row{"targetCustomizations:\n- clusterSelector:\n    matchExpressions:\n"
            "    - {key: env, operator: In}\n",
            "must not be empty", 4},
        Row{"a: b: c\n", "", 1}, Row{"- a\n", "must be a map", 1}));

TEST(FleetYaml, AcceptsUnsupportedKeysThatHoldTheirDefault) {
  const FleetYaml yaml = Parse(R"(
paused: false
kustomize: {dir: .}
yaml: {overlays: []}
ignore: {}
diff: {comparePatches: []}
targetCustomizationMode: FirstMatch
rolloutStrategy: null
correctDrift: {}
helm: {force: false, timeoutSeconds: 0, repo: "", disablePreProcess: true,
       values: {text: "${HOME}"}}
)");

  EXPECT_THAT(yaml.errors, IsEmpty());
  EXPECT_THAT(yaml.warnings, IsEmpty());
  EXPECT_EQ(yaml.options.correct_drift(), storage::v1::TRI_STATE_UNSPECIFIED);
  EXPECT_EQ(yaml.options.helm().values_json(), R"({"text":"${HOME}"})");
}

TEST(FleetYaml, WarnsOfATypoAndOfAKeyWithoutEffect) {
  const FleetYaml yaml =
      Parse("namepsace: x\nforceSyncGeneration: 3\nhelm:\n  vales: {}\n");

  EXPECT_THAT(yaml.errors, IsEmpty());
  std::string all;
  for (const core::v1::Problem& warning : yaml.warnings) {
    absl::StrAppend(&all, warning.line(), ": ", warning.message(), "\n");
  }
  EXPECT_THAT(all, HasSubstr("1: namepsace: is not a known key and has no "
                             "effect; did you mean \"namespace\"?"));
  EXPECT_THAT(all, HasSubstr("2: forceSyncGeneration: has no effect"));
  EXPECT_THAT(all, HasSubstr("4: helm.vales"));
}

TEST(FleetYaml, FindsEveryProblemAtOnce) {
  const FleetYaml yaml = Parse(
      "paused: true\nname: X\nhelm: {repo: r, values: 1}\nnamespace: 7\n");

  EXPECT_THAT(yaml.errors, SizeIs(5));
}

}  // namespace
}  // namespace flotilla::manager
