// SPDX-License-Identifier: Apache-2.0

#include "manager/charts/git_chart_address.h"

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(GitChartAddress, IsWhatGoGetterReads) {
  const struct {
    const char* chart;
    const char* url;
    const char* folder;
    const char* ref;
  } kCases[] = {
      {"git::https://h/t/c.git//web?ref=v1", "https://h/t/c.git", "web", "v1"},
      {"GIT::https://h:8443/c", "https://h:8443/c", "", ""},
      {"git::https://h/c.git//a/./b/?ref=feature%2Fx&depth=1",
       "https://h/c.git", "a/b", "feature/x"},
      {"git::ssh://git@h/t/c.git//web", "ssh://git@h/t/c.git", "web", ""},
      {"ssh::git@h:t/c.git", "ssh://git@h/t/c.git", "", ""},
      {"ssh://git@h:2222/t/c.git?ref=main", "ssh://git@h:2222/t/c.git", "",
       "main"},
      {"git@h:t/c.git//web?ref=v1", "ssh://git@h/t/c.git", "web", "v1"},
      {"git::git@h:/t/c", "ssh://git@h/t/c", "", ""},
      {"github.com/t/c//web?ref=v1", "https://github.com/t/c.git", "web",
       "v1"},
      {"github.com/t/c.git", "https://github.com/t/c.git", "", ""},
      {"gitlab.com/t/c/web", "https://gitlab.com/t/c.git", "web", ""},
      {"git::bitbucket.org/t/c", "https://bitbucket.org/t/c.git", "", ""},
      {"git::https://[::1]/c//web", "https://[::1]/c", "web", ""},
  };
  for (const auto& test : kCases) {
    const auto address = ParseGitChartAddress(test.chart);
    ASSERT_THAT(address, IsOk()) << test.chart;
    ASSERT_TRUE(address->has_value()) << test.chart;
    EXPECT_EQ((*address)->url, test.url) << test.chart;
    EXPECT_EQ((*address)->folder, test.folder) << test.chart;
    EXPECT_EQ((*address)->ref, test.ref) << test.chart;
  }
}

TEST(GitChartAddress, IsNoOtherAddress) {
  for (const char* chart :
       {"", "web", "./web", "https://h/c.tgz", "https::https://h/c.tgz//web",
        "oci://h/c", "https://u@h/c.tgz", "s3::https://h/c",
        "https://[::1]/c.tgz", "github.com/t", "charts/a@b:c"}) {
    const auto address = ParseGitChartAddress(chart);
    ASSERT_THAT(address, IsOk()) << chart;
    EXPECT_FALSE(address->has_value()) << chart;
  }
}

TEST(GitChartAddress, ReadsAKeyAndShowsNone) {
  const auto address =
      ParseGitChartAddress("git::ssh://git@h/c?sshkey=a2V5&ref=v1");
  ASSERT_THAT(address, IsOk());
  EXPECT_EQ((*address)->ssh_private_key, "key");
  EXPECT_EQ((*address)->ref, "v1");
  EXPECT_EQ((*address)->url, "ssh://git@h/c");
}

TEST(GitChartAddress, RefusesWhatLeadsOutOrRunsAProgram) {
  const struct {
    const char* chart;
    const char* words;
  } kCases[] = {
      {"git::https://h/c.git//../x", "leads out"},
      {"git::file:///etc", "https:// or ssh://"},
      {"git::/etc/charts", "https:// or ssh://"},
      {"git::ext::sh -c canary", "https:// or ssh://"},
      {"git::https://h/c?archive=canary", "\"archive\""},
      {"git::ssh://git@h/c?sshkey=%%%canary", "sshkey="},
  };
  for (const auto& test : kCases) {
    const auto address = ParseGitChartAddress(test.chart);
    EXPECT_THAT(address, StatusIs(absl::StatusCode::kInvalidArgument,
                                  HasSubstr(test.words)))
        << test.chart;
    EXPECT_THAT(std::string(address.status().message()),
                Not(HasSubstr("canary")));
  }
}

}  // namespace
}  // namespace flotilla::manager
