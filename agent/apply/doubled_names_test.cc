// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/doubled_names.h"

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

using nlohmann::json;

json Pod(const json& env) {
  return {
      {"spec", {{"template", {{"spec", {{"containers", {{{"env", env}}}}}}}}}}};
}

TEST(DoubledNames, TheLastOneCounts) {
  json pod = Pod({{{"name", "A"}, {"value", "1"}},
                  {{"name", "B"}, {"value", "2"}},
                  {{"name", "A"}, {"value", "3"}}});

  EXPECT_TRUE(DropDoubledNames(&pod));

  EXPECT_EQ(pod, Pod({{{"name", "B"}, {"value", "2"}},
                      {{"name", "A"}, {"value", "3"}}}));
  EXPECT_FALSE(DropDoubledNames(&pod));
}

TEST(DoubledNames, OddShapesStay) {
  for (const json& env :
       {json(nullptr), json(1), json::array({1, 1, nullptr}),
        json::array({{{"name", 1}}, {{"name", 1}}}), json{{"name", "A"}}}) {
    json pod = Pod(env);
    EXPECT_FALSE(DropDoubledNames(&pod)) << env;
    EXPECT_EQ(pod, Pod(env));
  }
  json odd = {{"containers", {{"env", 1}}}, {"initContainers", {1, nullptr}}};
  EXPECT_FALSE(DropDoubledNames(&odd));
}

}  // namespace
}  // namespace flotilla::agent
