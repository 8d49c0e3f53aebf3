// SPDX-License-Identifier: Apache-2.0

#include "common/labels/label_selector.h"

#include <initializer_list>
#include <string>

#include "flotilla/core/v1/core.pb.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using core::v1::LabelRequirement;
using core::v1::LabelSelector;

LabelSelector With(LabelRequirement::Operator op, const std::string& key,
                   const std::string& value) {
  LabelSelector selector;
  LabelRequirement* requirement = selector.add_match_expressions();
  requirement->set_key(key);
  requirement->set_operator_(op);
  if (!value.empty()) requirement->add_values(value);
  return selector;
}

TEST(LabelSelectorTest, EveryOperatorDoesWhatKubernetesSays) {
  const LabelMap labels = {{"a", "1"}};
  struct Case {
    LabelRequirement::Operator op;
    std::string key;
    std::string value;
    bool matches;
    std::string text;
  };
  const Case cases[] = {
      {LabelRequirement::OPERATOR_IN, "a", "1", true, "a in (1)"},
      {LabelRequirement::OPERATOR_IN, "b", "1", false, "b in (1)"},
      {LabelRequirement::OPERATOR_NOT_IN, "a", "1", false, "a notin (1)"},
      {LabelRequirement::OPERATOR_NOT_IN, "b", "1", true, "b notin (1)"},
      {LabelRequirement::OPERATOR_EXISTS, "a", "", true, "a"},
      {LabelRequirement::OPERATOR_DOES_NOT_EXIST, "a", "", false, "!a"},
      {LabelRequirement::OPERATOR_UNSPECIFIED, "a", "", false, "a ?"},
  };
  for (const Case& c : cases) {
    const LabelSelector selector = With(c.op, c.key, c.value);
    EXPECT_EQ(SelectorMatches(selector, labels), c.matches) << c.text;
    EXPECT_EQ(SelectorText(selector), c.text);
  }
}

TEST(LabelSelectorTest, AnEmptyOneMatchesEverything) {
  EXPECT_TRUE(SelectorMatches(LabelSelector(), {}));
}

TEST(LabelSelectorTest, EqualitiesMustAllHold) {
  LabelSelector selector;
  for (const char* const key : {"a", "b"}) {
    core::v1::LabelPair* pair = selector.add_match_labels();
    pair->set_key(key);
    pair->set_value("1");
  }

  EXPECT_TRUE(SelectorMatches(selector, {{"a", "1"}, {"b", "1"}}));
  EXPECT_FALSE(SelectorMatches(selector, {{"a", "1"}}));
  EXPECT_EQ(SelectorText(selector), "a=1,b=1");
}

LabelSelector Expression(LabelRequirement::Operator op,
                         std::initializer_list<const char*> values = {}) {
  LabelSelector selector;
  LabelRequirement& requirement = *selector.add_match_expressions();
  requirement.set_key("env");
  requirement.set_operator_(op);
  for (const char* value : values) requirement.add_values(value);
  return selector;
}

TEST(LabelSelectorTest, MatchesEverythingWhenEmpty) {
  EXPECT_TRUE(SelectorMatches(LabelSelector(), {}));
  EXPECT_TRUE(SelectorMatches(LabelSelector(), {{"a", "b"}}));
}

TEST(LabelSelectorTest, WantsEveryLabel) {
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

TEST(LabelSelectorTest, KnowsTheFourOperators) {
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

TEST(LabelSelectorTest, MatchesNothingByAnUnknownOperator) {
  EXPECT_FALSE(SelectorMatches(
      Expression(LabelRequirement::OPERATOR_UNSPECIFIED, {"prod"}),
      {{"env", "prod"}}));
}

}  // namespace
}  // namespace flotilla
