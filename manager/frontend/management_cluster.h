// SPDX-License-Identifier: Apache-2.0
//
// ManagementCluster is the door of people who work with kubectl: it installs
// the kinds of fleet.cattle.io, watches them in all namespaces, hands what they
// say to the DocumentRegistry, and writes status and Events back. Secrets and
// ConfigMaps are watched by name, those alone that a document names.
//
// The store stays the only truth: a management cluster that is away, empty or
// restored from a backup changes nothing (decisions.md 26). frontend_planner.h
// decides; this acts, one step at a time for each object, and decides again.

#ifndef FLOTILLA_MANAGER_FRONTEND_MANAGEMENT_CLUSTER_H_
#define FLOTILLA_MANAGER_FRONTEND_MANAGEMENT_CLUSTER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/env/clock.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "common/event/worker_pool.h"
#include "common/kube/kube_client.h"
#include "common/retry/backoff.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/documents/document_registry.h"
#include "manager/frontend/crd_installer.h"
#include "manager/frontend/frontend_planner.h"
#include "manager/frontend/object_document.h"
#include "manager/frontend/object_watch.h"
#include "manager/frontend/status_writer.h"
#include "manager/frontend/token_secrets.h"
#include "manager/status/status_source.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// Loop-affine.
class ManagementCluster : private ObjectWatch::Listener {
 public:
  // Not owned; must outlive it.
  struct Collaborators {
    Loop& loop;
    WorkerPool& workers;
    const Clock& clock;
    Random& random;
    Store& store;
    DocumentRegistry& registry;
    KubeClient& client;
    // The front end is its one listener. Null: objects are told whether they
    // were taken, and no more.
    StatusSource* status = nullptr;
  };
  struct Options {
    // Where agents find the manager.
    std::string agent_address;
    TokenSecrets::Mint mint;
    // Told what people should know, in sentences.
    std::function<void(const std::string&)> notice;
  };

  // Begins in a later turn.
  ManagementCluster(Collaborators collaborators, Options options);
  ManagementCluster(const ManagementCluster&) = delete;
  ManagementCluster& operator=(const ManagementCluster&) = delete;
  ~ManagementCluster() override;

  // Whether everything that is watched is known.
  bool synced() const;

  std::string DebugString() const;

 private:
  // Kind, namespace, name. A Namespace lies in itself.
  using Key = NamedObject;

  // An object, or what is left of it.
  struct Item {
    bool present = false;
    bool deleting = false;
    bool deletion_seen = false;
    std::string uid;
    std::string version;
    int64_t generation = 0;
    absl::Time created;
    std::vector<std::string> finalizers;
    // What the user wrote, and its digest.
    std::string text;
    std::string digest;
    // Read for `read_digest`; then one of `parsed` and `problem` is set, until
    // the registry has it.
    std::string read_digest;
    std::optional<ParsedDocument> parsed;
    std::string problem;
    // Of `digest`, by the registry or as a refusal.
    bool judged = false;
    // Of that uid, since the start: before, nothing is said.
    bool ever_judged = false;
    Verdict verdict;
    // What a token's status is.
    nlohmann::json token_status;
    // Whether the kind stays; asked anew for each decision.
    Surroundings::Kind kind = Surroundings::Kind::kUnknown;
    // A step is under way.
    bool busy = false;
    // Until then a step waits for Secrets.
    absl::Duration patience = absl::ZeroDuration();
    // Until then it counts as made although no watch showed it.
    absl::Duration shown_until = absl::ZeroDuration();
    std::unique_ptr<Timer> timer;
  };

  void Connect();
  void OnInstalled(const absl::Status& status);
  void EnsureNamespace(const std::string& name,
                       absl::AnyInvocable<void(absl::Status)> done);

  // ObjectWatch::Listener
  void OnObject(const KindName& kind, flotilla::WatchEvent event) override;
  void OnComplete(const WatchRequest& request,
                  const std::set<ObjectWatch::Name>& present) override;
  void OnDown(const WatchRequest& request, const absl::Status& status) override;
  void OnFleetController(const flotilla::WatchEvent& event);
  void SetFleet(Surroundings::Fleet fleet);
  void OnKindMissing(const WatchRequest& request);

  // What the user wrote and what the server keeps, of a present object.
  void Learn(const Key& key, Item& item, const KubeObject& object);
  void OnDocument(const std::string& key,
                  const storage::v1::Document* document);
  void NameObjects(const Key& by, std::set<NamedObject> names);
  void UpdateNamedWatches();

  void Mark(const Key& key);
  void MarkAll();
  void Run();
  void Step(const Key& key);
  bool Known(const Key& key) const;
  bool Wanted(const Key& key) const;
  ObjectView ViewOf(const Key& key, const Item& item) const;
  DocumentView ViewOfDocument(const Key& key) const;
  Surroundings AroundOf(const Key& key, const Item& item) const;

  void Read(const Key& key, Item& item);
  void Take(const Key& key, Item& item);
  // Whether all that is named is in the registry, or known not to be there.
  bool NamedSettled(const std::set<NamedObject>& names) const;
  void AskKind(const Key& key);
  void PutFinalizer(const Key& key, const Item& item);
  void RemoveFinalizer(const Key& key, const Item& item);
  void Delete(const Key& key);
  void MarkMissing(const Key& key);
  void CreateObject(const Key& key);
  void RefuseFleet(const Key& key, Item& item);
  // A step ended: OK and what cannot be helped look again when something
  // changes or at once; others after a while.
  void Finish(const Key& key, const absl::Status& status);
  void KeepToken(const Key& key, const Item& item);

  std::optional<nlohmann::json> PlanStatusOf(const EventSubject& subject,
                                             const nlohmann::json& live);
  void Notice(const std::string& text) const;

  // Collaborators. Not owned.
  Collaborators c_;
  const Options options_;

  // Loop state.
  CrdInstaller installer_;
  StatusWriter status_writer_;
  TokenSecrets tokens_;
  Backoff backoff_;
  bool connected_ = false;
  bool loaded_ = false;
  Surroundings::Fleet fleet_ = Surroundings::Fleet::kUnknown;
  // Namespaces in which a controller of Fleet is ready.
  std::set<std::string> fleet_in_;
  std::map<Key, Item> items_;
  std::set<Key> dirty_;
  bool awake_ = false;
  // Kinds whose complete set came, Namespace included.
  std::set<std::string> known_kinds_;
  std::set<NamedObject> known_named_;
  // Who names which Secrets and ConfigMaps.
  std::map<Key, std::set<NamedObject>> names_by_;
  std::map<NamedObject, int> named_;
  // Documents by workspace.
  std::map<std::string, int> workspaces_;
  std::map<std::string, std::string> workspace_of_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<Timer> connect_timer_;

  // Declared last: destroyed first.
  std::map<NamedObject, std::unique_ptr<ObjectWatch>> named_watches_;
  std::vector<std::unique_ptr<ObjectWatch>> watches_;
  TypedMirror<storage::v1::Document> documents_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_FRONTEND_MANAGEMENT_CLUSTER_H_
