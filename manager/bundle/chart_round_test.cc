// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/chart_round.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/bundle/chart_needs.h"
#include "manager/bundle/source_build.h"
#include "manager/charts/chart_credentials.h"
#include "manager/charts/chart_fetcher.h"

namespace flotilla::manager {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

SourceBuild::Bundle Needing(const std::string& chart,
                            const std::string& directory) {
  SourceBuild::Bundle bundle;
  bundle.name = directory;
  ChartNeed& need = bundle.needs.emplace_back();
  need.chart = chart;
  need.repo = "https://charts.example.com";
  need.version = "1.x";
  need.prefix = ChartPrefix(need.chart, need.repo, need.version);
  need.directory = directory;
  need.file = directory + "/fleet.yaml";
  need.line = 3;
  return bundle;
}

TEST(ChartRound, AsksOnceForWhatSeveralBundlesNeed) {
  SourceBuild build;
  build.bundles = {Needing("web", "a"), Needing("web", "b"),
                   Needing("db", "c")};
  ChartRound round(build, ChartCredentialRules());

  const std::vector<ChartRequest> requests = round.TakeRequests();

  ASSERT_THAT(requests, SizeIs(2));
  EXPECT_EQ(requests[0].chart, "web");
  EXPECT_EQ(requests[1].chart, "db");
  round.Answer(1, FetchedChart(), "GitRepo w/r", build);
  EXPECT_FALSE(round.done());
  round.Answer(0, FetchedChart(), "GitRepo w/r", build);
  EXPECT_TRUE(round.done());
  EXPECT_THAT(build.errors, IsEmpty());
  const FetchedCharts fetched = round.TakeFetched();
  for (const SourceBuild::Bundle& bundle : build.bundles) {
    EXPECT_EQ(fetched.count(ChartNeedKey(bundle.needs[0])), 1U) << bundle.name;
  }
}

TEST(ChartRound, TellsEveryBundleThatItsChartIsNotThere) {
  SourceBuild build;
  build.bundles = {Needing("web", "a"), Needing("web", "b")};
  ChartRound round(build, ChartCredentialRules());

  round.Answer(0, absl::UnavailableError("no answer"), "GitRepo w/r", build);

  EXPECT_TRUE(round.done());
  EXPECT_TRUE(build.try_again);
  ASSERT_THAT(build.errors, SizeIs(2));
  EXPECT_EQ(build.errors[0].file(), "a/fleet.yaml");
  EXPECT_EQ(build.errors[1].file(), "b/fleet.yaml");
  EXPECT_EQ(build.errors[1].line(), 3U);
  EXPECT_EQ(build.errors[1].subject(), "GitRepo w/r");
  EXPECT_THAT(build.errors[1].message(), HasSubstr("no answer"));
  EXPECT_THAT(build.errors[1].message(), HasSubstr("\"web\""));
}

}  // namespace
}  // namespace flotilla::manager
