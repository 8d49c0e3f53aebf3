// SPDX-License-Identifier: Apache-2.0

#include "common/kube/http_kube_watch.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

#include "common/kube/json_scan.h"
#include "common/kube/kube_url.h"
#include "common/kube/object.h"

namespace flotilla {
namespace {

using nlohmann::json;

// Around the object of a watch event.
constexpr size_t kEnvelopeBytes = 1024;

}  // namespace

HttpKubeWatch::HttpKubeWatch(KubeCalls& calls, DiscoveryCache& discovery,
                             WatchRequest request, WatchListener& listener,
                             uint64_t number)
    : calls_(calls),
      discovery_(discovery),
      listener_(listener),
      request_(std::move(request)),
      number_(number),
      mode_(request_.resource_version.empty() ? Mode::kWatchList
                                              : Mode::kResume),
      alive_(std::make_shared<bool>(true)) {
  calls_.Later([this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.lock() == nullptr) return;
    discovery_.WhenDiscovered([this, alive](absl::Status status) {
      if (alive.lock() == nullptr) return;
      if (status.ok()) {
        Begin();
      } else {
        Close(std::move(status));
      }
    });
  });
}

HttpKubeWatch::~HttpKubeWatch() {
  if (list_ != nullptr) list_->Stop();
}

void HttpKubeWatch::OnHead(HttpAnswer head) {
  head_ = std::move(head);
  if (head_.code == 200 && mode_ == Mode::kResume) {
    version_ = request_.resource_version;
    listener_.OnSync(WatchListener::Sync::kResumed);
  }
}

void HttpKubeWatch::OnBytes(std::string bytes) {
  if (head_.code != 200) {
    head_.body += bytes;
    return;
  }
  TakeBytes(std::move(bytes));
}

void HttpKubeWatch::OnEnd(absl::Status status) {
  if (head_.code != 0 && head_.code != 200) {
    if (mode_ == Mode::kWatchList && (head_.code == 400 || head_.code == 422)) {
      // An older server does not know WatchList. If something else is
      // wrong, the list will say so.
      head_ = HttpAnswer();
      ListThenWatch();
      return;
    }
    Close(KubeAnswerError(head_.code, head_.retry_after, head_.body, target_));
    return;
  }
  if (status.ok() && !line_.empty()) {
    status = absl::UnknownError("a watch ended within an event");
  }
  if (status.ok() && !synced()) {
    status = absl::UnavailableError(
        "a watch ended before the complete set was there");
  }
  Close(std::move(status));
}

void HttpKubeWatch::Begin() {
  KubePlace place;
  place.group = request_.kind.group;
  place.version = request_.kind.version;
  place.kind = request_.kind.kind;
  place.ns = request_.ns;
  place.collection = true;
  absl::StatusOr<std::string> path = KubePath(discovery_.discovery(), place);
  if (!path.ok()) {
    Close(path.status());
    return;
  }
  target_ = *std::move(path);
  if (!request_.label_selector.empty()) {
    AddParameter("labelSelector", request_.label_selector, &target_);
  }
  if (!request_.field_selector.empty()) {
    AddParameter("fieldSelector", request_.field_selector, &target_);
  }
  OpenStream(request_.resource_version);
}

void HttpKubeWatch::OpenStream(const std::string& from) {
  HttpRequest http;
  http.target = target_;
  AddParameter("watch", "1", &http.target);
  AddParameter("allowWatchBookmarks", "true", &http.target);
  if (mode_ == Mode::kWatchList) {
    AddParameter("sendInitialEvents", "true", &http.target);
    AddParameter("resourceVersionMatch", "NotOlderThan", &http.target);
  } else {
    AddParameter("resourceVersion", from, &http.target);
  }
  // Spread, so that not all of them end at once.
  const int64_t least = std::max<int64_t>(
      1, absl::ToInt64Seconds(calls_.options().watch_duration));
  const int64_t seconds = least + static_cast<int64_t>(number_ * 37) % least;
  AddParameter("timeoutSeconds", absl::StrCat(seconds), &http.target);
  http.accept =
      std::string(request_.metadata_only ? kMetadataMedia : kJsonMedia);
  http.timeout = absl::Seconds(seconds) + absl::Minutes(1);
  http.max_answer_bytes = calls_.options().max_watch_backlog_bytes;
  stream_ = calls_.Open(std::move(http), *this);
}

void HttpKubeWatch::ListThenWatch() {
  mode_ = Mode::kListThenWatch;
  stream_.reset();
  list_ = std::make_shared<PagedList>(
      calls_, target_, request_.metadata_only,
      [this](std::vector<KubeObject> items) {
        const std::weak_ptr<bool> alive = alive_;
        for (KubeObject& item : items) {
          listener_.OnEvent({WatchEvent::Type::kAdded, std::move(item)});
          if (alive.lock() == nullptr) return;
        }
      },
      [this](absl::StatusOr<std::string> version) {
        list_.reset();
        if (!version.ok()) {
          Close(version.status());
          return;
        }
        version_ = *std::move(version);
        OpenStream(version_);
        listener_.OnSync(WatchListener::Sync::kCompleteSet);
      });
  list_->Start();
}

void HttpKubeWatch::TakeBytes(std::string bytes) {
  absl::string_view rest = bytes;
  const std::weak_ptr<bool> alive = alive_;
  while (true) {
    const size_t end = rest.find('\n');
    if (end == absl::string_view::npos) break;
    absl::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    std::string joined;
    if (!line_.empty()) {
      joined = absl::StrCat(line_, line);
      line_.clear();
      line = joined;
    }
    if (IsTooLong(line.size())) return;
    if (!line.empty()) TakeLine(line);
    if (alive.lock() == nullptr || closed_) return;
  }
  if (IsTooLong(line_.size() + rest.size())) return;
  absl::StrAppend(&line_, rest);
}

bool HttpKubeWatch::IsTooLong(size_t bytes) {
  if (bytes <= calls_.options().max_object_bytes + kEnvelopeBytes) {
    return false;
  }
  Close(absl::ResourceExhaustedError(
      absl::StrCat("an event of a watch is larger than ",
                   calls_.options().max_object_bytes, " bytes")));
  return true;
}

void HttpKubeWatch::TakeLine(absl::string_view line) {
  std::string type;
  absl::string_view object;
  const bool ok =
      ForEachMember(line, [&](absl::string_view name, absl::string_view value) {
        if (name == "type") type = ScanText(value);
        if (name == "object") object = value;
        return true;
      });
  WatchEvent event;
  if (!ok || object.empty() || !ScanHead(object, &event.object.head)) {
    Close(absl::InternalError("a watch sent something that is no event"));
    return;
  }
  if (type == "ERROR") {
    TakeError(object);
    return;
  }
  const std::string& version = event.object.head.resource_version;
  if (type == "BOOKMARK") {
    TakeBookmark(object, version);
    return;
  }
  if (type == "ADDED") {
    event.type = WatchEvent::Type::kAdded;
  } else if (type == "MODIFIED") {
    event.type = WatchEvent::Type::kModified;
  } else if (type == "DELETED") {
    event.type = WatchEvent::Type::kDeleted;
  } else {
    return;
  }
  if (synced() && !version.empty()) version_ = version;
  event.object.json = std::string(object);
  listener_.OnEvent(std::move(event));
}

void HttpKubeWatch::TakeError(absl::string_view object) {
  const absl::StatusOr<json> status = ParseKubeJson(object);
  const int64_t code = status.ok() ? IntegerOr(Member(*status, "code"), 0) : 0;
  Close(
      KubeAnswerError(code >= 400 && code < 600 ? static_cast<int>(code) : 500,
                      "", std::string(object), target_));
}

void HttpKubeWatch::TakeBookmark(absl::string_view object,
                                 const std::string& version) {
  if (version.empty()) return;
  if (synced()) {
    version_ = version;
  } else if (absl::StrContains(object, "k8s.io/initial-events-end")) {
    version_ = version;
    listener_.OnSync(WatchListener::Sync::kCompleteSet);
  }
}

void HttpKubeWatch::Close(absl::Status status) {
  if (closed_) return;
  closed_ = true;
  stream_.reset();
  listener_.OnClosed(std::move(status));
}

}  // namespace flotilla
