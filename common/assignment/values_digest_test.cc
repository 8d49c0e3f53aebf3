// SPDX-License-Identifier: Apache-2.0

#include "common/assignment/values_digest.h"

#include <functional>
#include <string>
#include <vector>

#include "common/crypto/sha256.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/core/v1/core.pb.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using agent::v1::ValuesReport;

ValuesReport Report() {
  ValuesReport report;
  report.set_bundle_id("b");
  core::v1::ValuesRef& ref = *report.add_refs();
  ref.set_kind(core::v1::ValuesRef::KIND_SECRET);
  ref.set_namespace_("ns");
  ref.set_name("n");
  ref.set_key("k");
  report.set_service_account("sa");
  report.add_contents("a: 1");
  return report;
}

TEST(ValuesDigest, DependsOnWhatWasAskedAndFoundOnly) {
  const std::string base = ValuesDigest(Report());
  ValuesReport same = Report();
  same.set_bundle_id("other");
  same.set_digest("x");
  EXPECT_EQ(ValuesDigest(same), base);

  const std::vector<std::function<void(ValuesReport&)>> changes = {
      [](ValuesReport& r) {
        r.mutable_refs(0)->set_kind(core::v1::ValuesRef::KIND_CONFIG_MAP);
      },
      [](ValuesReport& r) { r.mutable_refs(0)->set_namespace_("n"); },
      [](ValuesReport& r) { r.mutable_refs(0)->set_name("nk"); },
      [](ValuesReport& r) { r.mutable_refs(0)->set_key("x"); },
      [](ValuesReport& r) { *r.add_refs() = r.refs(0); },
      [](ValuesReport& r) { r.clear_refs(); },
      [](ValuesReport& r) { r.set_service_account(""); },
      [](ValuesReport& r) { r.set_contents(0, "a: 2"); },
      [](ValuesReport& r) { r.add_contents(""); },
      [](ValuesReport& r) { r.mutable_problem(); },
      [](ValuesReport& r) { r.mutable_problem()->set_code("c"); },
      [](ValuesReport& r) { r.mutable_problem()->set_message("m"); },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    ValuesReport changed = Report();
    changes[i](changed);
    EXPECT_NE(ValuesDigest(changed), base) << i;
  }
}

// Both halves of different versions must agree for ever.
TEST(ValuesDigest, HasTheDocumentedBytes) {
  std::string bytes = "flotilla.values.v1\n";
  const auto number = [&bytes](char n) {
    bytes.append(3, '\0');
    bytes.push_back(n);
  };
  const auto text = [&](const std::string& t) {
    number(static_cast<char>(t.size()));
    bytes += t;
  };
  number(1);
  number(2);
  text("ns");
  text("n");
  text("k");
  text("sa");
  number(1);
  text("a: 1");
  bytes.push_back('\0');
  EXPECT_EQ(ValuesDigest(Report()), Sha256(bytes));

  ValuesReport report = Report();
  report.mutable_problem()->set_code("C");
  report.mutable_problem()->set_message("M");
  bytes.back() = 1;
  text("C");
  text("M");
  EXPECT_EQ(ValuesDigest(report), Sha256(bytes));
}

}  // namespace
}  // namespace flotilla
