// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/template_context.h"

#include <string>

#include "flotilla/storage/v1/storage.pb.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using google::protobuf::TextFormat;

TEST(TemplateContext, IsNeededByWhatDependsOnTheCluster) {
  struct Case {
    const char* helm;
    bool needed;
  };
  for (const Case& c : {
           Case{"", false},
           Case{"values_json: '{\"a\":\"plain\"}'", false},
           Case{"values_json: '{\"a\":\"${ .ClusterName }\"}'", true},
           Case{"values_json: '{\"${ .ClusterName }\":1}'", true},
           Case{"values_json: '{\"a\":\"${ x }\"}' disable_pre_process: true",
                false},
           Case{"values_json: '{\"a\":\"global.fleet.clusterLabels.x\"}' "
                "disable_pre_process: true",
                true},
           Case{"values_json: '{\"a\":\"see global.fleet.clusterLabels.x\"}'",
                false},
           Case{"template_values { key: 'a' value: '1' }", true},
           Case{"template_values { key: 'a' value: '1' } "
                "disable_pre_process: true",
                false},
       }) {
    storage::v1::DeployOptions options;
    ASSERT_TRUE(TextFormat::ParseFromString(c.helm, options.mutable_helm()));
    EXPECT_EQ(NeedsTemplateContext(options), c.needed) << c.helm;
  }
  EXPECT_FALSE(NeedsTemplateContext(storage::v1::DeployOptions()));
}

TEST(TemplateContext, LeavesOutWhatIsNotTheUsers) {
  storage::v1::Document cluster;
  ASSERT_TRUE(TextFormat::ParseFromString(
      R"pb(workspace: "w" name: "c"
           labels { key: "env" value: "prod" }
           labels { key: "fleet.cattle.io/a" value: "kept" }
           labels { key: "kubectl.kubernetes.io/b" value: "left out" }
           labels { key: "management.cattle.io/c" value: "kept" }
           labels { key: "objectset.rio.cattle.io/d" value: "left out" }
           annotations { key: "fleet.cattle.io/e" value: "left out" }
           annotations { key: "note" value: "kept" }
           cluster { template_values_json: '{"region":"eu"}' })pb",
      &cluster));
  storage::v1::TemplateContext wanted;
  ASSERT_TRUE(TextFormat::ParseFromString(
      R"pb(cluster_namespace: "w" cluster_name: "c"
           cluster_labels { key: "env" value: "prod" }
           cluster_labels { key: "fleet.cattle.io/a" value: "kept" }
           cluster_labels { key: "management.cattle.io/c" value: "kept" }
           cluster_annotations { key: "note" value: "kept" }
           cluster_values_json: '{"region":"eu"}')pb",
      &wanted));

  const auto context = MakeTemplateContext(cluster);

  ASSERT_TRUE(context.has_value());
  EXPECT_TRUE(
      google::protobuf::util::MessageDifferencer::Equals(*context, wanted))
      << context->DebugString();
}

TEST(TemplateContext, IsAbsentWithoutALabelThatCounts) {
  storage::v1::Document cluster;
  cluster.set_name("c");
  EXPECT_FALSE(MakeTemplateContext(cluster).has_value());
  cluster.add_labels()->set_key("objectset.rio.cattle.io/d");
  EXPECT_FALSE(MakeTemplateContext(cluster).has_value());
}

}  // namespace
}  // namespace flotilla::manager
