// SPDX-License-Identifier: Apache-2.0

#include "tools/ctl/printer.h"

#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::ctl {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Safe, EscapesWhatATerminalWouldActOn) {
  EXPECT_EQ(Safe("plain \xc3\xa4 text"), "plain \xc3\xa4 text");
  EXPECT_EQ(Safe("\x1b[31mred"), "\\x1b[31mred");
  EXPECT_EQ(Safe("a\nb\tc"), "a b c");
  EXPECT_EQ(Safe("a\nb", false), "a\nb");
  EXPECT_EQ(Safe("\xe2\x80\xae" "evil"), "\\xe2\\x80\\xaeevil");
  EXPECT_EQ(Safe("\xc2\x9b" "1m"), "\\xc2\\x9b1m");
  EXPECT_EQ(Safe("bad \xff"), "bad \\xff");
}

TEST(Table, AlignsColumnsByWhatIsSeen) {
  EXPECT_EQ(Table({"NAME", "X"}, {{"\xc3\xa4", "1"}, {"longer", "2"}}),
            "NAME    X\n"
            "\xc3\xa4       1\n"
            "longer  2\n");
}

TEST(ParseFormat, NamesTheChoices) {
  EXPECT_THAT(ParseFormat("json"), IsOkAndHolds(Format::kJson));
  EXPECT_THAT(ParseFormat("xml"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("table, json and yaml")));
}

TEST(Structured, WritesTheSameFactsAsJsonAndYaml) {
  admin::v1::ListBundlesResponse list;
  list.add_bundles()->set_name("web");
  list.mutable_bundles(0)->set_git_repo("on");

  EXPECT_THAT(Structured(list, Format::kJson),
              IsOkAndHolds(HasSubstr("\"gitRepo\": \"on\"")));
  EXPECT_THAT(Structured(list, Format::kYaml),
              IsOkAndHolds(HasSubstr("gitRepo: \"on\"")));
}

TEST(DriftTable, SaysUnknownForADeletionAndNamesTheManagerOfAChange) {
  admin::v1::ListDriftResponse list;
  auto* deleted = list.add_drift()->mutable_record();
  deleted->mutable_key()->set_kind("ConfigMap");
  deleted->set_operation(core::v1::DRIFT_OPERATION_OBJECT_DELETED);
  auto* changed = list.add_drift()->mutable_record();
  changed->set_operation(core::v1::DRIFT_OPERATION_CHANGED);
  changed->set_path("spec.replicas");
  changed->set_field_manager("kubectl");

  const std::string table = DriftTable(list, absl::UnixEpoch());

  EXPECT_THAT(table, HasSubstr("ObjectDeleted"));
  EXPECT_THAT(table, HasSubstr("unknown"));
  EXPECT_THAT(table, HasSubstr("kubectl"));
}

TEST(ResourceTable, NeverShowsAStaleHealthAsIfItWereKnown) {
  admin::v1::ListResourcesResponse list;
  auto* resource = list.add_resources();
  resource->mutable_status()->set_health(core::v1::HEALTH_HEALTHY);
  resource->set_stale(true);

  EXPECT_THAT(ResourceTable(list), HasSubstr("Unknown (offline)"));
  EXPECT_THAT(ResourceTable(list), Not(HasSubstr("Healthy")));
}

TEST(ProblemLine, NamesTheObjectWhereTheFileHasNoLine) {
  core::v1::Problem problem;
  problem.set_file("app/all.yaml");
  problem.set_subject("configmap shop/settings");
  problem.set_message("is immutable");
  EXPECT_EQ(ProblemLine(problem),
            "app/all.yaml: configmap shop/settings: is immutable");

  problem.set_line(7);
  EXPECT_EQ(ProblemLine(problem), "app/all.yaml:7: is immutable");
}

}  // namespace
}  // namespace flotilla::ctl
