// SPDX-License-Identifier: Apache-2.0

#include "common/kube/discovery_cache.h"

#include <cstddef>
#include <iterator>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

#include "common/kube/discovery_documents.h"
#include "common/kube/http_transport.h"
#include "common/kube/kube_url.h"
#include "common/kube/object.h"

namespace flotilla {
namespace {

using nlohmann::json;

constexpr absl::string_view kDiscovery =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;"
    "as=APIGroupDiscoveryList,application/json";
// A document of discovery, and the number of the old ones asked for at once.
constexpr size_t kMaxDiscoveryBytes = size_t{32} << 20;
constexpr size_t kMaxGroupVersions = 2000;

}  // namespace

class DiscoveryCache::Run {
 public:
  explicit Run(DiscoveryCache* cache) : cache_(cache) {
    Ask("/api", &cache->core_part_);
    Ask("/apis", &cache->groups_part_);
  }

 private:
  void Ask(const std::string& target, Part* part) {
    ++pending_;
    HttpRequest request;
    request.target = target;
    request.accept = std::string(kDiscovery);
    request.if_none_match = part->etag;
    request.max_answer_bytes = kMaxDiscoveryBytes;
    request.timeout = cache_->calls_.options().request_timeout;
    cache_->calls_.Send(
        std::move(request),
        [this, target, part](absl::StatusOr<HttpAnswer> answer) {
          OnDocument(target, part, std::move(answer));
        });
  }

  void OnDocument(const std::string& target, Part* part,
                  absl::StatusOr<HttpAnswer> answer) {
    if (!answer.ok()) {
      Finish(answer.status());
      return;
    }
    if (answer->code == 304) {
      Finish(absl::OkStatus());
      return;
    }
    const absl::StatusOr<json> document = ParseKubeJson(answer->body);
    if (!document.ok()) {
      Finish(absl::InternalError(
          absl::StrCat(target, " of the API server is no discovery document")));
      return;
    }
    if (IsAggregatedDiscovery(*document)) {
      DiscoveryDocument read = ReadAggregatedDiscovery(*document);
      Take(part, std::move(read), answer->etag);
      Finish(absl::OkStatus());
      return;
    }
    AskEachVersion(target, part, ReadGroupVersions(*document));
  }

  // The answers of one part, in the order of the group versions.
  struct OldPart {
    std::vector<std::vector<ServedKind>> kinds;
    std::vector<std::string> stale;
    size_t pending = 0;
  };

  void AskEachVersion(const std::string& target, Part* part,
                      std::vector<std::string> versions) {
    if (versions.size() > kMaxGroupVersions) {
      versions.resize(kMaxGroupVersions);
    }
    auto old = std::make_shared<OldPart>();
    old->kinds.resize(versions.size());
    old->pending = versions.size();
    if (versions.empty()) {
      Take(part, DiscoveryDocument(), "");
      Finish(absl::OkStatus());
      return;
    }
    for (size_t i = 0; i < versions.size(); ++i) {
      HttpRequest request;
      request.target = absl::StrCat(target, "/", versions[i]);
      request.accept = std::string(kJsonMedia);
      request.max_answer_bytes = kMaxDiscoveryBytes;
      request.timeout = cache_->calls_.options().request_timeout;
      cache_->calls_.Send(
          std::move(request), [this, part, old, i, version = versions[i]](
                                  absl::StatusOr<HttpAnswer> answer) {
            const absl::StatusOr<json> document =
                answer.ok() ? ParseKubeJson(answer->body)
                            : absl::StatusOr<json>(answer.status());
            if (document.ok()) {
              old->kinds[i] = ReadResourceList(version, *document);
            } else {
              old->stale.push_back(version);
            }
            if (--old->pending > 0) return;
            DiscoveryDocument all;
            for (std::vector<ServedKind>& kinds : old->kinds) {
              std::move(kinds.begin(), kinds.end(),
                        std::back_inserter(all.kinds));
            }
            all.stale_groups = std::move(old->stale);
            Take(part, std::move(all), "");
            Finish(absl::OkStatus());
          });
    }
  }

  void Take(Part* part, DiscoveryDocument document, std::string etag) {
    part->kinds = std::move(document.kinds);
    part->stale_groups = std::move(document.stale_groups);
    part->etag = std::move(etag);
    cache_->parts_changed_ = true;
  }

  void Finish(absl::Status status) {
    status_.Update(status);
    if (--pending_ == 0) {
      // Destroys this.
      cache_->Finish(std::move(status_));
    }
  }

  DiscoveryCache* const cache_;
  int pending_ = 0;
  absl::Status status_;
};

DiscoveryCache::DiscoveryCache(KubeCalls& calls)
    : calls_(calls), alive_(std::make_shared<bool>(true)) {}

DiscoveryCache::~DiscoveryCache() = default;

void DiscoveryCache::WhenDiscovered(
    absl::AnyInvocable<void(absl::Status)> then) {
  if (discovery_ != nullptr) {
    then(absl::OkStatus());
    return;
  }
  Done done =
      [then = std::move(then)](
          absl::StatusOr<std::shared_ptr<const Discovery>> result) mutable {
        then(result.status());
      };
  if (run_ != nullptr) {
    // Any answer will do.
    done_.push_back(std::move(done));
  } else {
    Discover(std::move(done));
  }
}

void DiscoveryCache::Discover(Done done) {
  next_.push_back(std::move(done));
  if (run_ == nullptr) Start();
}

void DiscoveryCache::Start() {
  done_.swap(next_);
  run_ = std::make_unique<Run>(this);
}

void DiscoveryCache::Finish(absl::Status status) {
  const std::unique_ptr<Run> run = std::move(run_);
  if (status.ok() && (parts_changed_ || discovery_ == nullptr)) {
    parts_changed_ = false;
    std::vector<ServedKind> kinds = core_part_.kinds;
    kinds.insert(kinds.end(), groups_part_.kinds.begin(),
                 groups_part_.kinds.end());
    std::vector<std::string> stale = core_part_.stale_groups;
    stale.insert(stale.end(), groups_part_.stale_groups.begin(),
                 groups_part_.stale_groups.end());
    discovery_ =
        std::make_shared<const Discovery>(std::move(kinds), std::move(stale));
  }
  std::vector<Done> done;
  done.swap(done_);
  if (!next_.empty()) Start();
  const std::weak_ptr<bool> alive = alive_;
  const std::shared_ptr<const Discovery> discovery = discovery_;
  for (auto& one : done) {
    if (status.ok()) {
      one(discovery);
    } else {
      one(status);
    }
    if (alive.lock() == nullptr) return;
  }
}

}  // namespace flotilla
