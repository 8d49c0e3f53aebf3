// SPDX-License-Identifier: Apache-2.0
//
// What reaches /desired/ when mappings, labels and pauses change; the rest is
// in stages_test.

#include "manager/targeting/targeting_controller.h"

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/event/simulated_loop.h"
#include "common/status/status_matchers.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"

namespace flotilla::manager {
namespace {

using google::protobuf::TextFormat;
using storage::v1::Desired;
using storage::v1::Document;

// Cluster c in workspace "edge", cluster h at home in "w"; bundles "plain" and
// "templated" in "w", for all clusters that they may go to.
class TargetingControllerTest : public ::testing::Test {
 protected:
  TargetingControllerTest() : store_(loop_), rows_(store_, kDesiredFamily) {
    PutCluster("h", "w", "labels { key: 'env' value: 'dev' }");
    PutCluster("c", "edge", "labels { key: 'env' value: 'dev' }");
    PutBundle("plain", "values_json: '{\"a\":\"b\"}'", "");
    PutBundle("templated", "values_json: '{\"a\":\"${ .ClusterName }\"}'", "");
    controller_ = std::make_unique<TargetingController>(
        loop_, store_, FamilyWriter(store_, kDesiredFamily));
    loop_.RunUntilIdle();
  }

  template <typename T>
  void Put(const char* family, const std::string& key, const T& record) {
    FamilyWriter(store_, family)
        .Txn({}, {Op::Put(key, SerializeRecord(record))},
             [](absl::StatusOr<int64_t> done) { ASSERT_THAT(done, IsOk()); });
    loop_.RunUntilIdle();
  }

  void PutDocument(const std::string& kind, const std::string& workspace,
                   const std::string& name, const std::string& rest) {
    Document document;
    ASSERT_TRUE(TextFormat::ParseFromString(rest, &document)) << rest;
    document.set_kind(kind);
    document.set_workspace(workspace);
    document.set_name(name);
    Put(kDocumentFamily, DocumentKey(workspace, kind, name), document);
  }

  // The id is the name.
  void PutCluster(const std::string& name, const std::string& workspace,
                  const std::string& rest) {
    PutDocument("Cluster", workspace, name, rest);
    storage::v1::ClusterIdentity identity;
    identity.set_cluster_id(name);
    identity.set_workspace(workspace);
    identity.set_name(name);
    Put(kClusterFamily, ClusterIdentityKey(name), identity);
  }

  void PutBundle(const std::string& name, const std::string& helm,
                 const std::string& rest) {
    storage::v1::BundleRevision revision;
    ASSERT_TRUE(TextFormat::ParseFromString(
        absl::StrCat("targets { name: 'all' cluster_selector { } } "
                     "labels { key: 'team' value: 'a' } "
                     "options { helm { ",
                     helm, " } } ", rest),
        &revision));
    const std::string id = absl::StrCat("revision", ++revisions_);
    Put(kBundleFamily, BundleRevisionKey(name, id), revision);
    PutHead(name, id, core::v1::DELETE_CAUSE_UNSPECIFIED);
  }

  void PutHead(const std::string& name, const std::string& revision,
               core::v1::DeleteCause removal) {
    storage::v1::BundleHead head;
    head.set_bundle_id(name);
    head.set_workspace("w");
    head.set_name(name);
    head.set_git_repo("repo");
    head.set_revision(revision);
    head.set_removal(removal);
    Put(kBundleFamily, BundleHeadKey(name), head);
  }

  void Release(const std::string& cluster, const std::string& bundle) {
    storage::v1::Released released;
    released.set_generation(1);
    released.set_state(storage::v1::Released::STATE_ACTIVE);
    Put(kReleasedFamily, ReleasedKey(cluster, bundle), released);
  }

  const Desired* Row(const std::string& cluster, const std::string& bundle) {
    return rows_.Find(DesiredKey(cluster, bundle));
  }
  int64_t RevisionOf(const std::string& cluster, const std::string& bundle) {
    return rows_.ModRevision(DesiredKey(cluster, bundle));
  }

  int revisions_ = 0;
  SimulatedLoop loop_;
  MemoryStore store_;
  TypedMirror<Desired> rows_;
  std::unique_ptr<TargetingController> controller_;
};

constexpr char kMapping[] =
    "bundle_namespace_mapping { "
    "  bundle_selector { match_labels { key: 'team' value: 'a' } } "
    "  namespace_selector { match_labels { key: 'tier' value: 'edge' } } }";
constexpr char kEdge[] = "namespace {} labels { key: 'tier' value: 'edge' }";

TEST_F(TargetingControllerTest, AMappingReachesOtherWorkspacesAndLetsGo) {
  ASSERT_NE(Row("h", "plain"), nullptr);
  EXPECT_EQ(Row("c", "plain"), nullptr);

  PutDocument("BundleNamespaceMapping", "w", "m", kMapping);
  EXPECT_EQ(Row("c", "plain"), nullptr);
  PutDocument("Namespace", "edge", "edge", kEdge);

  ASSERT_NE(Row("c", "plain"), nullptr);
  EXPECT_EQ(Row("c", "plain")->cluster_workspace(), "edge");
  EXPECT_EQ(Row("c", "plain")->workspace(), "w");
  EXPECT_EQ(Row("h", "plain")->cluster_workspace(), "");

  Release("c", "plain");
  FamilyWriter(store_, kDocumentFamily)
      .Txn({}, {Op::Delete(DocumentKey("w", "BundleNamespaceMapping", "m"))},
           [](absl::StatusOr<int64_t> done) { ASSERT_THAT(done, IsOk()); });
  loop_.RunUntilIdle();

  ASSERT_NE(Row("c", "plain"), nullptr);
  EXPECT_EQ(Row("c", "plain")->removal(),
            core::v1::DELETE_CAUSE_TARGET_CHANGED);
  EXPECT_EQ(Row("c", "plain")->removed_by(), "BundleNamespaceMapping w/m");
  // Never released, so nobody has to let go.
  EXPECT_EQ(Row("c", "templated"), nullptr);
  EXPECT_EQ(Row("h", "plain")->removal(), core::v1::DELETE_CAUSE_UNSPECIFIED);
}

TEST_F(TargetingControllerTest, AWorkspaceThatComesLaterIsReachedToo) {
  PutDocument("BundleNamespaceMapping", "w", "m", kMapping);
  PutDocument("Namespace", "late", "late", kEdge);
  PutCluster("l", "late", "");

  EXPECT_NE(Row("l", "plain"), nullptr);
}

TEST_F(TargetingControllerTest, ALabelRewritesOnlyWhatDependsOnIt) {
  ASSERT_TRUE(Row("h", "templated")->has_template_context());
  EXPECT_FALSE(Row("h", "plain")->has_template_context());
  const int64_t plain = RevisionOf("h", "plain");
  const int64_t templated = RevisionOf("h", "templated");
  const std::string digest = Row("h", "templated")->options_digest();

  PutCluster("h", "w", "labels { key: 'env' value: 'prod' }");

  EXPECT_EQ(RevisionOf("h", "plain"), plain);
  EXPECT_GT(RevisionOf("h", "templated"), templated);
  const Desired& row = *Row("h", "templated");
  EXPECT_EQ(row.template_context().cluster_labels(0).value(), "prod");
  // Who shares renders by digest must not share this one.
  EXPECT_NE(row.options_digest(), digest);
}

TEST_F(TargetingControllerTest, WithoutLabelsTemplatesHaveNoContext) {
  PutCluster("h", "w", "");
  EXPECT_FALSE(Row("h", "templated")->has_template_context());
}

TEST_F(TargetingControllerTest, PausesByBundleAndByCluster) {
  EXPECT_FALSE(Row("h", "plain")->paused());
  PutBundle("plain", "", "paused: true");
  EXPECT_TRUE(Row("h", "plain")->paused());
  EXPECT_FALSE(Row("h", "templated")->paused());

  PutCluster("h", "w", "cluster { paused: true }");
  EXPECT_TRUE(Row("h", "templated")->paused());
}

TEST_F(TargetingControllerTest, ARemovedBundleIsHeldByItsRepositoryOnly) {
  PutBundle("plain", "", "paused: true");
  Release("h", "plain");
  const std::string revision = absl::StrCat("revision", revisions_);
  PutDocument("GitRepo", "w", "repo", "git_repo { paused: true }");

  PutHead("plain", revision, core::v1::DELETE_CAUSE_GIT_REMOVED);
  ASSERT_EQ(Row("h", "plain")->removal(), core::v1::DELETE_CAUSE_GIT_REMOVED);
  EXPECT_TRUE(Row("h", "plain")->paused());

  PutDocument("GitRepo", "w", "repo", "git_repo { }");
  EXPECT_FALSE(Row("h", "plain")->paused());

  PutHead("plain", revision, core::v1::DELETE_CAUSE_OPERATOR);
  EXPECT_EQ(Row("h", "plain")->removal(), core::v1::DELETE_CAUSE_OPERATOR);
}

TEST_F(TargetingControllerTest, LooksAtEachPairOnceFromNothing) {
  PutDocument("BundleNamespaceMapping", "w", "m", kMapping);
  PutDocument("Namespace", "edge", "edge", kEdge);
  controller_ = nullptr;
  controller_ = std::make_unique<TargetingController>(
      loop_, store_, FamilyWriter(store_, kDesiredFamily));
  loop_.RunUntilIdle();

  EXPECT_EQ(controller_->resolved_count(), 4u);
}

}  // namespace
}  // namespace flotilla::manager
