// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/policy.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/documents/documents.h"

namespace flotilla::manager {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using storage::v1::Document;

// Documents of one text; the first is the source.
struct Workspace {
  explicit Workspace(absl::string_view text) {
    ParsedDocuments parsed = ParseDocuments({{"f", std::string(text)}}, "");
    EXPECT_EQ(DescribeProblems(parsed.errors), "");
    for (ParsedDocument& one : parsed.documents) {
      documents.push_back(std::move(one.document));
    }
  }

  PolicyVerdict Evaluate() const {
    std::vector<const Document*> others;
    for (const Document& document : documents) others.push_back(&document);
    return EvaluatePolicies(documents.at(0), others);
  }

  std::vector<Document> documents;
};

// `body` is a flow map, with its braces or without.
std::string Of(absl::string_view kind, absl::string_view name,
               absl::string_view body) {
  if (absl::ConsumePrefix(&body, "{")) absl::ConsumeSuffix(&body, "}");
  return absl::StrCat("---\n{apiVersion: fleet.cattle.io/v1alpha1, kind: ",
                      kind, ", metadata: {name: ", name, "}, ", body, "}\n");
}

std::string GitRepo(absl::string_view more) {
  return Of("GitRepo", "repo",
            absl::StrCat("spec: {repo: 'https://git.example.com/a/b'", more,
                         "}"));
}

std::string HelmOp(absl::string_view more) {
  return Of("HelmOp", "op", absl::StrCat("spec: {", more, "}"));
}

struct Row {
  const char* name;
  std::string text;
  // Empty: allowed.
  const char* words;
};

class PolicyTable : public ::testing::TestWithParam<Row> {};

TEST_P(PolicyTable, Decides) {
  const PolicyVerdict verdict = Workspace(GetParam().text).Evaluate();

  const std::string text = DescribeProblems(verdict.violations);
  if (*GetParam().words == 0) {
    EXPECT_EQ(text, "");
    EXPECT_TRUE(verdict.allowed());
  } else {
    EXPECT_THAT(verdict.violations, SizeIs(1)) << text;
    EXPECT_THAT(text, HasSubstr(GetParam().words));
    EXPECT_FALSE(verdict.allowed());
  }
}

INSTANTIATE_TEST_SUITE_P(
    GitRepos, PolicyTable,
    ::testing::Values(
        Row{"nothing", GitRepo(""), ""},
        Row{"empty lists", GitRepo(", serviceAccount: x") +
                               Of("GitRepoRestriction", "r", "") +
                               Of("Policy", "p", ""),
            ""},
        Row{"listed", GitRepo(", serviceAccount: b") +
                          Of("GitRepoRestriction", "r",
                             "allowedServiceAccounts: [a, b]"),
            ""},
        Row{"not listed", GitRepo(", serviceAccount: c") +
                              Of("GitRepoRestriction", "r",
                                 "allowedServiceAccounts: [b, a]"),
            "spec.serviceAccount: \"c\" is not allowed by GitRepoRestriction "
            "fleet-default/r; allowed are a, b"},
        Row{"empty passes",
            GitRepo("") + Of("GitRepoRestriction", "r",
                             "allowedServiceAccounts: [a]"),
            ""},
        Row{"lists are united", GitRepo(", serviceAccount: c") +
                                    Of("GitRepoRestriction", "r",
                                       "allowedServiceAccounts: [a]") +
                                    Of("Policy", "p",
                                       "allowedServiceAccounts: [c]"),
            ""},
        Row{"other workspace",
            GitRepo(", serviceAccount: c") +
                Of("GitRepoRestriction", "r, namespace: other",
                   "allowedServiceAccounts: [a]"),
            ""},
        Row{"default that is refused",
            GitRepo("") + Of("GitRepoRestriction", "r",
                             "{defaultServiceAccount: z, "
                             "allowedServiceAccounts: [a]}"
                             ""),
            "\"z\" is not allowed"},
        Row{"required", GitRepo("") + Of("Policy", "p",
                                         "requireServiceAccount: true"),
            "spec.serviceAccount: must be set: Policy fleet-default/p "
            "requires a service account"},
        Row{"required and defaulted",
            GitRepo("") + Of("Policy", "p",
                             "{requireServiceAccount: true, gitRepo: "
                             "{defaultServiceAccount: d}}"),
            ""},
        Row{"secret", GitRepo(", clientSecretName: s") +
                          Of("Policy", "p",
                             "gitRepo: {allowedClientSecretNames: [t]}"),
            "spec.clientSecretName: \"s\" is not allowed"},
        Row{"restriction pattern is not anchored",
            GitRepo("") + Of("GitRepoRestriction", "r",
                             "allowedRepoPatterns: [example]"),
            ""},
        Row{"policy pattern is anchored",
            GitRepo("") + Of("Policy", "p",
                             "gitRepo: {allowedRepoPatterns: [example]}"),
            "spec.repo: \"https://git.example.com/a/b\" is not allowed by "
            "Policy fleet-default/p"},
        Row{"policy pattern matches all",
            GitRepo("") +
                Of("Policy", "p",
                   "gitRepo: {allowedRepoPatterns: ['https://git\\..*']}"),
            ""},
        Row{"exact text",
            GitRepo("") + Of("Policy", "p",
                             "gitRepo: {allowedRepoPatterns: "
                             "['https://git.example.com/a/b']}"),
            ""},
        Row{"either family",
            GitRepo("") +
                Of("GitRepoRestriction", "r", "allowedRepoPatterns: [nope]") +
                Of("Policy", "p",
                   "gitRepo: {allowedRepoPatterns: ['.*/a/b']}"),
            ""},
        Row{"broken pattern lets nothing in",
            GitRepo("") + Of("GitRepoRestriction", "r",
                             "allowedRepoPatterns: ['(']"),
            "spec.repo"},
        Row{"namespace must be set",
            GitRepo("") + Of("GitRepoRestriction", "r",
                             "allowedTargetNamespaces: [a]"),
            "spec.targetNamespace: must be set: GitRepoRestriction "
            "fleet-default/r restricts the namespaces; allowed are a"},
        Row{"namespace must be set for a selector",
            GitRepo("") + Of("GitRepoRestriction", "r",
                             "allowedTargetNamespaceSelector: {}"),
            "must be set"},
        Row{"namespace is not listed",
            GitRepo(", targetNamespace: b") +
                Of("GitRepoRestriction", "r", "allowedTargetNamespaces: [a]"),
            "spec.targetNamespace: \"b\" is not allowed"},
        Row{"namespace is listed",
            GitRepo(", targetNamespace: a") +
                Of("GitRepoRestriction", "r", "allowedTargetNamespaces: [a]"),
            ""},
        Row{"namespace for a selector",
            GitRepo(", targetNamespace: a") +
                Of("GitRepoRestriction", "r",
                   "allowedTargetNamespaceSelector: {}"),
            ""}));

constexpr char kChart[] = "helm: {repo: 'https://charts.example.com', chart: c}";

INSTANTIATE_TEST_SUITE_P(
    HelmOpsAndBundles, PolicyTable,
    ::testing::Values(
        Row{"restrictions do not count",
            HelmOp(absl::StrCat(kChart, ", serviceAccount: x")) +
                Of("GitRepoRestriction", "r",
                   "{allowedServiceAccounts: [a], allowedRepoPatterns: [z], "
                   "allowedTargetNamespaces: [ns]}"),
            ""},
        Row{"repo", HelmOp(kChart) +
                        Of("Policy", "p",
                           "helmOp: {allowedHelmRepoPatterns: [charts]}"),
            "spec.helm.repo: \"https://charts.example.com\" is not allowed"},
        Row{"chart", HelmOp(kChart) +
                         Of("Policy", "p",
                            "helmOp: {allowedChartPatterns: [d]}"),
            "spec.helm.chart: \"c\" is not allowed"},
        Row{"URL of a chart passes no pattern of repositories",
            HelmOp("helm: {chart: 'https://evil/c.tgz'}") +
                Of("Policy", "p",
                   "helmOp: {allowedHelmRepoPatterns: ['https://good/.*']}"),
            "spec.helm.chart"},
        Row{"URL of a chart with a pattern of its own",
            HelmOp("helm: {chart: 'https://dl/c.tgz'}") +
                Of("Policy", "p",
                   "helmOp: {allowedHelmRepoPatterns: ['https://good/.*'], "
                   "allowedChartPatterns: ['https://dl/.*']}"),
            ""},
        Row{"a target's repo",
            HelmOp(absl::StrCat(kChart,
                                ", targets: [{clusterName: a, helm: {repo: "
                                "'https://evil'}}]")) +
                Of("Policy", "p",
                   "helmOp: {allowedHelmRepoPatterns: "
                   "['https://charts.example.com']}"),
            "spec.targets[0].helm.repo"},
        Row{"helm secret", HelmOp(absl::StrCat(kChart, ", helmSecretName: s")) +
                               Of("Policy", "p",
                                  "helmOp: {allowedHelmSecretNames: [t]}"),
            "spec.helmSecretName"},
        Row{"required and defaulted",
            HelmOp(kChart) + Of("Policy", "p",
                                "{requireServiceAccount: true, helmOp: "
                                "{defaultServiceAccount: d}}"),
            ""},
        Row{"bundle without account",
            Of("Bundle", "b", "spec: {resources: []}") +
                Of("Policy", "p", "requireServiceAccount: true"),
            "spec.serviceAccount: must be set"},
        Row{"bundle's target",
            Of("Bundle", "b",
               "spec: {serviceAccount: a, resources: [], targets: "
               "[{clusterName: x}, {clusterName: z, serviceAccount: z}]}") +
                Of("Policy", "p",
                   "{requireServiceAccount: true, allowedServiceAccounts: "
                   "[a]}"),
            "spec.targets[1].serviceAccount: \"z\""}));

TEST(Policy, FillsInTheFirstDefaultOfRestrictionsThenPolicies) {
  const Workspace workspace(
      GitRepo("") +
      Of("Policy", "a",
         "gitRepo: {defaultServiceAccount: p, defaultClientSecretName: p}") +
      Of("GitRepoRestriction", "z", "defaultServiceAccount: z") +
      Of("GitRepoRestriction", "b", "defaultServiceAccount: b"));

  const PolicyVerdict verdict = workspace.Evaluate();

  EXPECT_EQ(verdict.source.git_repo().service_account(), "b");
  EXPECT_EQ(verdict.source.git_repo().client_secret_name(), "p");
  // The document itself stays as it is.
  EXPECT_EQ(workspace.documents[0].git_repo().service_account(), "");
}

TEST(Policy, LeavesWhatTheUserSet) {
  const PolicyVerdict verdict =
      Workspace(HelmOp(absl::StrCat(kChart, ", serviceAccount: mine")) +
                Of("Policy", "p",
                   "helmOp: {defaultServiceAccount: d, "
                   "defaultHelmSecretName: s}"))
          .Evaluate();

  EXPECT_EQ(
      verdict.source.helm_op().bundle().options().service_account(), "mine");
  EXPECT_EQ(verdict.source.helm_op().helm_secret_name(), "s");
}

TEST(Policy, ForbidsNamespacesWhereAnAccountIsRequired) {
  struct {
    const char* policy;
    bool forbids;
  } rows[] = {
      {"requireServiceAccount: false", false},
      {"requireServiceAccount: true", true},
      {"{requireServiceAccount: true, allowNamespaceCreation: true}", false},
      {"allowNamespaceCreation: true", false},
  };
  for (const auto& row : rows) {
    const PolicyVerdict verdict =
        Workspace(GitRepo(", serviceAccount: a") +
                  Of("Policy", "p", row.policy))
            .Evaluate();
    EXPECT_EQ(verdict.forbids_namespace_creation, row.forbids) << row.policy;
    storage::v1::DeployOptions options;
    ApplyVerdict(verdict, options);
    EXPECT_EQ(options.create_namespace() == storage::v1::TRI_STATE_FALSE,
              row.forbids);
  }
}

TEST(Policy, MergesSelectorsOfRestrictions) {
  const PolicyVerdict verdict =
      Workspace(
          GitRepo(", targetNamespace: a") +
          Of("GitRepoRestriction", "b",
             "allowedTargetNamespaceSelector: {matchLabels: {x: b, z: b}, "
             "matchExpressions: [{key: k, operator: Exists}]}") +
          Of("GitRepoRestriction", "a",
             "allowedTargetNamespaceSelector: {matchLabels: {x: a}, "
             "matchExpressions: [{key: k, operator: Exists}, {key: l, "
             "operator: In, values: [v]}]}"))
          .Evaluate();

  storage::v1::DeployOptions options;
  ApplyVerdict(verdict, options);
  const core::v1::LabelSelector& selector =
      options.allowed_target_namespace_selector();
  ASSERT_EQ(selector.match_labels_size(), 2);
  EXPECT_EQ(selector.match_labels(0).value(), "b");
  EXPECT_EQ(selector.match_labels(1).key(), "z");
  EXPECT_EQ(selector.match_expressions_size(), 2);
}

TEST(Policy, JudgesBundlesAsTheyWereBuilt) {
  const Workspace workspace(
      Of("GitRepoRestriction", "r",
         "{allowedServiceAccounts: [a], allowedTargetNamespaceSelector: {}}") +
      Of("Policy", "p",
         "{requireServiceAccount: true, allowedServiceAccounts: [b]}"));
  const std::vector<const Document*> documents = {&workspace.documents[0],
                                                  &workspace.documents[1]};
  storage::v1::BundleRevision revision;
  revision.mutable_options()->set_service_account("a");
  revision.add_customizations()->mutable_options()->set_service_account("c");

  const PolicyVerdict from_git = EvaluateBundlePolicies(
      "Bundle fleet-default/x", "fleet-default", true, revision, documents);
  ASSERT_THAT(from_git.violations, SizeIs(1));
  EXPECT_THAT(from_git.violations[0].message(),
              HasSubstr("targetCustomizations[0].serviceAccount: \"c\""));
  EXPECT_EQ(from_git.violations[0].subject(), "Bundle fleet-default/x");
  EXPECT_TRUE(from_git.allowed_target_namespace_selector.has_value());

  const PolicyVerdict other = EvaluateBundlePolicies(
      "Bundle fleet-default/x", "fleet-default", false, revision, documents);
  EXPECT_THAT(other.violations, SizeIs(2));
  EXPECT_FALSE(other.allowed_target_namespace_selector.has_value());

  EXPECT_THAT(EvaluateBundlePolicies("x", "other", true, revision, documents)
                  .violations,
              SizeIs(0));
}

TEST(Policy, KeepsControlCharactersOutOfTexts) {
  Workspace workspace(GitRepo("") + Of("GitRepoRestriction", "r",
                                       "allowedServiceAccounts: [a]"));
  workspace.documents[0].mutable_git_repo()->set_service_account("\x1b[31m");

  EXPECT_THAT(DescribeProblems(workspace.Evaluate().violations),
              Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace flotilla::manager
