// SPDX-License-Identifier: Apache-2.0

#include "manager/charts/chart_poller.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/env/fake_clock.h"
#include "common/env/fake_random.h"
#include "common/event/simulated_loop.h"
#include "common/status/status_matchers.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/charts/fake_chart_fetcher.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ChartPollerTest : public ::testing::Test {
 protected:
  void Start() {
    poller_ = std::make_unique<ChartPoller>(
        loop_, store_, FamilyWriter(store_, kChartFamily), fetcher_, clock_,
        random_,
        [](const storage::v1::SecretSpec& secret)
            -> absl::StatusOr<std::string> { return secret.sealed(); });
    loop_.RunUntilIdle();
  }

  // The fetcher gives this version.
  void Serve(const std::string& version) {
    fetcher_.set_answer(
        [version](const ChartRequest&) -> absl::StatusOr<FetchedChart> {
          FetchedChart chart;
          chart.version = version;
          storage::v1::BundleFile file;
          file.set_name("Chart.yaml");
          file.set_blob_digest("digest of " + version);
          chart.files.push_back(file);
          return chart;
        });
  }
  void Fail() {
    fetcher_.set_answer(
        [](const ChartRequest&) -> absl::StatusOr<FetchedChart> {
          return absl::UnavailableError("no answer");
        });
  }

  static storage::v1::Document HelmOp(const std::string& version,
                                      int64_t seconds = 0) {
    storage::v1::Document document;
    document.set_workspace("w");
    document.set_kind("HelmOp");
    document.set_name("op");
    document.set_generation(1);
    storage::v1::HelmOptions& helm = *document.mutable_helm_op()
                                          ->mutable_bundle()
                                          ->mutable_options()
                                          ->mutable_helm();
    helm.set_repo("https://charts.example");
    helm.set_chart("web");
    helm.set_version(version);
    if (seconds > 0) {
      document.mutable_helm_op()->mutable_polling_interval()->set_seconds(
          seconds);
    }
    return document;
  }

  void Put(const storage::v1::Document& document) {
    store_.Put(DocumentKey(document.workspace(), document.kind(),
                           document.name()),
               SerializeRecord(document));
    loop_.RunUntilIdle();
  }

  storage::v1::ChartSource Source() {
    storage::v1::ChartSource source;
    const auto record = store_.Find(ChartKey("w", "op"));
    if (record != nullptr) source.ParseFromString(record->value);
    return source;
  }

  SimulatedLoop loop_;
  MemoryStore store_{loop_};
  FakeClock clock_;
  FakeRandom random_;
  FakeChartFetcher fetcher_{loop_};
  std::unique_ptr<ChartPoller> poller_;
};

TEST_F(ChartPollerTest, FindsTheChartOfAHelmOp) {
  Serve("1.2.3");
  Put(HelmOp("~1.2"));
  Start();

  ASSERT_EQ(fetcher_.requests().size(), 1u);
  EXPECT_EQ(fetcher_.requests()[0].repo, "https://charts.example");
  EXPECT_EQ(fetcher_.requests()[0].chart, "web");
  EXPECT_EQ(fetcher_.requests()[0].version, "~1.2");
  EXPECT_EQ(Source().version(), "1.2.3");
  EXPECT_EQ(Source().document_generation(), 1);
  ASSERT_EQ(Source().files_size(), 1);
}

TEST_F(ChartPollerTest, AConstraintIsLookedUpAgainAnExactVersionIsNot) {
  Serve("1.2.3");
  Put(HelmOp("~1.2", /*seconds=*/60));
  Start();
  Serve("1.2.4");
  loop_.Advance(absl::Seconds(67));
  EXPECT_EQ(fetcher_.requests().size(), 2u);
  EXPECT_EQ(Source().version(), "1.2.4");

  storage::v1::Document exact = HelmOp("1.2.3", 60);
  exact.set_generation(2);
  Serve("1.2.3");
  Put(exact);
  loop_.Advance(absl::Hours(1));
  EXPECT_EQ(fetcher_.requests().size(), 3u);
}

TEST_F(ChartPollerTest, WithoutAnIntervalItIsLookedUpOnce) {
  Serve("1.2.3");
  Put(HelmOp(""));
  Start();
  loop_.Advance(absl::Hours(1));
  EXPECT_EQ(fetcher_.requests().size(), 1u);
}

TEST_F(ChartPollerTest, AFailureKeepsWhatWasFoundAndIsTriedAgain) {
  Serve("1.2.3");
  Put(HelmOp("~1.2", 60));
  Start();
  Fail();
  loop_.Advance(absl::Seconds(67));
  EXPECT_EQ(Source().version(), "1.2.3");
  EXPECT_EQ(Source().files_size(), 1);
  EXPECT_THAT(Source().problem().message(), HasSubstr("no answer"));

  Serve("1.2.4");
  loop_.Advance(absl::Seconds(12));
  EXPECT_EQ(Source().version(), "1.2.4");
  EXPECT_FALSE(Source().has_problem());
}

TEST_F(ChartPollerTest, ALongErrorIsCutBetweenCharacters) {
  std::string text = "x";
  while (text.size() < 5000) text += "\u00e9";
  fetcher_.set_answer(
      [text](const ChartRequest&) -> absl::StatusOr<FetchedChart> {
        return absl::UnavailableError(text);
      });
  Put(HelmOp("~1.2"));
  Start();

  // Half a character would make the record unreadable.
  EXPECT_EQ(Source().problem().message(), text.substr(0, 3999));
}

TEST_F(ChartPollerTest, NothingIsWrittenWithoutAChange) {
  Serve("1.2.3");
  Put(HelmOp("~1.2", 60));
  Start();
  const int64_t revision = store_.Find(ChartKey("w", "op"))->mod_revision;
  loop_.Advance(absl::Minutes(10));
  EXPECT_GT(fetcher_.requests().size(), 5u);
  EXPECT_EQ(store_.Find(ChartKey("w", "op"))->mod_revision, revision);
}

TEST_F(ChartPollerTest, SecretsAndRulesCount) {
  Serve("1.2.3");
  storage::v1::Document op = HelmOp("");
  op.mutable_helm_op()->set_helm_secret_name("creds");
  Put(op);
  Start();
  EXPECT_THAT(fetcher_.requests(), IsEmpty());
  EXPECT_THAT(Source().problem().message(), HasSubstr("Secret w/creds"));

  storage::v1::Document secret;
  secret.set_workspace("w");
  secret.set_kind("Secret");
  secret.set_name("creds");
  storage::v1::SecretData data;
  storage::v1::SecretEntry* entry = data.add_entries();
  entry->set_key("username");
  entry->set_value("u");
  secret.mutable_secret()->set_sealed(data.SerializeAsString());
  Put(secret);
  ASSERT_EQ(fetcher_.requests().size(), 1u);
  EXPECT_EQ(fetcher_.requests()[0].credentials.username, "u");
  EXPECT_FALSE(Source().has_problem());

  storage::v1::Document policy;
  policy.set_workspace("w");
  policy.set_kind("Policy");
  policy.set_name("rule");
  policy.mutable_policy()->mutable_helm_op()->add_allowed_repo_patterns(
      "https://other\\.example");
  Put(policy);
  EXPECT_EQ(fetcher_.requests().size(), 1u);
  EXPECT_THAT(Source().problem().message(), HasSubstr("PolicyViolation"));
  EXPECT_EQ(Source().version(), "1.2.3");
}

TEST_F(ChartPollerTest, TheSourceGoesWithTheDocument) {
  Serve("1.2.3");
  Put(HelmOp(""));
  Start();
  store_.Delete(DocumentKey("w", "HelmOp", "op"));
  loop_.RunUntilIdle();
  EXPECT_EQ(store_.Find(ChartKey("w", "op")), nullptr);
}

TEST_F(ChartPollerTest, AChangeWhileItIsFetchedIsFetchedToo) {
  Serve("1.2.3");
  fetcher_.Hold();
  Put(HelmOp("1"));
  Start();
  storage::v1::Document changed = HelmOp("2");
  changed.set_generation(2);
  Put(changed);
  Serve("2.0.0");
  fetcher_.Release();
  loop_.RunUntilIdle();
  EXPECT_EQ(Source().version(), "2.0.0");
  EXPECT_EQ(Source().document_generation(), 2);
}

TEST(HelmOpChartTest, ThreeFormsAreTaken) {
  const struct {
    const char* chart;
    const char* repo;
    const char* version;
    bool good;
  } cases[] = {
      {"https://h/web-1.tgz", "", "", true},
      {"", "oci://h/web", "1.x", true},
      {"web", "https://h", "", true},
      {"web", "oci://h", "1.0.0", true},
      {"https://h/web-1.tgz", "", "1", false},
      {"https://h/web-1.tgz", "https://h", "", false},
      {"web", "", "", false},
      {"", "https://h", "", false},
      {"", "", "", false},
  };
  for (const auto& c : cases) {
    storage::v1::HelmOptions helm;
    helm.set_chart(c.chart);
    helm.set_repo(c.repo);
    helm.set_version(c.version);
    EXPECT_EQ(CheckHelmOpChart(helm).ok(), c.good)
        << c.chart << " " << c.repo << " " << c.version;
  }
}

TEST(HelmOpChartTest, OnlyAWholeVersionIsExact) {
  for (const char* exact : {"1.2.3", "v1.2.3", "1.2.3-rc.1", "1.2.3+x"}) {
    EXPECT_TRUE(IsExactVersion(exact)) << exact;
  }
  for (const char* constraint :
       {"", "1", "1.2", "~1.2.3", "^1.2.3", "1.2.x", ">=1.2.3", "1.2.3 - 2",
        "1.2.3, 1.2.4", "1.2.3||2.0.0", "*", "latest"}) {
    EXPECT_FALSE(IsExactVersion(constraint)) << constraint;
  }
}

}  // namespace
}  // namespace flotilla::manager
