// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/fleet_yaml.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/documents/field_reader.h"

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

// A rule whose script is too large.
const char* LargeScript() {
  static const auto* const kText = new std::string(
      absl::StrCat("healthRules:\n- kind: A\n  script: ",
                   std::string(33000, 'x'), "\n"));
  return kText->c_str();
}

INSTANTIATE_TEST_SUITE_P(
    Table, FleetYamlErrors,
    ::testing::Values(
        Row{"kustomize:\n  dir: ../dev\n", "leads out of its root", 2},
        Row{"yaml:\n  overlays: [../a]\n", "leads out of its root", 2},
        Row{"diff:\n  comparePatches:\n"
            "  - {kind: X, apiVersion: v1, jsonPointers: [spec]}\n",
            "not a JSON pointer", 3},
        Row{"diff:\n  comparePatches:\n"
            "  - {kind: X, apiVersion: v1, operations: [{op: drop}]}\n",
            "\"drop\" is not one of add, copy, ignore", 3},
        Row{"diff:\n  comparePatches:\n"
            "  - {kind: X, apiVersion: v1, operations: [{op: remove}]}\n",
            "must be a JSON pointer", 3},
        Row{"dependsOn:\n- {}\n", "needs a name or a selector", 2},
        Row{"dependsOn:\n- {name: a, acceptedStates: [Redy]}\n",
            "did you mean \"Ready\"?", 2},
        Row{"paused: 1\n", "must be true or false", 1},
        Row{"serviceAccount: A b\n", "not a valid name", 1},
        Row{"targetCustomizations:\n- {name: a, serviceAccount: \"-\"}\n",
            "not a valid name", 2},
        Row{"overrideTargets: {}\n", "must be a list", 1},
        Row{"rolloutStrategy:\n  maxUnavailable: abc\n",
            "neither a whole number nor a percentage", 2},
        Row{"rolloutStrategy: {partitions: [{clusterName: a, maxUnavailable: "
            "1.5}]}\n",
            "whole number or a percentage", 1},
        Row{"targetCustomizationMode: Every\n",
            "not one of FirstMatch, AllMatches", 1},
        Row{"ignore:\n  conditions: [a]\n", "must be a map of strings", 2},
        Row{"healthRules:\n- script: x\n", "has no kind", 2},
        Row{"healthRules:\n- kind: Thing\n", "has no script", 2},
        Row{LargeScript(), "is over 32 KiB", 3},
        Row{"downstreamResources:\n- {kind: Pod, name: a}\n",
            "not one of Secret, ConfigMap", 2},
        Row{"helm:\n  valuesFrom:\n  - configMapKeyRef: {key: a}\n",
            "has no name", 3},
        Row{"helm:\n  timeoutSeconds: 99999999999\n", "32 bits", 2},
        Row{"helm:\n  templateValues: {a: {b: c}}\n", "must be a string", 2},
        Row{"name: Not_A_Name\n", "not a valid name", 1},
        Row{"namespace: a.b\n", "not a valid name", 1},
        Row{"helm:\n  releaseName: "
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
            "at most 53", 2},
        Row{"namespace: [a]\n", "must be a string", 1},
        Row{"helm:\n  values: [1]\n", "must be a map", 2},
        Row{"labels:\n  env: [a]\n", "must be a string", 2},
        Row{"annotations:\n  a b: x\n", "not a valid annotation key", 1},
        Row{"targetCustomizations:\n- clusterSelector:\n    matchExpressions:\n"
            "    - {key: env, operator: in, values: [a]}\n",
            "not one of In, NotIn, Exists, DoesNotExist", 4},
        Row{"targetCustomizations:\n- clusterSelector:\n    matchExpressions:\n"
            "    - {key: env, operator: In}\n",
            "must not be empty", 4},
        Row{"a: b: c\n", "", 1}, Row{"- a\n", "must be a map", 1}));

TEST(FleetYaml, ReadsEveryOtherKeyOfFleet) {
  const FleetYaml yaml = Parse(R"(
annotations: {note: hello there}
paused: true
kustomize: {dir: overlays/dev}
yaml: {overlays: [a, b]}
ignore: {conditions: [{type: Active, status: "False"}]}
healthRules:
- {apiVersion: x.io/v1alpha1, kind: Thing, script: "return {}"}
- {group: y.io, kind: Other, script: "return nil"}
- {apiVersion: v1, kind: Pod, script: "return 1"}
diff:
  comparePatches:
  - apiVersion: apps/v1
    kind: Deployment
    name: web
    namespace: ns
    jsonPointers: [/spec/replicas]
    operations:
    - {op: remove, path: /spec/a}
    - {op: replace, path: /spec/b, value: {c: 1}}
    - {op: ignore}
targetCustomizationMode: AllMatches
overrideTargets: []
rolloutStrategy:
  maxUnavailable: 15%
  maxUnavailablePartitions: 1
  autoPartitionSize: "10%"
  autoPartitionThreshold: 0
  maxNew: 7
  partitions:
  - {name: canary, clusterGroup: canary, maxUnavailable: 0}
dependsOn:
- name: base
  acceptedStates: [Ready, Modified]
- selector: {matchLabels: {tier: db}}
serviceAccount: deployer
deleteNamespace: true
deleteCRDResources: true
namespaceLabels: {team: a}
namespaceAnnotations: {owner: "a b"}
correctDrift: {enabled: true, force: true, keepFailHistory: true}
helm:
  repo: https://charts.example.com
  version: ">= 1.2"
  timeoutSeconds: -1
  maxHistory: 3
  force: true
  waitForJobs: true
  atomic: true
  disablePreProcess: true
  disableDNS: true
  skipSchemaValidation: true
  disableDependencyUpdate: true
  values: {text: "${HOME}", nothing: null}
  templateValues: {b: "x: ${ .ClusterName }", a: "y: 1"}
  valuesFrom:
  - configMapKeyRef: {name: cm, namespace: ns, key: k.yaml}
  - secretKeyRef: {name: s}
)");

  EXPECT_THAT(yaml.errors, IsEmpty());
  EXPECT_THAT(yaml.warnings, IsEmpty());
  EXPECT_EQ(yaml.annotations[0].value(), "hello there");
  EXPECT_TRUE(yaml.paused);
  EXPECT_TRUE(yaml.all_matches);
  ASSERT_TRUE(yaml.override_targets.has_value());
  EXPECT_TRUE(yaml.override_targets->empty());
  ASSERT_EQ(yaml.depends_on.size(), 2);
  EXPECT_THAT(yaml.depends_on[0].accepted_states(),
              ElementsAre("Ready", "Modified"));
  EXPECT_TRUE(yaml.depends_on[1].has_selector());
  ASSERT_TRUE(yaml.rollout.has_value());
  EXPECT_EQ(yaml.rollout->max_unavailable(), "15%");
  EXPECT_EQ(yaml.rollout->max_unavailable_partitions(), "1");
  EXPECT_EQ(yaml.rollout->auto_partition_size(), "10%");
  EXPECT_TRUE(yaml.rollout->has_auto_partition_threshold());
  EXPECT_EQ(yaml.rollout->max_new(), 7);
  EXPECT_EQ(yaml.rollout->partitions(0).target().cluster_group(), "canary");
  EXPECT_EQ(yaml.rollout->partitions(0).max_unavailable(), "0");
  const storage::v1::DeployOptions& options = yaml.options;
  EXPECT_EQ(options.kustomize_dir(), "overlays/dev");
  EXPECT_EQ(yaml.lines.kustomize_dir, 4);
  EXPECT_THAT(options.yaml_overlays(), ElementsAre("a", "b"));
  EXPECT_EQ(options.ignore_conditions(0).fields(0).value(), "False");
  ASSERT_EQ(options.health_rules_size(), 3);
  EXPECT_EQ(options.health_rules(0).group(), "x.io");
  EXPECT_EQ(options.health_rules(0).script(), "return {}");
  EXPECT_EQ(options.health_rules(1).group(), "y.io");
  EXPECT_EQ(options.health_rules(2).group(), "");
  const core::v1::ComparePatch& patch = options.compare_patches(0);
  EXPECT_EQ(patch.api_version(), "apps/v1");
  EXPECT_EQ(patch.operations(1).value_json(), R"({"c":1})");
  EXPECT_EQ(patch.operations(2).op(), "ignore");
  EXPECT_EQ(options.service_account(), "deployer");
  EXPECT_TRUE(options.delete_namespace());
  EXPECT_TRUE(options.delete_crd_resources());
  EXPECT_EQ(options.namespace_labels(0).key(), "team");
  EXPECT_EQ(options.namespace_annotations(0).value(), "a b");
  EXPECT_EQ(options.correct_drift(), storage::v1::TRI_STATE_TRUE);
  EXPECT_TRUE(options.correct_drift_force());
  EXPECT_TRUE(options.correct_drift_keep_fail_history());
  const storage::v1::HelmOptions& helm = options.helm();
  EXPECT_EQ(helm.repo(), "https://charts.example.com");
  EXPECT_EQ(helm.version(), ">= 1.2");
  EXPECT_EQ(helm.timeout_seconds(), -1);
  EXPECT_EQ(helm.max_history(), 3);
  EXPECT_TRUE(helm.force() && helm.wait_for_jobs() && helm.atomic() &&
              helm.disable_pre_process() && helm.disable_dns() &&
              helm.skip_schema_validation() &&
              helm.disable_dependency_update());
  EXPECT_EQ(helm.values_json(), R"({"nothing":null,"text":"${HOME}"})");
  EXPECT_EQ(helm.template_values(0).key(), "a");
  ASSERT_EQ(helm.values_from_size(), 2);
  EXPECT_EQ(helm.values_from(0).kind(), core::v1::ValuesRef::KIND_CONFIG_MAP);
  EXPECT_EQ(helm.values_from(0).key(), "k.yaml");
  EXPECT_EQ(helm.values_from(1).key(), "values.yaml");
  EXPECT_EQ(helm.values_from(1).namespace_(), "");
}

TEST(FleetYaml, TellsAbsentOverrideTargetsFromNone) {
  EXPECT_FALSE(Parse("name: x\n").override_targets.has_value());
  EXPECT_FALSE(Parse("overrideTargets: null\n").override_targets.has_value());
  const FleetYaml yaml =
      Parse("overrideTargets: [{clusterGroup: a}, {clusterName: b}]\n");
  EXPECT_EQ(yaml.override_targets->size(), 2);
  EXPECT_EQ((*yaml.override_targets)[1].name(), "target001");
}

TEST(FleetYaml, ReadsTextAsFleetDoes) {
  const FleetYaml yaml =
      Parse("helm: {version: 1.10}\nlabels: {a: yes, b: 3}\nPaused: true\n");

  EXPECT_THAT(yaml.errors, IsEmpty());
  EXPECT_EQ(yaml.options.helm().version(), "1.1");
  EXPECT_EQ(yaml.labels[0].value(), "true");
  EXPECT_EQ(yaml.labels[1].value(), "3");
  EXPECT_TRUE(yaml.paused);
  EXPECT_THAT(yaml.warnings, SizeIs(4));
}

TEST(FleetYaml, TakesDoubtfulYamlAsFleetDoes) {
  const FleetYaml yaml = Parse(
      "namespace: a\nnamespace: b\n---\nnamespace: c\n");
  EXPECT_THAT(yaml.errors, IsEmpty());
  EXPECT_EQ(yaml.options.namespace_(), "b");
  ASSERT_THAT(yaml.warnings, SizeIs(2));
  EXPECT_EQ(yaml.warnings[0].line(), 2);
  EXPECT_THAT(yaml.warnings[0].message(), HasSubstr("the last one counts"));
  EXPECT_EQ(yaml.warnings[1].line(), 4);
  EXPECT_THAT(yaml.warnings[1].message(), HasSubstr("second document"));
}

TEST(FleetYaml, RefusesADependencyOnNothing) {
  for (const char* entry :
       {"{}", "{name: \"\"}", "{acceptedStates: [Ready]}"}) {
    const FleetYaml yaml = Parse(absl::StrCat("dependsOn: [", entry, "]\n"));
    ASSERT_THAT(yaml.errors, SizeIs(1)) << entry;
    EXPECT_THAT(yaml.errors[0].message(),
                HasSubstr("needs a name or a selector"));
  }
  EXPECT_THAT(Parse("dependsOn: [{selector: {}}]\n").errors, IsEmpty());
  // One problem, not two.
  EXPECT_THAT(Parse("dependsOn: [{name: []}]\n").errors, SizeIs(1));
}

TEST(FleetYaml, SaysWhatHappensInsteadOfWhatIsNotDone) {
  const FleetYaml yaml = Parse(
      "imageScans: [{tagName: a}]\noverwrites: [{kind: A}]\n"
      "targetRestrictions: [{clusterName: x}]\nresources: [{name: x}]\n"
      "downstreamResources: [{kind: secret, name: x}]\n");

  EXPECT_THAT(yaml.errors, IsEmpty());
  ASSERT_THAT(yaml.warnings, SizeIs(5));
  for (const core::v1::Problem& warning : yaml.warnings) {
    EXPECT_THAT(warning.message(), HasSubstr("has no effect: "));
    EXPECT_GT(warning.line(), 0);
  }
  EXPECT_EQ(yaml.options.downstream_resources(0).kind(), "Secret");
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

TEST(FleetYaml, WarnsOfWhatCountsForTheWholeBundleOnly) {
  const FleetYaml yaml = Parse(
      "deleteNamespace: true\nhelm: {skipSchemaValidation: true}\n"
      "targetCustomizations:\n- clusterSelector: {}\n"
      "  deleteNamespace: true\n  deleteCRDResources: true\n"
      "  ignore: {conditions: [{type: x}]}\n  keepResources: true\n"
      "  helm: {skipSchemaValidation: true, disableDependencyUpdate: true}\n");

  EXPECT_THAT(yaml.errors, IsEmpty());
  std::string all;
  for (const core::v1::Problem& warning : yaml.warnings) {
    absl::StrAppend(&all, warning.line(), ": ", warning.message(), "\n");
  }
  EXPECT_THAT(yaml.warnings, SizeIs(5)) << all;
  EXPECT_THAT(all, HasSubstr("5: targetCustomizations[0].deleteNamespace: "
                             "deleteNamespace counts for the whole bundle"));
  EXPECT_THAT(all, HasSubstr("7: targetCustomizations[0].ignore"));
  EXPECT_THAT(all, HasSubstr("9: targetCustomizations[0].helm: "
                             "skipSchemaValidation counts"));
}

TEST(FleetYaml, KeepsABoundedNumberOfWarnings) {
  std::string text;
  for (int i = 0; i < 200; ++i) absl::StrAppend(&text, "k", i, ": x\n");
  for (int i = 0; i < 200; ++i) absl::StrAppend(&text, "name: x\n");

  EXPECT_THAT(Parse(text).warnings, SizeIs(ProblemLog::kMaxProblems + 1));
}

TEST(FleetYaml, FindsEveryProblemAtOnce) {
  const FleetYaml yaml = Parse(
      "paused: x\nname: X\nhelm: {force: r, values: 1}\nnamespace: {}\n");

  EXPECT_THAT(yaml.errors, SizeIs(5));
}

}  // namespace
}  // namespace flotilla::manager
