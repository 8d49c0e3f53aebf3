// SPDX-License-Identifier: Apache-2.0
//
// FakeKubeClient is an API server in memory for tests: server-side apply with
// field ownership, conflicts, uid, resourceVersion, generation, watches,
// finalizers, faults, and a log of what it was asked. Foreign hands (users,
// controllers) act through the ...As() calls, at once.
//
// Everything that a KubeClient call does happens when its completion runs, one
// Loop turn later, unless Hold() keeps it back. Events of watches follow in
// turns of their own.
//
// Namespaces must exist; "default" and "kube-system" do. Deleting one deletes
// what is in it. A CustomResourceDefinition that is created becomes
// Established at once and its kinds are served.
//
// Differences from a real server, on purpose: no defaulting, no admission, no
// validation but the one asked for with SetImmutable(), no garbage collection.
// The lists that Kubernetes merges by key are known by their field's name,
// whatever the kind (containers, initContainers, volumes, env: by name; ports:
// containerPort or port, and protocol; volumeMounts: mountPath; conditions:
// type; ownerReferences: uid), finalizers are a set, others are atomic.

#ifndef FLOTILLA_COMMON_KUBE_FAKE_KUBE_CLIENT_H_
#define FLOTILLA_COMMON_KUBE_FAKE_KUBE_CLIENT_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

#include "flotilla/core/v1/core.pb.h"

#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "common/kube/object.h"
#include "common/kube/server_side_apply.h"

namespace flotilla {

// Loop-affine.
class FakeKubeClient : public KubeClient {
 public:
  enum class Verb { kGet, kList, kApply, kDelete, kWatch, kDiscover, kVersion };

  // One call, as logged when it was made.
  struct Request {
    Verb verb = Verb::kGet;
    core::v1::ResourceKey key;  // kList, kWatch: without a name.
    std::string body;           // kApply.
    bool force = false;
    bool dry_run = false;
    bool metadata_only = false;
    std::string uid;  // kDelete: the precondition.
    std::string label_selector;
    std::string resource_version;  // kWatch: resumed from.
    std::string impersonate;
    bool merge_patch = false;  // kApply.
    std::string subresource;   // kApply.
  };

  explicit FakeKubeClient(Loop& loop);
  FakeKubeClient(const FakeKubeClient&) = delete;
  FakeKubeClient& operator=(const FakeKubeClient&) = delete;
  ~FakeKubeClient() override;

  // KubeClient
  void Get(const core::v1::ResourceKey& key, GetOptions options,
           Done<KubeObject> done) override;
  void List(ListRequest request, Done<ListResult> done) override;
  void Apply(const core::v1::ResourceKey& key, std::string body,
             ApplyOptions options, Done<ApplyResult> done) override;
  void Delete(const core::v1::ResourceKey& key, DeleteOptions options,
              Done<DeleteResult> done) override;
  std::unique_ptr<KubeWatch> Watch(WatchRequest request,
                                   WatchListener& listener) override;
  void Discover(Done<std::shared_ptr<const Discovery>> done) override;
  void GetServerVersion(Done<ServerVersion> done) override;

  // --- Kinds. The usual ones of a plain cluster are served from the start.

  void AddKind(ServedKind kind);
  void RemoveKind(absl::string_view group, absl::string_view kind);
  // Until false, the client's calls use the discovery of their last
  // Discover(), as a real client does; true (default) makes new kinds known
  // to it at once.
  void SetAutoDiscover(bool on) { auto_discover_ = on; }

  // --- The world's other hands. `manager` becomes the fields' manager, with
  // operation Update. All but finalizers and watches behave as the API server
  // would for a superuser.

  // Creates `object` (with apiVersion, kind, metadata).
  absl::Status CreateAs(absl::string_view manager, nlohmann::json object);
  // Lets `edit` change the live object, as a PUT would. Fields that change or
  // go are taken from their managers.
  absl::Status EditAs(absl::string_view manager,
                      const core::v1::ResourceKey& key,
                      const std::function<void(nlohmann::json&)>& edit);
  // Server-side apply by somebody else.
  absl::Status ApplyAs(absl::string_view manager, nlohmann::json object,
                       bool force);
  // Puts `status` on the object, through the status subresource; with
  // `observe`, status.observedGeneration is set too.
  absl::Status SetStatus(const core::v1::ResourceKey& key,
                         nlohmann::json status, bool observe = true);
  absl::Status DeleteAs(const core::v1::ResourceKey& key);
  // Clears metadata.finalizers; an object that is being deleted then goes.
  absl::Status RemoveFinalizers(const core::v1::ResourceKey& key);

  // --- Looking.

  // The live object; nullopt when absent.
  std::optional<nlohmann::json> Find(const core::v1::ResourceKey& key) const;
  size_t ObjectCount() const;
  const std::vector<Request>& requests() const { return requests_; }
  void ClearRequests() { requests_.clear(); }
  // Applies (dry runs not counted) and deletes.
  size_t WriteCount() const;
  size_t CountOf(Verb verb) const;
  size_t in_flight() const { return in_flight_; }
  size_t max_in_flight() const { return max_in_flight_; }
  size_t open_watches() const;

  // --- Faults.

  // The `nth` call of `verb` from now on (1 = the next) ends with `status`
  // and has no effect; may be asked several times.
  void FailNth(Verb verb, int nth, absl::Status status);
  // Every call about that object by `verb` ends with `status` until
  // ClearFaults().
  void FailKey(Verb verb, const core::v1::ResourceKey& key,
               absl::Status status);
  // Every get, apply and delete of that object that acts as `user` ends with
  // 403.
  void Forbid(std::string user, const core::v1::ResourceKey& key);
  void ClearFaults();
  // The `nth` apply or delete happens, but its answer is lost (UNKNOWN).
  void LoseAnswer(Verb verb, int nth);
  // No connection: calls fail with UNAVAILABLE, watches close with it.
  void SetDown(bool down);
  // A change of `path` (dots, no lists) of that kind is refused with 422.
  void SetImmutable(absl::string_view group, absl::string_view kind,
                    absl::string_view path);
  // Calls made while held wait; Release() lets them go in order.
  void Hold() { held_ = true; }
  void Release();
  // Closes all watches with `status`.
  void CloseWatches(absl::Status status);
  // Watches resumed from a version before now end with OUT_OF_RANGE.
  void CompactHistory();
  void SetServerVersion(ServerVersion version);

 private:
  class FakeWatch;

  // Group, kind, namespace, name.
  using ObjectId = ObjectIdentity;

  // A change of one object, for watches. Null: absent.
  struct Change {
    uint64_t version = 0;
    ObjectId id;
    nlohmann::json before;
    nlohmann::json after;
    std::vector<ManagedFieldsEntry> managers;
  };

  struct Fault {
    Verb verb = Verb::kGet;
    int countdown = 0;  // 0: every call about `key`.
    ObjectId key;
    std::string user = {};  // "": whoever calls.
    absl::Status status;
    bool lose_answer = false;
  };

  // How a call goes: an error in place of it, or an answer that gets lost.
  struct Fate {
    absl::Status error;
    bool lose_answer = false;
  };

  struct ImmutableField {
    std::string group;
    std::string kind;
    std::string path;
  };

  void Call(Request request, absl::AnyInvocable<void(Fate)> run);
  Fate FateOf(const Request& request);
  void Later(Task task);

  // What the server serves, or what the client knows of it.
  absl::StatusOr<ServedKind> Resolve(absl::string_view group,
                                     absl::string_view version,
                                     absl::string_view kind,
                                     bool as_client) const;
  absl::StatusOr<ObjectId> Locate(const core::v1::ResourceKey& key) const;
  absl::StatusOr<ApplyResult> ApplyNow(const core::v1::ResourceKey& key,
                                       const nlohmann::json& body,
                                       const ApplyOptions& options);
  // Server-side apply of `body.status` alone, taken as one leaf.
  absl::StatusOr<ApplyResult> ApplyStatusNow(const core::v1::ResourceKey& key,
                                             const nlohmann::json& body,
                                             const ApplyOptions& options);
  absl::StatusOr<ApplyResult> MergeNow(const core::v1::ResourceKey& key,
                                       const nlohmann::json& patch,
                                       const ApplyOptions& options);
  absl::StatusOr<DeleteResult> DeleteNow(const core::v1::ResourceKey& key,
                                         const DeleteOptions& options);
  absl::Status CheckNamespace(const ObjectId& id) const;
  absl::Status CheckImmutable(const ObjectId& id, const nlohmann::json& before,
                              const nlohmann::json& after) const;
  // Records `next` as the state of `id`, with a new version.
  void Commit(const ObjectId& id, OwnedObject next);
  void Vanish(const ObjectId& id);
  void EmptyNamespace(const std::string& ns);
  void FinishNamespace(const std::string& ns);
  void LearnCrd(OwnedObject* crd);
  void ForgetCrd(const nlohmann::json& crd);
  std::string TimeText() const;
  KubeObject Answer(const nlohmann::json& object,
                    const std::vector<ManagedFieldsEntry>& managers,
                    bool metadata_only) const;
  void Notify(const Change& change);

  Loop& loop_;

  // Loop state.
  std::map<ObjectId, OwnedObject> objects_;
  std::deque<Change> history_;
  std::vector<ServedKind> kinds_;
  std::shared_ptr<const Discovery> discovered_;
  std::vector<FakeWatch*> watches_;
  std::vector<Request> requests_;
  std::vector<Fault> faults_;
  std::vector<ImmutableField> immutable_;
  std::deque<Task> waiting_;
  ServerVersion server_version_;
  uint64_t version_ = 1000;
  uint64_t compacted_ = 0;
  uint64_t next_uid_ = 1;
  size_t in_flight_ = 0;
  size_t max_in_flight_ = 0;
  bool auto_discover_ = true;
  bool held_ = false;
  bool down_ = false;
  // Lets late tasks see that the fake is gone.
  const std::shared_ptr<bool> alive_;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_FAKE_KUBE_CLIENT_H_
