// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/values_exchange.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/assignment/values_digest.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using agent::v1::ValuesReport;
using agent::v1::ValuesRequest;

ValuesAsk AskFor(const std::string& name) {
  ValuesAsk ask;
  core::v1::ValuesRef& ref = ask.refs.emplace_back();
  ref.set_kind(core::v1::ValuesRef::KIND_SECRET);
  ref.set_namespace_("ns");
  ref.set_name(name);
  ref.set_key("values.yaml");
  ask.service_account = "sa";
  return ask;
}

ValuesReport AnswerTo(const std::string& name) {
  ValuesReport report;
  report.set_bundle_id("b");
  *report.add_refs() = AskFor(name).refs[0];
  report.set_service_account("sa");
  report.add_contents("a: 1");
  return report;
}

TEST(ValuesExchange, AsksOnceAndAgainWhenWhatIsAskedChanges) {
  ValuesExchange exchange;
  EXPECT_FALSE(exchange.Next().has_value());
  exchange.Ask("b", AskFor("x"), "known");

  const std::optional<ValuesRequest> first = exchange.Next();
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->bundle_id(), "b");
  EXPECT_EQ(first->refs(0).name(), "x");
  EXPECT_EQ(first->service_account(), "sa");
  EXPECT_EQ(first->known_digest(), "known");
  exchange.Ask("b", AskFor("x"), "newer");
  EXPECT_FALSE(exchange.Next().has_value());

  exchange.Ask("b", AskFor("y"), "newer");
  exchange.Ask("b", AskFor("z"), "newer");
  const std::optional<ValuesRequest> second = exchange.Next();
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->refs(0).name(), "z");
  EXPECT_FALSE(exchange.Next().has_value());
}

TEST(ValuesExchange, EndsWhatTheAgentWasAskedAndNothingElse) {
  ValuesExchange exchange;
  exchange.Ask("never", AskFor("x"), "");
  exchange.End("never");
  EXPECT_FALSE(exchange.Next().has_value());

  exchange.Ask("b", AskFor("x"), "");
  exchange.Next();
  exchange.End("b");
  const std::optional<ValuesRequest> end = exchange.Next();
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->bundle_id(), "b");
  EXPECT_EQ(end->refs_size(), 0);
  EXPECT_FALSE(exchange.Next().has_value());
  exchange.End("b");
  EXPECT_FALSE(exchange.Next().has_value());
}

TEST(ValuesExchange, TakesAnswersToWhatWasAskedOnly) {
  struct Case {
    std::string what;
    std::function<void(ValuesReport&)> change;
    std::string reason;
    bool right_digest = true;
  };
  const std::vector<Case> cases = {
      {"as asked", [](ValuesReport&) {}, ""},
      {"a problem",
       [](ValuesReport& r) {
         r.clear_contents();
         r.mutable_problem()->set_message("no such key");
       },
       ""},
      {"another bundle", [](ValuesReport& r) { r.set_bundle_id("c"); },
       "foreign_values"},
      {"not asked yet", [](ValuesReport& r) { r.set_bundle_id("queued"); },
       "foreign_values"},
      {"another object",
       [](ValuesReport& r) { r.mutable_refs(0)->set_name("y"); },
       "stale_values"},
      {"one more object",
       [](ValuesReport& r) { *r.add_refs() = r.refs(0); }, "stale_values"},
      {"another account",
       [](ValuesReport& r) { r.set_service_account(""); }, "stale_values"},
      {"nothing", [](ValuesReport& r) { r.clear_contents(); }, "bad_values"},
      {"both",
       [](ValuesReport& r) { r.mutable_problem()->set_message("m"); },
       "bad_values"},
      {"a problem that says nothing",
       [](ValuesReport& r) {
         r.clear_contents();
         r.mutable_problem();
       },
       "bad_values"},
      {"a long problem",
       [](ValuesReport& r) {
         r.clear_contents();
         r.mutable_problem()->set_message(std::string(5000, 'x'));
       },
       "bad_values"},
      {"too large",
       [](ValuesReport& r) {
         r.set_contents(0, std::string(ValuesExchange::kMaxBytes + 1, 'x'));
       },
       "bad_values"},
      {"wrong digest", [](ValuesReport& r) { r.set_digest("x"); },
       "bad_values", false},
  };
  for (const Case& one : cases) {
    ValuesExchange exchange;
    exchange.Ask("b", AskFor("x"), "");
    exchange.Next();
    exchange.Ask("queued", AskFor("x"), "");
    ValuesReport report = AnswerTo("x");
    one.change(report);
    if (one.right_digest) report.set_digest(ValuesDigest(report));
    EXPECT_EQ(exchange.Judge(report), one.reason) << one.what;
  }
}

}  // namespace
}  // namespace flotilla::manager
