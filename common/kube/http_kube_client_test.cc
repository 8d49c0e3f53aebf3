// SPDX-License-Identifier: Apache-2.0

#include "common/kube/http_kube_client.h"

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "flotilla/core/v1/core.pb.h"

#include "common/event/simulated_loop.h"
#include "common/kube/http_transport.h"
#include "common/kube/kube_client.h"
#include "common/kube/kube_error.h"
#include "common/status/status_matchers.h"

namespace flotilla {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kCore[] = R"json({"kind":"APIGroupDiscoveryList","items":[
  {"metadata":{},"versions":[{"version":"v1","resources":[
    {"resource":"configmaps","scope":"Namespaced",
     "responseKind":{"kind":"ConfigMap"},"verbs":["get"]},
    {"resource":"namespaces","scope":"Cluster",
     "responseKind":{"kind":"Namespace"},"verbs":["get"]}]}]}]})json";
constexpr char kGroups[] = R"json({"kind":"APIGroupDiscoveryList","items":[
  {"metadata":{"name":"apps"},"versions":[{"version":"v1","resources":[
    {"resource":"deployments","scope":"Namespaced",
     "responseKind":{"kind":"Deployment"},"verbs":["get"]}]}]},
  {"metadata":{"name":"stale.io"},
   "versions":[{"version":"v1","freshness":"Stale"}]}]})json";

HttpAnswer Answer(int code, std::string body, std::string etag = "") {
  HttpAnswer answer;
  answer.code = code;
  answer.body = std::move(body);
  answer.etag = std::move(etag);
  return answer;
}

// Answers by a function, a turn later; streams are fed by the test.
//
// Loop-affine.
class FakeTransport : public HttpTransport {
 public:
  // A stream that the client opened.
  //
  // Loop-affine.
  struct Stream : public HttpStream {
    Stream(FakeTransport* transport, HttpRequest asked,
           HttpStreamListener* ears)
        : owner(transport), request(std::move(asked)), listener(ears) {
      owner->streams.push_back(this);
    }
    ~Stream() override {
      for (Stream*& stream : owner->streams) {
        if (stream == this) stream = nullptr;
      }
    }
    FakeTransport* const owner;
    const HttpRequest request;
    HttpStreamListener* const listener;
  };

  explicit FakeTransport(SimulatedLoop& loop) : loop_(loop) {}

  CallId Send(
      HttpRequest request,
      absl::AnyInvocable<void(absl::StatusOr<HttpAnswer>)> done) override {
    requests.push_back(request);
    loop_.Post([this, request = std::move(request),
                done = std::move(done)]() mutable { done(serve(request)); });
    return requests.size();
  }
  void Cancel(CallId /*id*/) override {}
  std::unique_ptr<HttpStream> Open(HttpRequest request,
                                   HttpStreamListener& listener) override {
    return std::make_unique<Stream>(this, std::move(request), &listener);
  }

  std::function<absl::StatusOr<HttpAnswer>(const HttpRequest&)> serve;
  std::vector<HttpRequest> requests;
  std::vector<Stream*> streams;

 private:
  SimulatedLoop& loop_;
};

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
    if (on_event) on_event();
  }
  void OnClosed(absl::Status status) override {
    said.push_back("closed");
    closed = std::move(status);
  }

  std::vector<std::string> said;
  absl::Status closed;
  std::function<void()> on_event;
};

class HttpKubeClientTest : public ::testing::Test {
 protected:
  HttpKubeClientTest() {
    key_.set_version("v1");
    key_.set_kind("ConfigMap");
    key_.set_namespace_("shop");
    key_.set_name("a:b");
    transport_.serve = [this](const HttpRequest& request) {
      return Serve(request);
    };
    HttpKubeClientOptions options;
    options.max_object_bytes = 1000;
    options.page_size = 2;
    client_ = std::make_unique<HttpKubeClient>(transport_, loop_, options);
  }

  absl::StatusOr<HttpAnswer> Serve(const HttpRequest& request) {
    if (request.target == "/api") {
      if (request.if_none_match == "c1") return Answer(304, "");
      return Answer(200, kCore, "c1");
    }
    if (request.target == "/apis") {
      if (request.if_none_match == groups_etag_) return Answer(304, "");
      return Answer(200, kGroups, groups_etag_);
    }
    last_ = request;
    if (answers_.empty()) return Answer(500, "no answer was prepared");
    absl::StatusOr<HttpAnswer> answer = std::move(answers_.front());
    answers_.pop_front();
    return answer;
  }

  template <typename T>
  absl::StatusOr<T> Await(
      const std::function<void(KubeClient::Done<T>)>& start) {
    absl::StatusOr<T> result = absl::InternalError("not called");
    start([&](absl::StatusOr<T> got) { result = std::move(got); });
    EXPECT_EQ(result.status().message(), "not called");
    loop_.RunUntilIdle();
    return result;
  }
  absl::StatusOr<KubeObject> Get() {
    return Await<KubeObject>([&](KubeClient::Done<KubeObject> done) {
      client_->Get(key_, {}, std::move(done));
    });
  }
  absl::StatusOr<ApplyResult> Apply(ApplyOptions options = {}) {
    return Await<ApplyResult>([&](KubeClient::Done<ApplyResult> done) {
      client_->Apply(key_, "{\"x\":1}", options, std::move(done));
    });
  }
  absl::StatusOr<DeleteResult> Delete(DeleteOptions options = {}) {
    return Await<DeleteResult>([&](KubeClient::Done<DeleteResult> done) {
      client_->Delete(key_, options, std::move(done));
    });
  }
  absl::StatusOr<std::shared_ptr<const Discovery>> Discover() {
    return Await<std::shared_ptr<const Discovery>>(
        [&](KubeClient::Done<std::shared_ptr<const Discovery>> done) {
          client_->Discover(std::move(done));
        });
  }

  std::unique_ptr<KubeWatch> Watch(Recorder& recorder,
                                   const std::string& from = "") {
    WatchRequest request;
    request.kind.kind = "ConfigMap";
    request.label_selector = "a=b";
    request.resource_version = from;
    auto watch = client_->Watch(request, recorder);
    loop_.RunUntilIdle();
    return watch;
  }
  FakeTransport::Stream* stream() {
    return transport_.streams.empty() ? nullptr : transport_.streams.back();
  }
  static std::string Event(const std::string& type, const std::string& name,
                           int version) {
    return absl::StrCat(R"({"type":")", type,
                        R"(","object":{"metadata":{"name":")", name,
                        R"(","resourceVersion":")", version, "\"}}}\n");
  }
  static std::string EndOfInitial(int version) {
    return absl::StrCat(
        R"({"type":"BOOKMARK","object":{"metadata":{"resourceVersion":")",
        version,
        R"(","annotations":{"k8s.io/initial-events-end":"true"}},)"
        R"("data":null}})",
        "\n");
  }

  SimulatedLoop loop_;
  FakeTransport transport_{loop_};
  std::unique_ptr<HttpKubeClient> client_;
  core::v1::ResourceKey key_;
  std::string groups_etag_ = "g1";
  std::deque<absl::StatusOr<HttpAnswer>> answers_;
  HttpRequest last_;
};

TEST_F(HttpKubeClientTest, TheFirstCallDiscovers) {
  answers_.push_back(Answer(
      200, R"({"metadata":{"name":"a:b","uid":"u","resourceVersion":"7"}})"));
  const auto object = Get();
  ASSERT_THAT(object, IsOk());
  EXPECT_EQ(object->head.uid, "u");
  EXPECT_EQ(last_.target, "/api/v1/namespaces/shop/configmaps/a%3Ab");
  EXPECT_THAT(transport_.requests, SizeIs(3));
}

TEST_F(HttpKubeClientTest, DiscoveryUsesETags) {
  const auto first = Discover();
  const auto second = Discover();
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(*first, *second);
  EXPECT_THAT((*first)->kinds(), SizeIs(3));
  groups_etag_ = "g2";
  const auto third = Discover();
  ASSERT_THAT(third, IsOk());
  EXPECT_NE(*first, *third);
}

TEST_F(HttpKubeClientTest, ADiscoveryAskedForDuringOneIsAFreshOne) {
  int done = 0;
  client_->Discover([&](auto) { ++done; });
  client_->Discover([&](auto) { ++done; });
  loop_.RunUntilIdle();
  EXPECT_EQ(done, 2);
  EXPECT_THAT(transport_.requests, SizeIs(4));
}

TEST_F(HttpKubeClientTest, AFailedHalfOfDiscoveryIsNotForgotten) {
  ASSERT_THAT(Discover(), IsOk());
  groups_etag_ = "g2";
  bool fail = true;
  transport_.serve =
      [&](const HttpRequest& request) -> absl::StatusOr<HttpAnswer> {
    if (fail && request.target == "/api") {
      return absl::UnavailableError("down");
    }
    return Serve(request);
  };
  const auto before = Discover();
  EXPECT_THAT(before, StatusIs(absl::StatusCode::kUnavailable));
  fail = false;
  EXPECT_THAT(Discover(), IsOk());
}

TEST_F(HttpKubeClientTest, OlderServersAreAskedGroupByGroup) {
  transport_.serve =
      [&](const HttpRequest& request) -> absl::StatusOr<HttpAnswer> {
    if (request.target == "/api") {
      return Answer(200, R"({"kind":"APIVersions","versions":["v1"]})");
    }
    if (request.target == "/apis") {
      return Answer(200, R"json({"kind":"APIGroupList","groups":[
        {"name":"apps","versions":[{"groupVersion":"apps/v1"}]},
        {"name":"gone.io","versions":[{"groupVersion":"gone.io/v1"}]}]})json");
    }
    if (request.target == "/api/v1") {
      return Answer(200, R"json({"resources":[{"name":"configmaps",
        "namespaced":true,"kind":"ConfigMap","verbs":["get"]}]})json");
    }
    if (request.target == "/apis/apps/v1") {
      return Answer(200, R"json({"resources":[{"name":"deployments",
        "namespaced":true,"kind":"Deployment","verbs":["get"]}]})json");
    }
    return Answer(503, "");
  };
  const auto discovery = Discover();
  ASSERT_THAT(discovery, IsOk());
  EXPECT_THAT((*discovery)->kinds(), SizeIs(2));
  EXPECT_TRUE((*discovery)->IsStale("gone.io"));
}

TEST_F(HttpKubeClientTest, UnknownKindsAreNotAskedFor) {
  ASSERT_THAT(Discover(), IsOk());
  transport_.requests.clear();
  key_.set_kind("Thing");
  EXPECT_EQ(MissingWhat(Get().status()), KubeError::Missing::kKind);
  key_.set_group("stale.io");
  EXPECT_THAT(Get(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(transport_.requests, IsEmpty());
}

TEST_F(HttpKubeClientTest, BadNamesAndScopesNeverReachTheServer) {
  ASSERT_THAT(Discover(), IsOk());
  transport_.requests.clear();
  for (const char* name : {"", ".", "..", "a/b", "a%2fb"}) {
    key_.set_name(name);
    EXPECT_THAT(Get(), StatusIs(absl::StatusCode::kInvalidArgument)) << name;
  }
  key_.set_name("a");
  key_.set_namespace_("");
  EXPECT_THAT(Get(), StatusIs(absl::StatusCode::kInvalidArgument,
                              HasSubstr("needs a namespace")));
  key_.set_namespace_("..");
  EXPECT_THAT(Get(), StatusIs(absl::StatusCode::kInvalidArgument));
  key_.set_namespace_("shop");
  key_.set_kind("Namespace");
  EXPECT_THAT(Get(), StatusIs(absl::StatusCode::kInvalidArgument,
                              HasSubstr("cluster-scoped")));
  EXPECT_THAT(transport_.requests, IsEmpty());
}

TEST_F(HttpKubeClientTest, ApplyIsAPatchAndSaysWhatHappened) {
  const std::string body =
      R"({"metadata":{"name":"a:b","uid":"u","resourceVersion":"7"}})";
  answers_.push_back(Answer(201, body));
  auto result = Apply();
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->outcome, ApplyResult::Outcome::kCreated);
  EXPECT_EQ(last_.method, "PATCH");
  EXPECT_EQ(last_.target,
            "/api/v1/namespaces/shop/configmaps/a%3Ab"
            "?fieldManager=flotilla&force=true");
  EXPECT_EQ(last_.content_type, "application/apply-patch+yaml");
  EXPECT_EQ(last_.body, "{\"x\":1}");
  EXPECT_THAT(last_.accept, HasSubstr("PartialObjectMetadata;"));

  ApplyOptions options;
  options.known_resource_version = "7";
  answers_.push_back(Answer(200, body));
  result = Apply(options);
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->outcome, ApplyResult::Outcome::kUnchanged);

  options.known_resource_version = "6";
  options.force = false;
  options.dry_run = true;
  options.full_answer = true;
  answers_.push_back(Answer(200, body));
  result = Apply(options);
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->outcome, ApplyResult::Outcome::kChanged);
  EXPECT_THAT(last_.target, HasSubstr("dryRun=All"));
  EXPECT_THAT(last_.target, Not(HasSubstr("force")));
  EXPECT_EQ(last_.accept, "application/json");

  answers_.push_back(Answer(200, "<html>"));
  EXPECT_THAT(Apply(), StatusIs(absl::StatusCode::kInternal));
}

TEST_F(HttpKubeClientTest, AMergePatchActsAsTheUserAndForcesNothing) {
  ApplyOptions options;
  options.merge_patch = true;
  options.impersonate = "system:serviceaccount:ns:x";
  answers_.push_back(Answer(200, R"({"metadata":{"name":"a:b"}})"));

  ASSERT_THAT(Apply(options), IsOk());

  EXPECT_EQ(last_.method, "PATCH");
  EXPECT_EQ(last_.content_type, "application/merge-patch+json");
  EXPECT_EQ(last_.impersonate, "system:serviceaccount:ns:x");
  EXPECT_THAT(last_.target, Not(HasSubstr("force")));
}

TEST_F(HttpKubeClientTest, DeleteCarriesItsPreconditions) {
  DeleteOptions options;
  options.uid = "u";
  answers_.push_back(Answer(200, R"({"kind":"Status","status":"Success"})"));
  auto result = Delete(options);
  ASSERT_THAT(result, IsOk());
  EXPECT_FALSE(result->pending);
  EXPECT_EQ(last_.method, "DELETE");
  EXPECT_EQ(last_.body,
            R"({"apiVersion":"v1","kind":"DeleteOptions","preconditions":)"
            R"({"uid":"u"},"propagationPolicy":"Background"})");
  EXPECT_EQ(last_.accept, "application/json");

  answers_.push_back(Answer(
      200, R"({"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"}})"));
  result = Delete(options);
  ASSERT_THAT(result, IsOk());
  EXPECT_TRUE(result->pending);
}

TEST_F(HttpKubeClientTest, RefusalsCarryRetryAfter) {
  HttpAnswer busy = Answer(429, "too many requests");
  busy.retry_after = "2";
  answers_.push_back(busy);
  const auto result = Apply();
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(RetryAfter(result.status()), absl::Seconds(2));
}

TEST_F(HttpKubeClientTest, OnlyReadsAreSentAgainAfterAReset) {
  const absl::Status reset = absl::UnknownError("reset");
  answers_.push_back(reset);
  answers_.push_back(Answer(200, R"({"metadata":{"name":"a"}})"));
  EXPECT_THAT(Get(), IsOk());
  answers_.push_back(reset);
  answers_.push_back(reset);
  EXPECT_THAT(Get(), StatusIs(absl::StatusCode::kUnknown));
  answers_.push_back(reset);
  EXPECT_THAT(Apply(), StatusIs(absl::StatusCode::kUnknown));
  EXPECT_THAT(answers_, IsEmpty());
}

TEST_F(HttpKubeClientTest, ListsComeInPages) {
  answers_.push_back(Answer(
      200, R"({"metadata":{"resourceVersion":"9","continue":"x/y"},"items":[)"
           R"({"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]})"));
  answers_.push_back(Answer(200, R"({"metadata":{"resourceVersion":"9"},)"
                                 R"("items":[{"metadata":{"name":"c"}}]})"));
  ListRequest request;
  request.kind.kind = "ConfigMap";
  request.label_selector = "a=b";
  const auto list = Await<ListResult>([&](KubeClient::Done<ListResult> done) {
    client_->List(request, std::move(done));
  });
  ASSERT_THAT(list, IsOk());
  EXPECT_THAT(list->items, SizeIs(3));
  EXPECT_EQ(list->resource_version, "9");
  EXPECT_EQ(last_.target,
            "/api/v1/configmaps?labelSelector=a%3Db&limit=2&continue=x%2Fy");
}

TEST_F(HttpKubeClientTest, AListIsWholeOrAnError) {
  const auto list = [this] {
    ListRequest request;
    request.kind.kind = "ConfigMap";
    return Await<ListResult>([&](KubeClient::Done<ListResult> done) {
      client_->List(request, std::move(done));
    });
  };
  const std::string first =
      R"({"metadata":{"resourceVersion":"9","continue":"x"},"items":[)"
      R"({"metadata":{"name":"a"}}]})";

  answers_.push_back(Answer(200, first));
  answers_.push_back(Answer(410, R"({"reason":"Expired"})"));
  EXPECT_THAT(list(), StatusIs(absl::StatusCode::kOutOfRange));

  answers_.push_back(Answer(200, first));
  answers_.push_back(Answer(200, "<html>"));
  EXPECT_THAT(list(), StatusIs(absl::StatusCode::kInternal,
                               HasSubstr("is no list")));

  answers_.push_back(
      Answer(200, R"({"metadata":{"resourceVersion":"9"},"items":null})"));
  const auto empty = list();
  ASSERT_THAT(empty, IsOk());
  EXPECT_THAT(empty->items, IsEmpty());
  EXPECT_THAT(answers_, IsEmpty());
}

TEST_F(HttpKubeClientTest, AListIsBoundedOverAllItsPages) {
  HttpKubeClientOptions options;
  options.max_list_bytes = 150;
  client_ = std::make_unique<HttpKubeClient>(transport_, loop_, options);
  const std::string page =
      R"({"metadata":{"continue":"x"},"items":[{"metadata":{"name":"a"}}]})";
  for (int i = 0; i < 5; ++i) answers_.push_back(Answer(200, page));
  ListRequest request;
  request.kind.kind = "ConfigMap";

  EXPECT_THAT(Await<ListResult>([&](KubeClient::Done<ListResult> done) {
                client_->List(request, std::move(done));
              }),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("150 bytes")));
  EXPECT_THAT(answers_, SizeIs(2));
  EXPECT_LT(last_.max_answer_bytes, 150u - page.size());
}

TEST_F(HttpKubeClientTest, AWatchTellsTheSetThenTheChanges) {
  Recorder recorder;
  const auto watch = Watch(recorder);
  ASSERT_NE(stream(), nullptr);
  EXPECT_THAT(stream()->request.target, HasSubstr("sendInitialEvents=true"));
  stream()->listener->OnHead(Answer(200, ""));
  const std::string all = Event("ADDED", "a", 5) + EndOfInitial(8) +
                          Event("MODIFIED", "a", 9) + Event("DELETED", "a", 10);
  // Cut in the worst places.
  for (const char c : all) stream()->listener->OnBytes(std::string(1, c));
  EXPECT_THAT(recorder.said, ElementsAre("+a", "sync", "~a", "-a"));
  EXPECT_EQ(watch->resource_version(), "10");
  stream()->listener->OnBytes(
      R"({"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"20"}}})"
      "\n");
  EXPECT_EQ(watch->resource_version(), "20");
  stream()->listener->OnEnd(absl::OkStatus());
  EXPECT_THAT(recorder.closed, IsOk());
}

TEST_F(HttpKubeClientTest, AWatchResumes) {
  Recorder recorder;
  const auto watch = Watch(recorder, "42");
  EXPECT_THAT(stream()->request.target, HasSubstr("resourceVersion=42&"));
  stream()->listener->OnHead(Answer(200, ""));
  EXPECT_THAT(recorder.said, ElementsAre("resumed"));
  stream()->listener->OnBytes(
      R"({"type":"ERROR","object":{"kind":"Status","code":410,)"
      R"("reason":"Expired","message":"too old resource version"}})"
      "\n");
  EXPECT_THAT(recorder.closed, StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_EQ(stream(), nullptr);
}

TEST_F(HttpKubeClientTest, OlderServersAreListedThenWatched) {
  answers_.push_back(Answer(200, R"({"metadata":{"resourceVersion":"9"},)"
                                 R"("items":[{"metadata":{"name":"a"}}]})"));
  Recorder recorder;
  const auto watch = Watch(recorder);
  HttpStreamListener* const listener = stream()->listener;
  listener->OnHead(Answer(422, ""));
  listener->OnBytes(R"({"kind":"Status","message":"sendInitialEvents"})");
  listener->OnEnd(absl::OkStatus());
  loop_.RunUntilIdle();
  EXPECT_THAT(recorder.said, ElementsAre("+a", "sync"));
  ASSERT_NE(stream(), nullptr);
  EXPECT_THAT(stream()->request.target, HasSubstr("resourceVersion=9&"));
  stream()->listener->OnHead(Answer(200, ""));
  stream()->listener->OnBytes(Event("ADDED", "b", 11));
  EXPECT_THAT(recorder.said, ElementsAre("+a", "sync", "+b"));
  EXPECT_EQ(watch->resource_version(), "11");
}

TEST_F(HttpKubeClientTest, AWatchThatIsRefusedSaysWhy) {
  Recorder recorder;
  const auto watch = Watch(recorder);
  HttpStreamListener* const listener = stream()->listener;
  listener->OnHead(Answer(403, ""));
  listener->OnBytes(R"({"kind":"Status","message":"forbidden for you"})");
  listener->OnEnd(absl::OkStatus());
  EXPECT_THAT(recorder.closed, StatusIs(absl::StatusCode::kPermissionDenied,
                                        HasSubstr("forbidden for you")));
}

TEST_F(HttpKubeClientTest, AWatchThatEndsTooEarlyIsNoSync) {
  Recorder recorder;
  const auto watch = Watch(recorder);
  stream()->listener->OnHead(Answer(200, ""));
  stream()->listener->OnBytes(Event("ADDED", "a", 5));
  stream()->listener->OnEnd(absl::OkStatus());
  EXPECT_THAT(recorder.said, ElementsAre("+a", "closed"));
  EXPECT_THAT(recorder.closed, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(watch->resource_version(), "");
}

TEST_F(HttpKubeClientTest, AnEventOverTheLimitClosesTheWatch) {
  for (const bool with_end : {false, true}) {
    Recorder recorder;
    const auto watch = Watch(recorder);
    HttpStreamListener* const listener = stream()->listener;
    listener->OnHead(Answer(200, ""));
    listener->OnBytes(std::string(5000, 'x') + (with_end ? "\n" : ""));
    EXPECT_THAT(recorder.closed,
                StatusIs(absl::StatusCode::kResourceExhausted));
  }
}

TEST_F(HttpKubeClientTest, OddEventsCloseTheWatchAndNothingElse) {
  for (const char* line :
       {"x\n", "{}\n", "null\n", "{\"type\":\"ADDED\"}\n",
        "{\"type\":\"ADDED\",\"object\":7}\n",
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":[]}}\n"}) {
    Recorder recorder;
    const auto watch = Watch(recorder);
    HttpStreamListener* const listener = stream()->listener;
    listener->OnHead(Answer(200, ""));
    listener->OnBytes(line);
    EXPECT_THAT(recorder.closed, StatusIs(absl::StatusCode::kInternal)) << line;
  }
}

TEST_F(HttpKubeClientTest, AListenerMayDestroyItsWatch) {
  Recorder recorder;
  auto watch = Watch(recorder);
  recorder.on_event = [&] { watch.reset(); };
  HttpStreamListener* const listener = stream()->listener;
  listener->OnHead(Answer(200, ""));
  listener->OnBytes(Event("ADDED", "a", 5) + Event("ADDED", "b", 6));
  EXPECT_THAT(recorder.said, ElementsAre("+a"));
  EXPECT_EQ(stream(), nullptr);
}

TEST_F(HttpKubeClientTest, NothingRunsAfterTheClientIsGone) {
  bool called = false;
  client_->Get(key_, {}, [&](auto) { called = true; });
  client_.reset();
  loop_.RunUntilIdle();
  EXPECT_FALSE(called);
}

}  // namespace
}  // namespace flotilla
