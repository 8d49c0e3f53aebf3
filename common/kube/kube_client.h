// SPDX-License-Identifier: Apache-2.0
//
// KubeClient is one Kubernetes API server as the rest of the tree sees it:
// get, list, server-side apply, delete, watch, discover.
//
// Every call returns at once; its completion runs on the Loop exactly once,
// never inside the call, and not at all once the client is destroyed. Errors
// are described in kube_error.h. Nothing is retried here: the caller owns
// budgets and backoff.
//
// Kinds are resolved to URLs with the last Discover(); the first call does one
// by itself. A kind that it does not name fails with NOT_FOUND and
// Missing::kKind without a request: after a CRD became Established, Discover()
// again. An empty version means the server's preferred one.

#ifndef FLOTILLA_COMMON_KUBE_KUBE_CLIENT_H_
#define FLOTILLA_COMMON_KUBE_KUBE_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "flotilla/core/v1/core.pb.h"

namespace flotilla {

// The field manager of everything that Flotilla applies (apply.md 2.11).
inline constexpr absl::string_view kFieldManager = "flotilla";

// A kind, not yet resolved. `version` may be empty.
//
// Thread-compatible.
struct KindName {
  std::string group;
  std::string version;
  std::string kind;
};

// A kind that the server serves; no subresources.
//
// Thread-compatible.
struct ServedKind {
  std::string group;
  std::string version;
  std::string kind;
  std::string plural;
  bool namespaced = false;
  std::vector<std::string> verbs;  // "apply" is "patch" here.
  bool has_status = false;         // A subresource "status".

  bool HasVerb(absl::string_view verb) const;
};

// What a server serves.
//
// Immutable.
class Discovery {
 public:
  // `kinds` in the server's order: its preferred version of a group first.
  // `stale_groups`: "group/version" whose list is old or missing, because the
  // server behind it does not answer.
  Discovery(std::vector<ServedKind> kinds,
            std::vector<std::string> stale_groups);

  // The kind in that version, or in the preferred one when `version` is empty.
  // nullptr: not served.
  const ServedKind* Find(absl::string_view group, absl::string_view version,
                         absl::string_view kind) const;

  // True when a kind of `group` may exist though Find() does not name it.
  bool IsStale(absl::string_view group) const;

  const std::vector<ServedKind>& kinds() const { return kinds_; }
  const std::vector<std::string>& stale_groups() const { return stale_groups_; }

 private:
  const std::vector<ServedKind> kinds_;
  const std::vector<std::string> stale_groups_;
};

// Answer of /version.
//
// Thread-compatible.
struct ServerVersion {
  std::string git_version;  // "v1.36.3"
  std::string major;
  std::string minor;
};

// What is read from each object without parsing all of it.
//
// Thread-compatible.
struct ObjectHead {
  std::string name;
  std::string ns;
  std::string uid;
  std::string resource_version;
  int64_t generation = 0;
  bool deleting = false;  // deletionTimestamp is set.
};

// An object as the server wrote it. In a list or a metadata-only answer the
// text may lack `kind` and `apiVersion`, or say PartialObjectMetadata.
//
// Thread-compatible.
struct KubeObject {
  ObjectHead head;
  std::string json;
};

struct GetOptions {
  bool metadata_only = false;
  // User to act as (Impersonate-User), such as "system:serviceaccount:ns:x";
  // its groups follow from it. Empty: as oneself.
  std::string impersonate;
};

// One kind, in one namespace or in all.
//
// Thread-compatible.
struct ListRequest {
  KindName kind;
  std::string ns;              // Empty: all namespaces.
  std::string label_selector;  // Kubernetes' text form; empty: all.
  bool metadata_only = true;
};

// Thread-compatible.
struct ListResult {
  std::vector<KubeObject> items;
  std::string resource_version;
};

// Thread-compatible.
struct ApplyOptions {
  std::string field_manager{kFieldManager};
  bool force = true;
  bool dry_run = false;
  // The answer is the whole object instead of its metadata.
  bool full_answer = false;
  // The version that the caller knows, to tell kChanged from kUnchanged.
  // Not sent: it is no precondition (put metadata.resourceVersion or
  // metadata.uid into the body for that).
  std::string known_resource_version;
  // As in GetOptions.
  std::string impersonate;
  // The body is a JSON merge patch (RFC 7396) of an object that is there, and
  // no server-side apply: it can take away what others own. `force` means
  // nothing then, and NOT_FOUND comes when it is not there.
  bool merge_patch = false;
  // Such as "status": that part alone is written, and NOT_FOUND comes when the
  // object is not there. Empty: all but such parts.
  std::string subresource;
};

// Thread-compatible.
struct ApplyResult {
  enum class Outcome {
    kCreated,    // The object was not there.
    kChanged,    // Its version is not the known one, or none was known.
    kUnchanged,  // Nothing was written.
  };
  Outcome outcome = Outcome::kChanged;
  // The answer, managedFields included (see ParseManagedFields in object.h).
  KubeObject object;
};

// Thread-compatible.
struct DeleteOptions {
  enum class Propagation { kBackground, kForeground, kOrphan };
  std::string uid;               // Precondition; empty: none.
  std::string resource_version;  // Precondition; empty: none.
  Propagation propagation = Propagation::kBackground;
  bool dry_run = false;
  std::string impersonate;  // As in GetOptions.
};

// Thread-compatible.
struct DeleteResult {
  // The object is still there and waits for its finalizers (or, kForeground,
  // for its dependants): it is gone when a watch or a Get() says so.
  bool pending = false;
};

// Thread-compatible.
struct WatchRequest {
  KindName kind;
  std::string ns;              // Empty: all namespaces.
  std::string label_selector;  // Empty: all.
  std::string field_selector;  // Such as "metadata.name=x"; empty: all.
  bool metadata_only = true;
  // Where an earlier watch ended (KubeWatch::resource_version). Empty: the
  // complete set comes first.
  std::string resource_version;
};

// Thread-compatible.
struct WatchEvent {
  enum class Type { kAdded, kModified, kDeleted };
  Type type = Type::kAdded;
  // For kDeleted the last state, in the version of the deletion.
  KubeObject object;
};

// Receives a watch's news, on the loop. May destroy the watch from inside any
// of these.
//
// Loop-affine.
class WatchListener {
 public:
  // How a watch caught up.
  enum class Sync {
    // The events so far were the complete set: an object that was known before
    // and came in none of them is gone.
    kCompleteSet,
    // The server resumed from the given version: what was known still holds.
    kResumed,
  };

  virtual ~WatchListener() = default;

  virtual void OnSync(Sync sync) = 0;

  // In order per object. Before OnSync(kCompleteSet) kAdded only.
  virtual void OnEvent(WatchEvent event) = 0;

  // The last call. OK: a routine end, which says nothing about completeness;
  // resume from resource_version(). OUT_OF_RANGE: that version is too old,
  // start with the complete set. RESOURCE_EXHAUSTED: an event was too large or
  // the loop too slow; start with the complete set.
  virtual void OnClosed(absl::Status status) = 0;
};

// A running watch. Destroying it ends it; the listener hears nothing more.
//
// Loop-affine.
class KubeWatch {
 public:
  virtual ~KubeWatch() = default;

  // Of the last event or bookmark; empty before OnSync.
  virtual const std::string& resource_version() const = 0;
};

// See the file comment.
//
// Loop-affine.
class KubeClient {
 public:
  template <typename T>
  using Done = absl::AnyInvocable<void(absl::StatusOr<T>)>;

  virtual ~KubeClient() = default;

  virtual void Get(const core::v1::ResourceKey& key, GetOptions options,
                   Done<KubeObject> done) = 0;

  // All pages. RESOURCE_EXHAUSTED when together over the size limit.
  virtual void List(ListRequest request, Done<ListResult> done) = 0;

  // Server-side apply of `body`, one object as JSON, sent byte for byte. It
  // must name the object that `key` names, with the key's version.
  virtual void Apply(const core::v1::ResourceKey& key, std::string body,
                     ApplyOptions options, Done<ApplyResult> done) = 0;

  // NOT_FOUND when it is not there; ABORTED when a precondition fails.
  virtual void Delete(const core::v1::ResourceKey& key, DeleteOptions options,
                      Done<DeleteResult> done) = 0;

  // `listener` must outlive the returned watch.
  virtual std::unique_ptr<KubeWatch> Watch(WatchRequest request,
                                           WatchListener& listener) = 0;

  // Asks the server; cheap when nothing changed (ETags). Equal answers give
  // the same pointer.
  virtual void Discover(Done<std::shared_ptr<const Discovery>> done) = 0;

  virtual void GetServerVersion(Done<ServerVersion> done) = 0;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_KUBE_CLIENT_H_
