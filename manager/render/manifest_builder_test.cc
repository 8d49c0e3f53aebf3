// SPDX-License-Identifier: Apache-2.0

#include "manager/render/manifest_builder.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/render/default_facts.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

RenderInput Input(std::vector<RenderFile> files) {
  RenderInput input;
  input.workspace = "fleet-default";
  input.bundle_name = "simple";
  input.bundle_id = "11111111-1111-4111-8111-111111111111";
  input.revision = "0123456789abcdef";
  input.directory = "apps/simple";
  input.files = std::move(files);
  input.facts = DefaultClusterFacts();
  input.random_seed = std::string(32, 's');
  return input;
}

std::string ConfigMap(const std::string& name, const std::string& extra = "") {
  return absl::StrCat("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ",
                      name, "\n", extra);
}

BuiltManifest Build(const RenderInput& input) {
  const RenderPlan plan = PlanRender(input);
  EXPECT_THAT(plan.problems, IsEmpty());
  return BuildManifest(input, plan, nullptr);
}

// "group/kind namespace/name" of each entry, with its flags.
std::vector<std::string> Entries(const BuiltManifest& built) {
  std::vector<std::string> out;
  for (const core::v1::ManifestEntry& entry : built.manifest.entries()) {
    std::string text =
        absl::StrCat(entry.key().group(), "/", entry.key().kind(), " ",
                     entry.key().namespace_(), "/", entry.key().name());
    if (entry.ensure_namespace()) absl::StrAppend(&text, " ensure");
    if (entry.keep()) absl::StrAppend(&text, " keep");
    if (entry.secret()) absl::StrAppend(&text, " secret");
    out.push_back(text);
  }
  return out;
}

json Object(const BuiltManifest& built, const std::string& kind,
            const std::string& name) {
  for (const core::v1::ManifestEntry& entry : built.manifest.entries()) {
    if (entry.key().kind() != kind || entry.key().name() != name) continue;
    for (const ManifestBlob& blob : built.blobs) {
      if (blob.digest != entry.blob_digest()) continue;
      EXPECT_EQ(entry.raw_size(), blob.bytes.size());
      return json::parse(blob.bytes, nullptr, false);
    }
  }
  return json();
}

// "file:line message" of each.
std::string Text(const std::vector<core::v1::Problem>& problems) {
  std::vector<std::string> out;
  for (const core::v1::Problem& problem : problems) {
    out.push_back(absl::StrCat(problem.file(), ":", problem.line(), " ",
                               problem.message()));
  }
  return absl::StrJoin(out, "\n");
}

TEST(ManifestBuilder, MarksObjectsAndPutsThemIntoTheDefaultNamespace) {
  RenderInput input = Input({{"a.yaml", ConfigMap("a", "data: {k: v}\n")}});
  input.options.set_default_namespace("web");

  const BuiltManifest built = Build(input);

  EXPECT_THAT(built.problems, IsEmpty());
  EXPECT_THAT(Entries(built), ElementsAre("/ConfigMap web/a",
                                          "/Namespace /web ensure"));
  EXPECT_EQ(Object(built, "ConfigMap", "a"), json::parse(R"({
    "apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"},
    "metadata": {"name": "a", "namespace": "web",
      "labels": {"flotilla.dev/managed": "true"},
      "annotations": {"flotilla.dev/bundle": "fleet-default/simple",
        "flotilla.dev/bundle-id": "11111111-1111-4111-8111-111111111111"}}})"));
  EXPECT_EQ(Object(built, "Namespace", "web"), json::parse(R"({
    "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}})"));
  EXPECT_EQ(built.manifest.entries(0).source_file(),
            "apps/simple/a.yaml");
  EXPECT_TRUE(built.manifest.policy().correct_drift());
  EXPECT_EQ(built.manifest.policy().takeover(), core::v1::TAKEOVER_IF_NO_DIFF);
}

TEST(ManifestBuilder, LeavesNamespacesOfObjectsAlone) {
  RenderInput input = Input(
      {{"a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, "
                  "namespace: other}\n---\n"
                  "apiVersion: rbac.authorization.k8s.io/v1\n"
                  "kind: ClusterRole\nmetadata: {name: r, namespace: x}\n"}});
  input.options.set_default_namespace("web");

  const BuiltManifest built = Build(input);

  EXPECT_THAT(Entries(built),
              ElementsAre("/ConfigMap other/a",
                          "rbac.authorization.k8s.io/ClusterRole /r"));
  EXPECT_FALSE(
      Object(built, "ClusterRole", "r")["metadata"].contains("namespace"));
}

TEST(ManifestBuilder, ForcesEverythingIntoANamespace) {
  RenderInput input = Input(
      {{"a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, "
                  "namespace: other}\n"}});
  input.options.set_namespace_("forced");
  input.options.set_default_namespace("web");
  EXPECT_THAT(Entries(Build(input)),
              ElementsAre("/ConfigMap forced/a", "/Namespace /forced ensure"));

  input.files.push_back(
      {"b.yaml", "\nkind: ClusterRole\nmetadata: {name: r}\n"
                 "apiVersion: rbac.authorization.k8s.io/v1\n"});
  const BuiltManifest built = Build(input);
  EXPECT_THAT(Text(built.problems),
              HasSubstr("apps/simple/b.yaml:2 the option `namespace: forced`"));
  EXPECT_THAT(Entries(built), IsEmpty());
  EXPECT_THAT(built.blobs, IsEmpty());
}

TEST(ManifestBuilder, UsesDefaultWithoutOptionsAndDoesNotEnsureIt) {
  EXPECT_THAT(Entries(Build(Input({{"a.yaml", ConfigMap("a")}}))),
              ElementsAre("/ConfigMap default/a"));
}

TEST(ManifestBuilder, OwnNamespaceObjectIsNotEnsured) {
  RenderInput input =
      Input({{"a.yaml", ConfigMap("a")},
             {"ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: "
                         "web}\n"}});
  input.options.set_default_namespace("web");
  EXPECT_THAT(Entries(Build(input)),
              ElementsAre("/ConfigMap web/a", "/Namespace /web"));
}

TEST(ManifestBuilder, LearnsScopesFromTheBundlesOwnCrds) {
  const std::string crd =
      "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n"
      "metadata: {name: things.example.com}\n"
      "spec: {group: example.com, scope: Cluster, names: {kind: Thing}}\n";
  const std::string thing =
      "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n";

  const BuiltManifest with =
      Build(Input({{"a.yaml", thing}, {"b.yaml", crd}}));
  const BuiltManifest without = Build(Input({{"a.yaml", thing}}));

  EXPECT_THAT(
      Entries(with),
      ElementsAre("apiextensions.k8s.io/CustomResourceDefinition "
                  "/things.example.com keep",
                  "example.com/Thing /t"));
  EXPECT_THAT(Entries(without), ElementsAre("example.com/Thing default/t"));
  EXPECT_THAT(without.kinds_asked, ElementsAre(Pair("example.com", "Thing")));
}

TEST(ManifestBuilder, StripsWhatTheServerSets) {
  const BuiltManifest built = Build(Input(
      {{"a.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\n"
        "  uid: x\n  resourceVersion: '1'\n  creationTimestamp: null\n"
        "  generation: 3\n  managedFields: []\nspec:\n  replicas: null\n"
        "  template: {spec: {volumes: [{name: v, emptyDir: }]}}\n"
        "status: {replicas: 1}\n"}}));

  const json object = Object(built, "Deployment", "a");
  EXPECT_FALSE(object.contains("status"));
  EXPECT_EQ(object["metadata"].size(), 4u) << object;
  EXPECT_EQ(object["spec"],
            json::parse(R"({"template":{"spec":{"volumes":[{"name":"v"}]}}})"));
}

TEST(ManifestBuilder, FoldsStringDataOfSecrets) {
  const BuiltManifest built = Build(Input(
      {{"s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
                  "data:\n  a: aGVs\n  b: |\n    aGVs\n    bG8=\n"
                  "stringData: {a: over, c: new}\n"}}));

  EXPECT_THAT(Entries(built), ElementsAre("/Secret default/s secret"));
  EXPECT_EQ(Object(built, "Secret", "s")["data"],
            json::parse(R"({"a":"b3Zlcg==","b":"aGVsbG8=","c":"bmV3"})"));
  EXPECT_FALSE(Object(built, "Secret", "s").contains("stringData"));
}

TEST(ManifestBuilder, KeepsWhatAsksForIt) {
  EXPECT_THAT(
      Entries(Build(Input(
          {{"a.yaml", ConfigMap("a", "  annotations: "
                                     "{helm.sh/resource-policy: keep}\n")}}))),
      ElementsAre("/ConfigMap default/a keep"));
}

TEST(ManifestBuilder, DropsTestHooksOfRawYaml) {
  EXPECT_THAT(
      Entries(Build(Input(
          {{"a.yaml", ConfigMap("a")},
           {"t.yaml", ConfigMap("t", "  annotations: {helm.sh/hook: test}\n")}}))),
      ElementsAre("/ConfigMap default/a"));
}

// Of each hook: name, events, weight, when it is deleted.
std::string Hooks(const BuiltManifest& built) {
  std::vector<std::string> out;
  for (const core::v1::ManifestEntry& entry : built.manifest.hooks()) {
    std::string text = absl::StrCat(entry.key().kind(), " ",
                                    entry.key().name());
    for (const int event : entry.hook().events()) {
      absl::StrAppend(&text, " ", core::v1::Hook::Event_Name(event).substr(6));
    }
    absl::StrAppend(&text, " ", entry.hook().weight(),
                    entry.hook().delete_before() ? " before" : "",
                    entry.hook().delete_succeeded() ? " succeeded" : "",
                    entry.hook().delete_failed() ? " failed" : "");
    out.push_back(text);
  }
  return absl::StrJoin(out, "\n");
}

std::string HookYaml(const std::string& kind, const std::string& name,
                     const std::string& annotations) {
  return absl::StrCat("---\napiVersion: v1\nkind: ", kind,
                      "\nmetadata: {name: ", name, ", annotations: {",
                      annotations, "}}\n");
}

TEST(ManifestBuilder, KeepsHooksApartInTheOrderOfHelm) {
  const BuiltManifest built = Build(Input(
      {{"a.yaml",
        absl::StrCat(
            ConfigMap("a"),
            HookYaml("Pod", "z", "helm.sh/hook: pre-install"),
            HookYaml("Pod", "m", "helm.sh/hook: ' Post-Upgrade,pre-install'"),
            HookYaml("ConfigMap", "m",
                     "helm.sh/hook: 'post-install,test', "
                     "helm.sh/hook-delete-policy: "
                     "'hook-succeeded, Hook-Failed'"),
            HookYaml("Pod", "late",
                     "helm.sh/hook: pre-delete, helm.sh/hook-weight: '5'"),
            HookYaml("Pod", "early",
                     "helm.sh/hook: post-delete, helm.sh/hook-weight: '-5', "
                     "helm.sh/hook-delete-policy: before-hook-creation"),
            HookYaml("Pod", "odd",
                     "helm.sh/hook: pre-upgrade, helm.sh/hook-weight: x"))}}));

  EXPECT_THAT(built.problems, IsEmpty());
  EXPECT_THAT(built.warnings, IsEmpty());
  EXPECT_THAT(Entries(built), ElementsAre("/ConfigMap default/a"));
  EXPECT_EQ(Hooks(built),
            "Pod early POST_DELETE -5 before\n"
            "ConfigMap m POST_INSTALL 0 succeeded failed\n"
            "Pod m PRE_INSTALL POST_UPGRADE 0 before\n"
            "Pod odd PRE_UPGRADE 0 before\n"
            "Pod z PRE_INSTALL 0 before\n"
            "Pod late PRE_DELETE 5 before");
  const core::v1::ManifestEntry& pod = built.manifest.hooks(0);
  EXPECT_EQ(pod.key().namespace_(), "default");
  EXPECT_EQ(built.blobs.size(), 7);
}

TEST(ManifestBuilder, LeavesOutHooksThatNeverRun) {
  const BuiltManifest built = Build(Input(
      {{"a.yaml",
        absl::StrCat(ConfigMap("a"),
                     HookYaml("Pod", "rollback",
                              "helm.sh/hook: 'pre-rollback,post-rollback'"),
                     HookYaml("Pod", "crd", "helm.sh/hook: crd-install"),
                     HookYaml("Pod", "unknown",
                              "helm.sh/hook: 'pre-install,test-failure'"),
                     HookYaml("Pod", "p",
                              "helm.sh/hook: pre-install, "
                              "helm.sh/hook-delete-policy: never"))}}));

  EXPECT_EQ(Hooks(built), "Pod p PRE_INSTALL 0");
  const std::string warnings = Text(built.warnings);
  EXPECT_THAT(warnings, HasSubstr("helm.sh/hook: crd-install, which Helm does "
                                  "not know: it is left out"));
  EXPECT_THAT(warnings, HasSubstr("pre-install,test-failure"));
  EXPECT_THAT(warnings, HasSubstr("hook-delete-policy names \"never\""));
  EXPECT_EQ(built.warnings.size(), 3);
}

TEST(ManifestBuilder, ReadsWhatAnObjectDependsOn) {
  const BuiltManifest built = Build(Input(
      {{"a.yaml",
        absl::StrCat(
            HookYaml("Pod", "p",
                     "config.kubernetes.io/depends-on: "
                     "'/namespaces/default/Secret/s, /Namespace/web', "
                     "flotilla.dev/depends-on: "
                     "/namespaces/default/Pod/q"),
            HookYaml("Pod", "q", ""), HookYaml("Secret", "s", ""),
            HookYaml("Namespace", "web", ""))}}));

  EXPECT_THAT(Text(built.problems), IsEmpty());
  std::vector<std::string> keys;
  for (const auto& key : built.manifest.entries(1).depends_on()) {
    keys.push_back(absl::StrCat(key.group(), "|", key.namespace_(), "|",
                                key.kind(), "|", key.name()));
  }
  EXPECT_THAT(keys, ElementsAre("|default|Secret|s", "||Namespace|web",
                                "|default|Pod|q"));
}

TEST(ManifestBuilder, NamesCirclesAndWhatIsNotThere) {
  const auto on = [](const std::string& name, const std::string& other) {
    return HookYaml("Pod", name,
                    absl::StrCat("flotilla.dev/depends-on: "
                                 "/namespaces/default/Pod/", other));
  };
  EXPECT_EQ(Text(Build(Input({{"a.yaml", on("a", "b")}})).problems),
            "apps/simple/a.yaml:0 depends on Pod default/b, which is not in "
            "this bundle; for another bundle, use dependsOn in fleet.yaml");
  EXPECT_EQ(Text(Build(Input({{"a.yaml", on("a", "a")}})).problems),
            "apps/simple/a.yaml:0 depends on itself: Pod default/a -> Pod "
            "default/a");
  const std::string circle = Text(
      Build(Input({{"a.yaml",
                    absl::StrCat(on("a", "b"), on("b", "c"), on("c", "b"),
                                 on("d", "a"))}}))
          .problems);
  EXPECT_THAT(circle, HasSubstr("Pod default/b -> Pod default/c"));
  EXPECT_FALSE(absl::StrContains(circle, "default/a"));
}

TEST(ManifestBuilder, FlattensLists) {
  EXPECT_THAT(
      Entries(Build(Input(
          {{"a.yaml", "apiVersion: v1\nkind: List\nitems:\n"
                      "- {apiVersion: v1, kind: ConfigMap, metadata: {name: "
                      "b}}\n"
                      "- {apiVersion: v1, kind: ConfigMap, metadata: {name: "
                      "a}}\n"},
           {"b.json", R"({"apiVersion":"v1","kind":"SecretList","items":[]})"},
           {"c.json", R"({"apiVersion":"x.io/v1","kind":"AllowList",
                          "metadata":{"name":"n"},"items":[1]})"}}))),
      ElementsAre("/ConfigMap default/a", "/ConfigMap default/b",
                  "x.io/AllowList default/n"));
}

TEST(ManifestBuilder, ChoosesTheFilesOfRawBundles) {
  const BuiltManifest built = Build(Input({
      {"README.md", "kind: {"},
      {"a.yaml", ConfigMap("a")},
      {"b/c.yml", ConfigMap("c")},
      {"chart/Chart.yaml", "name: x"},
      {"chart/templates/t.yaml", "{{ broken"},
      {"d.json", R"({"apiVersion":"v1","kind":"ConfigMap",
                     "metadata":{"name":"d"}})"},
      {"fleet.yml", "namespace: x"},
      {"nested/fleet.yaml", "namespace: y"},
      {"nested/deep/e.yaml", ConfigMap("e")},
      {"overlays/dev/f.yaml", ConfigMap("f")},
      {"values.txt", "x"},
      {"words.yaml", "# nothing\n---\nimage: nginx\n"},
  }));

  EXPECT_THAT(Entries(built),
              ElementsAre("/ConfigMap default/a", "/ConfigMap default/c",
                          "/ConfigMap default/d"));
  EXPECT_THAT(Text(built.warnings),
              HasSubstr("apps/simple/words.yaml:3 the document has no kind"));
}

TEST(ManifestBuilder, SaysFileAndLineOfWhatIsWrong) {
  const struct {
    const char* yaml;
    int line;
    const char* words;
  } kCases[] = {
      {"a: b\n  c: d\n", 2, "not YAML"},
      {"---\n---\nkind: ConfigMap\nmetadata: {name: a}\n", 3, "no apiVersion"},
      {"\nkind: 3\n", 2, "no kind"},
      {"apiVersion: v1\nkind: ConfigMap\n", 1, "no metadata"},
      {"apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n", 1,
       "no metadata.name"},
      {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 3}\n", 1,
       "no metadata.name"},
      {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a/../b}\n", 1,
       "no name of Kubernetes"},
      {"apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n", 1,
       "generateName"},
      {"apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {x: 1}}\n", 1,
       "metadata.labels.x must be a string"},
      {"apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: []}\n", 1,
       "no map"},
      {"apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: A_B}\n", 1,
       "no name of a namespace"},
      {"apiVersion: a/b/c\nkind: Pod\nmetadata: {name: a}\n", 1, "apiVersion"},
      {"- a\n- b\n", 1, "no Kubernetes object"},
      {"apiVersion: v1\nkind: List\nitems: [3]\n", 1, "an item of the List"},
      {"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {k: canary!}\n",
       1, "data.k of the Secret is not base64"},
      {"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {k: "
       "31337}\n",
       1, "stringData.k of the Secret must be a string"},
      {"apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: "
       "{flotilla.dev/depends-on: 'pod/b'}}\n",
       1, "the annotation flotilla.dev/depends-on says \"pod/b\": write"},
      {"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Component\n", 1,
       "a kustomization lies here"},
  };
  for (const auto& test : kCases) {
    const BuiltManifest built = Build(Input({{"a.yaml", test.yaml}}));
    EXPECT_THAT(Text(built.problems),
                HasSubstr(absl::StrCat("apps/simple/a.yaml:", test.line, " ")))
        << test.yaml;
    EXPECT_THAT(Text(built.problems), HasSubstr(test.words));
    EXPECT_FALSE(absl::StrContains(Text(built.problems), "canary"));
    EXPECT_FALSE(absl::StrContains(Text(built.problems), "31337"));
    EXPECT_THAT(Entries(built), IsEmpty());
  }
}

TEST(ManifestBuilder, TakesTheLastOfDuplicateKeysAsHelmDoes) {
  const BuiltManifest built =
      Build(Input({{"a.yaml", ConfigMap("a", "data:\n  x: one\n  x: two\n")}}));
  EXPECT_THAT(built.problems, IsEmpty());
  ASSERT_EQ(built.blobs.size(), 1);
  EXPECT_EQ(json::parse(built.blobs[0].bytes)["data"]["x"], "two");
  ASSERT_EQ(built.warnings.size(), 1);
  EXPECT_EQ(built.warnings[0].line(), 7);
  EXPECT_THAT(built.warnings[0].message(), HasSubstr("the last one counts"));
}

TEST(ManifestBuilder, NamesBothFilesOfADuplicate) {
  const BuiltManifest built =
      Build(Input({{"a.yaml", ConfigMap("a")},
                   {"b.yaml", "\n" + ConfigMap("a")}}));
  EXPECT_THAT(Text(built.problems),
              HasSubstr("apps/simple/b.yaml:2 the object is there twice: in "
                        "apps/simple/a.yaml and in apps/simple/b.yaml"));
}

TEST(ManifestBuilder, WarnsOfABundleWithoutObjects) {
  const BuiltManifest built = Build(Input({{"README.md", "x"}}));
  EXPECT_THAT(built.problems, IsEmpty());
  EXPECT_THAT(Text(built.warnings), HasSubstr("no objects"));
}

TEST(ManifestBuilder, GivesTheSameBytesForTheSameInput) {
  const RenderInput input = Input({{"a.yaml", ConfigMap("a")},
                                   {"b.yaml", ConfigMap("b")},
                                   {"c.yaml", "kind: ConfigMap\nmetadata:\n  "
                                              "name: c\napiVersion: v1\n"}});
  const BuiltManifest first = Build(input);
  const BuiltManifest second = Build(input);
  EXPECT_EQ(first.manifest.SerializeAsString(),
            second.manifest.SerializeAsString());
  ASSERT_EQ(first.blobs.size(), 3u);
  EXPECT_EQ(first.blobs[0].bytes, second.blobs[0].bytes);
}

TEST(ManifestBuilder, FollowsTheOrderOfWhoSaysWhetherDriftIsCorrected) {
  RenderInput input = Input({{"a.yaml", ConfigMap("a")}});
  input.source_correct_drift = storage::v1::TRI_STATE_FALSE;
  EXPECT_FALSE(Build(input).manifest.policy().correct_drift());
  input.options.set_correct_drift(storage::v1::TRI_STATE_TRUE);
  EXPECT_TRUE(Build(input).manifest.policy().correct_drift());
  input.options.mutable_helm()->set_take_ownership(true);
  input.options.set_keep_resources(true);
  EXPECT_EQ(Build(input).manifest.policy().takeover(),
            core::v1::TAKEOVER_ALWAYS);
  EXPECT_TRUE(Build(input).manifest.policy().keep_resources());
}

TEST(PlanRender, SendsAChartToTheWorker) {
  RenderInput input = Input({{"Chart.yaml", "name: x"},
                             {"templates/a.yaml", "a"},
                             {"values.yaml", "b"}});
  input.options.set_default_namespace("web");
  input.options.mutable_helm()->set_values_json("{\"a\":1}");
  input.now_unix_seconds = 7;

  const RenderPlan plan = PlanRender(input);

  ASSERT_TRUE(plan.request.has_value());
  EXPECT_THAT(plan.raw_files, IsEmpty());
  EXPECT_EQ(plan.request->files_size(), 3);
  EXPECT_EQ(plan.request->release_name(), "simple");
  EXPECT_EQ(plan.request->namespace_(), "web");
  EXPECT_EQ(plan.request->values_json(), "{\"a\":1}");
  EXPECT_EQ(plan.request->kube_version(), "v1.36.3");
  EXPECT_EQ(plan.request->now_unix_seconds(), 7);
  EXPECT_EQ(plan.request->random_seed(), std::string(32, 's'));
  EXPECT_THAT(plan.request->api_versions(),
              ::testing::IsSupersetOf({"v1", "v1/Pod", "apps/v1",
                                       "apps/v1/Deployment"}));
}

TEST(PlanRender, TakesTheChartFromItsDirectory) {
  RenderInput input = Input({{"chart/Chart.yaml", "name: x"},
                             {"chart/templates/a.yaml", "a"},
                             {"raw.yaml", "b"}});
  for (const char* chart : {"chart", "./chart", "chart/", "./chart/"}) {
    input.options.mutable_helm()->set_chart(chart);
    const RenderPlan plan = PlanRender(input);
    ASSERT_TRUE(plan.request.has_value()) << chart;
    EXPECT_EQ(plan.style.chart_directory, "chart/");
    EXPECT_EQ(plan.request->files(0).name(), "Chart.yaml");
    EXPECT_EQ(plan.request->files_size(), 2);
  }
  input.options.mutable_helm()->set_chart("oci://registry/chart");
  EXPECT_THAT(Text(PlanRender(input).problems),
              HasSubstr("was not downloaded"));
}

TEST(PlanRender, MakesAChartOfRawTemplates) {
  RenderInput input = Input({{"a.yaml", ConfigMap("a")},
                             {"templates/b.yaml", "b"},
                             {"templates/_h.tpl", "h"},
                             {"x/templates/c.yaml", "c"}});
  const RenderPlan plan = PlanRender(input);

  ASSERT_TRUE(plan.request.has_value());
  EXPECT_THAT(plan.raw_files, ElementsAre(0));
  std::vector<std::string> names;
  for (const render::v1::File& file : plan.request->files()) {
    names.push_back(file.name());
  }
  EXPECT_THAT(names, ::testing::UnorderedElementsAre(
                         "Chart.yaml", "templates/b.yaml", "templates/_h.tpl",
                         "templates/x/templates/c.yaml"));

  render::v1::RenderResponse response;
  response.mutable_error()->set_file("templates/x/templates/c.yaml");
  response.mutable_error()->set_line(4);
  response.mutable_error()->set_message("oh");
  EXPECT_EQ(Text(BuildManifest(input, plan, &response).problems),
            "apps/simple/x/templates/c.yaml:4 oh");
}

TEST(PlanRender, RefusesNamespacesThatAreNone) {
  RenderInput input = Input({{"a.yaml", ConfigMap("a")}});
  input.options.set_default_namespace("A b");
  EXPECT_THAT(Text(PlanRender(input).problems),
              HasSubstr("no name of a namespace"));
}

TEST(BuildManifest, TakesObjectsOfTheWorker) {
  RenderInput input = Input({{"chart/Chart.yaml", "name: x"}});
  input.options.mutable_helm()->set_chart("chart");
  input.options.set_namespace_("web");
  const RenderPlan plan = PlanRender(input);
  render::v1::RenderResponse response;
  render::v1::RenderedObject* object = response.add_objects();
  object->set_json(
      R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}})");
  object->set_source_file("templates/a.yaml");
  object = response.add_objects();
  object->set_json(R"({"apiVersion":"apiextensions.k8s.io/v1",
      "kind":"CustomResourceDefinition","metadata":{"name":"x.y"}})");
  object->set_source_file("crds/x.yaml");
  object->set_crd(true);
  render::v1::RenderError* warning = response.add_warnings();
  warning->set_message("careful");
  warning->set_file("templates/a.yaml");
  response.set_uses_capabilities(true);
  response.set_uses_random(true);

  const BuiltManifest built = BuildManifest(input, plan, &response);

  EXPECT_THAT(built.problems, IsEmpty());
  EXPECT_THAT(Entries(built),
              ElementsAre("/ConfigMap web/a", "/Namespace /web ensure",
                          "apiextensions.k8s.io/CustomResourceDefinition "
                          "/x.y keep"));
  EXPECT_EQ(built.manifest.entries(0).source_file(),
            "apps/simple/chart/templates/a.yaml");
  EXPECT_EQ(Text(built.warnings),
            "apps/simple/chart/templates/a.yaml:0 careful");
  EXPECT_TRUE(built.uses_capabilities);
  EXPECT_TRUE(built.uses_random);
}

TEST(BuildManifest, AKustomizationThatGivesNothingDeletesNothing) {
  RenderInput input = Input({{"k/kustomization.yaml", "resources: []"}});
  input.options.set_kustomize_dir("k");
  input.options.set_default_namespace("web");

  const render::v1::RenderResponse nothing;
  const BuiltManifest built =
      BuildManifest(input, PlanRender(input), &nothing);

  EXPECT_THAT(Text(built.problems),
              HasSubstr("apps/simple/k/kustomization.yaml:0 Kustomize gives "
                        "no object"));
  EXPECT_THAT(Entries(built), IsEmpty());

  // A chart may leave out everything for a cluster.
  input.files.push_back({"Chart.yaml", "name: x"});
  EXPECT_THAT(BuildManifest(input, PlanRender(input), &nothing).problems,
              IsEmpty());
}

TEST(FactsDigest, ChangesWithWhatWasAskedOnly) {
  const core::v1::ClusterFacts plain = DefaultClusterFacts();
  core::v1::ClusterFacts more = plain;
  core::v1::KindFact* kind = more.add_kinds();
  kind->set_group("example.com");
  kind->set_version("v1");
  kind->set_kind("Thing");
  const std::vector<GroupKind> pod = {{"", "Pod"}};
  const std::vector<GroupKind> thing = {{"example.com", "Thing"}};

  EXPECT_EQ(FactsDigest(plain, pod, false), FactsDigest(more, pod, false));
  EXPECT_NE(FactsDigest(plain, pod, true), FactsDigest(more, pod, true));
  EXPECT_NE(FactsDigest(plain, thing, false), FactsDigest(more, thing, false));
}

TEST(DefaultFacts, AreSorted) {
  const core::v1::ClusterFacts facts = DefaultClusterFacts();
  EXPECT_GT(facts.kinds_size(), 60);
  for (int i = 1; i < facts.kinds_size(); ++i) {
    const auto key = [&facts](int k) {
      return std::make_tuple(facts.kinds(k).group(), facts.kinds(k).version(),
                             facts.kinds(k).kind());
    };
    EXPECT_LT(key(i - 1), key(i));
  }
}

}  // namespace
}  // namespace flotilla::manager
