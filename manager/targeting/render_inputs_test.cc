// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/render_inputs.h"

#include <map>
#include <string>

#include "common/blob/memory_blob_store.h"
#include "common/status/status_matchers.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/gitsync/memory_tree.h"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::map<std::string, std::string> kFiles = {
    {"a/fleet.yaml",
     "labels: {team: a}\n"
     "dependsOn: [{name: web}]\n"
     "targetCustomizations:\n"
     "- clusterSelector: {matchLabels: {env: prod}}\n"
     "  helm: {values: {replicas: 3, env: '${ .ClusterLabels.env }'}}\n"
     "- {clusterGroup: canary, doNotDeploy: true}\n"},
    {"a/x.yaml", "x"},
    {"b/fleet.yaml", "name: web\nnamespace: apps\n"},
    {"b/y.yaml", "y"}};

RenderSubject MakeSubject() {
  RenderSubject subject;
  subject.git_repo = PlainGitRepo("fleet-default", "repo");
  subject.cluster.set_workspace("fleet-default");
  subject.cluster.set_name("c");
  auto* label = subject.cluster.add_labels();
  label->set_key("env");
  label->set_value("prod");
  subject.target.name = "c";
  subject.target.labels = {{"env", "prod"}};
  return subject;
}

TEST(RenderInputs, GivesTheRecordsThatAManagerWouldHave) {
  MemoryTree tree(kFiles);
  MemoryBlobStore blobs;
  RenderSubject subject = MakeSubject();
  subject.commit.mutable_time()->set_seconds(7);

  const RenderInputList inputs = ReadRenderInputs(tree, subject, blobs);

  EXPECT_THAT(inputs.errors, IsEmpty());
  ASSERT_THAT(inputs.bundles, SizeIs(2));
  const storage::v1::Desired& a = inputs.bundles[0].desired;
  EXPECT_EQ(a.bundle_name(), "repo-a");
  EXPECT_EQ(a.workspace(), "fleet-default");
  EXPECT_EQ(a.cluster_name(), "c");
  EXPECT_EQ(a.commit().time().seconds(), 7);
  EXPECT_THAT(a.revision(), SizeIs(64));
  EXPECT_THAT(a.options().helm().values_json(), HasSubstr("replicas"));
  EXPECT_EQ(a.options().correct_drift(), storage::v1::TRI_STATE_TRUE);
  EXPECT_EQ(a.template_context().cluster_name(), "c");
  const storage::v1::BundleRevision& revision = inputs.bundles[0].revision;
  EXPECT_EQ(revision.directory(), "a");
  ASSERT_THAT(revision.labels(), SizeIs(2));
  EXPECT_EQ(revision.labels(1).key(), "team");
  ASSERT_THAT(revision.depends_on(), SizeIs(1));
  EXPECT_EQ(revision.depends_on(0).name(), "web");
  ASSERT_THAT(revision.files(), SizeIs(1));
  EXPECT_THAT(blobs.Get(revision.files(0).blob_digest()), IsOkAndHolds("x"));
  EXPECT_EQ(inputs.bundles[1].desired.bundle_name(), "web");
  EXPECT_EQ(inputs.bundles[1].desired.options().namespace_(), "apps");
}

TEST(RenderInputs, TakesWhatTheGitRepoSays) {
  MemoryTree tree(kFiles);
  MemoryBlobStore blobs;
  RenderSubject subject = MakeSubject();
  storage::v1::GitRepoSpec& spec = *subject.git_repo.mutable_git_repo();
  spec.set_target_namespace("forced");
  spec.set_service_account("deployer");
  spec.set_keep_resources(true);
  spec.add_paths("a");

  const RenderInputList inputs = ReadRenderInputs(tree, subject, blobs);

  ASSERT_THAT(inputs.bundles, SizeIs(1));
  const storage::v1::DeployOptions& options =
      inputs.bundles[0].desired.options();
  EXPECT_EQ(options.namespace_(), "forced");
  EXPECT_EQ(options.service_account(), "deployer");
  EXPECT_TRUE(options.keep_resources());
}

TEST(RenderInputs, TakesWhatPoliciesSay) {
  MemoryTree tree(kFiles);
  MemoryBlobStore blobs;
  RenderSubject subject = MakeSubject();
  storage::v1::Document& restriction = subject.policies.emplace_back();
  restriction.set_kind("GitRepoRestriction");
  restriction.set_workspace("fleet-default");
  restriction.set_name("r");
  restriction.mutable_git_repo_restriction()->set_default_service_account(
      "tenant");

  const RenderInputList inputs = ReadRenderInputs(tree, subject, blobs);

  ASSERT_THAT(inputs.bundles, SizeIs(2));
  EXPECT_EQ(inputs.bundles[0].desired.options().service_account(), "tenant");

  subject.policies[0]
      .mutable_git_repo_restriction()
      ->add_allowed_service_accounts("tenant");
  subject.git_repo.mutable_git_repo()->set_service_account("root");
  const RenderInputList refused = ReadRenderInputs(tree, subject, blobs);
  ASSERT_THAT(refused.errors, SizeIs(1));
  EXPECT_THAT(refused.errors[0].message(), HasSubstr("root"));
  EXPECT_THAT(refused.bundles, IsEmpty());
}

TEST(RenderInputs, NamesWhatIsKeptFromTheCluster) {
  MemoryTree tree(kFiles);
  MemoryBlobStore blobs;
  RenderSubject subject = MakeSubject();
  subject.target.labels.clear();
  subject.target.groups = {{"canary", {}}};

  const RenderInputList inputs = ReadRenderInputs(tree, subject, blobs);

  EXPECT_THAT(inputs.not_deployed, ElementsAre("repo-a"));
  EXPECT_THAT(inputs.bundles, SizeIs(1));
}

TEST(RenderInputs, GivesNothingWithAnError) {
  MemoryTree tree({{"fleet.yaml", "paused: ["}, {"x.yaml", "x"}}, {});
  MemoryBlobStore blobs;

  const RenderInputList inputs = ReadRenderInputs(tree, MakeSubject(), blobs);

  EXPECT_THAT(inputs.errors, SizeIs(1));
  EXPECT_THAT(inputs.bundles, IsEmpty());
}

}  // namespace
}  // namespace flotilla::manager
