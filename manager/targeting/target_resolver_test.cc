// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/target_resolver.h"

#include <map>
#include <optional>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/bundle/corpus.h"
#include "manager/documents/fleet_yaml.h"
#include "manager/store/records.h"
#include "manager/targeting/cluster_matcher.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;
using storage::v1::BundleRevision;
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

// Checks all rows, by the rule and by the resolver; returns how many.
int CheckTable(const json& table) {
  int checked = 0;
  for (const json& row : table["cases"]) {
    BundleRevision bundle;
    bundle.set_all_matches(row.value("targetCustomizationMode", "") ==
                           "AllMatches");
    if (row.contains("root")) {
      const FleetYaml root =
          ParseFleetYaml(row["root"].dump(), "root.yaml", "table");
      EXPECT_THAT(root.errors, IsEmpty());
      *bundle.mutable_options() = root.options;
    }
    *bundle.mutable_targets() = Targets(row["gitRepoTargets"]);
    if (row.contains("restrictions")) {
      *bundle.mutable_restrictions() = Targets(row["restrictions"]);
    }
    *bundle.mutable_customizations() = Targets(row["targetCustomizations"]);
    std::map<std::string, json> deployed;
    for (const char* name : {"one", "two", "three"}) {
      const std::optional<ResolvedTarget> resolved =
          ResolveTarget(bundle, Cluster(name));
      const auto shared =
          BundleResolver(bundle).Resolve(ClusterSubject(Cluster(name)));
      EXPECT_EQ(shared != nullptr, resolved.has_value()) << row["case"];
      if (!resolved.has_value()) continue;
      EXPECT_EQ(shared->options_bytes, SerializeRecord(resolved->options));
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
  return checked;
}

TEST(TargetResolver, FollowsTheTableOfTheTree) {
  EXPECT_EQ(CheckTable(ReadTable("manager/targeting/testdata/targets.yaml")),
            14);
}

TEST(TargetResolver, FollowsTheTableOfTheCorpus) {
  const std::optional<json> table = ReadCorpusTable("targets.yaml");
  if (!table.has_value()) return;

  EXPECT_GT(CheckTable(*table), 0);
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

// A target of few names and labels, so that many match.
storage::v1::Target RandomTarget(std::mt19937& random) {
  const auto pick = [&random](const char* prefix, unsigned n) {
    return absl::StrCat(prefix, random() % n);
  };
  const auto selector = [&](core::v1::LabelSelector& out) {
    if (random() % 2 == 0) {
      core::v1::LabelPair& pair = *out.add_match_labels();
      pair.set_key(pick("k", 3));
      pair.set_value(pick("v", 2));
    }
    for (unsigned n = random() % 3; n > 0; --n) {
      core::v1::LabelRequirement& requirement = *out.add_match_expressions();
      requirement.set_key(pick("k", 4));
      requirement.set_operator_(
          static_cast<core::v1::LabelRequirement::Operator>(random() % 5));
      requirement.add_values(pick("v", 3));
    }
  };
  storage::v1::Target target;
  target.set_name(pick("t", 1000));
  if (random() % 6 == 0) target.set_cluster_name(pick("c", 3));
  if (random() % 2 == 0) selector(*target.mutable_cluster_selector());
  if (random() % 4 == 0) target.set_cluster_group(pick("g", 3));
  if (random() % 3 == 0) selector(*target.mutable_cluster_group_selector());
  target.set_do_not_deploy(random() % 8 == 0);
  target.mutable_options()->set_namespace_(pick("n", 3));
  return target;
}

TEST(TargetResolver, ResolvesFastWhatTheRuleSays) {
  std::mt19937 random(1);
  const auto labels = [&random] {
    LabelMap map;
    for (unsigned n = random() % 4; n > 0; --n) {
      map[absl::StrCat("k", random() % 3)] = absl::StrCat("v", random() % 2);
    }
    return map;
  };
  int hits = 0;
  for (int round = 0; round < 500; ++round) {
    BundleRevision bundle;
    bundle.set_all_matches(random() % 2 == 0);
    for (unsigned n = random() % 5; n > 0; --n) {
      *bundle.add_targets() = RandomTarget(random);
    }
    for (unsigned n = random() % 4; n > 0; --n) {
      *bundle.add_customizations() = RandomTarget(random);
    }
    for (unsigned n = random() % 3; n > 0; --n) {
      *bundle.add_restrictions() = RandomTarget(random);
    }
    BundleResolver resolver(bundle);
    for (int i = 0; i < 20; ++i) {
      TargetCluster cluster;
      cluster.name = absl::StrCat("c", random() % 4);
      cluster.labels = labels();
      if (random() % 4 == 0) {
        cluster.labels[kDisplayNameLabel] = absl::StrCat("c", random() % 3);
      }
      for (unsigned n = random() % 3; n > 0; --n) {
        cluster.groups.push_back({absl::StrCat("g", random() % 3), labels()});
      }
      const auto rule = ResolveTarget(bundle, cluster);
      const auto fast = resolver.Resolve(ClusterSubject(cluster));
      ASSERT_EQ(rule.has_value(), fast != nullptr) << bundle.DebugString();
      if (!rule.has_value()) continue;
      ++hits;
      EXPECT_EQ(rule->target_name, fast->resolved.target_name);
      EXPECT_EQ(SerializeRecord(rule->options), fast->options_bytes);
    }
  }
  EXPECT_GT(hits, 500);
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
