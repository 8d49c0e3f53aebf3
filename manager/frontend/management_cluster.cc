// SPDX-License-Identifier: Apache-2.0

#include "manager/frontend/management_cluster.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/crypto/sha256.h"
#include "common/kube/kube_error.h"
#include "common/kube/object.h"
#include "common/log/log.h"
#include "flotilla/core/v1/core.pb.h"
#include "manager/frontend/field_managers.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;
using storage::v1::Document;
using Fleet = Surroundings::Fleet;
using Kind = Surroundings::Kind;

constexpr char kSecret[] = "Secret";
constexpr char kConfigMap[] = "ConfigMap";
constexpr char kNamespace[] = "Namespace";
constexpr char kDeployment[] = "Deployment";
constexpr char kToken[] = "ClusterRegistrationToken";
constexpr char kFleetController[] = "fleet-controller";
constexpr absl::Duration kRetry = absl::Seconds(2);
// How long a source waits for the Secrets that it names.
constexpr absl::Duration kPatience = absl::Seconds(5);

struct FleetKind {
  const char* kind;
  const char* plural;
  // Whether StatusSource speaks of it.
  bool has_source;
  bool has_status;
};

constexpr FleetKind kFleetKinds[] = {
    {"Policy", "policies", false, false},
    {"GitRepoRestriction", "gitreporestrictions", false, true},
    {"BundleNamespaceMapping", "bundlenamespacemappings", false, true},
    {"ClusterGroup", "clustergroups", true, true},
    {"Cluster", "clusters", true, true},
    {kToken, "clusterregistrationtokens", false, true},
    {"Bundle", "bundles", true, true},
    {"HelmOp", "helmops", true, true},
    {"GitRepo", "gitrepos", true, true},
};

const FleetKind* FindKind(const std::string& kind) {
  for (const FleetKind& known : kFleetKinds) {
    if (known.kind == kind) return &known;
  }
  return nullptr;
}

bool IsNamedKind(const std::string& kind) {
  return kind == kSecret || kind == kConfigMap;
}

// Kind, workspace, name of a document.
DocumentId IdOf(const NamedObject& key) {
  return {std::get<0>(key), std::get<1>(key), std::get<2>(key)};
}

std::string TextOf(const NamedObject& key) {
  return absl::StrCat(std::get<0>(key), " ", std::get<1>(key), "/",
                      std::get<2>(key));
}

core::v1::ResourceKey ResourceOf(const NamedObject& key) {
  const auto& [kind, ns, name] = key;
  core::v1::ResourceKey resource;
  resource.set_kind(kind);
  if (FindKind(kind) != nullptr) {
    resource.set_group(kFleetGroup);
    resource.set_version(kFleetVersion);
  } else {
    resource.set_version("v1");
  }
  if (kind != kNamespace) resource.set_namespace_(ns);
  resource.set_name(name);
  return resource;
}

core::v1::ResourceKey CrdKeyOf(const std::string& kind) {
  core::v1::ResourceKey key;
  key.set_group("apiextensions.k8s.io");
  key.set_version("v1");
  key.set_kind("CustomResourceDefinition");
  const FleetKind* known = FindKind(kind);
  key.set_name(
      absl::StrCat(known == nullptr ? "" : known->plural, ".", kFleetGroup));
  return key;
}

// What trying again does not help.
bool IsFinal(const absl::Status& status) {
  return status.ok() || absl::IsNotFound(status) || absl::IsAborted(status) ||
         absl::IsInvalidArgument(status);
}

}  // namespace

ManagementCluster::ManagementCluster(Collaborators collaborators,
                                     Options options)
    : c_(collaborators),
      options_(std::move(options)),
      installer_(c_.client, c_.loop,
                 [this](const std::string& text) { Notice(text); }),
      status_writer_(c_.loop, c_.clock, c_.client,
                     [this](const EventSubject& subject, const json& live) {
                       return PlanStatusOf(subject, live);
                     }),
      tokens_(c_.loop, c_.clock, c_.client, options_.mint,
              options_.agent_address,
              [this](const std::string& workspace, const std::string& name,
                     absl::StatusOr<json> status) {
                const auto found = items_.find({kToken, workspace, name});
                if (found == items_.end()) return;
                Item& item = found->second;
                item.verdict.refusal = std::string(status.status().message());
                item.verdict.reason = status.ok() ? "" : "Failed";
                if (status.ok()) item.token_status = *std::move(status);
                status_writer_.Want(kToken, workspace, name);
              }),
      connect_timer_(c_.loop.CreateTimer([this] { Connect(); })),
      documents_(
          c_.store, kDocumentFamily,
          [this](const std::string& key, const Document* document) {
            OnDocument(key, document);
          },
          [this] {
            if (!loaded_) MarkAll();
            loaded_ = true;
          }) {
  if (c_.status != nullptr) {
    c_.status->Listen([this](const StatusSubject& subject) {
      status_writer_.Want(subject.kind, subject.workspace, subject.name);
    });
  }
  connect_timer_->Arm(absl::ZeroDuration());
}

ManagementCluster::~ManagementCluster() {
  if (c_.status != nullptr) c_.status->Listen(nullptr);
}

void ManagementCluster::Notice(const std::string& text) const {
  if (options_.notice != nullptr) options_.notice(text);
}

bool ManagementCluster::synced() const {
  return documents_.loaded() && fleet_ != Fleet::kUnknown &&
         std::all_of(std::begin(kFleetKinds), std::end(kFleetKinds),
                     [this](const FleetKind& kind) {
                       return known_kinds_.count(kind.kind) > 0;
                     });
}

// --- Coming up.

void ManagementCluster::Connect() {
  installer_.Run([this](const absl::Status& status) { OnInstalled(status); });
}

void ManagementCluster::OnInstalled(const absl::Status& status) {
  if (!status.ok()) {
    const absl::Duration wait =
        backoff_.Next(c_.random.Uniform(Backoff::kRandomBound));
    FLOTILLA_LOG_EVERY(WARNING, absl::Seconds(30))
        << "the management cluster cannot be prepared, tried again: "
        << status;
    connect_timer_->Arm(wait);
    return;
  }
  connected_ = true;
  for (const char* name : {kLocalWorkspace, kDefaultWorkspace}) {
    EnsureNamespace(name, [name](const absl::Status& ensured) {
      if (ensured.ok()) return;
      FLOTILLA_LOG(WARNING) << "namespace " << name
                            << " of the management cluster: " << ensured;
    });
  }
  ObjectWatch::Listener& listener = *this;
  const auto watch = [this, &listener](WatchRequest request) {
    watches_.push_back(std::make_unique<ObjectWatch>(
        c_.client, c_.loop, c_.random, std::move(request), listener));
  };
  WatchRequest controllers;
  controllers.kind = {"apps", "v1", kDeployment};
  controllers.field_selector = absl::StrCat("metadata.name=", kFleetController);
  controllers.metadata_only = false;
  watch(std::move(controllers));
  WatchRequest namespaces;
  namespaces.kind = {"", "v1", kNamespace};
  watch(std::move(namespaces));
  for (const FleetKind& kind : kFleetKinds) {
    WatchRequest request;
    request.kind = {kFleetGroup, kFleetVersion, kind.kind};
    request.metadata_only = false;
    watch(std::move(request));
  }
}

void ManagementCluster::EnsureNamespace(
    const std::string& name, absl::AnyInvocable<void(absl::Status)> done) {
  const core::v1::ResourceKey key = ResourceOf({kNamespace, name, name});
  GetOptions options;
  options.metadata_only = true;
  c_.client.Get(
      key, options,
      [this, key, alive = std::weak_ptr<bool>(alive_), done = std::move(done)](
          const absl::StatusOr<KubeObject>& found) mutable {
        if (alive.expired()) return;
        if (!absl::IsNotFound(found.status())) return done(found.status());
        ApplyOptions apply;
        apply.field_manager = kManagerFields;
        const json body = {{"apiVersion", "v1"},
                           {"kind", kNamespace},
                           {"metadata", {{"name", key.name()}}}};
        c_.client.Apply(key, CanonicalJson(body), std::move(apply),
                        [done = std::move(done)](
                            const absl::StatusOr<ApplyResult>& made) mutable {
                          done(made.status());
                        });
      });
}

// --- What the watches say.

void ManagementCluster::OnObject(const KindName& kind,
                                 flotilla::WatchEvent event) {
  if (kind.kind == kDeployment) return OnFleetController(event);
  const ObjectHead& head = event.object.head;
  const Key key{kind.kind, kind.kind == kNamespace ? head.name : head.ns,
                head.name};
  Item& item = items_[key];
  if (event.type == flotilla::WatchEvent::Type::kDeleted) {
    item.present = false;
    item.deletion_seen = true;
    status_writer_.OnGone({kind.kind, head.ns, head.name, head.uid});
    if (kind.kind == kToken) tokens_.Forget(head.ns, head.name);
  } else {
    Learn(key, item, event.object);
  }
  Mark(key);
}

void ManagementCluster::Learn(const Key& key, Item& item,
                              const KubeObject& object) {
  const std::string& kind = std::get<0>(key);
  const absl::StatusOr<json> parsed = ParseKubeJson(object.json);
  if (!parsed.ok()) {
    FLOTILLA_LOG_EVERY(WARNING, absl::Seconds(30))
        << TextOf(key) << " of the management cluster cannot be read: "
        << parsed.status();
    return;
  }
  const bool again = !item.present || item.uid != object.head.uid;
  item.present = true;
  item.deletion_seen = false;
  item.deleting = object.head.deleting;
  item.uid = object.head.uid;
  item.version = object.head.resource_version;
  item.generation = object.head.generation;
  if (again) item.judged = item.ever_judged = false;
  const json& metadata = Member(*parsed, "metadata");
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full,
                       TextOr(Member(metadata, "creationTimestamp")),
                       &item.created, &error)) {
    item.created = c_.clock.Now();
  }
  item.finalizers.clear();
  const json& finalizers = Member(metadata, "finalizers");
  if (finalizers.is_array()) {
    for (const json& finalizer : finalizers) {
      item.finalizers.push_back(TextOr(finalizer));
    }
  }
  absl::StatusOr<std::string> text = DocumentTextOf(kind, *parsed);
  if (!text.ok()) return;
  const std::string digest = Sha256(*text);
  if (digest != item.digest) {
    item.digest = digest;
    item.text = *std::move(text);
    item.judged = false;
    item.parsed.reset();
  } else if (item.judged && item.verdict.generation > 0) {
    // What changed means nothing to us.
    item.verdict.generation = item.generation;
  }
  const FleetKind* fleet_kind = FindKind(kind);
  if (fleet_kind == nullptr || !fleet_kind->has_status) return;
  int64_t version = 0;
  (void)absl::SimpleAtoi(item.version, &version);
  status_writer_.OnLive({kind, std::get<1>(key), std::get<2>(key), item.uid},
                        Member(*parsed, "status"), version);
}

void ManagementCluster::OnComplete(const WatchRequest& request,
                                   const std::set<ObjectWatch::Name>& present) {
  const std::string& kind = request.kind.kind;
  if (kind == kDeployment) {
    for (auto it = fleet_in_.begin(); it != fleet_in_.end();) {
      it = present.count({*it, kFleetController}) > 0 ? std::next(it)
                                                      : fleet_in_.erase(it);
    }
    SetFleet(fleet_in_.empty() ? Fleet::kAbsent : Fleet::kActive);
    return;
  }
  const auto lost = [this](const Key& key) {
    Item& item = items_[key];
    if (item.present) {
      item.present = false;
      // Nobody saw how it went.
      item.deletion_seen = false;
      const auto& [lost_kind, ns, name] = key;
      status_writer_.OnGone({lost_kind, ns, name, item.uid});
      if (lost_kind == kToken) tokens_.Forget(ns, name);
    }
    Mark(key);
  };
  if (IsNamedKind(kind)) {
    for (const auto& [named, watch] : named_watches_) {
      if (&watch->request() != &request) continue;
      known_named_.insert(named);
      if (present.empty()) lost(named);
    }
    MarkAll();
    return;
  }
  known_kinds_.insert(kind);
  std::vector<Key> gone;
  for (const auto& [key, item] : items_) {
    const auto& [item_kind, ns, name] = key;
    if (item_kind != kind) continue;
    const std::string place = kind == kNamespace ? std::string() : ns;
    if (present.count({place, name}) == 0) gone.push_back(key);
  }
  for (const Key& key : gone) lost(key);
  MarkAll();
}

void ManagementCluster::OnDown(const WatchRequest& request,
                               const absl::Status& status) {
  if (absl::IsOutOfRange(status)) return;
  if (MissingWhat(status) == KubeError::Missing::kKind) {
    OnKindMissing(request);
  }
  FLOTILLA_LOG_EVERY(WARNING, absl::Seconds(30))
      << "watch of " << request.kind.kind
      << " in the management cluster, tried again: " << status
      << (request.kind.kind == kDeployment && fleet_ == Fleet::kUnknown
              ? "; nothing is taken before it is known that no controller of "
                "Fleet is active"
              : "");
}

// A kind that is not served has no objects, unless the server does not say so
// itself.
void ManagementCluster::OnKindMissing(const WatchRequest& request) {
  if (FindKind(request.kind.kind) == nullptr) return;
  GetOptions options;
  options.metadata_only = true;
  c_.client.Get(CrdKeyOf(request.kind.kind), options,
                [this, request, alive = std::weak_ptr<bool>(alive_)](
                    const absl::StatusOr<KubeObject>& found) {
                  if (alive.expired()) return;
                  if (MissingWhat(found.status()) ==
                      KubeError::Missing::kObject) {
                    OnComplete(request, {});
                  }
                });
}

void ManagementCluster::OnFleetController(const flotilla::WatchEvent& event) {
  const std::string& ns = event.object.head.ns;
  const absl::StatusOr<json> object = ParseKubeJson(event.object.json);
  const bool ready =
      event.type != flotilla::WatchEvent::Type::kDeleted && object.ok() &&
      IntegerOr(Member(Member(*object, "status"), "readyReplicas"), 0) > 0;
  if (ready) {
    fleet_in_.insert(ns);
  } else {
    fleet_in_.erase(ns);
  }
  if (ready) {
    SetFleet(Fleet::kActive);
  } else if (fleet_ != Fleet::kUnknown) {
    SetFleet(fleet_in_.empty() ? Fleet::kAbsent : Fleet::kActive);
  }
}

void ManagementCluster::SetFleet(Fleet fleet) {
  if (fleet == fleet_) return;
  const bool was_active = fleet_ == Fleet::kActive;
  fleet_ = fleet;
  if (fleet == Fleet::kActive) {
    Notice(absl::StrCat(
        "a controller of Fleet is active in the management cluster "
        "(Deployment ",
        *fleet_in_.begin(), "/", kFleetController,
        "): its objects are not taken, so that no two controllers deploy the "
        "same; scale it to 0 when Flotilla is to take over"));
  } else if (was_active) {
    Notice("no controller of Fleet is active in the management cluster any "
           "more: its objects are taken");
  }
  for (auto& [key, item] : items_) item.judged = false;
  MarkAll();
}

// --- What the store says.

void ManagementCluster::OnDocument(const std::string& key,
                                   const Document* document) {
  const absl::StatusOr<DocumentName> name = ParseDocumentKey(key);
  if (!name.ok()) return;
  const Key named{name->kind, name->workspace, name->name};
  const auto counted = workspace_of_.find(key);
  if (document == nullptr) {
    if (counted != workspace_of_.end()) {
      if (--workspaces_[counted->second] == 0) {
        workspaces_.erase(counted->second);
        Mark({kNamespace, name->workspace, name->workspace});
      }
      workspace_of_.erase(counted);
    }
    NameObjects(named, {});
  } else {
    // A Namespace does not want itself.
    if (counted == workspace_of_.end() && name->kind != kNamespace) {
      workspace_of_[key] = name->workspace;
      if (++workspaces_[name->workspace] == 1) {
        Mark({kNamespace, name->workspace, name->workspace});
      }
    }
    NameObjects(named, document->door() == Document::DOOR_MANAGEMENT_CLUSTER
                           ? ObjectsNamedBy(*document)
                           : std::set<NamedObject>());
  }
  const auto found = items_.find(named);
  if (document == nullptr && found != items_.end() &&
      !found->second.present) {
    found->second.deletion_seen = false;
  }
  status_writer_.Want(name->kind, name->workspace, name->name);
  Mark(named);
}

void ManagementCluster::NameObjects(const Key& by,
                                    std::set<NamedObject> names) {
  const auto found = names_by_.find(by);
  if (found == names_by_.end() && names.empty()) return;
  for (const NamedObject& named : names) ++named_[named];
  if (found != names_by_.end()) {
    for (const NamedObject& named : found->second) {
      if (--named_[named] == 0) named_.erase(named);
      Mark(named);
    }
  }
  if (names.empty()) {
    names_by_.erase(found);
  } else {
    names_by_[by] = std::move(names);
  }
}

void ManagementCluster::UpdateNamedWatches() {
  if (!connected_) return;
  for (auto it = named_watches_.begin(); it != named_watches_.end();) {
    if (named_.count(it->first) > 0) {
      ++it;
      continue;
    }
    known_named_.erase(it->first);
    // Not looked at any more: what it holds is not kept.
    Item& item = items_[it->first];
    item.present = false;
    item.deletion_seen = false;
    item.text.clear();
    item.digest.clear();
    item.parsed.reset();
    it = named_watches_.erase(it);
  }
  ObjectWatch::Listener& listener = *this;
  for (const auto& [named, count] : named_) {
    std::unique_ptr<ObjectWatch>& watch = named_watches_[named];
    if (watch != nullptr) continue;
    WatchRequest request;
    request.kind = {"", "v1", std::get<0>(named)};
    request.ns = std::get<1>(named);
    request.field_selector =
        absl::StrCat("metadata.name=", std::get<2>(named));
    request.metadata_only = false;
    watch = std::make_unique<ObjectWatch>(c_.client, c_.loop, c_.random,
                                          std::move(request), listener);
  }
}

// --- Deciding.

void ManagementCluster::Mark(const Key& key) {
  dirty_.insert(key);
  if (awake_) return;
  awake_ = true;
  c_.loop.Post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    awake_ = false;
    Run();
  });
}

void ManagementCluster::MarkAll() {
  for (const auto& [key, item] : items_) Mark(key);
  for (const auto& [key, entry] : documents_.map()) {
    const Document& document = entry.first;
    // Of those that other doors made only the exported ones concern us.
    if (document.door() == Document::DOOR_MANAGEMENT_CLUSTER ||
        IsExported(document)) {
      Mark({document.kind(), document.workspace(), document.name()});
    }
  }
}

void ManagementCluster::Run() {
  if (!documents_.loaded() || !c_.registry.ready()) return;
  UpdateNamedWatches();
  std::set<Key> dirty;
  dirty.swap(dirty_);
  for (const Key& key : dirty) Step(key);
}

bool ManagementCluster::Known(const Key& key) const {
  const std::string& kind = std::get<0>(key);
  return IsNamedKind(kind) ? known_named_.count(key) > 0
                           : known_kinds_.count(kind) > 0;
}

bool ManagementCluster::Wanted(const Key& key) const {
  const auto& [kind, ns, name] = key;
  if (IsNamedKind(kind)) return named_.count(key) > 0;
  if (kind == kNamespace) return workspaces_.count(name) > 0;
  return FindKind(kind) != nullptr;
}

ObjectView ManagementCluster::ViewOf(const Key& key, const Item& item) const {
  ObjectView view;
  view.known = Known(key);
  view.present = item.present;
  view.deleting = item.deleting;
  view.finalizer =
      std::find(item.finalizers.begin(), item.finalizers.end(), kFinalizer) !=
      item.finalizers.end();
  view.deletion_seen = item.deletion_seen;
  view.valid = item.problem.empty();
  view.judged = item.judged;
  view.uid = item.uid;
  return view;
}

DocumentView ManagementCluster::ViewOfDocument(const Key& key) const {
  DocumentView view;
  const auto& [kind, ns, name] = key;
  const Document* document = c_.registry.Find(kind, ns, name);
  if (document == nullptr) return view;
  view.present = true;
  view.ours = document->door() == Document::DOOR_MANAGEMENT_CLUSTER;
  view.leaving = document->has_delete_time();
  view.missing = document->source_missing();
  view.exported = IsExported(*document) && !view.leaving;
  view.uid = document->uid();
  return view;
}

Surroundings ManagementCluster::AroundOf(const Key& key,
                                         const Item& item) const {
  const std::string& kind = std::get<0>(key);
  Surroundings around;
  around.fleet = fleet_;
  around.kind = FindKind(kind) == nullptr ? Kind::kServed : item.kind;
  around.needs_finalizer = NeedsFinalizer(kind);
  around.wanted = Wanted(key);
  return around;
}

void ManagementCluster::Step(const Key& key) {
  Item& item = items_[key];
  if (item.busy) return;
  const Surroundings around = AroundOf(key, item);
  const DocumentView document = ViewOfDocument(key);
  if (around.wanted && around.fleet == Fleet::kAbsent && item.present &&
      !item.deleting && Known(key) && !item.text.empty() &&
      (item.read_digest != item.digest)) {
    return Read(key, item);
  }
  const FrontendStep step = NextStep(ViewOf(key, item), document, around);
  item.kind = Kind::kUnknown;
  if (step != FrontendStep::kTake) item.patience = absl::ZeroDuration();
  switch (step) {
    case FrontendStep::kNothing:
      if (!item.present && !document.present &&
          (item.timer == nullptr || !item.timer->armed())) {
        items_.erase(key);
      }
      return;
    case FrontendStep::kAskKind:
      return AskKind(key);
    case FrontendStep::kRefuseFleet:
      return RefuseFleet(key, item);
    case FrontendStep::kRefuseInvalid:
      item.judged = item.ever_judged = true;
      item.verdict = {item.problem, "Invalid", item.generation};
      status_writer_.Want(std::get<0>(key), std::get<1>(key),
                          std::get<2>(key));
      return;
    case FrontendStep::kPutFinalizer:
      return PutFinalizer(key, item);
    case FrontendStep::kTake:
      return Take(key, item);
    case FrontendStep::kDelete:
      return Delete(key);
    case FrontendStep::kMarkMissing:
      return MarkMissing(key);
    case FrontendStep::kRemoveFinalizer:
      return RemoveFinalizer(key, item);
    case FrontendStep::kCreateObject:
      return CreateObject(key);
  }
}

void ManagementCluster::Finish(const Key& key, const absl::Status& status) {
  Item& item = items_[key];
  item.busy = false;
  if (status.ok()) return Mark(key);
  // A watch event, or the next look, says what became of it.
  if (!IsFinal(status)) {
    FLOTILLA_LOG_EVERY(WARNING, absl::Seconds(30))
        << TextOf(key) << " of the management cluster, tried again: "
        << status;
  }
  if (item.timer == nullptr) {
    item.timer = c_.loop.CreateTimer([this, key] { Mark(key); });
  }
  item.timer->Arm(kRetry);
}

// --- Acting.

void ManagementCluster::Read(const Key& key, Item& item) {
  item.busy = true;
  using Result = absl::StatusOr<ParsedDocument>;
  c_.workers.Submit<Result>(
      [id = IdOf(key), text = item.text] {
        return ReadObjectDocument(id, text);
      },
      [this, key, digest = item.digest,
       alive = std::weak_ptr<bool>(alive_)](Result read) {
        if (alive.expired()) return;
        Item& known = items_[key];
        known.read_digest = digest;
        known.problem = std::string(read.status().message());
        known.parsed.reset();
        if (read.ok()) known.parsed = *std::move(read);
        Finish(key, absl::OkStatus());
      });
}

bool ManagementCluster::NamedSettled(const std::set<NamedObject>& names) const {
  return std::all_of(
      names.begin(), names.end(), [this](const NamedObject& named) {
        if (!Known(named)) return false;
        const auto found = items_.find(named);
        if (found == items_.end()) return true;
        const Item& item = found->second;
        return !item.busy && (!item.present || item.judged || item.deleting);
      });
}

void ManagementCluster::Take(const Key& key, Item& item) {
  if (!item.parsed.has_value()) {
    // It was handed over before, and is wanted once more.
    item.read_digest.clear();
    return Mark(key);
  }
  const std::set<NamedObject> names = ObjectsNamedBy(item.parsed->document);
  if (!names.empty() && !NamedSettled(names)) {
    const absl::Duration now = c_.loop.MonotonicNow();
    if (item.patience == absl::ZeroDuration()) item.patience = now + kPatience;
    if (now < item.patience) {
      NameObjects(key, names);
      if (item.timer == nullptr) {
        item.timer = c_.loop.CreateTimer([this, key] { Mark(key); });
      }
      item.timer->Arm(absl::Milliseconds(50));
      // Their watches are opened by the next run.
      if (!names.empty()) Mark(*names.begin());
      return;
    }
  }
  item.patience = absl::ZeroDuration();
  item.busy = true;
  std::vector<ParsedDocument> documents;
  documents.push_back(*std::move(item.parsed));
  item.parsed.reset();
  documents[0].document.set_door(Document::DOOR_MANAGEMENT_CLUSTER);
  documents[0].document.set_uid(item.uid);
  c_.registry.Apply(
      std::move(documents),
      [this, key, digest = item.digest, uid = item.uid,
       generation = item.generation, alive = std::weak_ptr<bool>(alive_)](
          const absl::StatusOr<std::vector<AppliedDocument>>& applied) {
        if (alive.expired()) return;
        Item& taken = items_[key];
        const bool refused = absl::IsFailedPrecondition(applied.status()) ||
                             absl::IsInvalidArgument(applied.status());
        // What was wanted again while this was under way is read again.
        if (!applied.ok()) taken.read_digest.clear();
        if ((applied.ok() || refused) && taken.digest == digest &&
            taken.uid == uid) {
          taken.judged = taken.ever_judged = true;
          if (refused) {
            taken.read_digest = digest;
            const auto& [kind, ns, name] = key;
            const Document* stays = c_.registry.Find(kind, ns, name);
            const bool ours =
                stays != nullptr &&
                stays->door() == Document::DOOR_MANAGEMENT_CLUSTER;
            NameObjects(key, ours ? ObjectsNamedBy(*stays)
                                  : std::set<NamedObject>());
          }
          taken.verdict.refusal = std::string(applied.status().message());
          taken.verdict.reason = refused ? "Conflict" : "";
          taken.verdict.generation = generation;
          if (applied.ok() && std::get<0>(key) == kToken) {
            KeepToken(key, taken);
          }
          status_writer_.Want(std::get<0>(key), std::get<1>(key),
                              std::get<2>(key));
        }
        Finish(key, refused ? absl::OkStatus() : applied.status());
      });
}

void ManagementCluster::KeepToken(const Key& key, const Item& item) {
  const auto& [kind, ns, name] = key;
  const Document* document = c_.registry.Find(kind, ns, name);
  if (document == nullptr || options_.mint == nullptr) return;
  RegistrationToken token;
  token.workspace = ns;
  token.name = name;
  token.uid = item.uid;
  token.labels.assign(document->labels().begin(), document->labels().end());
  token.created = item.created;
  const auto& ttl = document->cluster_registration_token().ttl();
  token.ttl = absl::Seconds(ttl.seconds()) + absl::Nanoseconds(ttl.nanos());
  tokens_.Keep(std::move(token));
}

void ManagementCluster::AskKind(const Key& key) {
  items_[key].busy = true;
  GetOptions options;
  options.metadata_only = true;
  c_.client.Get(CrdKeyOf(std::get<0>(key)), options,
                [this, key, alive = std::weak_ptr<bool>(alive_)](
                    const absl::StatusOr<KubeObject>& found) {
                  if (alive.expired()) return;
                  Item& item = items_[key];
                  if (found.ok()) {
                    item.kind =
                        found->head.deleting ? Kind::kGoing : Kind::kServed;
                  } else if (absl::IsNotFound(found.status())) {
                    item.kind = Kind::kGoing;
                  } else {
                    return Finish(key, found.status());
                  }
                  Finish(key, absl::OkStatus());
                });
}

void ManagementCluster::PutFinalizer(const Key& key, const Item& item) {
  const auto& [kind, ns, name] = key;
  const json body = {
      {"apiVersion", absl::StrCat(kFleetGroup, "/", kFleetVersion)},
      {"kind", kind},
      {"metadata",
       {{"name", name},
        {"namespace", ns},
        {"uid", item.uid},
        {"finalizers", json::array({kFinalizer})}}}};
  ApplyOptions options;
  options.field_manager = kFinalizerFields;
  items_[key].busy = true;
  c_.client.Apply(ResourceOf(key), CanonicalJson(body), std::move(options),
                  [this, key, uid = item.uid,
                   alive = std::weak_ptr<bool>(alive_)](
                      const absl::StatusOr<ApplyResult>& applied) {
                    if (alive.expired()) return;
                    Item& marked = items_[key];
                    if (applied.ok() && marked.uid == uid) {
                      // Before the watch says so.
                      marked.finalizers.emplace_back(kFinalizer);
                    }
                    Finish(key, applied.status());
                  });
}

void ManagementCluster::RemoveFinalizer(const Key& key, const Item& item) {
  json rest = json::array();
  for (const std::string& finalizer : item.finalizers) {
    if (finalizer != kFinalizer) rest.push_back(finalizer);
  }
  // The version: those of others are written back as they were.
  const json patch = {{"metadata",
                       {{"uid", item.uid},
                        {"resourceVersion", item.version},
                        {"finalizers", std::move(rest)}}}};
  ApplyOptions options;
  options.field_manager = kFinalizerFields;
  options.merge_patch = true;
  items_[key].busy = true;
  c_.client.Apply(ResourceOf(key), CanonicalJson(patch), std::move(options),
                  [this, key, alive = std::weak_ptr<bool>(alive_)](
                      const absl::StatusOr<ApplyResult>& applied) {
                    if (alive.expired()) return;
                    Item& freed = items_[key];
                    if (applied.ok()) freed.finalizers.clear();
                    Finish(key, absl::IsNotFound(applied.status())
                                    ? absl::OkStatus()
                                    : applied.status());
                  });
}

void ManagementCluster::Delete(const Key& key) {
  items_[key].busy = true;
  c_.registry.Delete(
      {IdOf(key)}, true,
      [this, key, alive = std::weak_ptr<bool>(alive_)](
          const absl::StatusOr<std::vector<DocumentId>>& deleted) {
        if (!alive.expired()) Finish(key, deleted.status());
      },
      Document::DOOR_MANAGEMENT_CLUSTER);
}

void ManagementCluster::MarkMissing(const Key& key) {
  Notice(absl::StrCat(TextOf(key),
                      " is missing in the management cluster without having "
                      "been deleted: what it made stays as it is"));
  items_[key].busy = true;
  c_.registry.MarkMissing({IdOf(key)},
                          [this, key, alive = std::weak_ptr<bool>(alive_)](
                              const absl::Status& marked) {
                            if (!alive.expired()) Finish(key, marked);
                          });
}

void ManagementCluster::CreateObject(const Key& key) {
  const auto& [kind, ns, name] = key;
  const Document* document = c_.registry.Find(kind, ns, name);
  Item& wanted = items_[key];
  // The watch may not have shown it yet.
  const absl::Duration now = c_.loop.MonotonicNow();
  if (document == nullptr || now < wanted.shown_until) return;
  wanted.shown_until = now + kRetry;
  wanted.busy = true;
  EnsureNamespace(ns, [this, key, object = ObjectOf(*document),
                       alive = std::weak_ptr<bool>(alive_)](
                          const absl::Status& ensured) {
    if (alive.expired()) return;
    if (!ensured.ok()) return Finish(key, ensured);
    ApplyOptions options;
    options.field_manager = kManagerFields;
    // One that comes at this very moment is the user's.
    options.force = false;
    c_.client.Apply(ResourceOf(key), CanonicalJson(object), std::move(options),
                    [this, key, alive](
                        const absl::StatusOr<ApplyResult>& made) {
                      if (alive.expired()) return;
                      Finish(key, made.status());
                    });
  });
}

void ManagementCluster::RefuseFleet(const Key& key, Item& item) {
  item.judged = true;
  const auto& [kind, ns, name] = key;
  const FleetKind* known = FindKind(kind);
  if (known == nullptr || !known->has_source) return;
  // Not a condition: Fleet's controller writes those.
  status_writer_.Say(
      {kind, ns, name, item.uid},
      {true, "NotTaken",
       absl::StrCat("Flotilla does not take this ", kind,
                    ": a controller of Fleet is active (Deployment ",
                    *fleet_in_.begin(), "/", kFleetController,
                    "); scale it to 0 when Flotilla is to take over")});
}

std::optional<json> ManagementCluster::PlanStatusOf(
    const EventSubject& subject, const json& live) {
  const FleetKind* kind = FindKind(subject.kind);
  const auto found = items_.find({subject.kind, subject.ns, subject.name});
  if (kind == nullptr || !kind->has_status || found == items_.end() ||
      !found->second.present || fleet_ != Fleet::kAbsent) {
    return std::nullopt;
  }
  const Item& item = found->second;
  const DocumentView document =
      ViewOfDocument({subject.kind, subject.ns, subject.name});
  if (!item.ever_judged) return std::nullopt;
  json known;
  if (kind->has_source && document.ours) {
    known = json::object();
    if (c_.status != nullptr) {
      if (!c_.status->ready()) return std::nullopt;
      known = c_.status->StatusOf({subject.kind, subject.ns, subject.name});
    }
  } else if (subject.kind == kToken) {
    known = item.token_status;
    if (known.is_null() && item.verdict.refusal.empty()) return std::nullopt;
  } else if (!kind->has_source) {
    // Nothing is said while nothing is wrong.
    if (item.verdict.refusal.empty() && live.is_null()) return std::nullopt;
  }
  return PlanStatus(known, item.verdict, live, c_.clock.Now());
}

std::string ManagementCluster::DebugString() const {
  const char* fleet[] = {"unknown", "absent", "active"};
  return absl::StrCat("connected=", connected_, " synced=", synced(),
                      " fleet=", fleet[static_cast<int>(fleet_)],
                      " objects=", items_.size(),
                      " named=", named_watches_.size(),
                      " status_writes=", status_writer_.writes());
}

}  // namespace flotilla::manager
