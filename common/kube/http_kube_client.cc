// SPDX-License-Identifier: Apache-2.0

#include "common/kube/http_kube_client.h"

#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "common/kube/http_kube_watch.h"
#include "common/kube/json_scan.h"
#include "common/kube/kube_url.h"
#include "common/kube/object.h"
#include "common/kube/paged_list.h"

namespace flotilla {
namespace {

using nlohmann::json;

absl::StatusOr<KubeObject> ObjectOf(std::string text) {
  KubeObject object;
  if (!ScanHead(text, &object.head)) {
    return absl::InternalError("the API server's answer is no object");
  }
  object.json = std::move(text);
  return object;
}

}  // namespace

HttpKubeClient::HttpKubeClient(HttpTransport& transport, Loop& loop,
                               HttpKubeClientOptions options)
    : calls_(transport, loop, options), discovery_(calls_) {}

template <typename T>
void HttpKubeClient::Fail(Done<T> done, absl::Status status) {
  calls_.Later([done = std::move(done), status = std::move(status)]() mutable {
    done(std::move(status));
  });
}

absl::StatusOr<std::string> HttpKubeClient::PathOf(
    const absl::Status& discovered, const core::v1::ResourceKey& key) const {
  if (!discovered.ok()) return discovered;
  KubePlace place;
  place.group = key.group();
  place.version = key.version();
  place.kind = key.kind();
  place.ns = key.namespace_();
  place.name = key.name();
  return KubePath(discovery_.discovery(), place);
}

void HttpKubeClient::Discover(Done<std::shared_ptr<const Discovery>> done) {
  discovery_.Discover(std::move(done));
}

void HttpKubeClient::Get(const core::v1::ResourceKey& key, GetOptions options,
                         Done<KubeObject> done) {
  discovery_.WhenDiscovered([this, key, options = std::move(options),
                             done =
                                 std::move(done)](absl::Status status) mutable {
    absl::StatusOr<std::string> path = PathOf(status, key);
    if (!path.ok()) return Fail(std::move(done), path.status());
    HttpRequest request;
    request.target = *std::move(path);
    request.accept =
        std::string(options.metadata_only ? kMetadataMedia : kJsonMedia);
    request.impersonate = std::move(options.impersonate);
    request.timeout = calls_.options().request_timeout;
    request.max_answer_bytes = calls_.options().max_object_bytes;
    calls_.Send(
        std::move(request),
        [done = std::move(done)](absl::StatusOr<HttpAnswer> answer) mutable {
          if (!answer.ok()) return done(answer.status());
          done(ObjectOf(std::move(answer->body)));
        });
  });
}

void HttpKubeClient::List(ListRequest request, Done<ListResult> done) {
  discovery_.WhenDiscovered([this, request = std::move(request),
                             done =
                                 std::move(done)](absl::Status status) mutable {
    KubePlace place;
    place.group = request.kind.group;
    place.version = request.kind.version;
    place.kind = request.kind.kind;
    place.ns = request.ns;
    place.collection = true;
    absl::StatusOr<std::string> path =
        status.ok() ? KubePath(discovery_.discovery(), place)
                    : absl::StatusOr<std::string>(status);
    if (!path.ok()) return Fail(std::move(done), path.status());
    if (!request.label_selector.empty()) {
      AddParameter("labelSelector", request.label_selector, &*path);
    }
    auto result = std::make_shared<ListResult>();
    std::make_shared<PagedList>(
        calls_, *std::move(path), request.metadata_only,
        [result](std::vector<KubeObject> items) {
          std::move(items.begin(), items.end(),
                    std::back_inserter(result->items));
        },
        [result,
         done = std::move(done)](absl::StatusOr<std::string> version) mutable {
          if (!version.ok()) return done(version.status());
          result->resource_version = *std::move(version);
          done(std::move(*result));
        })
        ->Start();
  });
}

void HttpKubeClient::Apply(const core::v1::ResourceKey& key, std::string body,
                           ApplyOptions options, Done<ApplyResult> done) {
  discovery_.WhenDiscovered([this, key, body = std::move(body),
                             options = std::move(options),
                             done =
                                 std::move(done)](absl::Status status) mutable {
    absl::StatusOr<std::string> path = PathOf(status, key);
    if (!path.ok()) return Fail(std::move(done), path.status());
    HttpRequest request;
    request.method = "PATCH";
    request.target = *std::move(path);
    if (!options.subresource.empty()) {
      absl::StrAppend(&request.target, "/", options.subresource);
    }
    AddParameter("fieldManager", options.field_manager, &request.target);
    if (options.force && !options.merge_patch) {
      AddParameter("force", "true", &request.target);
    }
    if (options.dry_run) AddParameter("dryRun", "All", &request.target);
    request.accept =
        std::string(options.full_answer ? kJsonMedia : kMetadataMedia);
    request.content_type = options.merge_patch ? "application/merge-patch+json"
                                               : "application/apply-patch+yaml";
    request.impersonate = std::move(options.impersonate);
    request.body = std::move(body);
    request.timeout = calls_.options().request_timeout;
    request.max_answer_bytes = calls_.options().max_object_bytes;
    calls_.Send(
        std::move(request),
        [known = std::move(options.known_resource_version),
         done = std::move(done)](absl::StatusOr<HttpAnswer> answer) mutable {
          if (!answer.ok()) return done(answer.status());
          absl::StatusOr<KubeObject> object = ObjectOf(std::move(answer->body));
          if (!object.ok()) return done(object.status());
          ApplyResult result;
          result.object = *std::move(object);
          if (answer->code == 201) {
            result.outcome = ApplyResult::Outcome::kCreated;
          } else if (!known.empty() &&
                     result.object.head.resource_version == known) {
            result.outcome = ApplyResult::Outcome::kUnchanged;
          }
          done(std::move(result));
        });
  });
}

void HttpKubeClient::Delete(const core::v1::ResourceKey& key,
                            DeleteOptions options, Done<DeleteResult> done) {
  discovery_.WhenDiscovered([this, key, options = std::move(options),
                             done =
                                 std::move(done)](absl::Status status) mutable {
    absl::StatusOr<std::string> path = PathOf(status, key);
    if (!path.ok()) return Fail(std::move(done), path.status());
    json body = {{"kind", "DeleteOptions"}, {"apiVersion", "v1"}};
    switch (options.propagation) {
      case DeleteOptions::Propagation::kBackground:
        body["propagationPolicy"] = "Background";
        break;
      case DeleteOptions::Propagation::kForeground:
        body["propagationPolicy"] = "Foreground";
        break;
      case DeleteOptions::Propagation::kOrphan:
        body["propagationPolicy"] = "Orphan";
        break;
    }
    if (!options.uid.empty()) body["preconditions"]["uid"] = options.uid;
    if (!options.resource_version.empty()) {
      body["preconditions"]["resourceVersion"] = options.resource_version;
    }
    if (options.dry_run) body["dryRun"] = json::array({"All"});
    HttpRequest request;
    request.method = "DELETE";
    request.target = *std::move(path);
    // Never as metadata: the answer may be a Status, and then the server says
    // 406 after it has deleted.
    request.accept = std::string(kJsonMedia);
    request.content_type = std::string(kJsonMedia);
    request.body = CanonicalJson(body);
    request.impersonate = std::move(options.impersonate);
    request.timeout = calls_.options().request_timeout;
    request.max_answer_bytes = calls_.options().max_object_bytes;
    calls_.Send(
        std::move(request),
        [done = std::move(done)](absl::StatusOr<HttpAnswer> answer) mutable {
          if (!answer.ok()) return done(answer.status());
          // A Status means gone; the object itself means gone or, with a
          // deletionTimestamp, on its way.
          ObjectHead head;
          ScanHead(answer->body, &head);
          DeleteResult result;
          result.pending = head.deleting;
          done(result);
        });
  });
}

std::unique_ptr<KubeWatch> HttpKubeClient::Watch(WatchRequest request,
                                                 WatchListener& listener) {
  return std::make_unique<HttpKubeWatch>(calls_, discovery_, std::move(request),
                                         listener, ++watches_made_);
}

void HttpKubeClient::GetServerVersion(Done<ServerVersion> done) {
  HttpRequest request;
  request.target = "/version";
  request.accept = std::string(kJsonMedia);
  request.timeout = calls_.options().request_timeout;
  calls_.Send(
      std::move(request),
      [done = std::move(done)](absl::StatusOr<HttpAnswer> answer) mutable {
        if (!answer.ok()) return done(answer.status());
        const absl::StatusOr<json> document = ParseKubeJson(answer->body);
        ServerVersion version;
        if (document.ok()) {
          version.git_version = TextOr(Member(*document, "gitVersion"));
          version.major = TextOr(Member(*document, "major"));
          version.minor = TextOr(Member(*document, "minor"));
        }
        if (version.git_version.empty()) {
          return done(absl::InternalError(
              "/version of the API server names no version"));
        }
        done(std::move(version));
      });
}

}  // namespace flotilla
