// SPDX-License-Identifier: Apache-2.0

#include "common/kube/http_kube_client.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

#include "flotilla/core/v1/core.pb.h"

#include "common/event/loop.h"
#include "common/kube/discovery_documents.h"
#include "common/kube/http_transport.h"
#include "common/kube/json_scan.h"
#include "common/kube/kube_client.h"
#include "common/kube/kube_error.h"
#include "common/kube/object.h"
#include "common/status/status_macros.h"

namespace flotilla {
namespace {

using nlohmann::json;

constexpr absl::string_view kJson = "application/json";
constexpr absl::string_view kMetadata =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,"
    "application/json";
constexpr absl::string_view kMetadataList =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,"
    "application/json";
constexpr absl::string_view kDiscovery =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;"
    "as=APIGroupDiscoveryList,application/json";
// A document of discovery, and the number of the old ones asked for at once.
constexpr size_t kMaxDiscoveryBytes = size_t{32} << 20;
constexpr size_t kMaxGroupVersions = 2000;
// Around the object of a watch event.
constexpr size_t kEnvelopeBytes = 1024;

// Percent-encodes all but unreserved characters.
std::string Encode(absl::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) || c == '-' || c == '.' || c == '_' ||
        c == '~') {
      encoded.push_back(c);
    } else {
      encoded.push_back('%');
      encoded.push_back(kHex[byte >> 4]);
      encoded.push_back(kHex[byte & 0xf]);
    }
  }
  return encoded;
}

void AddParameter(absl::string_view name, absl::string_view value,
                  std::string* target) {
  absl::StrAppend(target, target->find('?') == std::string::npos ? "?" : "&",
                  name, "=", Encode(value));
}

// "." and ".." would change the path, "/" too.
bool IsPathSegment(absl::string_view text) {
  return !text.empty() && text != "." && text != ".." &&
         text.find_first_of("/%") == absl::string_view::npos;
}

std::string KindText(absl::string_view group, absl::string_view version,
                     absl::string_view kind) {
  if (group.empty() && version.empty()) return std::string(kind);
  if (version.empty()) return absl::StrCat(kind, " of ", group);
  return absl::StrCat(kind, " of ", JoinApiVersion(group, version));
}

absl::Status UnknownKind(absl::string_view group, absl::string_view version,
                         absl::string_view kind) {
  KubeError error;
  error.http_code = 404;
  error.reason = "NotFound";
  error.missing = KubeError::Missing::kKind;
  error.message = absl::StrCat("the cluster does not know the kind ",
                               KindText(group, version, kind),
                               "; a CustomResourceDefinition may be missing");
  return ToStatus(error);
}

absl::StatusOr<KubeObject> ObjectOf(std::string text) {
  KubeObject object;
  if (!ScanHead(text, &object.head)) {
    return absl::InternalError("the API server's answer is no object");
  }
  object.json = std::move(text);
  return object;
}

// Whether the path is that of the Namespace object itself, so that "namespaces
// not found" speaks of it.
bool IsAboutNamespace(absl::string_view target) {
  static constexpr absl::string_view kPrefix = "/api/v1/namespaces/";
  if (!absl::StartsWith(target, kPrefix)) return false;
  target = target.substr(0, target.find('?'));
  return target.find('/', kPrefix.size()) == absl::string_view::npos;
}

absl::Status ErrorOf(int code, const std::string& retry_after,
                     const std::string& body, absl::string_view target) {
  KubeError error = ParseKubeError(code, retry_after, body);
  if (error.missing == KubeError::Missing::kNamespace &&
      IsAboutNamespace(target)) {
    error.missing = KubeError::Missing::kObject;
  }
  return ToStatus(error);
}

}  // namespace

// Asks /api and /apis, and on an older server each group version.
//
// Loop-affine.
class HttpKubeClient::DiscoveryRun {
 public:
  explicit DiscoveryRun(HttpKubeClient* client) : client_(client) {
    Ask("/api", &client->core_part_);
    Ask("/apis", &client->groups_part_);
  }

 private:
  void Ask(const std::string& target, Part* part) {
    ++pending_;
    HttpRequest request;
    request.target = target;
    request.accept = std::string(kDiscovery);
    request.if_none_match = part->etag;
    request.max_answer_bytes = kMaxDiscoveryBytes;
    request.timeout = client_->options_.request_timeout;
    client_->Send(std::move(request),
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
      request.accept = std::string(kJson);
      request.max_answer_bytes = kMaxDiscoveryBytes;
      request.timeout = client_->options_.request_timeout;
      client_->Send(std::move(request), [this, part, old, i,
                                         version = versions[i]](
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
          std::move(kinds.begin(), kinds.end(), std::back_inserter(all.kinds));
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
    client_->parts_changed_ = true;
  }

  void Finish(absl::Status status) {
    status_.Update(status);
    if (--pending_ == 0) {
      // Destroys this.
      client_->FinishDiscovery(std::move(status_));
    }
  }

  HttpKubeClient* const client_;
  int pending_ = 0;
  absl::Status status_;
};

// All pages of a list, one after another. Keeps itself alive through its own
// callbacks; Stop() ends it.
//
// Loop-affine.
class HttpKubeClient::ListRun
    : public std::enable_shared_from_this<HttpKubeClient::ListRun> {
 public:
  using OnPage = absl::AnyInvocable<void(std::vector<KubeObject>)>;
  using OnEnd = absl::AnyInvocable<void(absl::StatusOr<std::string>)>;

  // `target` has the selectors in it. `on_end` gets the resource version.
  ListRun(HttpKubeClient* client, std::string target, bool metadata_only,
          OnPage on_page, OnEnd on_end)
      : client_(client),
        target_(std::move(target)),
        metadata_only_(metadata_only),
        on_page_(std::move(on_page)),
        on_end_(std::move(on_end)) {}

  void Start() { AskPage(""); }
  void Stop() { stopped_ = true; }

 private:
  void AskPage(const std::string& next) {
    HttpRequest request;
    request.target = target_;
    AddParameter("limit", absl::StrCat(client_->options_.page_size),
                 &request.target);
    if (!next.empty()) AddParameter("continue", next, &request.target);
    request.accept = std::string(metadata_only_ ? kMetadataList : kJson);
    request.max_answer_bytes = client_->options_.max_list_bytes - bytes_;
    request.timeout = client_->options_.list_timeout;
    request.compress = true;
    client_->Send(std::move(request), [self = shared_from_this()](
                                          absl::StatusOr<HttpAnswer> answer) {
      if (!self->stopped_) self->TakePage(std::move(answer));
    });
  }

  void TakePage(absl::StatusOr<HttpAnswer> answer) {
    if (!answer.ok()) {
      on_end_(answer.status());
      return;
    }
    bytes_ += answer->body.size();
    std::vector<KubeObject> items;
    std::string next;
    bool items_ok = true;
    const bool list_ok = ForEachMember(
        answer->body, [&](absl::string_view name, absl::string_view value) {
          if (name == "metadata") {
            ForEachMember(value,
                          [&](absl::string_view field, absl::string_view raw) {
                            if (field == "resourceVersion")
                              version_ = ScanText(raw);
                            if (field == "continue") next = ScanText(raw);
                            return true;
                          });
          } else if (name == "items" && value != "null") {
            items_ok = ForEachItem(value, [&](absl::string_view item) {
              KubeObject object;
              if (ScanHead(item, &object.head)) {
                object.json = std::string(item);
                items.push_back(std::move(object));
              }
              return true;
            });
          }
          return true;
        });
    if (!list_ok || !items_ok) {
      on_end_(absl::InternalError("the API server's answer is no list"));
      return;
    }
    on_page_(std::move(items));
    if (stopped_) return;
    if (next.empty()) {
      on_end_(version_);
    } else if (bytes_ >= client_->options_.max_list_bytes) {
      on_end_(absl::ResourceExhaustedError(
          absl::StrCat("the list is larger than ",
                       client_->options_.max_list_bytes, " bytes")));
    } else {
      AskPage(next);
    }
  }

  HttpKubeClient* const client_;
  const std::string target_;
  const bool metadata_only_;
  OnPage on_page_;
  OnEnd on_end_;
  size_t bytes_ = 0;
  std::string version_;
  bool stopped_ = false;
};

// One watch: WatchList, or a list and a watch, or a resumed watch.
//
// Loop-affine.
class HttpKubeClient::RunningWatch : public KubeWatch,
                                     public HttpStreamListener {
 public:
  RunningWatch(HttpKubeClient* client, WatchRequest request,
               WatchListener* listener)
      : client_(client),
        request_(std::move(request)),
        listener_(listener),
        mode_(request_.resource_version.empty() ? Mode::kWatchList
                                                : Mode::kResume),
        number_(++client->watches_made_),
        alive_(std::make_shared<bool>(true)) {
    client_->Later([this, alive = std::weak_ptr<bool>(alive_)] {
      if (alive.lock() == nullptr) return;
      client_->WhenDiscovered([this, alive](absl::Status status) {
        if (alive.lock() == nullptr) return;
        if (status.ok()) {
          Begin();
        } else {
          Close(std::move(status));
        }
      });
    });
  }

  ~RunningWatch() override {
    if (list_ != nullptr) list_->Stop();
  }

  const std::string& resource_version() const override { return version_; }

  // HttpStreamListener
  void OnHead(HttpAnswer head) override {
    head_ = std::move(head);
    if (head_.code == 200 && mode_ == Mode::kResume) {
      version_ = request_.resource_version;
      listener_->OnSync(WatchListener::Sync::kResumed);
    }
  }

  void OnBytes(std::string bytes) override {
    if (head_.code != 200) {
      head_.body += bytes;
      return;
    }
    TakeBytes(std::move(bytes));
  }

  void OnEnd(absl::Status status) override {
    if (head_.code != 0 && head_.code != 200) {
      if (mode_ == Mode::kWatchList &&
          (head_.code == 400 || head_.code == 422)) {
        // An older server does not know WatchList. If something else is
        // wrong, the list will say so.
        head_ = HttpAnswer();
        ListThenWatch();
        return;
      }
      Close(ErrorOf(head_.code, head_.retry_after, head_.body, target_));
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

 private:
  enum class Mode { kWatchList, kListThenWatch, kResume };

  bool synced() const { return !version_.empty(); }

  void Begin() {
    absl::StatusOr<std::string> path = client_->PathOf(
        request_.kind.group, request_.kind.version, request_.kind.kind,
        request_.ns, "", /*collection=*/true);
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

  void OpenStream(const std::string& from) {
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
        1, absl::ToInt64Seconds(client_->options_.watch_duration));
    const int64_t seconds = least + static_cast<int64_t>(number_ * 37) % least;
    AddParameter("timeoutSeconds", absl::StrCat(seconds), &http.target);
    http.accept = std::string(request_.metadata_only ? kMetadata : kJson);
    http.timeout = absl::Seconds(seconds) + absl::Minutes(1);
    http.max_answer_bytes = client_->options_.max_watch_backlog_bytes;
    stream_ = client_->transport_.Open(std::move(http), *this);
  }

  void ListThenWatch() {
    mode_ = Mode::kListThenWatch;
    stream_.reset();
    list_ = std::make_shared<ListRun>(
        client_, target_, request_.metadata_only,
        [this](std::vector<KubeObject> items) {
          const std::weak_ptr<bool> alive = alive_;
          for (KubeObject& item : items) {
            listener_->OnEvent({WatchEvent::Type::kAdded, std::move(item)});
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
          listener_->OnSync(WatchListener::Sync::kCompleteSet);
        });
    list_->Start();
  }

  void TakeBytes(std::string bytes) {
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

  bool IsTooLong(size_t bytes) {
    if (bytes <= client_->options_.max_object_bytes + kEnvelopeBytes) {
      return false;
    }
    Close(absl::ResourceExhaustedError(
        absl::StrCat("an event of a watch is larger than ",
                     client_->options_.max_object_bytes, " bytes")));
    return true;
  }

  void TakeLine(absl::string_view line) {
    std::string type;
    absl::string_view object;
    const bool ok = ForEachMember(
        line, [&](absl::string_view name, absl::string_view value) {
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
      const absl::StatusOr<json> status = ParseKubeJson(object);
      const int64_t code =
          status.ok() ? IntegerOr(Member(*status, "code"), 0) : 0;
      Close(ErrorOf(code >= 400 && code < 600 ? static_cast<int>(code) : 500,
                    "", std::string(object), target_));
      return;
    }
    const std::string& version = event.object.head.resource_version;
    if (type == "BOOKMARK") {
      if (synced()) {
        if (!version.empty()) version_ = version;
        return;
      }
      if (absl::StrContains(object, "k8s.io/initial-events-end") &&
          !version.empty()) {
        version_ = version;
        listener_->OnSync(WatchListener::Sync::kCompleteSet);
      }
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
    listener_->OnEvent(std::move(event));
  }

  void Close(absl::Status status) {
    if (closed_) return;
    closed_ = true;
    stream_.reset();
    listener_->OnClosed(std::move(status));
  }

  HttpKubeClient* const client_;
  const WatchRequest request_;
  WatchListener* const listener_;
  Mode mode_;
  const uint64_t number_;
  std::string target_;
  std::string version_;
  HttpAnswer head_;
  std::string line_;
  bool closed_ = false;
  std::unique_ptr<HttpStream> stream_;
  std::shared_ptr<ListRun> list_;
  // Tells that this was destroyed inside a callback.
  const std::shared_ptr<bool> alive_;
};

HttpKubeClient::HttpKubeClient(HttpTransport& transport, Loop& loop,
                               HttpKubeClientOptions options)
    : transport_(transport),
      loop_(loop),
      options_(options),
      alive_(std::make_shared<bool>(true)) {}

HttpKubeClient::~HttpKubeClient() = default;

void HttpKubeClient::Later(Task task) {
  loop_.Post(
      [alive = std::weak_ptr<bool>(alive_), task = std::move(task)]() mutable {
        if (alive.lock() != nullptr) task();
      });
}

template <typename T>
void HttpKubeClient::Fail(Done<T> done, absl::Status status) {
  Later([done = std::move(done), status = std::move(status)]() mutable {
    done(std::move(status));
  });
}

void HttpKubeClient::Send(HttpRequest request, AnswerDone done,
                          bool may_retry) {
  may_retry = may_retry && request.method == "GET";
  HttpRequest again;
  if (may_retry) again = request;
  std::string target = request.target;
  transport_.Send(
      std::move(request),
      [this, alive = std::weak_ptr<bool>(alive_), done = std::move(done),
       target = std::move(target), again = std::move(again),
       may_retry](absl::StatusOr<HttpAnswer> answer) mutable {
        if (alive.lock() == nullptr) return;
        if (!answer.ok()) {
          if (may_retry && absl::IsUnknown(answer.status())) {
            Send(std::move(again), std::move(done), /*may_retry=*/false);
            return;
          }
          done(answer.status());
          return;
        }
        if ((answer->code >= 200 && answer->code < 300) ||
            answer->code == 304) {
          done(std::move(answer));
          return;
        }
        done(ErrorOf(answer->code, answer->retry_after, answer->body, target));
      });
}

void HttpKubeClient::WhenDiscovered(
    absl::AnyInvocable<void(absl::Status)> then) {
  if (discovery_ != nullptr) {
    then(absl::OkStatus());
    return;
  }
  Done<std::shared_ptr<const Discovery>> done =
      [then = std::move(then)](
          absl::StatusOr<std::shared_ptr<const Discovery>> result) mutable {
        then(result.status());
      };
  if (discovering_ != nullptr) {
    // Any answer will do.
    discover_done_.push_back(std::move(done));
  } else {
    Discover(std::move(done));
  }
}

void HttpKubeClient::Discover(Done<std::shared_ptr<const Discovery>> done) {
  // An answer that is under way may be older than what the caller knows.
  discover_next_.push_back(std::move(done));
  if (discovering_ == nullptr) StartDiscovery();
}

void HttpKubeClient::StartDiscovery() {
  discover_done_.swap(discover_next_);
  discovering_ = std::make_unique<DiscoveryRun>(this);
}

void HttpKubeClient::FinishDiscovery(absl::Status status) {
  const std::unique_ptr<DiscoveryRun> run = std::move(discovering_);
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
  std::vector<Done<std::shared_ptr<const Discovery>>> done;
  done.swap(discover_done_);
  if (!discover_next_.empty()) StartDiscovery();
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

absl::StatusOr<std::string> HttpKubeClient::PathOf(
    absl::string_view group, absl::string_view version, absl::string_view kind,
    absl::string_view ns, absl::string_view name, bool collection) const {
  const ServedKind* const served = discovery_->Find(group, version, kind);
  if (served == nullptr) {
    if (discovery_->IsStale(group)) {
      return absl::UnavailableError(
          absl::StrCat("the server behind the API group ", group,
                       " does not answer, so the kind ",
                       KindText(group, version, kind), " is not known now"));
    }
    return UnknownKind(group, version, kind);
  }
  std::string path = group.empty() ? absl::StrCat("/api/", served->version)
                                   : absl::StrCat("/apis/", served->group, "/",
                                                  served->version);
  if (served->namespaced) {
    if (ns.empty() && !collection) {
      return absl::InvalidArgumentError(
          absl::StrCat(kind, " \"", name, "\" needs a namespace"));
    }
    if (!ns.empty()) {
      if (!IsPathSegment(ns)) {
        return absl::InvalidArgumentError("the namespace is no valid name");
      }
      absl::StrAppend(&path, "/namespaces/", Encode(ns));
    }
  } else if (!ns.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(kind, " \"", name,
                     "\" is cluster-scoped and must not "
                     "name a namespace"));
  }
  absl::StrAppend(&path, "/", served->plural);
  if (!collection) {
    if (!IsPathSegment(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the name of the ", kind, " is no valid name"));
    }
    // Names of RBAC objects hold colons: encoded.
    absl::StrAppend(&path, "/", Encode(name));
  }
  return path;
}

void HttpKubeClient::Get(const core::v1::ResourceKey& key, GetOptions options,
                         Done<KubeObject> done) {
  WhenDiscovered([this, key, options = std::move(options),
                  done = std::move(done)](absl::Status status) mutable {
    absl::StatusOr<std::string> path =
        status.ok() ? PathOf(key.group(), key.version(), key.kind(),
                             key.namespace_(), key.name(), false)
                    : absl::StatusOr<std::string>(status);
    if (!path.ok()) return Fail(std::move(done), path.status());
    HttpRequest request;
    request.target = *std::move(path);
    request.accept = std::string(options.metadata_only ? kMetadata : kJson);
    request.impersonate = std::move(options.impersonate);
    request.timeout = options_.request_timeout;
    request.max_answer_bytes = options_.max_object_bytes;
    Send(std::move(request),
         [done = std::move(done)](absl::StatusOr<HttpAnswer> answer) mutable {
           if (!answer.ok()) return done(answer.status());
           done(ObjectOf(std::move(answer->body)));
         });
  });
}

void HttpKubeClient::List(ListRequest request, Done<ListResult> done) {
  WhenDiscovered([this, request = std::move(request),
                  done = std::move(done)](absl::Status status) mutable {
    absl::StatusOr<std::string> path =
        status.ok() ? PathOf(request.kind.group, request.kind.version,
                             request.kind.kind, request.ns, "", true)
                    : absl::StatusOr<std::string>(status);
    if (!path.ok()) return Fail(std::move(done), path.status());
    if (!request.label_selector.empty()) {
      AddParameter("labelSelector", request.label_selector, &*path);
    }
    auto result = std::make_shared<ListResult>();
    std::make_shared<ListRun>(
        this, *std::move(path), request.metadata_only,
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
  WhenDiscovered([this, key, body = std::move(body),
                  options = std::move(options),
                  done = std::move(done)](absl::Status status) mutable {
    absl::StatusOr<std::string> path =
        status.ok() ? PathOf(key.group(), key.version(), key.kind(),
                             key.namespace_(), key.name(), false)
                    : absl::StatusOr<std::string>(status);
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
    request.accept = std::string(options.full_answer ? kJson : kMetadata);
    request.content_type = options.merge_patch
                               ? "application/merge-patch+json"
                               : "application/apply-patch+yaml";
    request.impersonate = std::move(options.impersonate);
    request.body = std::move(body);
    request.timeout = options_.request_timeout;
    request.max_answer_bytes = options_.max_object_bytes;
    Send(std::move(request),
         [known = std::move(options.known_resource_version),
          done = std::move(done)](absl::StatusOr<HttpAnswer> answer) mutable {
           if (!answer.ok()) return done(answer.status());
           absl::StatusOr<KubeObject> object =
               ObjectOf(std::move(answer->body));
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
  WhenDiscovered([this, key, options = std::move(options),
                  done = std::move(done)](absl::Status status) mutable {
    absl::StatusOr<std::string> path =
        status.ok() ? PathOf(key.group(), key.version(), key.kind(),
                             key.namespace_(), key.name(), false)
                    : absl::StatusOr<std::string>(status);
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
    request.accept = std::string(kJson);
    request.content_type = std::string(kJson);
    request.body = CanonicalJson(body);
    request.impersonate = std::move(options.impersonate);
    request.timeout = options_.request_timeout;
    request.max_answer_bytes = options_.max_object_bytes;
    Send(std::move(request),
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
  return std::make_unique<RunningWatch>(this, std::move(request), &listener);
}

void HttpKubeClient::GetServerVersion(Done<ServerVersion> done) {
  HttpRequest request;
  request.target = "/version";
  request.accept = std::string(kJson);
  request.timeout = options_.request_timeout;
  Send(std::move(request),
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
