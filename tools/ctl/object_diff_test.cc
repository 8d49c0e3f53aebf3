// SPDX-License-Identifier: Apache-2.0

#include "tools/ctl/object_diff.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::ctl {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

json Object(const std::string& kind, const std::string& name,
            const json& data) {
  return {{"apiVersion", "v1"},
          {"kind", kind},
          {"metadata", {{"name", name}, {"namespace", "n"}}},
          {"data", data}};
}

TEST(ObjectDiffTest, NothingChangesBetweenEqualSets) {
  const std::vector<json> objects = {Object("ConfigMap", "a", {{"k", "v"}})};
  EXPECT_EQ(DiffText(DiffObjects(objects, objects)), "");
  EXPECT_EQ(DiffJson(DiffObjects(objects, objects)), json::array());
}

TEST(ObjectDiffTest, NamesWhatComesGoesAndChanges) {
  const auto changes =
      DiffObjects({Object("ConfigMap", "a", {{"k", "old"}, {"x", "1"}}),
                   Object("ConfigMap", "gone", {})},
                  {Object("ConfigMap", "a", {{"k", "new"}, {"y", "2"}}),
                   Object("Service", "new", {})});

  EXPECT_EQ(DiffText(changes),
            "~ ConfigMap n/a\n"
            "    ~ /data/k: \"old\" -> \"new\"\n"
            "    - /data/x: \"1\"\n"
            "    + /data/y: \"2\"\n"
            "- ConfigMap n/gone\n"
            "+ Service n/new\n");
  const json list = DiffJson(changes);
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0]["change"], "changed");
  EXPECT_EQ(list[1]["change"], "removed");
  EXPECT_EQ(list[2]["change"], "added");
}

TEST(ObjectDiffTest, AVersionIsNoOtherObjectButAGroupIs) {
  json a = Object("Ingress", "i", {});
  a["apiVersion"] = "networking.k8s.io/v1beta1";
  json b = a;
  b["apiVersion"] = "networking.k8s.io/v1";
  json c = a;
  c["apiVersion"] = "extensions/v1beta1";

  EXPECT_THAT(DiffText(DiffObjects({a}, {b})), HasSubstr("~ Ingress n/i"));
  EXPECT_THAT(DiffText(DiffObjects({a}, {c})), HasSubstr("+ Ingress n/i"));
}

TEST(ObjectDiffTest, ValuesOfSecretsAreNeverShown) {
  const auto changes = DiffObjects(
      {Object("Secret", "s", {{"k", "canary-old"}})},
      {Object("Secret", "s", {{"k", "canary-new"}, {"l", "canary"}}),
       Object("Secret", "t", {{"k", "canary"}})});

  EXPECT_THAT(DiffText(changes), HasSubstr("/data/k"));
  EXPECT_THAT(DiffText(changes), Not(HasSubstr("canary")));
  EXPECT_THAT(DiffJson(changes).dump(), Not(HasSubstr("canary")));
}

TEST(ObjectDiffTest, OddObjectsDoNoHarm) {
  EXPECT_EQ(DiffObjects({json(7), json(), json::array()}, {}).size(), 0u);
  EXPECT_EQ(DiffObjects({json::object()}, {{{"metadata", 7}}}).size(), 1u);
}

}  // namespace
}  // namespace flotilla::ctl
