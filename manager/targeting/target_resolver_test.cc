// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/target_resolver.h"

#include <iostream>
#include <map>
#include <optional>
#include <string>

#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "manager/bundle/corpus.h"
#include "manager/documents/fleet_yaml.h"
#include "manager/targeting/cluster_matcher.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;
using storage::v1::BundleRevision;
using storage::v1::DeployOptions;
using ::testing::IsEmpty;

TargetCluster Cluster(const std::string& name) {
  TargetCluster cluster;
  cluster.name = name;
  cluster.labels = {{"cluster", name}, {"env", "test"}};
  cluster.groups = {{name, {}}, {"all", {{"kind", "everything"}}}};
  return cluster;
}

google::protobuf::RepeatedPtrField<storage::v1::Target> Targets(
    const json& list) {
  // Targets of a GitRepo carry no options there; the tables' do.
  const FleetYaml yaml = ParseFleetYaml(
      json{{"targets", list}}.dump(), "targets.yaml", "table");
  EXPECT_THAT(yaml.errors, IsEmpty());
  return yaml.customizations;
}

// Checks the rows whose features are honoured; returns how many were not.
int CheckTable(const json& table, int& checked) {
  int left_out = 0;
  for (const json& row : table["cases"]) {
    if (row.value("targetCustomizationMode", "FirstMatch") != "FirstMatch") {
      std::cout << "left out, mode is not supported yet: " << row["case"]
                << std::endl;
      ++left_out;
      continue;
    }
    BundleRevision bundle;
    if (row.contains("root")) {
      const FleetYaml root =
          ParseFleetYaml(row["root"].dump(), "root.yaml", "table");
      EXPECT_THAT(root.errors, IsEmpty());
      *bundle.mutable_options() = root.options;
    }
    *bundle.mutable_targets() = Targets(row["gitRepoTargets"]);
    *bundle.mutable_customizations() = Targets(row["targetCustomizations"]);
    std::map<std::string, json> deployed;
    for (const char* name : {"one", "two", "three"}) {
      const std::optional<ResolvedTarget> resolved =
          ResolveTarget(bundle, Cluster(name));
      if (!resolved.has_value()) continue;
      const std::string& values = resolved->options.helm().values_json();
      deployed[name] =
          values.empty() ? json::object() : json::parse(values, nullptr, false);
    }
    std::map<std::string, json> wanted;
    for (const auto& item : row["deploysTo"].items()) {
      wanted[item.key()] = item.value();
    }
    EXPECT_EQ(deployed, wanted) << row["case"];
    ++checked;
  }
  return left_out;
}

TEST(TargetResolver, FollowsTheTableOfTheTree) {
  int checked = 0;
  EXPECT_EQ(
      CheckTable(ReadTable("manager/targeting/testdata/targets.yaml"), checked),
      0);
  EXPECT_EQ(checked, 5);
}

TEST(TargetResolver, FollowsTheTableOfTheCorpus) {
  const std::optional<json> table = ReadCorpusTable("targets.yaml");
  if (!table.has_value()) return;

  int checked = 0;
  const int left_out = CheckTable(*table, checked);

  std::cout << checked << " cases of the corpus checked, " << left_out
            << " left out" << std::endl;
  EXPECT_GT(checked, 0);
}

DeployOptions Options(const char* text) {
  DeployOptions options;
  EXPECT_TRUE(
      google::protobuf::TextFormat::ParseFromString(text, &options));
  return options;
}

TEST(TargetResolver, MergesOptionsByTheRuleOfEach) {
  const DeployOptions merged = MergeOptions(
      Options("default_namespace: 'a' namespace: 'b' keep_resources: true "
              "correct_drift: TRI_STATE_TRUE "
              "helm { chart: 'c' release_name: 'r' take_ownership: true "
              "       values_json: '{\"a\":1,\"l\":[1]}' }"),
      Options("namespace: 'n' correct_drift: TRI_STATE_FALSE "
              "helm { release_name: 'q' values_json: '{\"l\":[2],\"b\":1}' }"));

  EXPECT_EQ(merged.default_namespace(), "a");
  EXPECT_EQ(merged.namespace_(), "n");
  EXPECT_TRUE(merged.keep_resources());
  EXPECT_EQ(merged.correct_drift(), storage::v1::TRI_STATE_FALSE);
  EXPECT_EQ(merged.helm().chart(), "c");
  EXPECT_EQ(merged.helm().release_name(), "q");
  EXPECT_TRUE(merged.helm().take_ownership());
  EXPECT_EQ(merged.helm().values_json(), R"({"a":1,"b":1,"l":[2]})");
}

TEST(TargetResolver, DecidesOnDriftByTargetThenFleetYamlThenGitRepoThenOn) {
  struct Case {
    storage::v1::TriState target, root, source, wanted;
  };
  constexpr auto kNone = storage::v1::TRI_STATE_UNSPECIFIED;
  constexpr auto kOn = storage::v1::TRI_STATE_TRUE;
  constexpr auto kOff = storage::v1::TRI_STATE_FALSE;
  for (const Case& c : {Case{kNone, kNone, kNone, kOn},
                        Case{kNone, kNone, kOff, kOff},
                        Case{kNone, kOn, kOff, kOn},
                        Case{kOff, kOn, kOn, kOff},
                        Case{kOn, kOff, kOff, kOn}}) {
    BundleRevision bundle;
    bundle.add_targets()->mutable_cluster_selector();
    storage::v1::Target& custom = *bundle.add_customizations();
    custom.mutable_cluster_selector();
    custom.mutable_options()->set_correct_drift(c.target);
    bundle.mutable_options()->set_correct_drift(c.root);
    bundle.set_source_correct_drift(c.source);

    EXPECT_EQ(ResolveTarget(bundle, Cluster("one"))->options.correct_drift(),
              c.wanted);
  }
}

TEST(TargetResolver, TakesNoTargetsOfAGitRepoForGroupDefault) {
  TargetCluster cluster = Cluster("one");
  EXPECT_FALSE(AnyTargetMatches({}, cluster));
  cluster.groups.push_back({"default", {}});
  EXPECT_TRUE(AnyTargetMatches({}, cluster));
}

TEST(TargetResolver, NamesWhatMatched) {
  BundleRevision bundle;
  storage::v1::Target& target = *bundle.add_targets();
  target.set_name("everywhere");
  target.mutable_cluster_selector();
  EXPECT_EQ(ResolveTarget(bundle, Cluster("one"))->target_name, "everywhere");

  storage::v1::Target& custom = *bundle.add_customizations();
  custom.set_name("prod");
  custom.set_cluster_name("one");
  EXPECT_EQ(ResolveTarget(bundle, Cluster("one"))->target_name,
            "everywhere/prod");
}

}  // namespace
}  // namespace flotilla::manager
