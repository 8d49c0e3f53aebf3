// SPDX-License-Identifier: Apache-2.0

#include "common/kube/fake_kube_client.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <iterator>
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
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

#include "flotilla/core/v1/core.pb.h"

#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "common/kube/kube_error.h"
#include "common/kube/object.h"
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

// --- Fields.

// The members by which items of the list `field` are told apart; empty: the
// list is atomic.
std::vector<std::string> MergeKeysOf(absl::string_view field,
                                     const json& list) {
  const auto all_have = [&list](const std::string& name) {
    return std::all_of(list.begin(), list.end(), [&name](const json& item) {
      return item.is_object() && item.contains(name);
    });
  };
  std::vector<std::string> keys;
  if (field == "containers" || field == "initContainers" ||
      field == "volumes" || field == "env") {
    keys = {"name"};
  } else if (field == "ports") {
    keys = {all_have("containerPort") ? "containerPort" : "port"};
  } else if (field == "volumeMounts") {
    keys = {"mountPath"};
  } else if (field == "conditions") {
    keys = {"type"};
  } else if (field == "ownerReferences") {
    keys = {"uid"};
  }
  if (keys.empty() || list.empty() || !all_have(keys[0])) return {};
  if (field == "ports") keys.push_back("protocol");
  return keys;
}

PathStep KeyStep(const std::vector<std::string>& keys, const json& item) {
  json key = json::object();
  for (const std::string& name : keys) {
    key[name] = item.contains(name) ? item[name] : json("TCP");
  }
  return {PathStep::Kind::kKey, CanonicalJson(key)};
}

bool IsIdentity(const FieldPath& path, const std::string& name) {
  if (path.empty()) return name == "apiVersion" || name == "kind";
  if (path.size() != 1 || path[0].text != "metadata") return false;
  return name == "name" || name == "namespace" || name == "uid" ||
         name == "resourceVersion" || name == "generation" ||
         name == "creationTimestamp" || name == "managedFields" ||
         name == "deletionTimestamp";
}

void Collect(const json& value, FieldPath* path, FieldSet* set) {
  if (value.is_null()) return;
  if (value.is_object() && !value.empty()) {
    for (const auto& [name, child] : value.items()) {
      if (IsIdentity(*path, name)) continue;
      path->push_back({PathStep::Kind::kField, name});
      Collect(child, path, set);
      path->pop_back();
    }
    return;
  }
  if (value.is_array() && !path->empty()) {
    const std::string field = path->back().text;
    if (field == "finalizers") {
      for (const json& item : value) {
        path->push_back({PathStep::Kind::kValue, CanonicalJson(item)});
        set->insert(*path);
        path->pop_back();
      }
      return;
    }
    const std::vector<std::string> keys = MergeKeysOf(field, value);
    if (!keys.empty()) {
      for (const json& item : value) {
        path->push_back(KeyStep(keys, item));
        Collect(item, path, set);
        path->pop_back();
      }
      return;
    }
  }
  if (!path->empty()) set->insert(*path);
}

FieldSet FieldsOf(const json& object) {
  FieldSet set;
  FieldPath path;
  Collect(object, &path, &set);
  return set;
}

json* StepInto(json* value, const PathStep& step) {
  if (value == nullptr) return nullptr;
  return const_cast<json*>(FindPath(*value, {step}));
}

// Makes what is missing on the way.
void SetAt(json* object, const FieldPath& path, const json& wanted) {
  json* at = object;
  for (const PathStep& step : path) {
    json* next = StepInto(at, step);
    if (next == nullptr) {
      switch (step.kind) {
        case PathStep::Kind::kField:
          if (!at->is_object()) *at = json::object();
          next = &(*at)[step.text];
          break;
        case PathStep::Kind::kKey:
        case PathStep::Kind::kValue: {
          if (!at->is_array()) *at = json::array();
          absl::StatusOr<json> item = ParseKubeJson(step.text);
          at->push_back(item.ok() ? *std::move(item) : json());
          next = &at->back();
          break;
        }
        case PathStep::Kind::kIndex:
          return;
      }
    }
    at = next;
  }
  *at = wanted;
}

bool IsKeyField(const FieldPath& path) {
  if (path.size() < 2 || path[path.size() - 2].kind != PathStep::Kind::kKey) {
    return false;
  }
  const absl::StatusOr<json> key = ParseKubeJson(path[path.size() - 2].text);
  return key.ok() && key->contains(path.back().text);
}

// Takes the value at `path` out, then the maps and items that it leaves empty.
void RemoveAt(json* object, FieldPath path) {
  while (!path.empty()) {
    const PathStep last = path.back();
    path.pop_back();
    json* const parent = const_cast<json*>(FindPath(*object, path));
    if (parent == nullptr) return;
    if (last.kind == PathStep::Kind::kField) {
      if (parent->is_object()) parent->erase(last.text);
    } else if (parent->is_array()) {
      json* const item = StepInto(parent, last);
      if (item != nullptr) {
        parent->erase(parent->begin() + (item - &*parent->begin()));
      }
    }
    if (path.empty() || path.size() == 1) return;
    if (!parent->empty()) {
      // An item with nothing but its key goes, too.
      if (path.back().kind != PathStep::Kind::kKey) return;
      const absl::StatusOr<json> key = ParseKubeJson(path.back().text);
      if (!key.ok()) return;
      for (const auto& [name, value] : parent->items()) {
        if (!key->contains(name)) return;
      }
    }
  }
}

json FieldsV1Of(const FieldSet& fields) {
  json root = json::object();
  for (const FieldPath& path : fields) {
    json* at = &root;
    for (const PathStep& step : path) {
      switch (step.kind) {
        case PathStep::Kind::kField:
          at = &(*at)["f:" + step.text];
          break;
        case PathStep::Kind::kKey:
          at = &(*at)["k:" + step.text];
          break;
        case PathStep::Kind::kValue:
          at = &(*at)["v:" + step.text];
          break;
        case PathStep::Kind::kIndex:
          at = &(*at)["i:" + step.text];
          break;
      }
      if (!at->is_object()) *at = json::object();
      if (step.kind == PathStep::Kind::kKey) (*at)["."] = json::object();
    }
  }
  return root;
}

ManagedFieldsEntry* EntryOf(Managers* managers, absl::string_view manager,
                            absl::string_view operation,
                            absl::string_view subresource) {
  for (ManagedFieldsEntry& entry : *managers) {
    if (entry.manager == manager && entry.operation == operation &&
        entry.subresource == subresource) {
      return &entry;
    }
  }
  return nullptr;
}

ManagedFieldsEntry& EnsureEntry(Managers* managers, absl::string_view manager,
                                absl::string_view operation,
                                absl::string_view subresource,
                                const std::string& api_version) {
  ManagedFieldsEntry* entry =
      EntryOf(managers, manager, operation, subresource);
  if (entry == nullptr) {
    ManagedFieldsEntry made;
    made.manager = std::string(manager);
    made.operation = std::string(operation);
    made.subresource = std::string(subresource);
    managers->push_back(std::move(made));
    entry = &managers->back();
  }
  entry->api_version = api_version;
  return *entry;
}

void DropEmpty(Managers* managers) {
  managers->erase(std::remove_if(managers->begin(), managers->end(),
                                 [](const ManagedFieldsEntry& entry) {
                                   return entry.fields.empty();
                                 }),
                  managers->end());
}

// New times for the entries whose fields are not those of `before`.
void StampChanged(const Managers& before, const std::string& now,
                  Managers* after) {
  for (ManagedFieldsEntry& entry : *after) {
    const ManagedFieldsEntry* const old =
        EntryOf(const_cast<Managers*>(&before), entry.manager, entry.operation,
                entry.subresource);
    if (old == nullptr || old->fields != entry.fields || entry.time.empty()) {
      entry.time = now;
    }
  }
}

bool SameManagers(const Managers& a, const Managers& b) {
  return std::equal(
      a.begin(), a.end(), b.begin(), b.end(),
      [](const ManagedFieldsEntry& x, const ManagedFieldsEntry& y) {
        return x.manager == y.manager && x.operation == y.operation &&
               x.subresource == y.subresource && x.fields == y.fields;
      });
}

bool Overlaps(const FieldPath& a, const FieldPath& b) {
  return IsPrefix(a, b) || IsPrefix(b, a);
}

// --- Label selectors.

bool MatchesTerm(const json& labels, absl::string_view term) {
  term = absl::StripAsciiWhitespace(term);
  if (term.empty()) return true;
  if (absl::ConsumePrefix(&term, "!")) {
    return !labels.contains(std::string(term));
  }
  const size_t in = term.find(" in (");
  const size_t not_in = term.find(" notin (");
  if (in != absl::string_view::npos || not_in != absl::string_view::npos) {
    const std::string name(
        absl::StripAsciiWhitespace(term.substr(0, std::min(in, not_in))));
    const size_t open = term.find('(');
    const absl::string_view inside =
        term.substr(open + 1, term.rfind(')') - open - 1);
    bool found = false;
    for (absl::string_view value : absl::StrSplit(inside, ',')) {
      found |= labels.contains(name) &&
               TextOr(labels[name]) == absl::StripAsciiWhitespace(value);
    }
    return in != absl::string_view::npos ? found : !found;
  }
  const size_t equals = term.find('=');
  if (equals == absl::string_view::npos) {
    return labels.contains(std::string(term));
  }
  const bool negated = equals > 0 && term[equals - 1] == '!';
  const std::string name(
      absl::StripAsciiWhitespace(term.substr(0, equals - (negated ? 1 : 0))));
  absl::string_view value = term.substr(equals + 1);
  absl::ConsumePrefix(&value, "=");
  const bool equal = labels.contains(name) &&
                     TextOr(labels[name]) == absl::StripAsciiWhitespace(value);
  return negated ? !equal : equal;
}

bool MatchesLabels(const json& object, absl::string_view selector) {
  json labels = Member(Member(object, "metadata"), "labels");
  if (!labels.is_object()) labels = json::object();
  size_t begin = 0;
  int depth = 0;
  for (size_t i = 0; i <= selector.size(); ++i) {
    if (i < selector.size()) {
      if (selector[i] == '(') ++depth;
      if (selector[i] == ')') --depth;
      if (selector[i] != ',' || depth > 0) continue;
    }
    if (!MatchesTerm(labels, selector.substr(begin, i - begin))) return false;
    begin = i + 1;
  }
  return true;
}

bool MatchesFieldSelector(const json& object, absl::string_view selector) {
  for (absl::string_view term : absl::StrSplit(selector, ',')) {
    if (term.empty()) continue;
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(term, absl::MaxSplits('=', 1));
    absl::string_view value = parts.second;
    absl::ConsumePrefix(&value, "=");
    absl::string_view name = parts.first;
    absl::ConsumePrefix(&name, "metadata.");
    if (TextOr(Member(Member(object, "metadata"), name)) != value) {
      return false;
    }
  }
  return true;
}

// --- Kinds.

ServedKind Kind(absl::string_view group, absl::string_view version,
                absl::string_view kind, absl::string_view plural,
                bool namespaced) {
  ServedKind served;
  served.group = std::string(group);
  served.version = std::string(version);
  served.kind = std::string(kind);
  served.plural = std::string(plural);
  served.namespaced = namespaced;
  served.verbs = {"create", "delete", "get",  "list",
                  "patch",  "update", "watch"};
  return served;
}

std::vector<ServedKind> PlainKinds() {
  return {
      Kind("", "v1", "Namespace", "namespaces", false),
      Kind("", "v1", "ConfigMap", "configmaps", true),
      Kind("", "v1", "Secret", "secrets", true),
      Kind("", "v1", "Service", "services", true),
      Kind("", "v1", "ServiceAccount", "serviceaccounts", true),
      Kind("", "v1", "Pod", "pods", true),
      Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
      Kind("apps", "v1", "Deployment", "deployments", true),
      Kind("apps", "v1", "StatefulSet", "statefulsets", true),
      Kind("apps", "v1", "DaemonSet", "daemonsets", true),
      Kind("apps", "v1", "ReplicaSet", "replicasets", true),
      Kind("batch", "v1", "Job", "jobs", true),
      Kind("batch", "v1", "CronJob", "cronjobs", true),
      Kind("networking.k8s.io", "v1", "Ingress", "ingresses", true),
      Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
      Kind("rbac.authorization.k8s.io", "v1", "Role", "roles", true),
      Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings",
           true),
      Kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles",
           false),
      Kind("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding",
           "clusterrolebindings", false),
      Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition",
           "customresourcedefinitions", false),
      Kind("admissionregistration.k8s.io", "v1",
           "ValidatingWebhookConfiguration", "validatingwebhookconfigurations",
           false),
      Kind("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration",
           "mutatingwebhookconfigurations", false),
  };
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
      if (!used && fault->key == IdentityOf(request.key)) {
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
      return std::tie(a.group, a.version, a.kind, a.plural, a.namespaced) ==
             std::tie(b.group, b.version, b.kind, b.plural, b.namespaced);
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

void FakeKubeClient::LearnCrd(Stored* crd) {
  const json& spec = Member(crd->object, "spec");
  const std::string group = TextOr(Member(spec, "group"));
  const json& names = Member(spec, "names");
  const json& versions = Member(spec, "versions");
  if (!versions.is_array()) return;
  RemoveKind(group, TextOr(Member(names, "kind")));
  for (const json& version : versions) {
    AddKind(Kind(group, TextOr(Member(version, "name")),
                 TextOr(Member(names, "kind")), TextOr(Member(names, "plural")),
                 TextOr(Member(spec, "scope")) == "Namespaced"));
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
  json list = json::array();
  for (const ManagedFieldsEntry& entry : managers) {
    json item = {{"manager", entry.manager},
                 {"operation", entry.operation},
                 {"apiVersion", entry.api_version},
                 {"time", entry.time},
                 {"fieldsType", "FieldsV1"},
                 {"fieldsV1", FieldsV1Of(entry.fields)}};
    if (!entry.subresource.empty()) item["subresource"] = entry.subresource;
    list.push_back(std::move(item));
  }
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

void FakeKubeClient::Commit(const ObjectId& id, Stored next) {
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
      Stored next = found->second;
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
  Stored next;
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
  const Stored before = next;

  // Conflicts with other managers.
  json wanted = body;
  wanted.erase("status");
  const FieldSet fields = FieldsOf(wanted);
  const std::string& manager = options.field_manager;
  std::vector<KubeErrorCause> conflicts;
  for (ManagedFieldsEntry& entry : next.managers) {
    if (entry.manager == manager && entry.operation == "Apply") continue;
    for (auto owned = entry.fields.begin(); owned != entry.fields.end();) {
      bool taken = false;
      for (const FieldPath& path : fields) {
        if (!Overlaps(path, *owned)) continue;
        const json* const live = FindPath(next.object, path);
        const json* const want = FindPath(wanted, path);
        if (want == nullptr || (live != nullptr && *live == *want)) continue;
        taken = true;
        conflicts.push_back({"FieldManagerConflict",
                             absl::StrCat(".", PathText(path)),
                             absl::StrCat("conflict with \"", entry.manager,
                                          "\" using ", entry.api_version)});
      }
      owned = taken ? entry.fields.erase(owned) : std::next(owned);
    }
  }
  if (!conflicts.empty() && !options.force) {
    return Refuse(409, "Conflict",
                  absl::StrCat("Apply failed with ", conflicts.size(),
                               " conflicts: ", conflicts[0].message, ": ",
                               conflicts[0].field),
                  KubeError::Missing::kNothing, conflicts);
  }

  // Merge, then take out what this manager no longer wants.
  for (const FieldPath& path : fields) {
    const json* const value = FindPath(wanted, path);
    if (value != nullptr) SetAt(&next.object, path, *value);
  }
  const std::string api_version = TextOr(Member(body, "apiVersion"));
  FieldSet dropped;
  if (const ManagedFieldsEntry* const old =
          EntryOf(&next.managers, manager, "Apply", "")) {
    dropped = Minus(old->fields, fields);
  }
  EnsureEntry(&next.managers, manager, "Apply", "", api_version).fields =
      fields;
  for (const FieldPath& path : dropped) {
    const bool owned = std::any_of(
        next.managers.begin(), next.managers.end(),
        [&path](const ManagedFieldsEntry& entry) {
          return std::any_of(entry.fields.begin(), entry.fields.end(),
                             [&path](const FieldPath& other) {
                               return IsPrefix(path, other);
                             });
        });
    if (owned) continue;
    if (IsKeyField(path)) {
      // Goes with the rest of its item.
      FieldPath item = path;
      item.pop_back();
      const json* const value = FindPath(next.object, item);
      const absl::StatusOr<json> item_key = ParseKubeJson(item.back().text);
      if (value == nullptr || !item_key.ok() ||
          value->size() > item_key->size()) {
        continue;
      }
    }
    RemoveAt(&next.object, path);
  }
  DropEmpty(&next.managers);
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
    Stored next = found->second;
    next.object["status"] = Member(body, "status");
    Commit(id, std::move(next));
  }
  const Stored& now = objects_.at(id);
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
  RETURN_IF_ERROR(
      EditAs(options.field_manager, key,
             [&patch](json& object) { object.merge_patch(patch); }));
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
  Stored next = found->second;
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
  Stored next;
  ManagedFieldsEntry& entry = EnsureEntry(&next.managers, manager, "Update", "",
                                          TextOr(Member(object, "apiVersion")));
  entry.fields = FieldsOf(object);
  entry.time = TimeText();
  next.object = std::move(object);
  DropEmpty(&next.managers);
  Commit(id, std::move(next));
  return absl::OkStatus();
}

absl::Status FakeKubeClient::EditAs(absl::string_view manager,
                                    const core::v1::ResourceKey& key,
                                    const std::function<void(json&)>& edit) {
  const ObjectId id = IdentityOf(key);
  const auto found = objects_.find(id);
  if (found == objects_.end()) return Absent(id);
  const Stored before = found->second;
  Stored next = before;
  edit(next.object);
  RETURN_IF_ERROR(CheckImmutable(id, before.object, next.object));
  const FieldSet old_fields = FieldsOf(before.object);
  const FieldSet new_fields = FieldsOf(next.object);
  FieldSet touched;
  for (const FieldPath& path : new_fields) {
    const json* const old_value = FindPath(before.object, path);
    const json* const new_value = FindPath(next.object, path);
    if (old_value == nullptr || *old_value != *new_value) touched.insert(path);
  }
  const FieldSet gone = Minus(old_fields, new_fields);
  for (ManagedFieldsEntry& entry : next.managers) {
    for (auto owned = entry.fields.begin(); owned != entry.fields.end();) {
      const bool lost = gone.count(*owned) > 0 || touched.count(*owned) > 0 ||
                        std::any_of(touched.begin(), touched.end(),
                                    [&owned](const FieldPath& path) {
                                      return Overlaps(path, *owned);
                                    });
      owned = lost ? entry.fields.erase(owned) : std::next(owned);
    }
  }
  if (!touched.empty()) {
    EnsureEntry(&next.managers, manager, "Update", "",
                TextOr(Member(next.object, "apiVersion")))
        .fields.insert(touched.begin(), touched.end());
  }
  DropEmpty(&next.managers);
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
  Stored next = found->second;
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
  EnsureEntry(&next.managers, "kube-controller-manager", "Update", "status",
              TextOr(Member(next.object, "apiVersion")))
      .fields = fields;
  DropEmpty(&next.managers);
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
