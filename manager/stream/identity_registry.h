// SPDX-License-Identifier: Apache-2.0
//
// IdentityRegistry knows all enrolled agents: it mirrors /cluster/ and is, with
// enrolment, its only writer. It revokes the identity of a cluster when its
// Cluster document is deleted: when the document has a delete_time, or was
// there and is gone. A document that merely is not there yet means nothing. The
// document's owner may drop the record once the identity is revoked.
//
// A revoked identity is never valid again; the name may then be enrolled anew
// and gets a new cluster_id.

#ifndef FLOTILLA_MANAGER_STREAM_IDENTITY_REGISTRY_H_
#define FLOTILLA_MANAGER_STREAM_IDENTITY_REGISTRY_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/event/loop.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"

namespace flotilla::manager {

// Loop-affine.
class IdentityRegistry {
 public:
  // `store` and `writer` (of /cluster/) must outlive it.
  IdentityRegistry(Loop& loop, Store& store, FamilyWriter& writer);
  IdentityRegistry(const IdentityRegistry&) = delete;
  IdentityRegistry& operator=(const IdentityRegistry&) = delete;

  // Whether everything stored is known.
  bool ready() const { return identities_.loaded() && documents_.loaded(); }

  // Null when unknown. Valid until the loop's next task.
  const storage::v1::ClusterIdentity* Find(
      const std::string& cluster_id) const;
  // The identity of that name that is not revoked; null when there is none.
  const storage::v1::ClusterIdentity* FindByName(absl::string_view workspace,
                                                 absl::string_view name) const;
  // The Cluster document of that name is on its way out.
  bool DeletionPending(absl::string_view workspace,
                       absl::string_view name) const;

  // Writes an identity; ABORTED when somebody else wrote it meanwhile. `done`
  // runs on the loop after the mirror has it.
  void Write(storage::v1::ClusterIdentity identity,
             absl::AnyInvocable<void(absl::Status)> done);

  // Runs after any change of an identity. One listener.
  void SetListener(absl::AnyInvocable<void(const std::string&)> on_change) {
    on_change_ = std::move(on_change);
  }

 private:
  void OnIdentity(const std::string& key,
                  const storage::v1::ClusterIdentity* identity);
  void OnDocument(const std::string& key,
                  const storage::v1::Document* document);
  void Revoke();

  // Collaborators. Not owned.
  FamilyWriter& writer_;

  // Loop state.
  absl::AnyInvocable<void(const std::string&)> on_change_;
  // "workspace/name" -> cluster id, of those not revoked.
  absl::flat_hash_map<std::string, std::string> by_name_;
  absl::flat_hash_set<std::string> deleted_names_;
  bool revoking_ = false;
  std::unique_ptr<Timer> retry_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  // Declared last: destroyed first.
  TypedMirror<storage::v1::ClusterIdentity> identities_;
  TypedMirror<storage::v1::Document> documents_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_IDENTITY_REGISTRY_H_
