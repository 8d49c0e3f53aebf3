// SPDX-License-Identifier: Apache-2.0

#include "manager/charts/chart_cache.h"

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/status/status_matchers.h"
#include "manager/charts/chart_fetcher.h"

namespace flotilla::manager {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

FetchedChart Chart(const std::string& version) {
  FetchedChart chart;
  chart.version = version;
  storage::v1::BundleFile file;
  file.set_name("Chart.yaml");
  file.set_blob_digest(std::string(32, 'd'));
  file.set_size(7);
  chart.files.push_back(file);
  return chart;
}

std::string NewPath(const std::string& name) {
  const std::string path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/", name);
  std::remove(path.c_str());
  return path;
}

TEST(ChartCache, KeepsEntriesOverRestarts) {
  const std::string path = NewPath("restart.db");
  {
    auto cache = ChartCache::Open(path);
    ASSERT_THAT(cache, IsOk());
    EXPECT_THAT((*cache)->Find("a"), StatusIs(absl::StatusCode::kNotFound));
    EXPECT_THAT((*cache)->Put("a", Chart("1.0.0")), IsOk());
  }

  auto cache = ChartCache::Open(path);
  ASSERT_THAT(cache, IsOk());
  const auto found = (*cache)->Find("a");
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->version, "1.0.0");
  ASSERT_EQ(found->files.size(), 1u);
  EXPECT_EQ(found->files[0].name(), "Chart.yaml");
  EXPECT_THAT((*cache)->Remove("a"), IsOk());
  EXPECT_THAT((*cache)->Find("a"), StatusIs(absl::StatusCode::kNotFound));
}

TEST(ChartCache, DropsWhatWasNotAskedForLongest) {
  auto cache = ChartCache::Open(NewPath("bounded.db"), 3);
  ASSERT_THAT(cache, IsOk());
  for (const char* key : {"a", "b", "c"}) {
    EXPECT_THAT((*cache)->Put(key, Chart(key)), IsOk());
  }
  EXPECT_THAT((*cache)->Find("a"), IsOk());
  EXPECT_THAT((*cache)->Put("d", Chart("d")), IsOk());

  EXPECT_THAT((*cache)->Find("b"), StatusIs(absl::StatusCode::kNotFound));
  for (const char* key : {"a", "c", "d"}) {
    EXPECT_THAT((*cache)->Find(key), IsOk());
  }
}

TEST(ChartCache, BeginsAnewWhenDamaged) {
  const std::string path = NewPath("damaged.db");
  std::ofstream(path) << "this is no database, but it is long enough to be "
                         "read as the first page of one by whoever tries it";
  auto cache = ChartCache::Open(path);
  ASSERT_THAT(cache, IsOk());
  EXPECT_THAT((*cache)->Put("a", Chart("1")), IsOk());
}

TEST(ChartCache, TellsRequestsApartByCredentials) {
  ChartRequest request;
  request.repo = "https://x.test";
  request.chart = "web";
  request.version = "1.0.0";
  const std::string open = ChartCache::Key("key", request);
  EXPECT_EQ(ChartCache::Key("key", request), open);
  EXPECT_NE(ChartCache::Key("other", request), open);
  request.credentials.name = "Secret w/creds";
  request.credentials.hint = "hint";
  EXPECT_EQ(ChartCache::Key("key", request), open);
  request.credentials.password = "canary";
  const std::string secret = ChartCache::Key("key", request);
  EXPECT_NE(secret, open);
  EXPECT_THAT(secret, Not(HasSubstr("canary")));
  request.credentials.password = "";
  request.credentials.username = "canary";
  EXPECT_NE(ChartCache::Key("key", request), secret);
  request.credentials = ChartCredentials();
  request.repo = "https://x.testweb";
  request.chart = "";
  EXPECT_NE(ChartCache::Key("key", request), open);
}

}  // namespace
}  // namespace flotilla::manager
