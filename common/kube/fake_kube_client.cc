// SPDX-License-Identifier: Apache-2.0

#include "common/kube/fake_kube_client.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

#include "flotilla/core/v1/core.pb.h"

#include "common/event/loop.h"
#include "common/kube/fake_selectors.h"
#include "common/kube/kube_client.h"
#include "common/kube/kube_error.h"
#include "common/kube/object.h"
#include "common/kube/plain_kinds.h"
#include "common/kube/server_side_apply.h"
#include "common/status/status_macros.h"

namespace flotilla {
namespace {

using nlohmann::json;

using Managers = std::vector<ManagedFieldsEntry>;

// --- Errors, as a server words them.

absl::Status Refuse(int code, absl::string_view reason, std::string message,
                    KubeError::Missing missing = KubeError::Missing::kNothing,
                    std::vector<KubeErrorCause> causes = {}) {
  KubeError error;
  error.http_code = code;
  error.reason = std::string(reason);
  error.message = std::move(message);
  error.missing = missing;
  error.causes = std::move(causes);
  return ToStatus(error);
}

std::string IdText(const ObjectIdentity& id) {
  const auto& [group, kind, ns, name] = id;
  return absl::StrCat(absl::AsciiStrToLower(kind), group.empty() ? "" : ".",
                      group, " \"", name, "\"");
}

absl::Status Absent(const ObjectIdentity& id) {
  return Refuse(404, "NotFound", absl::StrCat(IdText(id), " not found"),
                KubeError::Missing::kObject);
}

bool IsNamespaceId(const ObjectIdentity& id) {
  return std::get<0>(id).empty() && std::get<1>(id) == "Namespace";
}

bool IsCrdId(const ObjectIdentity& id) {
  return std::get<0>(id) == "apiextensions.k8s.io" &&
         std::get<1>(id) == "CustomResourceDefinition";
}

bool IsDeleting(const json& object) {
  return !Member(Member(object, "metadata"), "deletionTimestamp").is_null();
}

bool HasFinalizers(const json& object) {
  const json& finalizers = Member(Member(object, "metadata"), "finalizers");
  return finalizers.is_array() && !finalizers.empty();
}

}  // namespace

// A watch on the fake. Events wait in a queue of their own and come one in
// each turn of the loop.
//
// Loop-affine.
class FakeKubeClient::FakeWatch : public KubeWatch {
 public:
  FakeWatch(FakeKubeClient* fake, WatchRequest request, WatchListener* listener)
      : fake_(fake),
        fake_alive_(fake->alive_),
        request_(std::move(request)),
        listener_(listener),
        alive_(std::make_shared<bool>(true)) {
    fake_->watches_.push_back(this);
  }

  ~FakeWatch() override {
    if (fake_alive_.lock() == nullptr) return;
    auto& all = fake_->watches_;
    all.erase(std::remove(all.begin(), all.end(), this), all.end());
  }

  const std::string& resource_version() const override { return version_; }

  const WatchRequest& request() const { return request_; }
  std::weak_ptr<bool> alive() const { return alive_; }
  bool open() const { return started_ && !closing_; }
  bool closing() const { return closing_; }

  void Start() { started_ = true; }

  bool Wants(const ObjectId& id, const json& object) const {
    return !object.is_null() && std::get<0>(id) == request_.kind.group &&
           std::get<1>(id) == request_.kind.kind &&
           (request_.ns.empty() || std::get<2>(id) == request_.ns) &&
           MatchesLabels(object, request_.label_selector) &&
           MatchesFieldSelector(object, request_.field_selector);
  }

  void PushEvent(WatchEvent event) {
    const std::string version = event.object.head.resource_version;
    Push([this, event = std::move(event), version]() mutable {
      if (synced_) version_ = version;
      listener_->OnEvent(std::move(event));
    });
  }

  void PushSync(WatchListener::Sync sync, std::string version) {
    Push([this, sync, version = std::move(version)] {
      synced_ = true;
      version_ = version;
      listener_->OnSync(sync);
    });
  }

  void PushClosed(absl::Status status) {
    if (closing_) return;
    closing_ = true;
    Push([this, status = std::move(status)] { listener_->OnClosed(status); });
  }

 private:
  void Push(Task deliver) {
    fake_->loop_.Post([alive = std::weak_ptr<bool>(alive_),
                       fake_alive = fake_alive_,
                       deliver = std::move(deliver)]() mutable {
      if (alive.lock() != nullptr && fake_alive.lock() != nullptr) deliver();
    });
  }

  FakeKubeClient* const fake_;
  const std::weak_ptr<bool> fake_alive_;
  const WatchRequest request_;
  WatchListener* const listener_;
  std::string version_;
  bool started_ = false;
  bool synced_ = false;
  bool closing_ = false;
  const std::shared_ptr<bool> alive_;
};

FakeKubeClient::FakeKubeClient(Loop& loop)
    : loop_(loop), kinds_(PlainKinds()), alive_(std::make_shared<bool>(true)) {
  server_version_ = {"v1.36.3", "1", "36"};
  for (const absl::string_view name : {"default", "kube-system"}) {
    (void)CreateAs("kube-apiserver", {{"apiVersion", "v1"},
                                      {"kind", "Namespace"},
                                      {"metadata", {{"name", name.data()}}}});
  }
}

FakeKubeClient::~FakeKubeClient() = default;

// --- Calls.

void FakeKubeClient::Later(Task task) {
  loop_.Post(
      [alive = std::weak_ptr<bool>(alive_), task = std::move(task)]() mutable {
        if (alive.lock() != nullptr) task();
      });
}

void FakeKubeClient::Call(Request request, absl::AnyInvocable<void(Fate)> run) {
  requests_.push_back(request);
  ++in_flight_;
  max_in_flight_ = std::max(max_in_flight_, in_flight_);
  Fate fate = FateOf(request);
  Task task = [this, fate = std::move(fate), run = std::move(run)]() mutable {
    --in_flight_;
    if (down_) {
      fate.error = absl::UnavailableError("the API server: connection refused");
    }
    run(std::move(fate));
  };
  if (held_) {
    waiting_.push_back(std::move(task));
  } else {
    Later(std::move(task));
  }
}

void FakeKubeClient::Release() {
  held_ = false;
  while (!waiting_.empty()) {
    Later(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

FakeKubeClient::Fate FakeKubeClient::FateOf(const Request& request) {
  Fate fate;
  bool used = false;
  for (auto fault = faults_.begin(); fault != faults_.end();) {
    if (fault->verb != request.verb) {
      ++fault;
    } else if (fault->countdown == 0) {
      if (!used && fault->key == IdentityOf(request.key) &&
          (fault->user.empty() || fault->user == request.impersonate)) {
        fate.error = fault->status;
        used = true;
      }
      ++fault;
    } else if (--fault->countdown == 0) {
      if (!used) {
        fate.error = fault->status;
        fate.lose_answer = fault->lose_answer;
        used = true;
      }
      fault = faults_.erase(fault);
    } else {
      ++fault;
    }
  }
  return fate;
}

void FakeKubeClient::Get(const core::v1::ResourceKey& key, GetOptions options,
                         Done<KubeObject> done) {
  Request request;
  request.verb = Verb::kGet;
  request.key = key;
  request.metadata_only = options.metadata_only;
  request.impersonate = options.impersonate;
  Call(request,
       [this, key, options, done = std::move(done)](Fate fate) mutable {
         if (!fate.error.ok()) return done(fate.error);
         const absl::StatusOr<ObjectId> id = Locate(key);
         if (!id.ok()) return done(id.status());
         const auto found = objects_.find(*id);
         if (found == objects_.end()) return done(Absent(*id));
         done(Answer(found->second.object, found->second.managers,
                     options.metadata_only));
       });
}

void FakeKubeClient::List(ListRequest list, Done<ListResult> done) {
  Request request;
  request.verb = Verb::kList;
  request.key.set_group(list.kind.group);
  request.key.set_version(list.kind.version);
  request.key.set_kind(list.kind.kind);
  request.key.set_namespace_(list.ns);
  request.metadata_only = list.metadata_only;
  request.label_selector = list.label_selector;
  Call(request, [this, list = std::move(list),
                 done = std::move(done)](Fate fate) mutable {
    if (!fate.error.ok()) return done(fate.error);
    const absl::StatusOr<ServedKind> kind =
        Resolve(list.kind.group, list.kind.version, list.kind.kind, true);
    if (!kind.ok()) return done(kind.status());
    ListResult result;
    for (const auto& [id, stored] : objects_) {
      if (std::get<0>(id) == kind->group && std::get<1>(id) == kind->kind &&
          (list.ns.empty() || std::get<2>(id) == list.ns) &&
          MatchesLabels(stored.object, list.label_selector)) {
        result.items.push_back(
            Answer(stored.object, stored.managers, list.metadata_only));
      }
    }
    result.resource_version = absl::StrCat(version_);
    done(std::move(result));
  });
}

void FakeKubeClient::Apply(const core::v1::ResourceKey& key, std::string body,
                           ApplyOptions options, Done<ApplyResult> done) {
  Request request;
  request.verb = Verb::kApply;
  request.key = key;
  request.body = body;
  request.force = options.force;
  request.dry_run = options.dry_run;
  request.impersonate = options.impersonate;
  request.merge_patch = options.merge_patch;
  request.subresource = options.subresource;
  Call(std::move(request), [this, key, body = std::move(body),
                            options = std::move(options),
                            done = std::move(done)](Fate fate) mutable {
    if (!fate.error.ok() && !fate.lose_answer) return done(fate.error);
    absl::StatusOr<ApplyResult> result;
    const absl::StatusOr<json> object = ParseKubeJson(body);
    if (object.ok() && options.subresource == "status") {
      result = ApplyStatusNow(key, *object, options);
    } else if (object.ok() && options.merge_patch) {
      result = MergeNow(key, *object, options);
    } else if (object.ok()) {
      result = ApplyNow(key, *object, options);
    } else {
      result = Refuse(
          400, "BadRequest",
          absl::StrCat("error decoding YAML: ", object.status().message()));
    }
    if (fate.lose_answer) return done(fate.error);
    done(std::move(result));
  });
}

void FakeKubeClient::Delete(const core::v1::ResourceKey& key,
                            DeleteOptions options, Done<DeleteResult> done) {
  Request request;
  request.verb = Verb::kDelete;
  request.key = key;
  request.uid = options.uid;
  request.dry_run = options.dry_run;
  request.impersonate = options.impersonate;
  request.resource_version = options.resource_version;
  Call(request, [this, key, options = std::move(options),
                 done = std::move(done)](Fate fate) mutable {
    if (!fate.error.ok() && !fate.lose_answer) return done(fate.error);
    absl::StatusOr<DeleteResult> result = DeleteNow(key, options);
    if (fate.lose_answer) return done(fate.error);
    done(std::move(result));
  });
}

std::unique_ptr<KubeWatch> FakeKubeClient::Watch(WatchRequest watch,
                                                 WatchListener& listener) {
  Request request;
  request.verb = Verb::kWatch;
  request.key.set_group(watch.kind.group);
  request.key.set_version(watch.kind.version);
  request.key.set_kind(watch.kind.kind);
  request.key.set_namespace_(watch.ns);
  request.metadata_only = watch.metadata_only;
  request.label_selector = watch.label_selector;
  request.resource_version = watch.resource_version;
  auto made = std::make_unique<FakeWatch>(this, std::move(watch), &listener);
  FakeWatch* const raw = made.get();
  Call(std::move(request), [this, raw, alive = raw->alive()](Fate fate) {
    if (alive.lock() == nullptr || raw->closing()) return;
    const WatchRequest& wanted = raw->request();
    if (!fate.error.ok()) return raw->PushClosed(fate.error);
    const absl::StatusOr<ServedKind> kind =
        Resolve(wanted.kind.group, wanted.kind.version, wanted.kind.kind, true);
    if (!kind.ok()) return raw->PushClosed(kind.status());
    raw->Start();
    if (wanted.resource_version.empty()) {
      for (const auto& [id, stored] : objects_) {
        if (!raw->Wants(id, stored.object)) continue;
        raw->PushEvent(
            {WatchEvent::Type::kAdded,
             Answer(stored.object, stored.managers, wanted.metadata_only)});
      }
      raw->PushSync(WatchListener::Sync::kCompleteSet, absl::StrCat(version_));
      return;
    }
    uint64_t from = 0;
    if (!absl::SimpleAtoi(wanted.resource_version, &from) ||
        from < compacted_) {
      return raw->PushClosed(Refuse(
          410, "Expired",
          absl::StrCat("too old resource version: ", wanted.resource_version)));
    }
    raw->PushSync(WatchListener::Sync::kResumed, wanted.resource_version);
    const std::deque<Change> history = history_;
    for (const Change& change : history) {
      if (change.version <= from) continue;
      const bool before = raw->Wants(change.id, change.before);
      const bool after = raw->Wants(change.id, change.after);
      if (!before && !after) continue;
      json object = after ? change.after : change.before;
      object["metadata"]["resourceVersion"] = absl::StrCat(change.version);
      raw->PushEvent({!before  ? WatchEvent::Type::kAdded
                      : !after ? WatchEvent::Type::kDeleted
                               : WatchEvent::Type::kModified,
                      Answer(object, change.managers, wanted.metadata_only)});
    }
  });
  return made;
}

void FakeKubeClient::Discover(Done<std::shared_ptr<const Discovery>> done) {
  Request request;
  request.verb = Verb::kDiscover;
  Call(request, [this, done = std::move(done)](Fate fate) mutable {
    if (!fate.error.ok()) return done(fate.error);
    const auto same = [](const ServedKind& a, const ServedKind& b) {
      return std::tie(a.group, a.version, a.kind, a.plural, a.namespaced,
                      a.has_status) ==
             std::tie(b.group, b.version, b.kind, b.plural, b.namespaced,
                      b.has_status);
    };
    if (discovered_ == nullptr ||
        !std::equal(kinds_.begin(), kinds_.end(), discovered_->kinds().begin(),
                    discovered_->kinds().end(), same)) {
      discovered_ =
          std::make_shared<const Discovery>(kinds_, std::vector<std::string>());
    }
    done(discovered_);
  });
}

void FakeKubeClient::GetServerVersion(Done<ServerVersion> done) {
  Request request;
  request.verb = Verb::kVersion;
  Call(request, [this, done = std::move(done)](Fate fate) mutable {
    if (!fate.error.ok()) return done(fate.error);
    done(server_version_);
  });
}

// --- Kinds.

void FakeKubeClient::AddKind(ServedKind kind) {
  kinds_.push_back(std::move(kind));
}

void FakeKubeClient::RemoveKind(absl::string_view group,
                                absl::string_view kind) {
  kinds_.erase(std::remove_if(kinds_.begin(), kinds_.end(),
                              [&](const ServedKind& served) {
                                return served.group == group &&
                                       served.kind == kind;
                              }),
               kinds_.end());
}

absl::StatusOr<ServedKind> FakeKubeClient::Resolve(absl::string_view group,
                                                   absl::string_view version,
                                                   absl::string_view kind,
                                                   bool as_client) const {
  const auto find = [&](const std::vector<ServedKind>& kinds) {
    return std::find_if(kinds.begin(), kinds.end(),
                        [&](const ServedKind& served) {
                          return served.group == group && served.kind == kind &&
                                 (version.empty() || served.version == version);
                        });
  };
  bool known = true;
  if (as_client && !auto_discover_ && discovered_ != nullptr) {
    known = find(discovered_->kinds()) != discovered_->kinds().end();
  }
  const auto served = find(kinds_);
  if (!known || served == kinds_.end()) {
    return Refuse(404, "NotFound",
                  absl::StrCat("the cluster does not know the kind ", kind,
                               " of ", JoinApiVersion(group, version)),
                  KubeError::Missing::kKind);
  }
  return *served;
}

absl::StatusOr<FakeKubeClient::ObjectId> FakeKubeClient::Locate(
    const core::v1::ResourceKey& key) const {
  ASSIGN_OR_RETURN(const ServedKind kind,
                   Resolve(key.group(), key.version(), key.kind(), true));
  if (key.name().empty() || kind.namespaced == key.namespace_().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        KeyText(key), kind.namespaced ? " needs" : " must not name",
        " a namespace"));
  }
  return IdentityOf(key);
}

void FakeKubeClient::LearnCrd(OwnedObject* crd) {
  const json& spec = Member(crd->object, "spec");
  const std::string group = TextOr(Member(spec, "group"));
  const json& names = Member(spec, "names");
  const json& versions = Member(spec, "versions");
  if (!versions.is_array()) return;
  RemoveKind(group, TextOr(Member(names, "kind")));
  for (const json& version : versions) {
    ServedKind kind = MakeServedKind(
        group, TextOr(Member(version, "name")), TextOr(Member(names, "kind")),
        TextOr(Member(names, "plural")),
        TextOr(Member(spec, "scope")) == "Namespaced");
    kind.has_status =
        !Member(Member(version, "subresources"), "status").is_null();
    AddKind(std::move(kind));
  }
  crd->object["status"]["conditions"] = {
      {{"type", "NamesAccepted"}, {"status", "True"}},
      {{"type", "Established"}, {"status", "True"}}};
}

void FakeKubeClient::ForgetCrd(const json& crd) {
  const json& spec = Member(crd, "spec");
  const std::string group = TextOr(Member(spec, "group"));
  const std::string kind = TextOr(Member(Member(spec, "names"), "kind"));
  std::vector<ObjectId> gone;
  for (const auto& [id, stored] : objects_) {
    if (std::get<0>(id) == group && std::get<1>(id) == kind) {
      gone.push_back(id);
    }
  }
  for (const ObjectId& id : gone) Vanish(id);
  RemoveKind(group, kind);
}

// --- The store.

std::string FakeKubeClient::TimeText() const {
  return absl::FormatTime(
      "%Y-%m-%dT%H:%M:%SZ",
      absl::FromUnixSeconds(1767225600) + loop_.MonotonicNow(),
      absl::UTCTimeZone());
}

KubeObject FakeKubeClient::Answer(const json& object, const Managers& managers,
                                  bool metadata_only) const {
  json answer = object;
  json list = ManagedFieldsOf(managers);
  if (!list.empty()) answer["metadata"]["managedFields"] = std::move(list);
  if (metadata_only) {
    answer = {{"apiVersion", "meta.k8s.io/v1"},
              {"kind", "PartialObjectMetadata"},
              {"metadata", answer["metadata"]}};
  }
  KubeObject result;
  const json& metadata = Member(answer, "metadata");
  result.head.name = TextOr(Member(metadata, "name"));
  result.head.ns = TextOr(Member(metadata, "namespace"));
  result.head.uid = TextOr(Member(metadata, "uid"));
  result.head.resource_version = TextOr(Member(metadata, "resourceVersion"));
  result.head.generation = IntegerOr(Member(metadata, "generation"), 0);
  result.head.deleting = IsDeleting(answer);
  result.json = CanonicalJson(answer);
  return result;
}

absl::Status FakeKubeClient::CheckNamespace(const ObjectId& id) const {
  const std::string& ns = std::get<2>(id);
  if (ns.empty()) return absl::OkStatus();
  const auto found = objects_.find({"", "Namespace", "", ns});
  if (found == objects_.end()) {
    return Refuse(404, "NotFound",
                  absl::StrCat("namespaces \"", ns, "\" not found"),
                  KubeError::Missing::kNamespace);
  }
  if (IsDeleting(found->second.object)) {
    return Refuse(403, "Forbidden",
                  absl::StrCat(IdText(id),
                               " is forbidden: unable to create new content "
                               "in namespace ",
                               ns, " because it is being terminated"),
                  KubeError::Missing::kNothing,
                  {{"NamespaceTerminating", "metadata.namespace",
                    absl::StrCat("namespace ", ns, " is being terminated")}});
  }
  return absl::OkStatus();
}

absl::Status FakeKubeClient::CheckImmutable(const ObjectId& id,
                                            const json& before,
                                            const json& after) const {
  for (const ImmutableField& field : immutable_) {
    if (field.group != std::get<0>(id) || field.kind != std::get<1>(id)) {
      continue;
    }
    FieldPath path;
    for (absl::string_view name : absl::StrSplit(field.path, '.')) {
      path.push_back({PathStep::Kind::kField, std::string(name)});
    }
    const json* const old_value = FindPath(before, path);
    const json* const new_value = FindPath(after, path);
    if (old_value == nullptr ||
        (new_value != nullptr && *old_value == *new_value)) {
      continue;
    }
    return Refuse(422, "Invalid",
                  absl::StrCat(IdText(id), " is invalid: ", field.path,
                               ": Invalid value: field is immutable"),
                  KubeError::Missing::kNothing,
                  {{"FieldValueInvalid", field.path,
                    "Invalid value: field is immutable"}});
  }
  return absl::OkStatus();
}

void FakeKubeClient::Commit(const ObjectId& id, OwnedObject next) {
  const auto found = objects_.find(id);
  Change change;
  change.id = id;
  if (found != objects_.end()) change.before = found->second.object;
  if (IsCrdId(id)) LearnCrd(&next);
  json& metadata = next.object["metadata"];
  if (change.before.is_null()) {
    metadata["uid"] = absl::StrCat("00000000-0000-4000-8000-",
                                   absl::Dec(next_uid_++, absl::kZeroPad12));
    metadata["creationTimestamp"] = TimeText();
    if (next.object.contains("spec")) metadata["generation"] = 1;
  } else if (next.object.contains("spec") &&
             Member(next.object, "spec") != Member(change.before, "spec")) {
    metadata["generation"] =
        IntegerOr(Member(Member(change.before, "metadata"), "generation"), 0) +
        1;
  }
  change.version = ++version_;
  metadata["resourceVersion"] = absl::StrCat(version_);
  if (IsDeleting(next.object) && !HasFinalizers(next.object) &&
      !IsNamespaceId(id)) {
    // The last finalizer went.
    objects_[id] = std::move(next);
    --version_;
    Vanish(id);
    return;
  }
  change.after = next.object;
  change.managers = next.managers;
  objects_[id] = std::move(next);
  history_.push_back(change);
  Notify(change);
}

void FakeKubeClient::Vanish(const ObjectId& id) {
  const auto found = objects_.find(id);
  if (found == objects_.end()) return;
  Change change;
  change.id = id;
  change.before = found->second.object;
  change.managers = found->second.managers;
  change.version = ++version_;
  objects_.erase(found);
  history_.push_back(change);
  Notify(change);
  if (IsCrdId(id)) ForgetCrd(change.before);
  if (!std::get<2>(id).empty()) FinishNamespace(std::get<2>(id));
}

void FakeKubeClient::Notify(const Change& change) {
  for (FakeWatch* const watch : watches_) {
    if (!watch->open()) continue;
    const bool before = watch->Wants(change.id, change.before);
    const bool after = watch->Wants(change.id, change.after);
    if (!before && !after) continue;
    json object = change.after.is_null() ? change.before : change.after;
    object["metadata"]["resourceVersion"] = absl::StrCat(change.version);
    watch->PushEvent(
        {!before  ? WatchEvent::Type::kAdded
         : !after ? WatchEvent::Type::kDeleted
                  : WatchEvent::Type::kModified,
         Answer(object, change.managers, watch->request().metadata_only)});
  }
}

void FakeKubeClient::EmptyNamespace(const std::string& ns) {
  std::vector<ObjectId> inside;
  for (const auto& [id, stored] : objects_) {
    if (std::get<2>(id) == ns) inside.push_back(id);
  }
  for (const ObjectId& id : inside) {
    const auto found = objects_.find(id);
    if (found == objects_.end() || IsDeleting(found->second.object)) continue;
    if (HasFinalizers(found->second.object)) {
      OwnedObject next = found->second;
      next.object["metadata"]["deletionTimestamp"] = TimeText();
      Commit(id, std::move(next));
    } else {
      Vanish(id);
    }
  }
  FinishNamespace(ns);
}

void FakeKubeClient::FinishNamespace(const std::string& ns) {
  const auto found = objects_.find({"", "Namespace", "", ns});
  if (found == objects_.end() || !IsDeleting(found->second.object) ||
      HasFinalizers(found->second.object)) {
    return;
  }
  for (const auto& [id, stored] : objects_) {
    if (std::get<2>(id) == ns) return;
  }
  Vanish({"", "Namespace", "", ns});
}

absl::StatusOr<ApplyResult> FakeKubeClient::ApplyNow(
    const core::v1::ResourceKey& key, const json& body,
    const ApplyOptions& options) {
  ASSIGN_OR_RETURN(const ObjectId id, Locate(key));
  ASSIGN_OR_RETURN(const core::v1::ResourceKey named, KeyOf(body));
  core::v1::ResourceKey expected = key;
  if (expected.version().empty()) expected.set_version(named.version());
  if (!SameObject(named, expected) || named.version() != expected.version()) {
    return Refuse(400, "BadRequest",
                  absl::StrCat("the body names ", KeyText(named), ", the URL ",
                               KeyText(key)));
  }
  if (!Member(Member(body, "metadata"), "managedFields").is_null()) {
    return Refuse(400, "BadRequest", "metadata.managedFields must be nil");
  }
  const auto found = objects_.find(id);
  const bool exists = found != objects_.end();
  const std::string wanted_uid =
      TextOr(Member(Member(body, "metadata"), "uid"));
  const std::string wanted_version =
      TextOr(Member(Member(body, "metadata"), "resourceVersion"));
  if (!exists) {
    if (!wanted_uid.empty() || !wanted_version.empty()) {
      return Refuse(409, "Conflict",
                    absl::StrCat("uid mismatch: the provided object specified "
                                 "uid ",
                                 wanted_uid,
                                 ", and no existing object was "
                                 "found"));
    }
    RETURN_IF_ERROR(CheckNamespace(id));
  }
  OwnedObject next;
  if (exists) {
    next = found->second;
    const json& metadata = Member(next.object, "metadata");
    if (!wanted_uid.empty() && wanted_uid != TextOr(Member(metadata, "uid"))) {
      return Refuse(422, "Invalid",
                    absl::StrCat(IdText(id),
                                 " is invalid: metadata.uid: "
                                 "Invalid value: field is "
                                 "immutable"));
    }
    if (!wanted_version.empty() &&
        wanted_version != TextOr(Member(metadata, "resourceVersion"))) {
      return Refuse(409, "Conflict",
                    absl::StrCat("Operation cannot be fulfilled on ",
                                 IdText(id), ": the object has been modified"));
    }
  } else {
    next.object = {{"apiVersion", Member(body, "apiVersion")},
                   {"kind", Member(body, "kind")},
                   {"metadata", {{"name", std::get<3>(id)}}}};
    if (!std::get<2>(id).empty()) {
      next.object["metadata"]["namespace"] = std::get<2>(id);
    }
  }
  const OwnedObject before = next;

  json wanted = body;
  wanted.erase("status");
  const std::vector<KubeErrorCause> conflicts =
      TakeFromOthers(wanted, options.field_manager, &next);
  if (!conflicts.empty() && !options.force) {
    return Refuse(409, "Conflict",
                  absl::StrCat("Apply failed with ", conflicts.size(),
                               " conflicts: ", conflicts[0].message, ": ",
                               conflicts[0].field),
                  KubeError::Missing::kNothing, conflicts);
  }

  MergeApplied(wanted, options.field_manager, &next);
  StampChanged(before.managers, TimeText(), &next.managers);
  if (exists) {
    RETURN_IF_ERROR(CheckImmutable(id, before.object, next.object));
  }

  ApplyResult result;
  const bool changed = !exists || next.object != before.object ||
                       !SameManagers(next.managers, before.managers);
  if (options.dry_run || !changed) {
    result.object = Answer(next.object, next.managers, !options.full_answer);
  } else {
    Commit(id, std::move(next));
    const auto now = objects_.find(id);
    if (now != objects_.end()) {
      result.object = Answer(now->second.object, now->second.managers,
                             !options.full_answer);
    }
  }
  if (!exists) {
    result.outcome = ApplyResult::Outcome::kCreated;
  } else if (!options.known_resource_version.empty() &&
             result.object.head.resource_version ==
                 options.known_resource_version) {
    result.outcome = ApplyResult::Outcome::kUnchanged;
  }
  return result;
}

absl::StatusOr<ApplyResult> FakeKubeClient::ApplyStatusNow(
    const core::v1::ResourceKey& key, const json& body,
    const ApplyOptions& options) {
  ASSIGN_OR_RETURN(const ObjectId id, Locate(key));
  const auto found = objects_.find(id);
  if (found == objects_.end()) return Absent(id);
  const std::string wanted_uid =
      TextOr(Member(Member(body, "metadata"), "uid"));
  const json& live = Member(found->second.object, "metadata");
  if (!wanted_uid.empty() && wanted_uid != TextOr(Member(live, "uid"))) {
    return Refuse(409, "Conflict", "uid mismatch");
  }
  ApplyResult result;
  if (Member(found->second.object, "status") != Member(body, "status")) {
    OwnedObject next = found->second;
    next.object["status"] = Member(body, "status");
    Commit(id, std::move(next));
  }
  const OwnedObject& now = objects_.at(id);
  result.object = Answer(now.object, now.managers, !options.full_answer);
  return result;
}

absl::StatusOr<ApplyResult> FakeKubeClient::MergeNow(
    const core::v1::ResourceKey& key, const json& patch,
    const ApplyOptions& options) {
  ASSIGN_OR_RETURN(const ObjectId id, Locate(key));
  const auto found = objects_.find(id);
  if (found == objects_.end()) return Absent(id);
  const json& wanted = Member(patch, "metadata");
  const json& live = Member(found->second.object, "metadata");
  for (const char* const field : {"uid", "resourceVersion"}) {
    const std::string text = TextOr(Member(wanted, field));
    if (!text.empty() && text != TextOr(Member(live, field))) {
      return Refuse(409, "Conflict",
                    absl::StrCat("precondition failed: ", field));
    }
  }
  const std::string before = TextOr(Member(live, "resourceVersion"));
  RETURN_IF_ERROR(EditAs(options.field_manager, key, [&patch](json& object) {
    object.merge_patch(patch);
  }));
  ApplyResult result;
  const auto edited = objects_.find(id);
  // The last finalizer went, and the object with it.
  if (edited == objects_.end()) return result;
  result.object = Answer(edited->second.object, edited->second.managers,
                         !options.full_answer);
  if (result.object.head.resource_version == before) {
    result.outcome = ApplyResult::Outcome::kUnchanged;
  }
  return result;
}

absl::StatusOr<DeleteResult> FakeKubeClient::DeleteNow(
    const core::v1::ResourceKey& key, const DeleteOptions& options) {
  ASSIGN_OR_RETURN(const ObjectId id, Locate(key));
  const auto found = objects_.find(id);
  if (found == objects_.end()) return Absent(id);
  const json& metadata = Member(found->second.object, "metadata");
  const std::string uid = TextOr(Member(metadata, "uid"));
  if (!options.uid.empty() && options.uid != uid) {
    return Refuse(409, "Conflict",
                  absl::StrCat("Operation cannot be fulfilled on ", IdText(id),
                               ": Precondition failed: UID in "
                               "precondition: ",
                               options.uid, ", UID in object meta: ", uid));
  }
  if (!options.resource_version.empty() &&
      options.resource_version != TextOr(Member(metadata, "resourceVersion"))) {
    return Refuse(409, "Conflict",
                  absl::StrCat("Operation cannot be fulfilled on ", IdText(id),
                               ": Precondition failed: "
                               "ResourceVersion"));
  }
  DeleteResult result;
  result.pending = IsNamespaceId(id) || HasFinalizers(found->second.object);
  if (options.dry_run) return result;
  if (!result.pending) {
    Vanish(id);
    return result;
  }
  if (IsDeleting(found->second.object)) return result;
  OwnedObject next = found->second;
  next.object["metadata"]["deletionTimestamp"] = TimeText();
  if (IsNamespaceId(id)) next.object["status"]["phase"] = "Terminating";
  Commit(id, std::move(next));
  if (IsNamespaceId(id)) {
    Later([this, ns = std::get<3>(id)] { EmptyNamespace(ns); });
  }
  return result;
}

// --- The world's other hands.

absl::Status FakeKubeClient::CreateAs(absl::string_view manager, json object) {
  ASSIGN_OR_RETURN(const core::v1::ResourceKey key, KeyOf(object));
  ASSIGN_OR_RETURN(const ServedKind kind,
                   Resolve(key.group(), key.version(), key.kind(), false));
  const ObjectId id = IdentityOf(key);
  if (kind.namespaced == key.namespace_().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(KeyText(key), ": wrong scope"));
  }
  if (objects_.count(id) > 0) {
    return Refuse(409, "AlreadyExists",
                  absl::StrCat(IdText(id), " already exists"));
  }
  RETURN_IF_ERROR(CheckNamespace(id));
  OwnedObject next;
  next.object = std::move(object);
  OwnFields(FieldsOf(next.object), manager, "", &next);
  StampChanged({}, TimeText(), &next.managers);
  Commit(id, std::move(next));
  return absl::OkStatus();
}

absl::Status FakeKubeClient::EditAs(absl::string_view manager,
                                    const core::v1::ResourceKey& key,
                                    const std::function<void(json&)>& edit) {
  const ObjectId id = IdentityOf(key);
  const auto found = objects_.find(id);
  if (found == objects_.end()) return Absent(id);
  const OwnedObject before = found->second;
  OwnedObject next = before;
  edit(next.object);
  RETURN_IF_ERROR(CheckImmutable(id, before.object, next.object));
  OwnChanges(before.object, manager, &next);
  StampChanged(before.managers, TimeText(), &next.managers);
  if (next.object == before.object &&
      SameManagers(next.managers, before.managers)) {
    return absl::OkStatus();
  }
  Commit(id, std::move(next));
  return absl::OkStatus();
}

absl::Status FakeKubeClient::ApplyAs(absl::string_view manager, json object,
                                     bool force) {
  ASSIGN_OR_RETURN(const core::v1::ResourceKey key, KeyOf(object));
  ApplyOptions options;
  options.field_manager = std::string(manager);
  options.force = force;
  return ApplyNow(key, object, options).status();
}

absl::Status FakeKubeClient::SetStatus(const core::v1::ResourceKey& key,
                                       json status, bool observe) {
  const ObjectId id = IdentityOf(key);
  const auto found = objects_.find(id);
  if (found == objects_.end()) return Absent(id);
  OwnedObject next = found->second;
  if (observe && status.is_object()) {
    status["observedGeneration"] =
        IntegerOr(Member(Member(next.object, "metadata"), "generation"), 0);
  }
  next.object["status"] = std::move(status);
  FieldSet fields;
  for (const FieldPath& path : FieldsOf(next.object)) {
    if (!path.empty() && path[0].text == "status") fields.insert(path);
  }
  const Managers before = next.managers;
  OwnFields(std::move(fields), "kube-controller-manager", "status", &next);
  StampChanged(before, TimeText(), &next.managers);
  Commit(id, std::move(next));
  return absl::OkStatus();
}

absl::Status FakeKubeClient::DeleteAs(const core::v1::ResourceKey& key) {
  return DeleteNow(key, DeleteOptions()).status();
}

absl::Status FakeKubeClient::RemoveFinalizers(
    const core::v1::ResourceKey& key) {
  const ObjectId id = IdentityOf(key);
  if (objects_.count(id) == 0) return Absent(id);
  RETURN_IF_ERROR(EditAs("finalizer-controller", key, [](json& object) {
    object["metadata"].erase("finalizers");
  }));
  if (IsNamespaceId(id)) FinishNamespace(std::get<3>(id));
  return absl::OkStatus();
}

// --- Looking.

std::optional<json> FakeKubeClient::Find(
    const core::v1::ResourceKey& key) const {
  const auto found = objects_.find(IdentityOf(key));
  if (found == objects_.end()) return std::nullopt;
  absl::StatusOr<json> object = ParseKubeJson(
      Answer(found->second.object, found->second.managers, false).json);
  if (!object.ok()) return std::nullopt;
  return *std::move(object);
}

size_t FakeKubeClient::ObjectCount() const { return objects_.size(); }

size_t FakeKubeClient::WriteCount() const {
  return static_cast<size_t>(std::count_if(
      requests_.begin(), requests_.end(), [](const Request& request) {
        return !request.dry_run &&
               (request.verb == Verb::kApply || request.verb == Verb::kDelete);
      }));
}

size_t FakeKubeClient::CountOf(Verb verb) const {
  return static_cast<size_t>(std::count_if(
      requests_.begin(), requests_.end(),
      [verb](const Request& request) { return request.verb == verb; }));
}

size_t FakeKubeClient::open_watches() const {
  return static_cast<size_t>(
      std::count_if(watches_.begin(), watches_.end(),
                    [](const FakeWatch* watch) { return watch->open(); }));
}

// --- Faults.

void FakeKubeClient::FailNth(Verb verb, int nth, absl::Status status) {
  Fault fault;
  fault.verb = verb;
  fault.countdown = nth;
  fault.status = std::move(status);
  faults_.push_back(std::move(fault));
}

void FakeKubeClient::FailKey(Verb verb, const core::v1::ResourceKey& key,
                             absl::Status status) {
  Fault fault;
  fault.verb = verb;
  fault.key = IdentityOf(key);
  fault.status = std::move(status);
  faults_.push_back(std::move(fault));
}

void FakeKubeClient::Forbid(std::string user,
                            const core::v1::ResourceKey& key) {
  Fault fault;
  fault.key = IdentityOf(key);
  fault.status =
      Refuse(403, "Forbidden", absl::StrCat("User \"", user, "\" may not"));
  fault.user = std::move(user);
  for (const Verb verb : {Verb::kGet, Verb::kApply, Verb::kDelete}) {
    fault.verb = verb;
    faults_.push_back(fault);
  }
}

void FakeKubeClient::ClearFaults() { faults_.clear(); }

void FakeKubeClient::LoseAnswer(Verb verb, int nth) {
  Fault fault;
  fault.verb = verb;
  fault.countdown = nth;
  fault.status = absl::UnknownError(
      "the stream was reset; whether it happened is not known");
  fault.lose_answer = true;
  faults_.push_back(std::move(fault));
}

void FakeKubeClient::SetDown(bool down) {
  down_ = down;
  if (down) {
    CloseWatches(absl::UnavailableError("the API server: connection refused"));
  }
}

void FakeKubeClient::SetImmutable(absl::string_view group,
                                  absl::string_view kind,
                                  absl::string_view path) {
  immutable_.push_back(
      {std::string(group), std::string(kind), std::string(path)});
}

void FakeKubeClient::CloseWatches(absl::Status status) {
  for (FakeWatch* const watch : watches_) watch->PushClosed(status);
}

void FakeKubeClient::CompactHistory() {
  compacted_ = version_ + 1;
  ++version_;
  history_.clear();
}

void FakeKubeClient::SetServerVersion(ServerVersion version) {
  server_version_ = std::move(version);
}

}  // namespace flotilla
