// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/identity_registry.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

constexpr char kClusterKind[] = "Cluster";
constexpr absl::Duration kRetryDelay = absl::Seconds(1);

std::string NameOf(absl::string_view workspace, absl::string_view name) {
  return absl::StrCat(workspace, "/", name);
}

}  // namespace

IdentityRegistry::IdentityRegistry(Loop& loop, Store& store,
                                   FamilyWriter& writer)
    : writer_(writer),
      retry_(loop.CreateTimer([this] { Revoke(); })),
      identities_(
          store, kClusterFamily,
          [this](const std::string& key,
                 const storage::v1::ClusterIdentity* identity) {
            OnIdentity(key, identity);
          },
          [this] { Revoke(); },
          [](const std::string& key) {
            return ParseIdKey(kClusterFamily, key).ok();
          }),
      documents_(
          store, kDocumentFamily,
          [this](const std::string& key,
                 const storage::v1::Document* document) {
            OnDocument(key, document);
          },
          [this] { Revoke(); },
          [](const std::string& key) {
            const absl::StatusOr<DocumentName> name = ParseDocumentKey(key);
            return name.ok() && name->kind == kClusterKind;
          }) {}

const storage::v1::ClusterIdentity* IdentityRegistry::Find(
    const std::string& cluster_id) const {
  return identities_.Find(ClusterIdentityKey(cluster_id));
}

const storage::v1::ClusterIdentity* IdentityRegistry::FindByName(
    absl::string_view workspace, absl::string_view name) const {
  const auto it = by_name_.find(NameOf(workspace, name));
  return it == by_name_.end() ? nullptr : Find(it->second);
}

bool IdentityRegistry::DeletionPending(absl::string_view workspace,
                                       absl::string_view name) const {
  const storage::v1::Document* document =
      documents_.Find(DocumentKey(workspace, kClusterKind, name));
  return document != nullptr && document->has_delete_time();
}

void IdentityRegistry::Write(storage::v1::ClusterIdentity identity,
                             absl::AnyInvocable<void(absl::Status)> done) {
  const std::string key = ClusterIdentityKey(identity.cluster_id());
  const int64_t revision = identities_.ModRevision(key);
  writer_.Txn({{key, revision}}, {Op::Put(key, SerializeRecord(identity))},
              [done = std::move(done)](absl::StatusOr<int64_t> result) mutable {
                if (absl::IsFailedPrecondition(result.status())) {
                  done(absl::AbortedError(
                      "the cluster's identity was changed meanwhile"));
                  return;
                }
                done(result.status());
              });
}

void IdentityRegistry::OnIdentity(
    const std::string& key, const storage::v1::ClusterIdentity* identity) {
  const absl::StatusOr<std::string> id = ParseIdKey(kClusterFamily, key);
  if (!id.ok()) return;
  if (identity != nullptr) {
    const std::string name = NameOf(identity->workspace(), identity->name());
    if (!identity->revoked()) {
      by_name_[name] = *id;
    } else {
      const auto it = by_name_.find(name);
      if (it != by_name_.end() && it->second == *id) by_name_.erase(it);
      deleted_names_.erase(name);
    }
  }
  if (on_change_ != nullptr) on_change_(*id);
}

void IdentityRegistry::OnDocument(const std::string& key,
                                  const storage::v1::Document* document) {
  const absl::StatusOr<DocumentName> name = ParseDocumentKey(key);
  if (!name.ok()) return;
  // Applied again before the identity was revoked: the deletion still counts
  // for the identity that it was about.
  if (document == nullptr || document->has_delete_time()) {
    deleted_names_.insert(NameOf(name->workspace, name->name));
  }
}

void IdentityRegistry::Revoke() {
  if (!ready() || revoking_) return;
  for (auto it = deleted_names_.begin(); it != deleted_names_.end();) {
    const auto found = by_name_.find(*it);
    if (found == by_name_.end()) {
      // Never enrolled, or revoked already.
      deleted_names_.erase(it++);
      continue;
    }
    storage::v1::ClusterIdentity identity = *Find(found->second);
    identity.set_revoked(true);
    revoking_ = true;
    Write(std::move(identity),
          [this, alive = std::weak_ptr<bool>(alive_)](absl::Status written) {
            if (alive.expired()) return;
            revoking_ = false;
            if (written.ok() || absl::IsAborted(written)) {
              Revoke();
            } else {
              retry_->Arm(kRetryDelay);
            }
          });
    return;
  }
}

}  // namespace flotilla::manager
