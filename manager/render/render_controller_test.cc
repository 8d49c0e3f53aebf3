// SPDX-License-Identifier: Apache-2.0

#include "manager/render/render_controller.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/blob/memory_blob_store.h"
#include "common/event/inline_worker_pool.h"
#include "common/event/simulated_loop.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "manager/render/default_facts.h"
#include "manager/render/fake_renderer.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

constexpr char kBundle[] = "b0000000-0000-4000-8000-000000000000";
constexpr char kMap[] =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

class RenderControllerTest : public ::testing::Test {
 protected:
  void Start() {
    RenderControllerOptions options;
    options.random_key = "key";
    options.cache.renderer = "1.0";
    controller_ = std::make_unique<RenderController>(
        loop_, pool_, store_, FamilyWriter(store_, kRenderedFamily),
        FamilyWriter(store_, kRenderCacheFamily), blobs_, renderer_, options);
    loop_.RunUntilIdle();
  }

  void PutFacts(const std::string& cluster,
                const std::string& version = "v1.36.3",
                bool with_thing = false) {
    storage::v1::Facts facts;
    *facts.mutable_facts() = DefaultClusterFacts();
    facts.mutable_facts()->set_kube_version(version);
    if (with_thing) {
      core::v1::KindFact* kind = facts.mutable_facts()->add_kinds();
      kind->set_group("example.com");
      kind->set_version("v1");
      kind->set_kind("Thing");
    }
    facts.set_digest(absl::StrCat("digest of ", version, with_thing));
    store_.Put(FactsKey(cluster), SerializeRecord(facts));
  }

  void PutRevision(const std::string& revision,
                   std::vector<std::pair<std::string, std::string>> files) {
    storage::v1::BundleRevision record;
    record.set_directory("apps");
    for (auto& [name, bytes] : files) {
      storage::v1::BundleFile* file = record.add_files();
      file->set_name(name);
      file->set_size(bytes.size());
      file->set_blob_digest(*blobs_.Put(bytes));
    }
    store_.Put(BundleRevisionKey(kBundle, revision), SerializeRecord(record));
  }

  void PutDesired(const std::string& cluster, const std::string& revision,
                  const std::string& name_space = "web",
                  const std::string& commit = "c1") {
    storage::v1::Desired desired;
    desired.set_cluster_id(cluster);
    desired.set_bundle_id(kBundle);
    desired.set_bundle_name("bundle");
    desired.set_workspace("fleet-default");
    desired.set_revision(revision);
    desired.mutable_options()->set_default_namespace(name_space);
    desired.set_options_digest("options " + name_space);
    desired.mutable_commit()->set_id(commit);
    store_.Put(DesiredKey(cluster, kBundle), SerializeRecord(desired));
  }

  bool HasRecord(const std::string& cluster) {
    return store_.Find(RenderedKey(cluster, kBundle)) != nullptr;
  }
  storage::v1::Rendered Record(const std::string& cluster) {
    const KeyValue* kv = store_.Find(RenderedKey(cluster, kBundle));
    if (kv == nullptr) {
      ADD_FAILURE() << "no record for " << cluster;
      return {};
    }
    return *ParseRecord<storage::v1::Rendered>(kv->key, kv->value);
  }
  core::v1::Manifest Manifest(const std::string& cluster) {
    core::v1::Manifest manifest;
    absl::StatusOr<std::string> bytes =
        blobs_.Get(Record(cluster).manifest_digest());
    EXPECT_THAT(bytes, IsOk());
    EXPECT_TRUE(bytes.ok() && manifest.ParseFromString(*bytes));
    return manifest;
  }

  // The renderer answers with one ConfigMap.
  void AnswerWithMap(bool uses_capabilities = false, bool uses_random = false) {
    renderer_.set_answer([=](const render::v1::RenderRequest& request) {
      render::v1::RenderResponse response;
      render::v1::RenderedObject* object = response.add_objects();
      object->set_json(absl::StrCat(
          R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},)"
          R"("data":{"n":")",
          request.values_json(), R"("}})"));
      object->set_source_file("templates/a.yaml");
      response.set_uses_capabilities(uses_capabilities);
      response.set_uses_random(uses_random);
      return response;
    });
  }

  SimulatedLoop loop_;
  InlineWorkerPool pool_{loop_};
  MemoryStore store_{loop_};
  MemoryBlobStore blobs_;
  FakeRenderer renderer_{loop_};
  std::unique_ptr<RenderController> controller_;
};

TEST_F(RenderControllerTest, RendersRawYamlWithoutTheWorker) {
  PutFacts("c1");
  PutRevision("r1", {{"a.yaml", kMap}});
  PutDesired("c1", "r1");

  Start();

  EXPECT_EQ(Record("c1").problems_size(), 0);
  EXPECT_EQ(Record("c1").revision(), "r1");
  EXPECT_EQ(Record("c1").manifest_revision(), "r1");
  EXPECT_EQ(Record("c1").commit().id(), "c1");
  const core::v1::Manifest manifest = Manifest("c1");
  ASSERT_EQ(manifest.entries_size(), 2);
  EXPECT_EQ(Record("c1").blob_digests_size(), 2);
  EXPECT_TRUE(blobs_.Contains(manifest.entries(0).blob_digest()));
  EXPECT_TRUE(renderer_.requests().empty());
}

TEST_F(RenderControllerTest, WaitsForTheFactsOfTheCluster) {
  PutRevision("r1", {{"a.yaml", kMap}});
  PutDesired("c1", "r1");
  Start();
  EXPECT_FALSE(HasRecord("c1"));

  PutFacts("c1");
  loop_.RunUntilIdle();

  EXPECT_TRUE(HasRecord("c1"));
}

TEST_F(RenderControllerTest, WaitsForTheRevision) {
  PutFacts("c1");
  PutDesired("c1", "r1");
  Start();
  EXPECT_FALSE(HasRecord("c1"));

  PutRevision("r1", {{"a.yaml", kMap}});
  loop_.RunUntilIdle();

  EXPECT_TRUE(HasRecord("c1"));
}

TEST_F(RenderControllerTest, KeepsTheLastGoodManifestOnError) {
  PutFacts("c1");
  PutRevision("r1", {{"a.yaml", kMap}});
  PutDesired("c1", "r1");
  Start();
  const std::string good = Record("c1").manifest_digest();

  PutRevision("r2", {{"a.yaml", "a: b\n  c: d\n"}});
  PutDesired("c1", "r2", "web", "c2");
  loop_.RunUntilIdle();

  EXPECT_EQ(Record("c1").revision(), "r2");
  ASSERT_EQ(Record("c1").problems_size(), 1);
  EXPECT_EQ(Record("c1").problems(0).file(), "apps/a.yaml");
  EXPECT_EQ(Record("c1").problems(0).line(), 2u);
  EXPECT_EQ(Record("c1").manifest_digest(), good);
  EXPECT_EQ(Record("c1").manifest_revision(), "r1");
  EXPECT_EQ(Record("c1").commit().id(), "c1");

  PutRevision("r3", {{"a.yaml", kMap}});
  PutDesired("c1", "r3", "web", "c3");
  loop_.RunUntilIdle();

  EXPECT_EQ(Record("c1").problems_size(), 0);
  EXPECT_EQ(Record("c1").manifest_revision(), "r3");
}

TEST_F(RenderControllerTest, OneClustersErrorBlocksThatClusterOnly) {
  PutFacts("c1");
  PutFacts("c2");
  PutRevision("r1", {{"Chart.yaml", "name: x"}});
  PutDesired("c1", "r1", "one");
  PutDesired("c2", "r1", "two");
  renderer_.set_answer([](const render::v1::RenderRequest& request) {
    render::v1::RenderResponse response;
    if (request.namespace_() == "one") {
      response.mutable_error()->set_message("nil pointer");
      response.mutable_error()->set_file("templates/a.yaml");
      response.mutable_error()->set_line(3);
    }
    return response;
  });

  Start();

  ASSERT_EQ(Record("c1").problems_size(), 1);
  EXPECT_EQ(Record("c1").problems(0).file(), "apps/templates/a.yaml");
  EXPECT_TRUE(Record("c1").manifest_digest().empty());
  EXPECT_EQ(Record("c2").problems_size(), 0);
  EXPECT_FALSE(Record("c2").manifest_digest().empty());
}

TEST_F(RenderControllerTest, ALongErrorIsCutBetweenCharacters) {
  PutFacts("c1");
  PutRevision("r1", {{"Chart.yaml", "name: x"}});
  PutDesired("c1", "r1");
  renderer_.set_answer([](const render::v1::RenderRequest&) {
    std::string text = "x";
    while (text.size() < 5000) text += "\u00e9";
    render::v1::RenderResponse response;
    response.mutable_error()->set_message(text);
    return response;
  });

  Start();

  // Half a character would make the record unreadable.
  ASSERT_EQ(Record("c1").problems_size(), 1);
  EXPECT_THAT(Record("c1").problems(0).message(), EndsWith("\u00e9"));
}

TEST_F(RenderControllerTest, ClustersThatAgreeShareOneRender) {
  AnswerWithMap();
  PutRevision("r1", {{"Chart.yaml", "name: x"}});
  for (int i = 0; i < 300; ++i) {
    PutFacts(absl::StrCat("c", i));
    PutDesired(absl::StrCat("c", i), "r1");
  }

  Start();

  EXPECT_EQ(renderer_.requests().size(), 1u);
  EXPECT_EQ(controller_->render_count(), 1);
  EXPECT_LE(store_.txn_count(), 4);
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(Record(absl::StrCat("c", i)).manifest_digest(),
              Record("c0").manifest_digest());
  }
}

TEST_F(RenderControllerTest, DoesNotShareWhatDependsOnFactsOrRandomness) {
  PutRevision("r1", {{"Chart.yaml", "name: x"}});
  PutFacts("c1", "v1.35.0");
  PutFacts("c2", "v1.36.0");
  PutDesired("c1", "r1");
  PutDesired("c2", "r1");
  AnswerWithMap(/*uses_capabilities=*/true);
  Start();
  EXPECT_EQ(renderer_.requests().size(), 2u);

  AnswerWithMap(/*uses_capabilities=*/false, /*uses_random=*/true);
  PutRevision("r2", {{"Chart.yaml", "name: y"}});
  PutDesired("c1", "r2");
  PutDesired("c2", "r2");
  loop_.RunUntilIdle();
  ASSERT_EQ(renderer_.requests().size(), 4u);
  EXPECT_NE(renderer_.requests()[2].random_seed(),
            renderer_.requests()[3].random_seed());
}

TEST_F(RenderControllerTest, FactsThatDoNotMatterRenderNothing) {
  AnswerWithMap();
  PutFacts("c1");
  PutRevision("r1", {{"Chart.yaml", "name: x"}});
  PutDesired("c1", "r1");
  Start();
  const std::string digest = Record("c1").manifest_digest();
  const std::string facts = Record("c1").facts_digest();

  PutFacts("c1", "v1.37.0");
  loop_.RunUntilIdle();

  EXPECT_EQ(renderer_.requests().size(), 1u);
  EXPECT_EQ(Record("c1").manifest_digest(), digest);
  EXPECT_NE(Record("c1").facts_digest(), facts);
}

TEST_F(RenderControllerTest, FactsThatMatterRenderAgain) {
  PutFacts("c1");
  PutRevision("r1", {{"a.yaml", "apiVersion: example.com/v1\nkind: Thing\n"
                                "metadata: {name: t}\n"}});
  PutDesired("c1", "r1");
  Start();
  EXPECT_EQ(Manifest("c1").entries(1).key().namespace_(), "web");

  PutFacts("c1", "v1.36.3", /*with_thing=*/true);
  loop_.RunUntilIdle();

  ASSERT_EQ(Manifest("c1").entries_size(), 1);
  EXPECT_EQ(Manifest("c1").entries(0).key().namespace_(), "");
}

TEST_F(RenderControllerTest, RendersNothingAfterARestart) {
  PutFacts("c1");
  PutRevision("r1", {{"a.yaml", kMap}});
  PutDesired("c1", "r1");
  Start();
  const int64_t revision = store_.revision();

  controller_.reset();
  Start();

  EXPECT_EQ(controller_->render_count(), 0);
  EXPECT_EQ(store_.revision(), revision);
}

TEST_F(RenderControllerTest, KnowsItsResultsAfterARestart) {
  PutFacts("c1");
  PutFacts("c2");
  PutRevision("r1", {{"a.yaml", kMap}});
  PutDesired("c1", "r1");
  Start();
  ASSERT_EQ(controller_->render_count(), 1);
  const std::string digest = Record("c1").manifest_digest();
  controller_.reset();
  store_.Delete(RenderedKey("c1", kBundle));

  Start();
  PutDesired("c2", "r1");
  loop_.RunUntilIdle();

  EXPECT_EQ(controller_->render_count(), 0);
  EXPECT_EQ(Record("c1").manifest_digest(), digest);
  EXPECT_EQ(Record("c2").manifest_digest(), digest);
}

TEST_F(RenderControllerTest, AfterARestartRendersWhatHasLostItsBlobs) {
  PutFacts("c1");
  PutRevision("r1", {{"a.yaml", kMap}});
  PutDesired("c1", "r1");
  Start();
  const std::string digest = Record("c1").manifest_digest();
  controller_.reset();
  store_.Delete(RenderedKey("c1", kBundle));
  ASSERT_THAT(blobs_.Remove(digest), IsOk());

  Start();

  EXPECT_EQ(controller_->render_count(), 1);
  EXPECT_EQ(Record("c1").manifest_digest(), digest);
  EXPECT_TRUE(blobs_.Contains(digest));
}

TEST_F(RenderControllerTest, TriesAgainWhatIsNotTheBundlesFault) {
  PutFacts("c1");
  PutRevision("r1", {{"Chart.yaml", "name: x"}});
  PutDesired("c1", "r1");
  renderer_.set_answer(
      [](const render::v1::RenderRequest&)
          -> absl::StatusOr<render::v1::RenderResponse> {
        return absl::UnavailableError("cannot start the worker");
      });
  Start();
  ASSERT_EQ(Record("c1").problems_size(), 1);
  EXPECT_EQ(Record("c1").problems(0).code(), "UNAVAILABLE");
  EXPECT_THAT(Record("c1").problems(0).message(),
              HasSubstr("cannot start the worker"));
  const int64_t revision = store_.revision();
  loop_.Advance(absl::Seconds(5));
  EXPECT_GT(renderer_.requests().size(), 1u);
  EXPECT_EQ(store_.revision(), revision) << "the same error was written twice";

  AnswerWithMap();
  loop_.Advance(absl::Minutes(2));

  EXPECT_EQ(Record("c1").problems_size(), 0);
}

TEST_F(RenderControllerTest, TriesAgainAfterARestart) {
  PutFacts("c1");
  PutRevision("r1", {{"Chart.yaml", "name: x"}});
  PutDesired("c1", "r1");
  renderer_.set_answer(
      [](const render::v1::RenderRequest&)
          -> absl::StatusOr<render::v1::RenderResponse> {
        return absl::UnavailableError("no");
      });
  Start();
  controller_.reset();
  AnswerWithMap();
  Start();
  EXPECT_EQ(Record("c1").problems_size(), 0);
}

TEST_F(RenderControllerTest, TriesAgainWhenAWorkerDoesNotAnswer) {
  PutFacts("c1");
  PutRevision("r1", {{"Chart.yaml", "name: x"}});
  PutDesired("c1", "r1");
  renderer_.set_answer(
      [](const render::v1::RenderRequest&)
          -> absl::StatusOr<render::v1::RenderResponse> {
        return absl::DeadlineExceededError("no answer");
      });
  Start();
  EXPECT_EQ(Record("c1").problems(0).code(), "UNAVAILABLE");

  AnswerWithMap();
  loop_.Advance(absl::Minutes(2));

  EXPECT_EQ(Record("c1").problems_size(), 0);
}

TEST_F(RenderControllerTest, ShowsAChartThatTakesTooMuchAndDoesNotRetry) {
  PutFacts("c1");
  PutRevision("r1", {{"Chart.yaml", "name: x"}});
  PutDesired("c1", "r1");
  renderer_.set_answer(
      [](const render::v1::RenderRequest&)
          -> absl::StatusOr<render::v1::RenderResponse> {
        return absl::ResourceExhaustedError("too much");
      });
  Start();
  EXPECT_EQ(Record("c1").problems(0).code(), "RESOURCE_EXHAUSTED");
  loop_.Advance(absl::Hours(1));
  EXPECT_EQ(renderer_.requests().size(), 1u);
  // Others share it for as long as this process lives.
  PutFacts("c2");
  PutDesired("c2", "r1");
  loop_.RunUntilIdle();
  EXPECT_EQ(Record("c2").problems(0).code(), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(renderer_.requests().size(), 1u);
  EXPECT_EQ(store_.Keys(kRenderCacheFamily), std::vector<std::string>{});
}

TEST_F(RenderControllerTest, ShowsADiskThatIsFullAndGoesOnWhenItIsNot) {
  PutFacts("c1");
  PutRevision("r1", {{"a.yaml", kMap}});
  PutDesired("c1", "r1");
  blobs_.FailPuts(absl::ResourceExhaustedError("disk full"));
  Start();
  EXPECT_THAT(Record("c1").problems(0).message(), HasSubstr("disk full"));
  blobs_.FailPuts(absl::OkStatus());
  loop_.Advance(absl::Minutes(2));
  EXPECT_EQ(Record("c1").problems_size(), 0);
}

TEST_F(RenderControllerTest, RendersAgainWhenBlobsOfAResultAreGone) {
  PutFacts("c1");
  PutRevision("r1", {{"a.yaml", kMap}});
  PutRevision("r2", {{"b.yaml", kMap}});
  PutDesired("c1", "r1");
  Start();
  const std::string digest = Record("c1").manifest_digest();
  PutDesired("c1", "r2");
  loop_.RunUntilIdle();
  EXPECT_THAT(blobs_.Remove(digest), IsOk());
  loop_.Advance(absl::Minutes(1));

  PutDesired("c1", "r1");
  loop_.RunUntilIdle();

  EXPECT_EQ(Record("c1").manifest_digest(), digest);
  EXPECT_TRUE(blobs_.Contains(digest));
}

TEST_F(RenderControllerTest, TakesTheNewestWhenDesiredChangesMeanwhile) {
  AnswerWithMap();
  PutFacts("c1");
  PutRevision("r1", {{"Chart.yaml", "name: x"}});
  PutRevision("r2", {{"Chart.yaml", "name: y"}});
  PutDesired("c1", "r1");
  renderer_.Hold();
  Start();
  PutDesired("c1", "r2");
  loop_.RunUntilIdle();
  EXPECT_FALSE(HasRecord("c1"));

  renderer_.Release();
  loop_.RunUntilIdle();

  EXPECT_EQ(Record("c1").revision(), "r2");
  EXPECT_EQ(renderer_.requests().size(), 2u);
}

TEST_F(RenderControllerTest, RemovesRecordsOfDeploymentsThatAreGone) {
  PutFacts("c1");
  PutRevision("r1", {{"a.yaml", kMap}});
  PutDesired("c1", "r1");
  store_.Put(RenderedKey("c9", kBundle), "");
  Start();
  EXPECT_TRUE(HasRecord("c1"));
  EXPECT_FALSE(HasRecord("c9"));

  store_.Delete(DesiredKey("c1", kBundle));
  loop_.RunUntilIdle();

  EXPECT_FALSE(HasRecord("c1"));
}

TEST_F(RenderControllerTest, LeavesRecordsOfRemovalsAlone) {
  PutFacts("c1");
  PutRevision("r1", {{"a.yaml", kMap}});
  PutDesired("c1", "r1");
  Start();
  const int64_t before = store_.Find(RenderedKey("c1", kBundle))->mod_revision;
  storage::v1::Desired desired = *ParseRecord<storage::v1::Desired>(
      "k", store_.Find(DesiredKey("c1", kBundle))->value);
  desired.set_removal(core::v1::DELETE_CAUSE_OPERATOR);
  desired.set_revision("r2");
  store_.Put(DesiredKey("c1", kBundle), SerializeRecord(desired));
  loop_.RunUntilIdle();
  EXPECT_EQ(store_.Find(RenderedKey("c1", kBundle))->mod_revision, before);
}

TEST_F(RenderControllerTest, LooksAgainWhenACommitFails) {
  for (const absl::Status& fault :
       {absl::FailedPreconditionError("somebody was faster"),
        absl::UnavailableError("disk")}) {
    PutFacts("c1");
    PutRevision("r1", {{"a.yaml", kMap}});
    PutDesired("c1", "r1");
    store_.FailTxn(1, fault);
    Start();
    loop_.Advance(absl::Minutes(1));
    EXPECT_TRUE(HasRecord("c1")) << fault;
    store_.Delete(DesiredKey("c1", kBundle));
    loop_.RunUntilIdle();
    EXPECT_FALSE(HasRecord("c1"));
    controller_.reset();
  }
}

TEST_F(RenderControllerTest, RendersManyBundlesAFewAtATime) {
  AnswerWithMap();
  PutFacts("c1");
  renderer_.Hold();
  for (int i = 0; i < 20; ++i) {
    const std::string bundle = absl::StrCat("bundle-", i);
    storage::v1::BundleRevision record;
    storage::v1::BundleFile* file = record.add_files();
    file->set_name("Chart.yaml");
    file->set_blob_digest(*blobs_.Put("name: x"));
    store_.Put(BundleRevisionKey(bundle, "r1"), SerializeRecord(record));
    storage::v1::Desired desired;
    desired.set_cluster_id("c1");
    desired.set_bundle_id(bundle);
    desired.set_bundle_name(bundle);
    desired.set_revision("r1");
    store_.Put(DesiredKey("c1", bundle), SerializeRecord(desired));
  }
  Start();
  EXPECT_EQ(renderer_.requests().size(), 4u);
  renderer_.Release();
  loop_.RunUntilIdle();
  EXPECT_EQ(store_.Keys(kRenderedFamily).size(), 20u);
}

TEST_F(RenderControllerTest, SharesRendersWhoseTemplatedValuesComeOutEqual) {
  // The label "env" is all that the values look at; "bad" is an error.
  renderer_.set_answer([](const render::v1::RenderRequest& request) {
    render::v1::RenderResponse response;
    if (request.has_values_template()) {
      const auto& labels = request.values_template().cluster_labels();
      const std::string env = labels.at("env");
      if (env == "bad") {
        response.mutable_error()->set_message("helm.values.e: no such label");
      } else {
        response.set_values_json("{\"e\":\"" + env + "\"}");
      }
      return response;
    }
    response.add_objects()->set_json(
        R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},)"
        R"("data":{"n":")" +
        std::to_string(request.values_json().size()) + R"("}})");
    return response;
  });
  PutRevision("r1", {{"Chart.yaml", "name: x"}});
  const auto put = [this](const std::string& cluster, const std::string& env,
                          const std::string& other) {
    PutFacts(cluster);
    storage::v1::Desired desired;
    desired.set_cluster_id(cluster);
    desired.set_cluster_name("name-" + cluster);
    desired.set_bundle_id(kBundle);
    desired.set_bundle_name("bundle");
    desired.set_workspace("fleet-default");
    desired.set_revision("r1");
    desired.set_options_digest("options");
    desired.mutable_options()->mutable_helm()->set_values_json(
        "{\"e\":\"${ .ClusterLabels.env }\"}");
    core::v1::LabelPair* label =
        desired.mutable_template_context()->add_cluster_labels();
    label->set_key("env");
    label->set_value(env);
    label = desired.mutable_template_context()->add_cluster_labels();
    label->set_key("other");
    label->set_value(other);
    store_.Put(DesiredKey(cluster, kBundle), SerializeRecord(desired));
  };
  put("c1", "dev", "1");
  put("c2", "dev", "2");
  put("c3", "prod", "3");
  put("c4", "bad", "4");

  Start();

  EXPECT_EQ(controller_->render_count(), 2);
  EXPECT_EQ(renderer_.requests().size(), 6u);
  EXPECT_EQ(Record("c1").manifest_digest(), Record("c2").manifest_digest());
  EXPECT_NE(Record("c1").manifest_digest(), Record("c3").manifest_digest());
  ASSERT_EQ(Record("c4").problems_size(), 1);
  EXPECT_EQ(Record("c4").problems(0).message(),
            "targeting error: cluster name-c4 in namespace fleet-default: "
            "helm.values.e: no such label");
  EXPECT_EQ(Record("c4").problems(0).file(), "apps/fleet.yaml");
  EXPECT_EQ(Record("c1").problems_size(), 0);

  // One label changes: that cluster alone is looked at, and shares again.
  put("c3", "dev", "3");
  loop_.RunUntilIdle();
  EXPECT_EQ(controller_->render_count(), 2);
  EXPECT_EQ(renderer_.requests().size(), 7u);
  EXPECT_EQ(Record("c1").manifest_digest(), Record("c3").manifest_digest());

  controller_.reset();
  Start();
  EXPECT_EQ(controller_->render_count(), 0);
  EXPECT_EQ(renderer_.requests().size(), 7u);
}

TEST_F(RenderControllerTest, WaitsForValuesOfTheClusterAndSharesNone) {
  AnswerWithMap();
  renderer_.set_answer([](const render::v1::RenderRequest& request) {
    render::v1::RenderResponse response;
    response.add_objects()->set_json(
        R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},)"
        R"("data":{"n":")" +
        absl::StrCat(absl::Hex(std::hash<std::string>()(
            request.values_json()))) + R"("}})");
    return response;
  });
  PutRevision("r1", {{"Chart.yaml", "name: x"}});
  storage::v1::ClusterValues values;
  core::v1::ValuesRef* ref = values.add_refs();
  ref->set_kind(core::v1::ValuesRef::KIND_SECRET);
  ref->set_namespace_("web");
  ref->set_name("s");
  ref->set_key("values.yaml");
  values.add_contents("a: {z: 3}\n");
  values.set_digest("d1");
  for (const char* cluster : {"c1", "c2"}) {
    PutFacts(cluster);
    storage::v1::Desired desired;
    desired.set_cluster_id(cluster);
    desired.set_bundle_id(kBundle);
    desired.set_bundle_name("bundle");
    desired.set_workspace("fleet-default");
    desired.set_revision("r1");
    desired.set_options_digest("options");
    desired.mutable_options()->set_default_namespace("web");
    storage::v1::HelmOptions* helm = desired.mutable_options()->mutable_helm();
    helm->set_values_json(R"({"a":{"x":1,"z":2}})");
    core::v1::ValuesRef* asked = helm->add_values_from();
    asked->set_kind(core::v1::ValuesRef::KIND_SECRET);
    asked->set_name("s");
    store_.Put(DesiredKey(cluster, kBundle), SerializeRecord(desired));
  }
  Start();
  EXPECT_FALSE(HasRecord("c1"));

  // An answer to another question does not count.
  storage::v1::ClusterValues other = values;
  other.mutable_refs(0)->set_key("other.yaml");
  store_.Put(ValuesKey("c1", kBundle), SerializeRecord(other));
  loop_.RunUntilIdle();
  EXPECT_FALSE(HasRecord("c1"));

  store_.Put(ValuesKey("c1", kBundle), SerializeRecord(values));
  store_.Put(ValuesKey("c2", kBundle), SerializeRecord(values));
  loop_.RunUntilIdle();
  ASSERT_TRUE(HasRecord("c1"));
  EXPECT_EQ(controller_->render_count(), 2) << "shared between clusters";
  EXPECT_EQ(store_.Keys(kRenderCacheFamily), std::vector<std::string>{});
  EXPECT_EQ(renderer_.requests()[0].values_json(), R"({"a":{"x":1,"z":3}})");
  const std::string digest = Record("c1").manifest_digest();

  values.set_contents(0, "a: {z: 4}\n");
  values.set_digest("d2");
  store_.Put(ValuesKey("c1", kBundle), SerializeRecord(values));
  loop_.RunUntilIdle();
  EXPECT_NE(Record("c1").manifest_digest(), digest);
  EXPECT_EQ(Record("c2").manifest_digest(), digest);

  // What cannot be read blocks this deployment, and keeps what runs.
  const std::string last = Record("c1").manifest_digest();
  values.clear_contents();
  values.mutable_problem()->set_code("PERMISSION_DENIED");
  values.mutable_problem()->set_message("helm.valuesFrom: it may not be read");
  store_.Put(ValuesKey("c1", kBundle), SerializeRecord(values));
  loop_.RunUntilIdle();
  ASSERT_EQ(Record("c1").problems_size(), 1);
  EXPECT_EQ(Record("c1").problems(0).code(), "PERMISSION_DENIED");
  EXPECT_EQ(Record("c1").problems(0).message(),
            "helm.valuesFrom: it may not be read");
  EXPECT_EQ(Record("c1").manifest_digest(), last);
  EXPECT_EQ(Record("c2").problems_size(), 0);
}

class ClusterValuesTest : public RenderControllerTest {
 protected:
  void AnswerWithPlainMap() {
    renderer_.set_answer([](const render::v1::RenderRequest&) {
      render::v1::RenderResponse response;
      response.add_objects()->set_json(
          R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}})");
      return response;
    });
  }

  // A chart that is rendered with values of an object of that kind.
  void PutChart(core::v1::ValuesRef::Kind kind, const std::string& content) {
    PutRevision("r1", {{"Chart.yaml", "name: x"}});
    PutFacts("c1");
    storage::v1::Desired desired;
    desired.set_cluster_id("c1");
    desired.set_bundle_id(kBundle);
    desired.set_revision("r1");
    core::v1::ValuesRef* asked =
        desired.mutable_options()->mutable_helm()->add_values_from();
    asked->set_kind(kind);
    asked->set_name("s");
    store_.Put(DesiredKey("c1", kBundle), SerializeRecord(desired));
    storage::v1::ClusterValues values;
    core::v1::ValuesRef* ref = values.add_refs();
    ref->set_kind(kind);
    ref->set_namespace_("default");
    ref->set_name("s");
    ref->set_key("values.yaml");
    values.add_contents(content);
    store_.Put(ValuesKey("c1", kBundle), SerializeRecord(values));
  }
};

TEST_F(ClusterValuesTest, NeverShowsOneThatIsNoYaml) {
  PutChart(core::v1::ValuesRef::KIND_SECRET, "canary-31337");

  Start();

  ASSERT_EQ(Record("c1").problems_size(), 1);
  EXPECT_EQ(Record("c1").problems(0).message(),
            "helm.valuesFrom: key values.yaml of Secret default/s is no map "
            "of values");
}

TEST_F(ClusterValuesTest, AreNotQuotedWhereASecretCannotBeRead) {
  for (const char* text :
       {"!canary-31337 x", "canary-31337: 1\ncanary-31337: 2\n"}) {
    PutChart(core::v1::ValuesRef::KIND_SECRET, text);

    if (controller_ == nullptr) Start();
    loop_.RunUntilIdle();

    ASSERT_EQ(Record("c1").problems_size(), 1) << text;
    const std::string said = Record("c1").problems(0).message();
    EXPECT_THAT(said, HasSubstr("is not YAML: line ")) << text;
    EXPECT_THAT(said, ::testing::Not(HasSubstr("canary"))) << text;
  }
}

TEST_F(ClusterValuesTest, MakeEveryObjectASecretWhereTheyComeFromOne) {
  AnswerWithPlainMap();
  PutChart(core::v1::ValuesRef::KIND_SECRET, "who: canary-31337");

  Start();

  ASSERT_EQ(Manifest("c1").entries_size(), 1);
  EXPECT_EQ(Manifest("c1").entries(0).key().kind(), "ConfigMap");
  EXPECT_TRUE(Manifest("c1").entries(0).secret());
}

TEST_F(ClusterValuesTest, MakeNothingASecretWhereTheyComeFromNone) {
  AnswerWithPlainMap();
  PutChart(core::v1::ValuesRef::KIND_CONFIG_MAP, "who: jane");

  Start();

  ASSERT_EQ(Manifest("c1").entries_size(), 1);
  EXPECT_FALSE(Manifest("c1").entries(0).secret());
}

TEST_F(ClusterValuesTest, AreTakenOutOfTheWordsOfATemplate) {
  renderer_.set_answer([](const render::v1::RenderRequest& request) {
    render::v1::RenderResponse response;
    render::v1::RenderError* error = response.mutable_error();
    error->set_message("failed with " + request.values_json());
    error->set_file("templates/a.yaml");
    render::v1::RenderError* warning = response.add_warnings();
    warning->set_message("Y2FuYXJ5LTMxMzM3 is odd");
    return response;
  });
  PutChart(core::v1::ValuesRef::KIND_SECRET, "who: canary-31337");

  Start();

  ASSERT_EQ(Record("c1").problems_size(), 1);
  EXPECT_EQ(Record("c1").problems(0).message(),
            R"(failed with {"who":"<redacted>"})");
  ASSERT_EQ(Record("c1").warnings_size(), 1);
  EXPECT_EQ(Record("c1").warnings(0).message(), "<redacted> is odd");
}

}  // namespace
}  // namespace flotilla::manager
