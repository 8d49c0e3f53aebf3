// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/dependencies.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using ::testing::HasSubstr;
using core::v1::Dependency;

Dependency On(const std::string& name, std::vector<std::string> states = {}) {
  Dependency dependency;
  dependency.set_name(name);
  for (const std::string& state : states) dependency.add_accepted_states(state);
  return dependency;
}

Dependency OnLabel(const std::string& key, const std::string& value) {
  Dependency dependency;
  core::v1::LabelPair* pair =
      dependency.mutable_selector()->add_match_labels();
  pair->set_key(key);
  pair->set_value(value);
  return dependency;
}

DependencyNode Node(const std::string& name, const std::string& state,
                    std::vector<Dependency> depends_on = {}) {
  DependencyNode node;
  node.bundle_id = name;
  node.name = name;
  node.workspace = "fleet-default";
  node.labels_known = true;
  node.state = state;
  node.depends_on = std::move(depends_on);
  node.waiting = state == "WaitApplied";
  return node;
}

std::string FirstOf(const Dependencies& all, const std::string& name) {
  const auto problems = all.Judge(name);
  return problems.empty() ? "" : problems[0].message();
}

TEST(DependenciesTest, WaitsUntilTheOtherIsInAnAcceptedState) {
  struct Case {
    std::string state;
    std::vector<std::string> accepted;
    bool waits;
  };
  const Case cases[] = {
      {"Ready", {}, false},
      {"NotReady", {}, true},
      {"WaitApplied", {}, true},
      {"NotReady", {"Ready", "NotReady"}, false},
      {"Modified", {"Ready", "NotReady"}, true},
      {"Ready", {"Modified"}, true},
  };
  for (const Case& c : cases) {
    Dependencies all;
    all.Add(Node("db", c.state));
    all.Add(Node("app", "WaitApplied", {On("db", c.accepted)}));
    EXPECT_EQ(FirstOf(all, "app"),
              c.waits ? "dependent bundle(s) are not ready: [db (" + c.state +
                            ")]"
                      : "");
  }
}

TEST(DependenciesTest, ABundleThatIsNotThereIsNamedWithItsLabels) {
  Dependencies all;
  DependencyNode elsewhere = Node("db", "Ready");
  elsewhere.workspace = "other";
  all.Add(elsewhere);
  all.Add(Node("app", "WaitApplied", {On("db")}));

  EXPECT_EQ(FirstOf(all, "app"),
            "no bundles matching labels fleet.cattle.io/bundle-name=db,"
            "fleet.cattle.io/bundle-namespace=fleet-default in workspace "
            "fleet-default");
}

TEST(DependenciesTest, ASelectorMeansAllThatItMatchesButItself) {
  DependencyNode one = Node("one", "Ready");
  one.labels = {{"tier", "base"}};
  DependencyNode two = Node("two", "NotReady");
  two.labels = {{"tier", "base"}};
  DependencyNode app = Node("app", "WaitApplied", {OnLabel("tier", "base")});
  app.labels = {{"tier", "base"}};
  Dependencies all;
  all.Add(one);
  all.Add(two);
  all.Add(app);
  EXPECT_EQ(FirstOf(all, "app"),
            "dependent bundle(s) are not ready: [two (NotReady)]");

  two.state = "Ready";
  all.Add(two);
  EXPECT_EQ(FirstOf(all, "app"), "");

  two.labels_known = false;
  two.labels.clear();
  all.Add(two);
  EXPECT_THAT(FirstOf(all, "app"), HasSubstr("labels of bundle two"));
}

TEST(DependenciesTest, NameAndSelectorMustBothHold) {
  Dependency both = OnLabel("tier", "base");
  both.set_name("db");
  Dependencies all;
  all.Add(Node("db", "Ready"));
  all.Add(Node("app", "WaitApplied", {both}));
  EXPECT_THAT(FirstOf(all, "app"), HasSubstr("no bundles matching labels"));
}

TEST(DependenciesTest, AnEntryWithoutNameAndSelectorIsSkipped) {
  Dependencies all;
  all.Add(Node("app", "WaitApplied", {Dependency()}));
  EXPECT_EQ(FirstOf(all, "app"), "");
}

TEST(DependenciesTest, ACycleIsNamedOnAllMembersAndOnNobodyElse) {
  Dependencies all;
  all.Add(Node("a", "WaitApplied", {On("b")}));
  all.Add(Node("b", "WaitApplied", {On("c")}));
  all.Add(Node("c", "WaitApplied", {On("a")}));
  all.Add(Node("d", "WaitApplied", {On("a")}));
  EXPECT_THAT(FirstOf(all, "a"), HasSubstr("a -> b -> c -> a"));
  EXPECT_THAT(FirstOf(all, "b"), HasSubstr("b -> c -> a -> b"));
  EXPECT_THAT(FirstOf(all, "c"), HasSubstr("c -> a -> b -> c"));
  EXPECT_THAT(FirstOf(all, "d"), HasSubstr("are not ready: [a"));

  Dependencies self;
  self.Add(Node("x", "WaitApplied", {On("x")}));
  EXPECT_THAT(FirstOf(self, "x"), HasSubstr("x -> x"));
}

TEST(DependenciesTest, StatesAreFleets) {
  core::v1::ResourceCounts counts;
  EXPECT_EQ(FleetStateOf(core::v1::PHASE_HEALTHY, counts, true), "Ready");
  EXPECT_EQ(FleetStateOf(core::v1::PHASE_APPLYING, counts, false),
            "WaitApplied");
  EXPECT_EQ(FleetStateOf(core::v1::PHASE_FAILED, counts, true), "ErrApplied");
  counts.set_modified(1);
  EXPECT_EQ(FleetStateOf(core::v1::PHASE_VERIFYING, counts, true), "Modified");
  counts.set_not_ready(1);
  EXPECT_EQ(FleetStateOf(core::v1::PHASE_VERIFYING, counts, true), "NotReady");
}

}  // namespace
}  // namespace flotilla::agent
