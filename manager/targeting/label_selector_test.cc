// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/label_selector.h"

#include <initializer_list>
#include <string>

#include "flotilla/core/v1/core.pb.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using core::v1::LabelRequirement;
using core::v1::LabelSelector;

LabelSelector Expression(LabelRequirement::Operator op,
                         std::initializer_list<const char*> values = {}) {
  LabelSelector selector;
  LabelRequirement& requirement = *selector.add_match_expressions();
  requirement.set_key("env");
  requirement.set_operator_(op);
  for (const char* value : values) requirement.add_values(value);
  return selector;
}

TEST(LabelSelector, MatchesEverythingWhenEmpty) {
  EXPECT_TRUE(SelectorMatches(LabelSelector(), {}));
  EXPECT_TRUE(SelectorMatches(LabelSelector(), {{"a", "b"}}));
}

TEST(LabelSelector, WantsEveryLabel) {
  LabelSelector selector;
  for (const char* key : {"a", "b"}) {
    auto* pair = selector.add_match_labels();
    pair->set_key(key);
    pair->set_value("1");
  }

  EXPECT_TRUE(SelectorMatches(selector, {{"a", "1"}, {"b", "1"}, {"c", "2"}}));
  EXPECT_FALSE(SelectorMatches(selector, {{"a", "1"}}));
  EXPECT_FALSE(SelectorMatches(selector, {{"a", "1"}, {"b", "2"}}));
}

TEST(LabelSelector, KnowsTheFourOperators) {
  const LabelMap prod = {{"env", "prod"}};
  const LabelMap none = {};

  const LabelSelector in =
      Expression(LabelRequirement::OPERATOR_IN, {"dev", "prod"});
  EXPECT_TRUE(SelectorMatches(in, prod));
  EXPECT_FALSE(SelectorMatches(in, {{"env", "test"}}));
  EXPECT_FALSE(SelectorMatches(in, none));
  const LabelSelector not_in =
      Expression(LabelRequirement::OPERATOR_NOT_IN, {"prod"});
  EXPECT_FALSE(SelectorMatches(not_in, prod));
  EXPECT_TRUE(SelectorMatches(not_in, {{"env", "test"}}));
  EXPECT_TRUE(SelectorMatches(not_in, none));
  const LabelSelector exists = Expression(LabelRequirement::OPERATOR_EXISTS);
  EXPECT_TRUE(SelectorMatches(exists, prod));
  EXPECT_FALSE(SelectorMatches(exists, none));
  const LabelSelector absent =
      Expression(LabelRequirement::OPERATOR_DOES_NOT_EXIST);
  EXPECT_FALSE(SelectorMatches(absent, prod));
  EXPECT_TRUE(SelectorMatches(absent, none));
}

TEST(LabelSelector, MatchesNothingByAnUnknownOperator) {
  EXPECT_FALSE(SelectorMatches(
      Expression(LabelRequirement::OPERATOR_UNSPECIFIED, {"prod"}),
      {{"env", "prod"}}));
}

}  // namespace
}  // namespace flotilla::manager
