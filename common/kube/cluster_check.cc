// SPDX-License-Identifier: Apache-2.0
//
// Drives HttpKubeClient over CurlTransport against a real API server and says
// what it found, one line for each check: "ok NAME ..." or "FAILED NAME ...".
// Exits with 1 when one failed.
//
//   cluster_check KUBECONFIG [OBJECTS]

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

#include "flotilla/core/v1/core.pb.h"

#include "common/event/real_loop.h"
#include "common/kube/curl_transport.h"
#include "common/kube/http_kube_client.h"
#include "common/kube/kube_client.h"
#include "common/kube/kube_error.h"
#include "common/kube/kube_identity.h"
#include "common/kube/kubeconfig.h"
#include "common/kube/object.h"

namespace flotilla {
namespace {

using nlohmann::json;

constexpr char kNamespace[] = "kube-check";
constexpr char kSelector[] = "flotilla.dev/managed=true";

double Seconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since)
      .count();
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  if (!file.good()) {
    return absl::NotFoundError(absl::StrCat(path, " cannot be read"));
  }
  return content.str();
}

core::v1::ResourceKey Key(absl::string_view group, absl::string_view version,
                          absl::string_view kind, absl::string_view ns,
                          absl::string_view name) {
  core::v1::ResourceKey key;
  key.set_group(std::string(group));
  key.set_version(std::string(version));
  key.set_kind(std::string(kind));
  key.set_namespace_(std::string(ns));
  key.set_name(std::string(name));
  return key;
}

json Object(const core::v1::ResourceKey& key) {
  json object = {
      {"apiVersion", JoinApiVersion(key.group(), key.version())},
      {"kind", key.kind()},
      {"metadata",
       {{"name", key.name()}, {"labels", {{"flotilla.dev/managed", "true"}}}}}};
  if (!key.namespace_().empty()) {
    object["metadata"]["namespace"] = key.namespace_();
  }
  return object;
}

core::v1::ResourceKey MapKey(int number) {
  return Key("", "v1", "ConfigMap", kNamespace,
             absl::StrFormat("map-%05d", number));
}

json Map(int number, absl::string_view value) {
  json object = Object(MapKey(number));
  object["data"] = {{"a", std::string(value)},
                    {"b", std::string(256, 'b')},
                    {"c", std::string(256, 'c')},
                    {"d", std::string(256, 'd')}};
  return object;
}

json Deployment(const core::v1::ResourceKey& key, absl::string_view label) {
  json object = Object(key);
  const json labels = {{"app", std::string(label)}};
  object["spec"] = {
      {"replicas", 0},
      {"selector", {{"matchLabels", labels}}},
      {"template",
       {{"metadata", {{"labels", labels}}},
        {"spec",
         {{"containers", json::array({{{"name", "web"},
                                       {"image", "example.com/web:1"}}})}}}}}};
  return object;
}

// Counts what it hears and calls `on_news` each time.
//
// Loop-affine.
class Ears : public WatchListener {
 public:
  explicit Ears(std::function<void()> on_news) : on_news_(std::move(on_news)) {}

  void OnSync(Sync sync) override {
    synced = true;
    resumed = sync == Sync::kResumed;
    on_news_();
  }
  void OnEvent(WatchEvent event) override {
    switch (event.type) {
      case WatchEvent::Type::kAdded:
        ++added;
        break;
      case WatchEvent::Type::kModified:
        ++modified;
        break;
      case WatchEvent::Type::kDeleted:
        ++deleted;
        break;
    }
    last = std::move(event);
    on_news_();
  }
  void OnClosed(absl::Status status) override {
    closed = true;
    why = std::move(status);
    on_news_();
  }

  bool synced = false;
  bool resumed = false;
  bool closed = false;
  int added = 0;
  int modified = 0;
  int deleted = 0;
  WatchEvent last;
  absl::Status why;

 private:
  const std::function<void()> on_news_;
};

// The checks, in order.
//
// Loop-affine.
class Checks {
 public:
  Checks(RealLoop& loop, CurlTransport& transport, int objects)
      : loop_(loop),
        transport_(transport),
        kube_(transport, loop, HttpKubeClientOptions()),
        objects_(objects) {}

  bool Run() {
    if (!CheckServer()) return false;
    CheckApplyAndWatch();
    CheckErrors();
    CheckDrift();
    CheckManyWatches();
    CheckCrd();
    CheckDelete();
    return failures_ == 0;
  }

 private:
  void Say(bool ok, absl::string_view name, absl::string_view text) {
    if (!ok) ++failures_;
    std::cout << (ok ? "ok " : "FAILED ") << name << ": " << text << std::endl;
  }

  // Runs the loop until `done` holds or 30 s are over.
  bool Wait(const std::function<bool()>& done) {
    bool late = false;
    const std::unique_ptr<Timer> timer = loop_.CreateTimer([&] {
      late = true;
      loop_.Stop();
    });
    timer->Arm(absl::Seconds(30));
    while (!done() && !late) {
      waiting_ = true;
      loop_.RunUntilStopped();
      waiting_ = false;
    }
    return done();
  }
  void Wake() {
    if (waiting_) loop_.Stop();
    waiting_ = false;
  }
  std::function<void()> Waker() {
    return [this] { Wake(); };
  }

  template <typename T>
  absl::StatusOr<T> Await(
      const std::function<void(KubeClient::Done<T>)>& start) {
    absl::StatusOr<T> result = absl::DeadlineExceededError("no answer");
    bool answered = false;
    start([&](absl::StatusOr<T> got) {
      result = std::move(got);
      answered = true;
      Wake();
    });
    Wait([&] { return answered; });
    return result;
  }

  absl::StatusOr<ApplyResult> Apply(const core::v1::ResourceKey& key,
                                    const json& body,
                                    ApplyOptions options = {}) {
    return Await<ApplyResult>([&](KubeClient::Done<ApplyResult> done) {
      kube_.Apply(key, body.dump(), options, std::move(done));
    });
  }
  absl::StatusOr<std::shared_ptr<const Discovery>> Discover() {
    return Await<std::shared_ptr<const Discovery>>(
        [&](KubeClient::Done<std::shared_ptr<const Discovery>> done) {
          kube_.Discover(std::move(done));
        });
  }

  // Keeps `width` calls of `start` in flight until all `count` are done.
  // `start` gets a number and what to call at the end.
  double Flood(int count, int width,
               const std::function<void(int, std::function<void()>)>& start) {
    const auto begin = std::chrono::steady_clock::now();
    int next = 0;
    int done = 0;
    std::function<void()> step = [&] {
      if (next >= count) return;
      start(next++, [&] {
        ++done;
        if (done == count) {
          Wake();
        } else {
          step();
        }
      });
    };
    for (int i = 0; i < std::min(count, width); ++i) step();
    Wait([&] { return done == count; });
    return Seconds(begin);
  }

  // Applies all maps; counts outcomes.
  void ApplyAll(absl::string_view name, absl::string_view value, int width,
                ApplyResult::Outcome expected) {
    int as_expected = 0;
    absl::Status first_error;
    const double seconds =
        Flood(objects_, width, [&](int i, std::function<void()> end) {
          ApplyOptions options;
          const auto known = known_.find(i);
          if (known != known_.end()) {
            options.known_resource_version = known->second.resource_version;
          }
          kube_.Apply(MapKey(i), Map(i, value).dump(), options,
                      [&, i, end](absl::StatusOr<ApplyResult> result) {
                        if (!result.ok()) {
                          first_error.Update(result.status());
                        } else {
                          known_[i] = result->object.head;
                          if (result->outcome == expected) ++as_expected;
                        }
                        end();
                      });
        });
    Say(as_expected == objects_, name,
        absl::StrFormat("%d of %d as expected, %d in flight, %.2f s, %.0f/s %s",
                        as_expected, objects_, width, seconds,
                        objects_ / seconds, first_error.ToString()));
  }

  // False when there is no use in going on.
  bool CheckServer() {
    auto begin = std::chrono::steady_clock::now();
    const auto version =
        Await<ServerVersion>([&](KubeClient::Done<ServerVersion> done) {
          kube_.GetServerVersion(std::move(done));
        });
    Say(version.ok(), "version",
        version.ok()
            ? absl::StrFormat("%s, %.1f ms with the connection",
                              version->git_version, Seconds(begin) * 1000)
            : version.status().ToString());
    if (!version.ok()) return false;
    begin = std::chrono::steady_clock::now();
    const auto first = Discover();
    const double first_ms = Seconds(begin) * 1000;
    begin = std::chrono::steady_clock::now();
    const auto second = Discover();
    const double second_ms = Seconds(begin) * 1000;
    const bool ok = first.ok() && second.ok() && *first == *second &&
                    (*first)->Find("apps", "", "Deployment") != nullptr;
    Say(ok, "discovery",
        ok ? absl::StrFormat("%d kinds, %.1f ms, again %.1f ms",
                             (*first)->kinds().size(), first_ms, second_ms)
           : first.status().ToString());
    return ok;
  }

  void CheckApplyAndWatch() {
    const auto ns = Key("", "v1", "Namespace", "", kNamespace);
    const auto made = Apply(ns, Object(ns));
    Say(made.ok(), "namespace", made.status().ToString());

    Ears ears(Waker());
    WatchRequest request;
    request.kind = {"", "v1", "ConfigMap"};
    request.label_selector = kSelector;
    const auto watch = kube_.Watch(request, ears);
    Wait([&] { return ears.synced; });
    Say(ears.synced && ears.added == 0, "watch",
        absl::StrCat("in sync at ", watch->resource_version()));

    ApplyAll("create", "1", 16, ApplyResult::Outcome::kCreated);
    Wait([&] { return ears.added == objects_; });
    Say(ears.added == objects_, "events",
        absl::StrCat(ears.added, " added seen"));
    ApplyAll("no-op", "1", 16, ApplyResult::Outcome::kUnchanged);
    ApplyAll("change", "2", 16, ApplyResult::Outcome::kChanged);
    Wait([&] { return ears.modified == objects_; });
    Say(ears.modified == objects_, "events",
        absl::StrCat(ears.modified, " modified seen, none for a no-op"));

    Ears again(Waker());
    request.resource_version = watch->resource_version();
    const auto resumed = kube_.Watch(request, again);
    Wait([&] { return again.synced || again.closed; });
    Say(again.synced && again.resumed && again.added == 0, "resume",
        again.why.ToString());

    for (const bool metadata_only : {true, false}) {
      Ears full(Waker());
      const auto begin = std::chrono::steady_clock::now();
      WatchRequest all;
      all.kind = {"", "v1", "ConfigMap"};
      all.label_selector = kSelector;
      all.metadata_only = metadata_only;
      const auto big = kube_.Watch(all, full);
      Wait([&] { return full.synced || full.closed; });
      Say(full.synced && full.added == objects_,
          metadata_only ? "watch of all, metadata" : "watch of all, in full",
          absl::StrFormat("%d objects in %.0f ms", full.added,
                          Seconds(begin) * 1000));
    }

    const auto begin = std::chrono::steady_clock::now();
    const auto list = Await<ListResult>([&](KubeClient::Done<ListResult> done) {
      ListRequest list_request;
      list_request.kind = {"", "v1", "ConfigMap"};
      list_request.ns = kNamespace;
      list_request.label_selector = kSelector;
      kube_.List(list_request, std::move(done));
    });
    Say(list.ok() && list->items.size() == static_cast<size_t>(objects_),
        "list in pages",
        absl::StrFormat("%d objects in %.0f ms",
                        list.ok() ? list->items.size() : 0,
                        Seconds(begin) * 1000));
  }

  void CheckErrors() {
    const auto missing = [this](absl::string_view name,
                                const core::v1::ResourceKey& key,
                                KubeError::Missing expected) {
      const auto result = Apply(key, Object(key));
      Say(MissingWhat(result.status()) == expected, name,
          result.status().ToString());
    };
    missing("unknown kind", Key("example.org", "v1", "Thing", kNamespace, "a"),
            KubeError::Missing::kKind);
    missing("absent namespace", Key("", "v1", "ConfigMap", "nowhere", "a"),
            KubeError::Missing::kNamespace);
    const auto get = Await<KubeObject>([&](KubeClient::Done<KubeObject> done) {
      kube_.Get(Key("", "v1", "ConfigMap", kNamespace, "absent"), {},
                std::move(done));
    });
    Say(MissingWhat(get.status()) == KubeError::Missing::kObject,
        "absent object", get.status().ToString());
    const auto get_ns =
        Await<KubeObject>([&](KubeClient::Done<KubeObject> done) {
          kube_.Get(Key("", "v1", "Namespace", "", "nowhere"), {},
                    std::move(done));
        });
    Say(MissingWhat(get_ns.status()) == KubeError::Missing::kObject,
        "absent namespace object", get_ns.status().ToString());

    const auto deployment = Key("apps", "v1", "Deployment", kNamespace, "web");
    const auto made = Apply(deployment, Deployment(deployment, "one"));
    Say(made.ok() && made->outcome == ApplyResult::Outcome::kCreated,
        "deployment", made.status().ToString());
    const auto refused = Apply(deployment, Deployment(deployment, "two"));
    Say(IsImmutableField(refused.status()), "immutable field",
        refused.status().ToString());
    json odd = Deployment(deployment, "one");
    odd["spec"]["replicas"] = "three";
    const auto wrong = Apply(deployment, odd);
    Say(!wrong.ok() && !IsTransient(wrong.status()), "wrong type",
        wrong.status().ToString());
  }

  void CheckDrift() {
    ApplyOptions stranger;
    stranger.field_manager = "stranger";
    stranger.force = false;
    json change = Object(MapKey(0));
    change["data"] = {{"a", "drifted"}};
    const auto refused = Apply(MapKey(0), change, stranger);
    Say(IsFieldConflict(refused.status()), "conflict",
        refused.status().ToString());
    const FieldSet before = Owned();
    stranger.force = true;
    (void)Apply(MapKey(0), change, stranger);
    const FieldSet after = Owned();
    std::string lost;
    for (const FieldPath& path : Minus(before, after)) {
      absl::StrAppend(&lost, PathText(path), " ");
    }
    Say(lost == "data.a ", "drift in managedFields", lost);
    const auto restored = Apply(MapKey(0), Map(0, "2"));
    Say(restored.ok() && Owned() == before, "drift put right",
        restored.status().ToString());
    if (restored.ok()) known_[0] = restored->object.head;
  }

  FieldSet Owned() {
    const auto object =
        Await<KubeObject>([&](KubeClient::Done<KubeObject> done) {
          GetOptions options;
          options.metadata_only = true;
          kube_.Get(MapKey(0), options, std::move(done));
        });
    if (!object.ok()) return {};
    const auto parsed = ParseKubeJson(object->json);
    if (!parsed.ok()) return {};
    return AppliedFields(ParseManagedFields(*parsed), kFieldManager);
  }

  void CheckManyWatches() {
    constexpr int kWatches = 200;
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::unique_ptr<Ears>> ears;
    std::vector<std::unique_ptr<KubeWatch>> watches;
    int synced = 0;
    for (int i = 0; i < kWatches; ++i) {
      ears.push_back(std::make_unique<Ears>(Waker()));
      WatchRequest request;
      request.kind = {"", "v1", "Secret"};
      request.ns = kNamespace;
      watches.push_back(kube_.Watch(request, *ears.back()));
    }
    Wait([&] {
      synced = static_cast<int>(
          std::count_if(ears.begin(), ears.end(),
                        [](const auto& one) { return one->synced; }));
      return synced == kWatches;
    });
    const double seconds = Seconds(begin);
    const auto asked = std::chrono::steady_clock::now();
    const auto applied = Apply(MapKey(0), Map(0, "3"));
    if (applied.ok()) known_[0] = applied->object.head;
    Say(synced == kWatches && applied.ok() &&
            transport_.connections_opened() < 8,
        "200 watches",
        absl::StrFormat("%d in sync in %.0f ms, an apply beside them %.1f ms, "
                        "%d connections made so far",
                        synced, seconds * 1000, Seconds(asked) * 1000,
                        transport_.connections_opened()));
  }

  void CheckCrd() {
    const auto crd_key =
        Key("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "",
            "things.check.flotilla.dev");
    json crd = Object(crd_key);
    crd["spec"] = {
        {"group", "check.flotilla.dev"},
        {"scope", "Namespaced"},
        {"names",
         {{"kind", "Thing"}, {"plural", "things"}, {"singular", "thing"}}},
        {"versions",
         json::array(
             {{{"name", "v1"},
               {"served", true},
               {"storage", true},
               {"schema",
                {{"openAPIV3Schema",
                  {{"type", "object"},
                   {"x-kubernetes-preserve-unknown-fields", true}}}}}}})}};
    Ears ears(Waker());
    WatchRequest request;
    request.kind = {"apiextensions.k8s.io", "v1", "CustomResourceDefinition"};
    request.label_selector = kSelector;
    request.metadata_only = false;
    const auto watch = kube_.Watch(request, ears);
    Wait([&] { return ears.synced; });
    const auto begin = std::chrono::steady_clock::now();
    const auto made = Apply(crd_key, crd);
    const auto established = [&] {
      const auto object = ParseKubeJson(ears.last.object.json);
      if (!object.ok()) return false;
      const json& conditions = Member(Member(*object, "status"), "conditions");
      if (!conditions.is_array()) return false;
      for (const json& condition : conditions) {
        if (TextOr(Member(condition, "type")) == "Established" &&
            TextOr(Member(condition, "status")) == "True") {
          return true;
        }
      }
      return false;
    };
    Wait(established);
    const auto key = Key("check.flotilla.dev", "v1", "Thing", kNamespace, "a");
    int tries = 0;
    absl::StatusOr<ApplyResult> thing = absl::UnknownError("not tried");
    while (tries < 50 && !thing.ok()) {
      ++tries;
      (void)Discover();
      thing = Apply(key, Object(key));
    }
    Say(made.ok() && thing.ok(), "CRD, then its object",
        absl::StrFormat("%.0f ms, %d tries %s", Seconds(begin) * 1000, tries,
                        thing.status().ToString()));
    (void)Await<DeleteResult>([&](KubeClient::Done<DeleteResult> done) {
      kube_.Delete(crd_key, {}, std::move(done));
    });
  }

  void CheckDelete() {
    DeleteOptions wrong;
    wrong.uid = "00000000-0000-4000-8000-000000000000";
    const auto refused =
        Await<DeleteResult>([&](KubeClient::Done<DeleteResult> done) {
          kube_.Delete(MapKey(0), wrong, std::move(done));
        });
    Say(absl::IsAborted(refused.status()), "delete with another uid",
        refused.status().ToString());
    int gone = 0;
    absl::Status first_error;
    const double seconds =
        Flood(objects_, 32, [&](int i, std::function<void()> end) {
          DeleteOptions options;
          options.uid = known_[i].uid;
          kube_.Delete(MapKey(i), options,
                       [&, end](absl::StatusOr<DeleteResult> result) {
                         first_error.Update(result.status());
                         if (result.ok() && !result->pending) ++gone;
                         end();
                       });
        });
    Say(gone == objects_, "delete",
        absl::StrFormat("%d of %d gone, 32 in flight, %.2f s, %.0f/s %s", gone,
                        objects_, seconds, objects_ / seconds,
                        first_error.ToString()));
    const auto ns =
        Await<DeleteResult>([&](KubeClient::Done<DeleteResult> done) {
          kube_.Delete(Key("", "v1", "Namespace", "", kNamespace), {},
                       std::move(done));
        });
    Say(ns.ok() && ns->pending, "delete of the namespace is pending",
        ns.status().ToString());
  }

  RealLoop& loop_;
  CurlTransport& transport_;
  HttpKubeClient kube_;
  const int objects_;
  std::map<int, ObjectHead> known_;
  int failures_ = 0;
  bool waiting_ = false;
};

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: cluster_check KUBECONFIG [OBJECTS]\n";
    return 2;
  }
  int objects = 300;
  if (argc > 2 && (!absl::SimpleAtoi(argv[2], &objects) || objects < 1)) {
    std::cerr << "OBJECTS must be a number from 1\n";
    return 2;
  }
  const auto text = ReadFile(argv[1]);
  if (!text.ok()) {
    std::cerr << text.status() << "\n";
    return 2;
  }
  KubeconfigOptions options;
  options.file_name = argv[1];
  options.allow_files = true;
  auto identity = ParseKubeconfig(*text, options, ReadFile);
  if (!identity.ok()) {
    std::cerr << identity.status() << "\n";
    return 2;
  }
  std::cout << DebugString(*identity) << std::endl;
  RealLoop loop;
  auto transport = CurlTransport::Create(*std::move(identity), {}, loop);
  if (!transport.ok()) {
    std::cerr << transport.status() << "\n";
    return 2;
  }
  const bool ok = Checks(loop, **transport, objects).Run();
  std::cout << (*transport)->DebugString() << std::endl;
  return ok ? 0 : 1;
}

}  // namespace
}  // namespace flotilla

int main(int argc, char** argv) { return flotilla::Main(argc, argv); }
