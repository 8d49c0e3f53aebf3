// SPDX-License-Identifier: Apache-2.0

#include "common/kube/fake_kube_client.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "flotilla/core/v1/core.pb.h"

#include "common/event/simulated_loop.h"
#include "common/kube/kube_client.h"
#include "common/kube/kube_error.h"
#include "common/kube/object.h"
#include "common/status/status_matchers.h"

namespace flotilla {
namespace {

using ::nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Verb = FakeKubeClient::Verb;
using Outcome = ApplyResult::Outcome;

core::v1::ResourceKey Key(const std::string& group, const std::string& kind,
                          const std::string& ns, const std::string& name) {
  core::v1::ResourceKey key;
  key.set_group(group);
  key.set_version("v1");
  key.set_kind(kind);
  key.set_namespace_(ns);
  key.set_name(name);
  return key;
}

core::v1::ResourceKey MapKey(const std::string& name) {
  return Key("", "ConfigMap", "default", name);
}

json Map(const std::string& name, json data) {
  return {{"apiVersion", "v1"},
          {"kind", "ConfigMap"},
          {"metadata", {{"name", name}, {"namespace", "default"}}},
          {"data", std::move(data)}};
}

json Deployment(const std::string& image) {
  return {{"apiVersion", "apps/v1"},
          {"kind", "Deployment"},
          {"metadata", {{"name", "web"}, {"namespace", "default"}}},
          {"spec",
           {{"replicas", 1},
            {"template",
             {{"spec",
               {{"containers",
                 json::array({{{"name", "web"}, {"image", image}}})}}}}}}}};
}

const core::v1::ResourceKey kDeployment =
    Key("apps", "Deployment", "default", "web");

// Writes what it hears down as text.
//
// Loop-affine.
class Recorder : public WatchListener {
 public:
  void OnSync(Sync sync) override {
    said.push_back(sync == Sync::kCompleteSet ? "sync" : "resumed");
  }
  void OnEvent(WatchEvent event) override {
    const char* const type = event.type == WatchEvent::Type::kAdded      ? "+"
                             : event.type == WatchEvent::Type::kModified ? "~"
                                                                         : "-";
    said.push_back(absl::StrCat(type, event.object.head.name));
    last = std::move(event);
  }
  void OnClosed(absl::Status status) override {
    said.push_back("closed");
    closed = std::move(status);
  }

  std::vector<std::string> said;
  WatchEvent last;
  absl::Status closed;
};

class FakeKubeClientTest : public ::testing::Test {
 protected:
  absl::StatusOr<ApplyResult> Apply(const core::v1::ResourceKey& key,
                                    const json& body,
                                    ApplyOptions options = {}) {
    absl::StatusOr<ApplyResult> result = absl::InternalError("not called");
    kube_.Apply(
        key, body.dump(), std::move(options),
        [&](absl::StatusOr<ApplyResult> got) { result = std::move(got); });
    loop_.RunUntilIdle();
    return result;
  }

  absl::StatusOr<DeleteResult> Delete(const core::v1::ResourceKey& key,
                                      DeleteOptions options = {}) {
    absl::StatusOr<DeleteResult> result = absl::InternalError("not called");
    kube_.Delete(
        key, std::move(options),
        [&](absl::StatusOr<DeleteResult> got) { result = std::move(got); });
    loop_.RunUntilIdle();
    return result;
  }

  absl::StatusOr<KubeObject> Get(const core::v1::ResourceKey& key) {
    absl::StatusOr<KubeObject> result = absl::InternalError("not called");
    kube_.Get(key, {},
              [&](absl::StatusOr<KubeObject> got) { result = std::move(got); });
    loop_.RunUntilIdle();
    return result;
  }

  WatchRequest Maps(std::string from = "") {
    WatchRequest request;
    request.kind = {"", "v1", "ConfigMap"};
    request.resource_version = std::move(from);
    return request;
  }

  // Fields that flotilla owns, as text.
  std::vector<std::string> Owned(const core::v1::ResourceKey& key) {
    std::vector<std::string> texts;
    const auto object = kube_.Find(key);
    if (!object.has_value()) return texts;
    for (const FieldPath& path :
         AppliedFields(ParseManagedFields(*object), kFieldManager)) {
      texts.push_back(PathText(path));
    }
    return texts;
  }

  SimulatedLoop loop_;
  FakeKubeClient kube_{loop_};
};

TEST_F(FakeKubeClientTest, ApplySaysCreatedUnchangedAndChanged) {
  auto created = Apply(MapKey("a"), Map("a", {{"k", "1"}}));
  ASSERT_THAT(created, IsOk());
  EXPECT_EQ(created->outcome, Outcome::kCreated);
  EXPECT_FALSE(created->object.head.uid.empty());

  ApplyOptions options;
  options.known_resource_version = created->object.head.resource_version;
  auto again = Apply(MapKey("a"), Map("a", {{"k", "1"}}), options);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->outcome, Outcome::kUnchanged);

  auto changed = Apply(MapKey("a"), Map("a", {{"k", "2"}}), options);
  ASSERT_THAT(changed, IsOk());
  EXPECT_EQ(changed->outcome, Outcome::kChanged);
  EXPECT_EQ(changed->object.head.uid, created->object.head.uid);
  EXPECT_EQ((*kube_.Find(MapKey("a")))["data"]["k"], "2");
  EXPECT_EQ(kube_.WriteCount(), 3u);
}

TEST_F(FakeKubeClientTest, NothingHappensInsideTheCall) {
  bool called = false;
  kube_.Apply(MapKey("a"), Map("a", {}).dump(), {},
              [&](absl::StatusOr<ApplyResult>) { called = true; });
  EXPECT_FALSE(called);
  EXPECT_FALSE(kube_.Find(MapKey("a")).has_value());
  EXPECT_EQ(kube_.in_flight(), 1u);
  loop_.RunUntilIdle();
  EXPECT_TRUE(called);
  EXPECT_EQ(kube_.in_flight(), 0u);
}

TEST_F(FakeKubeClientTest, FieldsLeftOutOfTheNextApplyGo) {
  ASSERT_THAT(Apply(MapKey("a"), Map("a", {{"k", "1"}, {"l", "2"}})), IsOk());
  ASSERT_THAT(Apply(MapKey("a"), Map("a", {{"k", "1"}})), IsOk());
  EXPECT_EQ((*kube_.Find(MapKey("a")))["data"], json({{"k", "1"}}));
  EXPECT_THAT(Owned(MapKey("a")), ElementsAre("data.k"));
}

TEST_F(FakeKubeClientTest, AnItemLeftOutOfAListGoes) {
  json two = Deployment("web:1");
  two["spec"]["template"]["spec"]["containers"].push_back(
      {{"name", "side"}, {"image", "side:1"}});
  ASSERT_THAT(Apply(kDeployment, two), IsOk());
  ASSERT_THAT(Apply(kDeployment, Deployment("web:1")), IsOk());
  const json live = *kube_.Find(kDeployment);
  EXPECT_THAT(live["spec"]["template"]["spec"]["containers"], SizeIs(1));
}

TEST_F(FakeKubeClientTest, AnEditTakesTheFieldFromUs) {
  ASSERT_THAT(Apply(kDeployment, Deployment("web:1")), IsOk());
  EXPECT_THAT(Owned(kDeployment),
              ElementsAre("spec.replicas",
                          "spec.template.spec.containers[name=web].image",
                          "spec.template.spec.containers[name=web].name"));
  ASSERT_THAT(
      kube_.EditAs("kubectl-scale", kDeployment,
                   [](json& object) { object["spec"]["replicas"] = 5; }),
      IsOk());
  EXPECT_THAT(Owned(kDeployment),
              ElementsAre("spec.template.spec.containers[name=web].image",
                          "spec.template.spec.containers[name=web].name"));
  const json live = *kube_.Find(kDeployment);
  EXPECT_EQ(live["metadata"]["generation"], 2);

  ApplyOptions gentle;
  gentle.force = false;
  const auto refused = Apply(kDeployment, Deployment("web:1"), gentle);
  EXPECT_TRUE(IsFieldConflict(refused.status())) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("kubectl-scale"));

  ASSERT_THAT(Apply(kDeployment, Deployment("web:1")), IsOk());
  EXPECT_EQ((*kube_.Find(kDeployment))["spec"]["replicas"], 1);
  EXPECT_THAT(Owned(kDeployment), SizeIs(3));
}

TEST_F(FakeKubeClientTest, ADryRunChangesNothing) {
  ApplyOptions options;
  options.dry_run = true;
  const auto result = Apply(MapKey("a"), Map("a", {{"k", "1"}}), options);
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->outcome, Outcome::kCreated);
  EXPECT_FALSE(kube_.Find(MapKey("a")).has_value());
  EXPECT_EQ(kube_.WriteCount(), 0u);
}

TEST_F(FakeKubeClientTest, UnknownKindsAndNamespacesAreToldApart) {
  EXPECT_EQ(MissingWhat(Apply(Key("x.io", "Thing", "default", "a"),
                              {{"apiVersion", "x.io/v1"},
                               {"kind", "Thing"},
                               {"metadata", {{"name", "a"}}}})
                            .status()),
            KubeError::Missing::kKind);
  json elsewhere = Map("a", {});
  elsewhere["metadata"]["namespace"] = "nowhere";
  EXPECT_EQ(
      MissingWhat(
          Apply(Key("", "ConfigMap", "nowhere", "a"), elsewhere).status()),
      KubeError::Missing::kNamespace);
  EXPECT_EQ(MissingWhat(Get(MapKey("a")).status()),
            KubeError::Missing::kObject);
}

TEST_F(FakeKubeClientTest, ACrdServesItsKind) {
  const json crd = {{"apiVersion", "apiextensions.k8s.io/v1"},
                    {"kind", "CustomResourceDefinition"},
                    {"metadata", {{"name", "things.x.io"}}},
                    {"spec",
                     {{"group", "x.io"},
                      {"scope", "Namespaced"},
                      {"names", {{"kind", "Thing"}, {"plural", "things"}}},
                      {"versions", json::array({{{"name", "v1"}}})}}}};
  kube_.SetAutoDiscover(false);
  kube_.Discover([](auto) {});
  loop_.RunUntilIdle();
  const auto crd_key = Key("apiextensions.k8s.io", "CustomResourceDefinition",
                           "", "things.x.io");
  ASSERT_THAT(Apply(crd_key, crd), IsOk());
  const json thing = {{"apiVersion", "x.io/v1"},
                      {"kind", "Thing"},
                      {"metadata", {{"name", "a"}, {"namespace", "default"}}}};
  const auto key = Key("x.io", "Thing", "default", "a");
  EXPECT_EQ(MissingWhat(Apply(key, thing).status()), KubeError::Missing::kKind);
  kube_.Discover([](auto) {});
  loop_.RunUntilIdle();
  EXPECT_THAT(Apply(key, thing), IsOk());
  ASSERT_THAT(Delete(crd_key), IsOk());
  EXPECT_FALSE(kube_.Find(key).has_value());
}

TEST_F(FakeKubeClientTest, DeleteHonoursUidAndFinalizers) {
  json held = Map("a", {});
  held["metadata"]["finalizers"] = {"x.io/hold"};
  const auto made = Apply(MapKey("a"), held);
  ASSERT_THAT(made, IsOk());
  DeleteOptions options;
  options.uid = "another";
  EXPECT_THAT(Delete(MapKey("a"), options),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("UID")));
  options.uid = made->object.head.uid;
  const auto pending = Delete(MapKey("a"), options);
  ASSERT_THAT(pending, IsOk());
  EXPECT_TRUE(pending->pending);
  EXPECT_TRUE(kube_.Find(MapKey("a")).has_value());
  ASSERT_THAT(kube_.RemoveFinalizers(MapKey("a")), IsOk());
  EXPECT_FALSE(kube_.Find(MapKey("a")).has_value());
  EXPECT_THAT(Delete(MapKey("a")), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(FakeKubeClientTest, DeletingANamespaceDeletesWhatIsInIt) {
  const auto ns = Key("", "Namespace", "", "shop");
  ASSERT_THAT(Apply(ns, {{"apiVersion", "v1"},
                         {"kind", "Namespace"},
                         {"metadata", {{"name", "shop"}}}}),
              IsOk());
  json map = Map("a", {});
  map["metadata"]["namespace"] = "shop";
  const auto key = Key("", "ConfigMap", "shop", "a");
  ASSERT_THAT(Apply(key, map), IsOk());
  const auto result = Delete(ns);
  ASSERT_THAT(result, IsOk());
  EXPECT_TRUE(result->pending);
  EXPECT_FALSE(kube_.Find(key).has_value());
  EXPECT_FALSE(kube_.Find(ns).has_value());
}

TEST_F(FakeKubeClientTest, WatchesTellTheSetAndThenTheChanges) {
  ASSERT_THAT(Apply(MapKey("a"), Map("a", {{"k", "1"}})), IsOk());
  Recorder recorder;
  auto watch = kube_.Watch(Maps(), recorder);
  EXPECT_THAT(recorder.said, IsEmpty());
  loop_.RunUntilIdle();
  EXPECT_THAT(recorder.said, ElementsAre("+a", "sync"));
  EXPECT_EQ(kube_.open_watches(), 1u);

  const auto changed = Apply(MapKey("a"), Map("a", {{"k", "2"}}));
  EXPECT_EQ(watch->resource_version(), changed->object.head.resource_version);
  ASSERT_THAT(kube_.CreateAs("kubectl", Map("b", {})), IsOk());
  ASSERT_THAT(kube_.DeleteAs(MapKey("a")), IsOk());
  loop_.RunUntilIdle();
  EXPECT_THAT(recorder.said, ElementsAre("+a", "sync", "~a", "+b", "-a"));
  EXPECT_THAT(recorder.last.object.json, HasSubstr("PartialObjectMetadata"));

  watch.reset();
  ASSERT_THAT(kube_.DeleteAs(MapKey("b")), IsOk());
  loop_.RunUntilIdle();
  EXPECT_THAT(recorder.said, SizeIs(5));
  EXPECT_EQ(kube_.open_watches(), 0u);
}

TEST_F(FakeKubeClientTest, WatchesResumeAndExpire) {
  Recorder first;
  auto watch = kube_.Watch(Maps(), first);
  loop_.RunUntilIdle();
  const std::string version = watch->resource_version();
  kube_.CloseWatches(absl::OkStatus());
  loop_.RunUntilIdle();
  EXPECT_THAT(first.said, ElementsAre("sync", "closed"));
  ASSERT_THAT(Apply(MapKey("a"), Map("a", {})), IsOk());

  Recorder second;
  watch = kube_.Watch(Maps(version), second);
  loop_.RunUntilIdle();
  EXPECT_THAT(second.said, ElementsAre("resumed", "+a"));

  kube_.CompactHistory();
  Recorder third;
  watch = kube_.Watch(Maps(version), third);
  loop_.RunUntilIdle();
  EXPECT_THAT(third.said, ElementsAre("closed"));
  EXPECT_THAT(third.closed, StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(FakeKubeClientTest, SelectorsDecideWhatAWatchSees) {
  Recorder recorder;
  WatchRequest request = Maps();
  request.label_selector = "flotilla.dev/managed=true";
  auto watch = kube_.Watch(request, recorder);
  ASSERT_THAT(kube_.CreateAs("kubectl", Map("foreign", {})), IsOk());
  json ours = Map("ours", {});
  ours["metadata"]["labels"] = {{"flotilla.dev/managed", "true"}};
  ASSERT_THAT(Apply(MapKey("ours"), ours), IsOk());
  // Losing the label looks like a deletion.
  ASSERT_THAT(
      kube_.EditAs("kubectl", MapKey("ours"),
                   [](json& object) { object["metadata"].erase("labels"); }),
      IsOk());
  loop_.RunUntilIdle();
  EXPECT_THAT(recorder.said, ElementsAre("sync", "+ours", "-ours"));
}

TEST_F(FakeKubeClientTest, FaultsComeWhenAskedFor) {
  KubeError busy;
  busy.http_code = 429;
  busy.retry_after = absl::Seconds(1);
  kube_.FailNth(Verb::kApply, 2, ToStatus(busy));
  EXPECT_THAT(Apply(MapKey("a"), Map("a", {})), IsOk());
  const auto refused = Apply(MapKey("b"), Map("b", {}));
  EXPECT_EQ(RetryAfter(refused.status()), absl::Seconds(1));
  EXPECT_FALSE(kube_.Find(MapKey("b")).has_value());
  EXPECT_THAT(Apply(MapKey("b"), Map("b", {})), IsOk());

  kube_.LoseAnswer(Verb::kApply, 1);
  EXPECT_THAT(Apply(MapKey("c"), Map("c", {})),
              StatusIs(absl::StatusCode::kUnknown));
  EXPECT_TRUE(kube_.Find(MapKey("c")).has_value());

  kube_.FailKey(Verb::kDelete, MapKey("c"), absl::InternalError("no"));
  EXPECT_THAT(Delete(MapKey("c")), StatusIs(absl::StatusCode::kInternal));
  kube_.ClearFaults();
  EXPECT_THAT(Delete(MapKey("c")), IsOk());
}

TEST_F(FakeKubeClientTest, ADeadServerRefusesAndClosesWatches) {
  Recorder recorder;
  auto watch = kube_.Watch(Maps(), recorder);
  loop_.RunUntilIdle();
  kube_.SetDown(true);
  EXPECT_THAT(Apply(MapKey("a"), Map("a", {})),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(recorder.said, ElementsAre("sync", "closed"));
  kube_.SetDown(false);
  EXPECT_THAT(Apply(MapKey("a"), Map("a", {})), IsOk());
}

TEST_F(FakeKubeClientTest, ImmutableFieldsAreRefused) {
  kube_.SetImmutable("", "ConfigMap", "data.fixed");
  ASSERT_THAT(Apply(MapKey("a"), Map("a", {{"fixed", "1"}})), IsOk());
  const auto refused = Apply(MapKey("a"), Map("a", {{"fixed", "2"}}));
  EXPECT_TRUE(IsImmutableField(refused.status())) << refused.status();
  EXPECT_EQ((*kube_.Find(MapKey("a")))["data"]["fixed"], "1");
}

TEST_F(FakeKubeClientTest, StatusDoesNotTouchTheGeneration) {
  ASSERT_THAT(Apply(kDeployment, Deployment("web:1")), IsOk());
  ASSERT_THAT(kube_.SetStatus(kDeployment, {{"replicas", 1}}), IsOk());
  const json live = *kube_.Find(kDeployment);
  EXPECT_EQ(live["metadata"]["generation"], 1);
  EXPECT_EQ(live["status"]["observedGeneration"], 1);
  EXPECT_THAT(Owned(kDeployment), SizeIs(3));
}

TEST_F(FakeKubeClientTest, HeldCallsWait) {
  kube_.Hold();
  int done = 0;
  for (const char* name : {"a", "b"}) {
    kube_.Apply(MapKey(name), Map(name, {}).dump(), {},
                [&](absl::StatusOr<ApplyResult>) { ++done; });
  }
  loop_.RunUntilIdle();
  EXPECT_EQ(done, 0);
  EXPECT_EQ(kube_.in_flight(), 2u);
  kube_.Release();
  loop_.RunUntilIdle();
  EXPECT_EQ(done, 2);
  EXPECT_EQ(kube_.max_in_flight(), 2u);
}

TEST_F(FakeKubeClientTest, NothingRunsAfterTheFakeIsGone) {
  auto kube = std::make_unique<FakeKubeClient>(loop_);
  Recorder recorder;
  bool called = false;
  kube->Get(MapKey("a"), {}, [&](auto) { called = true; });
  auto watch = kube->Watch(Maps(), recorder);
  kube.reset();
  watch.reset();
  loop_.RunUntilIdle();
  EXPECT_FALSE(called);
  EXPECT_THAT(recorder.said, IsEmpty());
}

}  // namespace
}  // namespace flotilla
