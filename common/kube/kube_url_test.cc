// SPDX-License-Identifier: Apache-2.0

#include "common/kube/kube_url.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/kube/kube_client.h"
#include "common/status/status_matchers.h"

namespace flotilla {
namespace {

ServedKind Kind(const std::string& group, const std::string& version,
                const std::string& kind, const std::string& plural,
                bool namespaced) {
  ServedKind served;
  served.group = group;
  served.version = version;
  served.kind = kind;
  served.plural = plural;
  served.namespaced = namespaced;
  return served;
}

class KubeUrlTest : public ::testing::Test {
 protected:
  static KubePlace Place(absl::string_view group, absl::string_view kind,
                         absl::string_view ns, absl::string_view name) {
    KubePlace place;
    place.group = group;
    place.kind = kind;
    place.ns = ns;
    place.name = name;
    return place;
  }

  const Discovery discovery_{
      {Kind("", "v1", "ConfigMap", "configmaps", true),
       Kind("apps", "v1", "Deployment", "deployments", true),
       Kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles",
            false)},
      {"metrics.k8s.io/v1beta1"}};
};

TEST_F(KubeUrlTest, NamesObjectsAndCollections) {
  EXPECT_THAT(KubePath(discovery_, Place("", "ConfigMap", "ns", "a")),
              IsOkAndHolds("/api/v1/namespaces/ns/configmaps/a"));
  EXPECT_THAT(KubePath(discovery_, Place("rbac.authorization.k8s.io",
                                         "ClusterRole", "", "system:a")),
              IsOkAndHolds("/apis/rbac.authorization.k8s.io/v1/clusterroles/"
                           "system%3Aa"));
  KubePlace all = Place("apps", "Deployment", "", "");
  all.collection = true;
  EXPECT_THAT(KubePath(discovery_, all),
              IsOkAndHolds("/apis/apps/v1/deployments"));
}

TEST_F(KubeUrlTest, LetsNoNameChangeThePath) {
  for (const char* name : {"", ".", "..", "a/b", "a%2fb"}) {
    EXPECT_THAT(KubePath(discovery_, Place("", "ConfigMap", "ns", name)),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << name;
  }
  EXPECT_THAT(KubePath(discovery_, Place("", "ConfigMap", "../x", "a")),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(KubeUrlTest, TellsKindsThatAreNotThereFromThoseThatDoNotAnswer) {
  EXPECT_THAT(KubePath(discovery_, Place("a.example", "Thing", "ns", "a")),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(KubePath(discovery_, Place("metrics.k8s.io", "Pod", "ns", "a")),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(KubeUrlTest, EncodesParameters) {
  std::string target = "/api";
  AddParameter("labelSelector", "a=b,c", &target);
  AddParameter("limit", "1", &target);
  EXPECT_EQ(target, "/api?labelSelector=a%3Db%2Cc&limit=1");
}

}  // namespace
}  // namespace flotilla
