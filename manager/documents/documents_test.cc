// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/documents.h"

#include <string>

#include "absl/strings/escaping.h"
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
using ::testing::Not;
using ::testing::SizeIs;

ParsedDocuments Parse(absl::string_view text) {
  return ParseDocuments({{"f.yaml", std::string(text)}}, "");
}

constexpr char kFull[] = R"(
apiVersion: fleet.cattle.io/v1alpha1
kind: GitRepo
metadata:
  name: simple
  namespace: fleet-local
  labels: {team: a}
  annotations: {x: z}
  uid: 1234
spec:
  repo: https://git.example.com/fleet.git
  branch: main
  paths: [simple, /helm]
  targetNamespace: apps
  clientSecretName: creds
  pollingInterval: 1m30s
  correctDrift: {enabled: true}
  insecureSkipTLSVerify: true
  keepResources: true
  forceSyncGeneration: 4
  targets:
  - clusterSelector: {matchLabels: {env: prod}}
  - name: east
    clusterGroup: east
status: {commit: x}
---
# Nothing here.
---
apiVersion: fleet.cattle.io/v1alpha1
kind: ClusterGroup
metadata: {name: all}
spec: {selector: {}}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: Cluster
metadata: {name: dev, labels: {env: dev}}
)";

TEST(Documents, ReadsSeveralOfOneFile) {
  const ParsedDocuments parsed = Parse(kFull);

  EXPECT_THAT(parsed.errors, IsEmpty());
  EXPECT_THAT(parsed.warnings, IsEmpty());
  ASSERT_THAT(parsed.documents, SizeIs(3));
  const storage::v1::Document& repo = parsed.documents[0].document;
  EXPECT_EQ(repo.kind(), "GitRepo");
  EXPECT_EQ(repo.workspace(), "fleet-local");
  EXPECT_EQ(repo.name(), "simple");
  ASSERT_EQ(repo.labels_size(), 1);
  EXPECT_EQ(repo.labels(0).value(), "a");
  const storage::v1::GitRepoSpec& spec = repo.git_repo();
  EXPECT_EQ(spec.repo(), "https://git.example.com/fleet.git");
  EXPECT_EQ(spec.branch(), "main");
  EXPECT_THAT(spec.paths(), ElementsAre("simple", "/helm"));
  EXPECT_EQ(spec.target_namespace(), "apps");
  EXPECT_EQ(spec.client_secret_name(), "creds");
  EXPECT_EQ(spec.polling_interval().seconds(), 90);
  EXPECT_EQ(spec.correct_drift(), storage::v1::TRI_STATE_TRUE);
  EXPECT_TRUE(spec.insecure_skip_tls_verify());
  EXPECT_TRUE(spec.keep_resources());
  EXPECT_EQ(spec.force_sync_generation(), 4);
  ASSERT_EQ(spec.targets_size(), 2);
  EXPECT_EQ(spec.targets(0).name(), "target000");
  EXPECT_EQ(spec.targets(1).cluster_group(), "east");
  EXPECT_EQ(parsed.documents[1].document.workspace(), "fleet-default");
  EXPECT_TRUE(parsed.documents[1].document.cluster_group().has_selector());
  EXPECT_TRUE(parsed.documents[2].document.has_cluster());
}

TEST(Documents, ReadsJsonToo) {
  const ParsedDocuments parsed = Parse(
      R"({"apiVersion":"fleet.cattle.io/v1alpha1","kind":"GitRepo",)"
      R"("metadata":{"name":"a"},"spec":{"repo":"git@host:a/b.git"}})");

  EXPECT_THAT(parsed.errors, IsEmpty());
  ASSERT_THAT(parsed.documents, SizeIs(1));
  EXPECT_EQ(parsed.documents[0].document.git_repo().repo(),
            "git@host:a/b.git");
}

TEST(Documents, UsesTheWorkspaceOfTheCaller) {
  const ParsedDocuments parsed = ParseDocuments(
      {{"f", "apiVersion: fleet.cattle.io/v1alpha1\nkind: ClusterGroup\n"
             "metadata: {name: g}\nspec: {selector: {}}\n"}},
      "team-a");

  EXPECT_EQ(parsed.documents[0].document.workspace(), "team-a");
}

struct Row {
  const char* spec;
  const char* words;
};

class GitRepoErrors : public ::testing::TestWithParam<Row> {};

TEST_P(GitRepoErrors, AreSeenWithFileAndLine) {
  const ParsedDocuments parsed = Parse(absl::StrCat(
      "apiVersion: fleet.cattle.io/v1alpha1\nkind: GitRepo\n"
      "metadata: {name: a}\nspec:\n  ",
      GetParam().spec, "\n"));

  ASSERT_THAT(parsed.errors, SizeIs(1)) << GetParam().spec;
  EXPECT_THAT(parsed.errors[0].message(), HasSubstr(GetParam().words));
  EXPECT_EQ(parsed.errors[0].file(), "f.yaml");
  EXPECT_GE(parsed.errors[0].line(), 4);
  EXPECT_EQ(parsed.errors[0].subject(), "GitRepo fleet-default/a");
  EXPECT_THAT(parsed.documents, IsEmpty());
}

constexpr char kRepo[] = "repo: https://h/r, ";

INSTANTIATE_TEST_SUITE_P(
    Table, GitRepoErrors,
    ::testing::Values(
        Row{"branch: main", "spec.repo: must be set"},
        Row{"repo: 7", "spec.repo: must be a string"},
        Row{"repo: just-text", "must be a URL"},
        Row{"repo: ext::sh -c id", "white space"},
        Row{"repo: ext::sh", "must be a URL"},
        Row{"repo: git://host/r", "has the scheme \"git\""},
        Row{"repo: ssh://-oProxyCommand=x/r", "no host name"},
        Row{"repo: file://relative", "absolute path"},
        Row{"{repo: 'https://h/r', paths: [../x]}", "leads out of its root"},
        Row{"{repo: 'https://h/r', paths: x}", "must be a list"},
        Row{"{repo: 'https://h/r', branch: -x}", "not a valid name"},
        Row{"{repo: 'https://h/r', pollingInterval: 15}", "quotes"},
        Row{"{repo: 'https://h/r', pollingInterval: 1d}", "not a duration"},
        Row{"{repo: 'https://h/r', targetNamespace: A}", "not a valid name"},
        Row{"{repo: 'https://h/r', caBundle: x}", "base64"},
        // PEM with a byte that is no UTF-8: no record could hold it.
        Row{"{repo: 'https://h/r', caBundle: "
            "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t/w==}",
            "base64 of certificates"},
        Row{"{repo: 'https://h/r', bundles: [{base: ../a}]}",
            "spec.bundles[0].base: \"../a\" leads out of its root"},
        Row{"{repo: 'https://h/r', bundles: [{base: a, options: ../../b}]}",
            "spec.bundles[0].options"},
        Row{"{repo: 'https://h/r', helmSecretName: A_}", "not a valid name"},
        Row{"{repo: 'https://h/r', helmRepoURLRegex: '('}",
            "not a regular expression"},
        Row{"{repo: 'https://h/r', targets: [{clusterSelector: {matchLabels: "
            "{'a b': c}}}]}",
            "not a valid label key"}));

TEST(Documents, ReadsEveryOtherKeyOfAGitRepo) {
  const ParsedDocuments parsed = Parse(R"(
apiVersion: fleet.cattle.io/v1alpha1
kind: GitRepo
metadata: {name: a, annotations: {note: "x y"}}
spec:
  repo: https://h/r
  bundles: [{base: apps/a, options: ../a.yaml}, {base: apps/b}]
  serviceAccount: sa
  helmSecretName: helm
  helmSecretNameForPaths: paths
  helmRepoURLRegex: "https://charts\\.example\\.com/.*"
  webhookSecret: hook
  paused: true
  deleteNamespace: true
  disablePolling: true
  correctDrift: {enabled: false, force: true, keepFailHistory: true}
  imageScanInterval: 5m
  imageScanCommit: {authorName: a}
  ociRegistrySecret: oci
)");

  EXPECT_THAT(parsed.errors, IsEmpty()) << DescribeProblems(parsed.errors);
  ASSERT_THAT(parsed.documents, SizeIs(1));
  EXPECT_EQ(parsed.documents[0].document.annotations(0).value(), "x y");
  const storage::v1::GitRepoSpec& spec =
      parsed.documents[0].document.git_repo();
  ASSERT_EQ(spec.bundles_size(), 2);
  EXPECT_EQ(spec.bundles(0).options(), "../a.yaml");
  EXPECT_EQ(spec.service_account(), "sa");
  EXPECT_EQ(spec.helm_secret_name(), "helm");
  EXPECT_EQ(spec.helm_secret_name_for_paths(), "paths");
  EXPECT_EQ(spec.helm_repo_url_regex(), "https://charts\\.example\\.com/.*");
  EXPECT_EQ(spec.webhook_secret(), "hook");
  EXPECT_TRUE(spec.paused() && spec.delete_namespace() &&
              spec.disable_polling());
  EXPECT_EQ(spec.correct_drift(), storage::v1::TRI_STATE_FALSE);
  EXPECT_TRUE(spec.correct_drift_force());
  EXPECT_TRUE(spec.correct_drift_keep_fail_history());
  ASSERT_THAT(parsed.warnings, SizeIs(3));
  for (const core::v1::Problem& warning : parsed.warnings) {
    EXPECT_THAT(warning.message(), HasSubstr("has no effect: "));
  }
}

TEST(Documents, WarnsOfCredentialsThatAreNeverSent) {
  const ParsedDocuments parsed = Parse(
      "apiVersion: fleet.cattle.io/v1alpha1\nkind: GitRepo\n"
      "metadata: {name: a}\nspec: {repo: 'https://h/r', helmSecretName: s}\n");

  EXPECT_THAT(DescribeProblems(parsed.warnings),
              HasSubstr("no credentials are sent"));
}

TEST(Documents, AcceptsKeysWithoutEffectThatHoldTheirDefault) {
  const ParsedDocuments parsed = Parse(absl::StrCat(
      "apiVersion: fleet.cattle.io/v1alpha1\nkind: GitRepo\n"
      "metadata: {name: a}\nspec: {",
      kRepo,
      "paused: false, bundles: [], imageScanInterval: 15m, webhookSecret: '', "
      "imageScanCommit: {authorName: ''}, pollingInterval: '0'}\n"));

  EXPECT_THAT(parsed.errors, IsEmpty());
  EXPECT_THAT(parsed.warnings, IsEmpty());
  EXPECT_FALSE(parsed.documents[0].document.git_repo().has_polling_interval());
}

TEST(Documents, ReadsTheOtherKindsOfFleet) {
  const ParsedDocuments parsed = Parse(R"(
apiVersion: fleet.cattle.io/v1alpha1
kind: HelmOp
metadata: {name: h}
spec:
  helm: {repo: "https://charts.example.com", chart: web, version: 1.x}
  labels: {a: b}
  pollingInterval: 5m
  helmSecretName: creds
  insecureSkipTLSVerify: true
  namespace: web
  targets: [{clusterGroup: all}]
---
apiVersion: fleet.cattle.io/v1alpha1
kind: Cluster
metadata: {name: c}
spec: {paused: true, clientID: id, templateValues: {a: [1]}, hostNetwork: true}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: GitRepoRestriction
metadata: {name: r}
defaultServiceAccount: a
allowedServiceAccounts: [a, b]
allowedRepoPatterns: ["https://h/.*", "("]
defaultClientSecretName: c
allowedClientSecretNames: [c]
allowedTargetNamespaces: [ns]
allowedTargetNamespaceSelector: {matchLabels: {t: a}}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: Policy
metadata: {name: p}
requireServiceAccount: true
allowedServiceAccounts: [a]
allowNamespaceCreation: true
gitRepo:
  defaultServiceAccount: g
  defaultClientSecretName: s
  allowedClientSecretNames: [s]
  allowedRepoPatterns: [r]
helmOp:
  defaultServiceAccount: h
  defaultHelmSecretName: t
  allowedHelmSecretNames: [t]
  allowedHelmRepoPatterns: [x]
  allowedChartPatterns: [z]
---
apiVersion: fleet.cattle.io/v1alpha1
kind: BundleNamespaceMapping
metadata: {name: m}
bundleSelector: {}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: ClusterRegistrationToken
metadata: {name: t}
spec: {ttl: 24h}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: known-hosts}
data: {known_hosts: "a b c\n"}
---
apiVersion: v1
kind: Namespace
metadata: {name: team-a, labels: {team: a}}
---
apiVersion: fleet.cattle.io/v1alpha1
kind: Schedule
metadata: {name: s}
spec: {schedule: "0 0 * * * *"}
)");

  EXPECT_THAT(parsed.errors, IsEmpty()) << DescribeProblems(parsed.errors);
  ASSERT_THAT(parsed.documents, SizeIs(8));
  const storage::v1::HelmOpSpec& helm_op =
      parsed.documents[0].document.helm_op();
  EXPECT_EQ(helm_op.bundle().options().helm().chart(), "web");
  EXPECT_EQ(helm_op.bundle().options().namespace_(), "web");
  EXPECT_EQ(helm_op.bundle().targets(0).cluster_group(), "all");
  EXPECT_EQ(helm_op.labels(0).key(), "a");
  EXPECT_EQ(helm_op.polling_interval().seconds(), 300);
  EXPECT_EQ(helm_op.helm_secret_name(), "creds");
  EXPECT_TRUE(helm_op.insecure_skip_tls_verify());
  const storage::v1::ClusterSpec& cluster =
      parsed.documents[1].document.cluster();
  EXPECT_TRUE(cluster.paused());
  EXPECT_EQ(cluster.client_id(), "id");
  EXPECT_EQ(cluster.template_values_json(), R"({"a":[1]})");
  const storage::v1::GitRepoRestrictionSpec& restriction =
      parsed.documents[2].document.git_repo_restriction();
  EXPECT_EQ(restriction.allowed_repo_patterns_size(), 2);
  EXPECT_TRUE(restriction.has_allowed_target_namespace_selector());
  const storage::v1::PolicySpec& policy =
      parsed.documents[3].document.policy();
  EXPECT_TRUE(policy.require_service_account());
  EXPECT_TRUE(policy.allow_namespace_creation());
  EXPECT_EQ(policy.git_repo().default_secret_name(), "s");
  EXPECT_EQ(policy.helm_op().default_secret_name(), "t");
  EXPECT_THAT(policy.helm_op().allowed_repo_patterns(), ElementsAre("x"));
  EXPECT_THAT(policy.helm_op().allowed_chart_patterns(), ElementsAre("z"));
  const auto& mapping =
      parsed.documents[4].document.bundle_namespace_mapping();
  EXPECT_TRUE(mapping.has_bundle_selector());
  EXPECT_FALSE(mapping.has_namespace_selector());
  EXPECT_EQ(parsed.documents[5]
                .document.cluster_registration_token()
                .ttl()
                .seconds(),
            86400);
  EXPECT_EQ(parsed.documents[6].document.config_map().data(0).value(),
            "a b c\n");
  EXPECT_EQ(parsed.documents[7].document.workspace(), "team-a");
  EXPECT_EQ(parsed.documents[7].document.labels(0).value(), "a");
  const std::string warnings = DescribeProblems(parsed.warnings);
  EXPECT_THAT(warnings, HasSubstr("spec.hostNetwork: has no effect"));
  EXPECT_THAT(warnings, HasSubstr("it allows this exact text alone"));
  EXPECT_THAT(warnings, HasSubstr("has no namespaceSelector"));
  EXPECT_THAT(warnings, HasSubstr("a Schedule has no effect"));
  EXPECT_THAT(parsed.warnings, SizeIs(4));
}

TEST(Documents, ReadsTheItemsOfAList) {
  const ParsedDocuments parsed = Parse(
      "apiVersion: v1\nkind: List\nitems:\n"
      "- apiVersion: fleet.cattle.io/v1alpha1\n  kind: Cluster\n"
      "  metadata: {name: a}\n"
      "- apiVersion: fleet.cattle.io/v1alpha1\n  kind: Cluster\n"
      "  metadata: {name: B_}\n");

  ASSERT_THAT(parsed.documents, SizeIs(1));
  EXPECT_EQ(parsed.documents[0].line, 4);
  ASSERT_THAT(parsed.errors, SizeIs(1));
  EXPECT_EQ(parsed.errors[0].line(), 9);
}

struct HelmOpRow {
  const char* helm;
  const char* words;  // Empty: valid.
};

class HelmOpForms : public ::testing::TestWithParam<HelmOpRow> {};

TEST_P(HelmOpForms, AreThree) {
  const ParsedDocuments parsed = Parse(absl::StrCat(
      "apiVersion: fleet.cattle.io/v1alpha1\nkind: HelmOp\n"
      "metadata: {name: a}\nspec: {",
      GetParam().helm, "}\n"));

  const std::string errors = DescribeProblems(parsed.errors);
  if (*GetParam().words == 0) {
    EXPECT_EQ(errors, "");
  } else {
    EXPECT_THAT(errors, HasSubstr(GetParam().words));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, HelmOpForms,
    ::testing::Values(
        HelmOpRow{"helm: {chart: 'https://h/c-1.tgz'}", ""},
        HelmOpRow{"helm: {repo: 'oci://h/c', version: '1.*'}", ""},
        HelmOpRow{"helm: {repo: 'https://h', chart: c}", ""},
        HelmOpRow{"", "has no helm block"},
        HelmOpRow{"helm: {}", "names no chart"},
        HelmOpRow{"helm: {repo: 'https://h'}", "names no chart"},
        HelmOpRow{"helm: {chart: ./c}", "names no chart"},
        HelmOpRow{"helm: {chart: 'https://h/c.tgz', version: '1'}",
                  "the archive is the version"},
        HelmOpRow{"helm: {repo: 'oci://h/c', chart: c}", "take chart out"}));

TEST(Documents, NeverRepeatsAPasswordThatStandsInAUrl) {
  const ParsedDocuments parsed = Parse(
      "apiVersion: fleet.cattle.io/v1alpha1\nkind: GitRepo\n"
      "metadata: {name: a}\nspec: {repo: 'https://u:canary@h/r'}\n");

  ASSERT_THAT(parsed.errors, SizeIs(1));
  EXPECT_THAT(parsed.errors[0].message(), HasSubstr("holds a password"));
  EXPECT_THAT(DescribeProblems(parsed.errors), Not(HasSubstr("canary")));
}

struct DocumentRow {
  const char* text;
  const char* words;
};

class DocumentErrors : public ::testing::TestWithParam<DocumentRow> {};

TEST_P(DocumentErrors, AreSeen) {
  const ParsedDocuments parsed = Parse(GetParam().text);

  ASSERT_THAT(parsed.errors, SizeIs(1)) << DescribeProblems(parsed.errors);
  EXPECT_THAT(parsed.errors[0].message(), HasSubstr(GetParam().words));
}

INSTANTIATE_TEST_SUITE_P(
    Table, DocumentErrors,
    ::testing::Values(
        DocumentRow{"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n",
                    "accepted are GitRepo, HelmOp, Bundle, Cluster, "
                    "ClusterGroup, Policy"},
        DocumentRow{"apiVersion: fleet.cattle.io/v1alpha1\nkind: Policy\n"
                    "metadata: {name: a}\nspec: {requireServiceAccount: true}"
                    "\n",
                    "write its keys at the top level"},
        DocumentRow{"apiVersion: v1\nkind: Namespace\n"
                    "metadata: {name: a, namespace: b}\n",
                    "lies in none"},
        DocumentRow{"kind: gitrepo\n", "did you mean \"GitRepo\"?"},
        DocumentRow{"metadata: {name: a}\n", "has no kind"},
        DocumentRow{"kind: ''\nmetadata: {name: a}\n", "kind: is empty"},
        DocumentRow{"apiVersion: v1\nkind: GitRepo\nmetadata: {name: a}\n",
                    "must be \"fleet.cattle.io/v1alpha1\""},
        DocumentRow{"apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\n",
                    "has no metadata.name"},
        DocumentRow{"apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\n"
                    "metadata: {name: A_b}\n",
                    "not a valid name"},
        DocumentRow{"apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\n"
                    "metadata: {name: a, namespace: a/b}\n",
                    "not a valid name"},
        DocumentRow{"apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\n"
                    "metadata: {name: a}\nspec: {paused: 1}\n",
                    "must be true or false"},
        DocumentRow{"apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\n"
                    "metadata: {name: a}\nspec: [1]\n",
                    "must be a map"},
        DocumentRow{"- just\n- a list\n", "is not a document"},
        DocumentRow{"a: b: c\n", ""},
        DocumentRow{"apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\n"
                    "metadata: {name: a}\n---\n"
                    "apiVersion: fleet.cattle.io/v1alpha1\nkind: Cluster\n"
                    "metadata: {name: a}\n",
                    "is there twice"}));

TEST(Documents, WarnsOfATypoWithTheNearestKey) {
  const ParsedDocuments parsed = Parse(absl::StrCat(
      "apiVersion: fleet.cattle.io/v1alpha1\nkind: GitRepo\n"
      "metadata: {name: a}\nspec:\n  repo: https://h/r\n  pathes: [a]\n"));

  EXPECT_THAT(parsed.errors, IsEmpty());
  ASSERT_THAT(parsed.warnings, SizeIs(1));
  EXPECT_EQ(parsed.warnings[0].line(), 6);
  EXPECT_THAT(parsed.warnings[0].message(),
              HasSubstr("did you mean \"paths\"?"));
}

TEST(Documents, FindsTheProblemsOfAllFilesAtOnce) {
  const ParsedDocuments parsed = ParseDocuments(
      {{"a.yaml", "kind: X\n"},
       {"b.yaml", "a: [\n"},
       {"c.yaml",
        "apiVersion: fleet.cattle.io/v1alpha1\nkind: ClusterGroup\n"
        "metadata: {name: g}\nspec: {selector: {}}\n"}},
      "");

  ASSERT_THAT(parsed.errors, SizeIs(2));
  EXPECT_EQ(parsed.errors[0].file(), "a.yaml");
  EXPECT_EQ(parsed.errors[1].file(), "b.yaml");
  EXPECT_GT(parsed.errors[1].line(), 0);
  EXPECT_THAT(parsed.documents, SizeIs(1));
}

std::string SecretText(absl::string_view type, absl::string_view data) {
  return absl::StrCat("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n",
                      "type: ", type, "\n", data, "\n");
}

TEST(Documents, ReadsSecretsApartFromTheDocument) {
  const ParsedDocuments parsed = Parse(SecretText(
      "kubernetes.io/basic-auth",
      absl::StrCat("data: {username: ", absl::Base64Escape("user"),
                   "}\nstringData: {password: canary}")));

  EXPECT_THAT(parsed.errors, IsEmpty());
  ASSERT_THAT(parsed.documents, SizeIs(1));
  const ParsedDocument& secret = parsed.documents[0];
  EXPECT_EQ(secret.document.secret().type(), "kubernetes.io/basic-auth");
  EXPECT_THAT(secret.document.SerializeAsString(), Not(HasSubstr("canary")));
  ASSERT_EQ(secret.secret_data.entries_size(), 2);
  EXPECT_EQ(secret.secret_data.entries(0).key(), "password");
  EXPECT_EQ(secret.secret_data.entries(0).value(), "canary");
  EXPECT_EQ(secret.secret_data.entries(1).value(), "user");
}

TEST(Documents, NeverRepeatsAValueOfASecret) {
  for (const std::string& text :
       {SecretText("kubernetes.io/basic-auth", "data: {password: can%ary}"),
        SecretText("kubernetes.io/basic-auth", "data: {password: [canary]}"),
        SecretText("kubernetes.io/ssh-auth", "stringData: {password: canary}"),
        SecretText("Opaque", "stringData: {'a b': canary}"),
        SecretText("Opaque", "stringData: {password: {a: canary}}"),
        SecretText("Opaque", "stringData: canary")}) {
    const ParsedDocuments parsed = Parse(text);
    EXPECT_THAT(parsed.errors, Not(IsEmpty())) << text;
    for (const auto* list : {&parsed.errors, &parsed.warnings}) {
      EXPECT_THAT(DescribeProblems(*list), Not(HasSubstr("canary")));
      EXPECT_THAT(DescribeProblems(*list), Not(HasSubstr("can%ary")));
    }
  }
}

TEST(Documents, TakesSecretsOfEveryTypeAndSaysWhatIsNotRead) {
  struct {
    const char* type;
    const char* data;
    const char* warning;
  } rows[] = {
      {"Opaque", "stringData: {github: canary, gitlab: canary}", ""},
      {"Opaque", "stringData: {azure-username: a, azure-password: canary}", ""},
      {"Opaque", "stringData: {cacerts: canary, basicHTTP: 'true'}", ""},
      {"Opaque", "stringData: {secrets-path.yaml: 'a: {password: canary}'}",
       ""},
      {"kubernetes.io/dockerconfigjson", "stringData: {other: canary}",
       "used by nothing"},
      {"Opaque", "stringData: {passwort: canary, password: canary}",
       "did you mean \"password\"?"},
      {"Opaque", "stringData: {github_app_id: canary, password: canary}",
       "github_app_id has no effect"},
  };
  for (const auto& row : rows) {
    const ParsedDocuments parsed = Parse(SecretText(row.type, row.data));
    EXPECT_THAT(parsed.errors, IsEmpty()) << row.data;
    const std::string warnings = DescribeProblems(parsed.warnings);
    if (*row.warning == 0) {
      EXPECT_EQ(warnings, "") << row.data;
    } else {
      EXPECT_THAT(warnings, HasSubstr(row.warning)) << row.data;
    }
    EXPECT_THAT(warnings, Not(HasSubstr("canary")));
    ASSERT_THAT(parsed.documents, SizeIs(1));
    EXPECT_GT(parsed.documents[0].secret_data.entries_size(), 0) << row.data;
  }
}

TEST(Documents, SaysWhichKeyASecretLacks) {
  const ParsedDocuments parsed =
      Parse(SecretText("kubernetes.io/ssh-auth", "stringData: {password: x}"));

  EXPECT_THAT(DescribeProblems(parsed.errors),
              HasSubstr("needs the key ssh-privatekey"));
}

TEST(Documents, ReadsABundleWithItsFiles) {
  // gzip of "hello\n".
  const std::string packed = absl::Base64Escape(absl::HexStringToBytes(
      "1f8b0800000000000003cb48cdc9c9e7020020303a3606000000"));
  const ParsedDocuments parsed = Parse(absl::StrCat(
      "apiVersion: fleet.cattle.io/v1alpha1\nkind: Bundle\n"
      "metadata: {name: b}\nspec:\n  namespace: ns\n  resources:\n"
      "  - {name: z.yaml, content: 'a: b'}\n"
      "  - {name: d/a.txt, content: ",
      packed, ", encoding: base64+gz}\n",
      "  targets:\n  - clusterName: dev\n    namespace: other\n"));

  EXPECT_THAT(parsed.errors, IsEmpty()) << DescribeProblems(parsed.errors);
  ASSERT_THAT(parsed.documents, SizeIs(1));
  const storage::v1::BundleSpec& spec =
      parsed.documents[0].document.bundle();
  ASSERT_EQ(spec.resources_size(), 2);
  EXPECT_EQ(spec.resources(0).name(), "d/a.txt");
  EXPECT_EQ(spec.resources(0).size(), 6);
  EXPECT_THAT(parsed.documents[0].contents, ElementsAre("hello\n", "a: b"));
  EXPECT_EQ(spec.options().namespace_(), "ns");
  ASSERT_EQ(spec.targets_size(), 1);
  EXPECT_EQ(spec.targets(0).options().namespace_(), "other");
}

TEST(Documents, RefusesBadFilesOfABundle) {
  for (const char* resource :
       {"{name: ../x, content: a}", "{name: /x, content: a}",
        "{name: '', content: a}", "{name: a, content: '%', encoding: base64+gz}",
        "{name: a, content: aGVsbG8=, encoding: base64+gz}",
        "{name: a, content: a, encoding: rot13}", "7"}) {
    const ParsedDocuments parsed = Parse(absl::StrCat(
        "apiVersion: fleet.cattle.io/v1alpha1\nkind: Bundle\n"
        "metadata: {name: b}\nspec:\n  resources:\n  - ",
        resource, "\n"));
    ASSERT_THAT(parsed.errors, SizeIs(1)) << resource;
    EXPECT_EQ(parsed.errors[0].line(), 6) << resource;
  }
}

TEST(Documents, KnowsKindsInEverySpelling) {
  EXPECT_EQ(CanonicalKind("gitrepos"), "GitRepo");
  EXPECT_EQ(CanonicalKind("ClusterGroup"), "ClusterGroup");
  EXPECT_EQ(CanonicalKind("secret"), "Secret");
  EXPECT_EQ(CanonicalKind("policies"), "Policy");
  EXPECT_EQ(CanonicalKind("pod"), "");
}

}  // namespace
}  // namespace flotilla::manager
