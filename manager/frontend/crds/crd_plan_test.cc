// SPDX-License-Identifier: Apache-2.0

#include "manager/frontend/crds/crd_plan.h"

#include <set>
#include <string>
#include <vector>

#include "common/yaml/documents.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/frontend/crds/embedded_crds.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Action = CrdPlan::Action;

json Crd(const std::string& kind) {
  for (const std::string& text : EmbeddedCrds()) {
    absl::StatusOr<YamlDocument> document = ParseYaml(text);
    EXPECT_TRUE(document.ok()) << document.status();
    if (document.ok() && CrdKind(document->value) == kind) {
      return document->value;
    }
  }
  ADD_FAILURE() << "no CRD of kind " << kind;
  return json();
}

// As the API server would show Fleet's own.
json Foreign(json crd) {
  crd["metadata"]["annotations"] = {{"controller-gen.kubebuilder.io/version",
                                     "v0.19.0"}};
  return crd;
}

TEST(CrdPlanTest, EveryKindIsThereOnceWithWhatKubectlPrints) {
  std::set<std::string> kinds;
  for (const std::string& text : EmbeddedCrds()) {
    absl::StatusOr<YamlDocument> document = ParseYaml(text);
    ASSERT_TRUE(document.ok()) << document.status();
    EXPECT_TRUE(kinds.insert(CrdKind(document->value)).second);
  }
  EXPECT_THAT(kinds,
              ElementsAre("Bundle", "BundleNamespaceMapping", "Cluster",
                          "ClusterGroup", "ClusterRegistrationToken", "GitRepo",
                          "GitRepoRestriction", "HelmOp", "Policy"));
  std::vector<std::string> columns;
  const json crd = Crd("HelmOp");
  for (const json& column :
       crd["spec"]["versions"][0]["additionalPrinterColumns"]) {
    columns.push_back(column["name"].get<std::string>());
  }
  EXPECT_THAT(columns, ElementsAre("Repo", "Chart", "Version",
                                   "BundleDeployments-Ready", "Status"));
}

TEST(CrdPlanTest, AnAbsentOneIsMade) {
  EXPECT_EQ(PlanCrd(Crd("GitRepo"), json()).action, Action::kCreate);
}

TEST(CrdPlanTest, OursIsUpdatedByANewerProgramOnly) {
  json wanted = Crd("GitRepo");
  json live = wanted;
  EXPECT_EQ(PlanCrd(wanted, live).action, Action::kKeep);
  wanted["metadata"]["annotations"][kCrdVersion] = "10";
  live["metadata"]["annotations"][kCrdVersion] = "9";
  EXPECT_EQ(PlanCrd(wanted, live).action, Action::kUpdate);
  EXPECT_EQ(PlanCrd(live, wanted).action, Action::kKeep);
  live["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  EXPECT_EQ(PlanCrd(wanted, live).action, Action::kKeep);
}

TEST(CrdPlanTest, OneOfSomebodyElseIsLeftAloneAndItsLacksAreSaid) {
  const json wanted = Crd("GitRepo");
  json live = Foreign(wanted);
  EXPECT_EQ(PlanCrd(wanted, live).action, Action::kForeign);
  EXPECT_THAT(PlanCrd(wanted, live).lacks, IsEmpty());

  json& spec = live["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
                   ["properties"]["spec"]["properties"];
  spec.erase("webhookSecret");
  spec["targets"]["items"]["properties"].erase("clusterGroup");
  EXPECT_THAT(PlanCrd(wanted, live).lacks,
              ElementsAre("spec.targets[].clusterGroup", "spec.webhookSecret"));

  live["spec"]["versions"][0].erase("subresources");
  live["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = {
      {"type", "object"}, {"x-kubernetes-preserve-unknown-fields", true}};
  EXPECT_THAT(PlanCrd(wanted, live).lacks,
              ElementsAre("the status subresource"));
  live["spec"]["versions"][0]["name"] = "v1beta1";
  EXPECT_THAT(PlanCrd(wanted, live).lacks, ElementsAre("version v1alpha1"));
}

TEST(CrdPlanTest, OddAnswersAreNoCrash) {
  for (const char* text : {"[]", "1", "{}", R"({"spec": {"versions": 3}})",
                           R"({"metadata": {"annotations": []}})"}) {
    const json live = json::parse(text, nullptr, false);
    EXPECT_EQ(PlanCrd(Crd("Policy"), live).action, Action::kForeign) << text;
    EXPECT_FALSE(IsEstablished(live));
  }
}

}  // namespace
}  // namespace flotilla::manager
