// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/prune_rules.h"

#include <string>

#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using core::v1::ResourceKey;
using nlohmann::json;
using Word = PruneVerdict::Word;

ResourceKey Key(const std::string& group, const std::string& kind,
                const std::string& ns = "", const std::string& name = "x") {
  ResourceKey key;
  key.set_group(group);
  key.set_version("v1");
  key.set_kind(kind);
  key.set_namespace_(ns);
  key.set_name(name);
  return key;
}

// An object of bundle "b".
json Ours(const json& annotations = json::object()) {
  json object = {
      {"metadata",
       {{"annotations", {{"flotilla.dev/bundle-id", "b"}}},
        {"managedFields",
         {{{"manager", "flotilla"},
           {"operation", "Apply"},
           {"apiVersion", "v1"},
           {"fieldsV1", {{"f:data", {{"f:key", json::object()}}}}}}}}}}};
  object["metadata"]["annotations"].update(annotations);
  return object;
}

TEST(PruneRules, JudgesByMarksAndKind) {
  const json foreign = {{"metadata", {{"name", "x"}}}};
  const json of_other = Ours({{"flotilla.dev/bundle-id", "other"}});
  const json kept = Ours({{"helm.sh/resource-policy", "keep"}});
  const json asked = Ours({{"flotilla.dev/on-remove", "delete"}});
  const ResourceKey map = Key("", "ConfigMap", "ns");
  const ResourceKey claim = Key("", "PersistentVolumeClaim", "ns");
  const ResourceKey ns = Key("", "Namespace");
  const ResourceKey crd =
      Key("apiextensions.k8s.io", "CustomResourceDefinition");
  const struct {
    const char* what;
    ResourceKey key;
    bool known;
    json live;
    Word word;
    std::string why;
  } rows[] = {
      {"ours", map, true, Ours(), Word::kDelete, ""},
      {"of an unfinished apply", map, false, Ours(), Word::kDelete, ""},
      {"handed over, not applied since", map, true, of_other, Word::kDelete,
       ""},
      {"of a bundle that is not this one", map, false, of_other, Word::kLeave,
       "no longer Flotilla's"},
      {"foreign", map, false, foreign, Word::kLeave, "no longer Flotilla's"},
      {"was ours", map, true, foreign, Word::kLeave, "no longer Flotilla's"},
      {"kept", map, true, kept, Word::kLeave, "to be kept"},
      {"kept in our words", map, true,
       Ours({{"flotilla.dev/on-remove", "keep"}}), Word::kLeave, "to be kept"},
      {"kept before asked for", map, true,
       Ours({{"flotilla.dev/on-remove", "delete"},
             {"helm.sh/resource-policy", "keep"}}),
       Word::kLeave, "to be kept"},
      {"a claim", claim, true, Ours(), Word::kLeave, "its data would go"},
      {"a claim that Git gave up", claim, true, asked, Word::kDelete, ""},
      {"a claim of others", claim, false, foreign, Word::kLeave,
       "no longer Flotilla's"},
      {"a volume", Key("", "PersistentVolume"), true, Ours(), Word::kLeave,
       "its data would go"},
      {"a namespace", ns, true, Ours(), Word::kDeleteIfEmpty, ""},
      {"a namespace with all that is in it", ns, true, asked, Word::kDelete,
       ""},
      {"a kind", crd, true, Ours(), Word::kDeleteIfEmpty, ""},
      {"odd annotations", map, true,
       Ours({{"flotilla.dev/on-remove", 7}}), Word::kDelete, ""},
      {"no object", map, true, json(), Word::kLeave, "no longer Flotilla's"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.what);
    const PruneVerdict verdict =
        JudgePrune(row.key, "b", row.known, row.live);
    EXPECT_EQ(verdict.word, row.word);
    EXPECT_NE(verdict.why.find(row.why), std::string::npos) << verdict.why;
    EXPECT_EQ(verdict.why.empty(), row.why.empty());
  }
}

TEST(PruneRules, OnlyWhatADeletionMayNeedWaitsForIt) {
  const ResourceKey ns = Key("", "Namespace", "", "ns");
  const ResourceKey role = Key("rbac.authorization.k8s.io", "ClusterRole");
  const ResourceKey custom = Key("db.example.org", "Cluster", "ns");
  const ResourceKey service = Key("", "Service", "ns");

  EXPECT_TRUE(WaitsFor(ns, service));
  EXPECT_TRUE(WaitsFor(ns, custom));
  EXPECT_FALSE(WaitsFor(Key("", "Namespace", "", "other"), service));
  EXPECT_FALSE(WaitsFor(Key("", "Namespace", "", "other"), custom));
  EXPECT_FALSE(WaitsFor(role, service));
  EXPECT_TRUE(WaitsFor(role, custom));
  EXPECT_TRUE(WaitsFor(
      Key("apiextensions.k8s.io", "CustomResourceDefinition"), custom));
  EXPECT_FALSE(WaitsFor(role, Key("networking.k8s.io", "Ingress", "ns")));
}

}  // namespace
}  // namespace flotilla::agent
