// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/targeting_controller.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/crypto/sha256.h"
#include "manager/store/records.h"
#include "manager/targeting/label_selector.h"
#include "manager/targeting/target_clusters.h"
#include "manager/targeting/target_resolver.h"

namespace flotilla::manager {
namespace {

using storage::v1::BundleHead;
using storage::v1::BundleRevision;
using storage::v1::ClusterIdentity;
using storage::v1::Desired;
using storage::v1::Document;
using storage::v1::Released;

constexpr absl::Duration kRetry = absl::Seconds(1);
// Pairs of one transaction.
constexpr size_t kMaxPairs = 1000;
constexpr char kCluster[] = "Cluster";
constexpr char kClusterGroup[] = "ClusterGroup";

std::string NameKey(absl::string_view workspace, absl::string_view name) {
  return absl::StrCat(workspace, "/", name);
}

bool IsTargetingDocument(const std::string& key) {
  absl::StatusOr<DocumentName> name = ParseDocumentKey(key);
  return name.ok() && (name->kind == kCluster || name->kind == kClusterGroup);
}

bool IsRecord(const std::string& key, BundleRecord wanted) {
  absl::StatusOr<BundleRecord> record = ClassifyBundleKey(key);
  return record.ok() && *record == wanted;
}

}  // namespace

TargetingController::TargetingController(Loop& loop, Store& store,
                                         FamilyWriter writer)
    : loop_(loop),
      writer_(std::move(writer)),
      retry_(loop.CreateTimer([this] { Wake(); })),
      documents_(
          store, kDocumentFamily,
          [this](const std::string& key, const Document* document) {
            OnDocument(key, document);
          },
          [this] { Wake(); }, IsTargetingDocument),
      identities_(
          store, kClusterFamily,
          [this](const std::string& key, const ClusterIdentity* identity) {
            OnIdentity(key, identity);
          },
          [this] { Wake(); }),
      heads_(
          store, kBundleFamily,
          [this](const std::string& key, const BundleHead* head) {
            OnHead(key, head);
          },
          [this] { Wake(); },
          [](const std::string& key) {
            return IsRecord(key, BundleRecord::kHead);
          }),
      revisions_(
          store, kBundleFamily,
          [this](const std::string& key, const BundleRevision*) {
            OnRevision(key);
          },
          [this] { Wake(); },
          [](const std::string& key) {
            return IsRecord(key, BundleRecord::kRevision);
          }),
      desired_(
          store, kDesiredFamily,
          [this](const std::string& key, const Desired* desired) {
            OnDesired(key, desired);
          },
          [this] { Wake(); }),
      released_(
          store, kReleasedFamily,
          [this](const std::string& key, const Released*) {
            absl::StatusOr<ClusterBundle> pair =
                ParseClusterBundleKey(kReleasedFamily, key);
            if (!pair.ok()) return;
            const Desired* row =
                desired_.Find(DesiredKey(pair->cluster_id, pair->bundle_id));
            // Only what waits for it to go.
            if (row == nullptr || row->removal() ==
                                      core::v1::DELETE_CAUSE_UNSPECIFIED) {
              return;
            }
            dirty_pairs_.emplace(Pair(pair->cluster_id, pair->bundle_id), "");
          },
          [this] { Wake(); }) {}

bool TargetingController::Loaded() const {
  return documents_.loaded() && identities_.loaded() && heads_.loaded() &&
         revisions_.loaded() && desired_.loaded() && released_.loaded();
}

void TargetingController::OnDocument(const std::string& key,
                                     const Document* document) {
  absl::StatusOr<DocumentName> name = ParseDocumentKey(key);
  if (!name.ok()) return;
  if (name->kind == kClusterGroup) {
    dirty_groups_.insert(name->workspace);
    return;
  }
  const auto ids = ids_of_name_.find(NameKey(name->workspace, name->name));
  if (ids == ids_of_name_.end()) return;
  for (const std::string& id : ids->second) {
    targets_.erase(id);
    if (document != nullptr) {
      dirty_clusters_[id] = absl::StrCat("Cluster ", name->workspace, "/",
                                         name->name);
    }
  }
}

void TargetingController::OnIdentity(const std::string& key,
                                     const ClusterIdentity* identity) {
  // An identity is never deleted; one that is gone all the same says nothing.
  if (identity == nullptr) return;
  absl::StatusOr<std::string> id = ParseIdKey(kClusterFamily, key);
  if (!id.ok()) return;
  clusters_of_[identity->workspace()].insert(*id);
  ids_of_name_[NameKey(identity->workspace(), identity->name())].insert(*id);
  targets_.erase(*id);
  dirty_clusters_.emplace(*id, absl::StrCat("Cluster ", identity->workspace(),
                                            "/", identity->name()));
}

void TargetingController::OnHead(const std::string& key,
                                 const BundleHead* head) {
  absl::StatusOr<std::string> id = ParseBundleHeadKey(key);
  if (!id.ok()) return;
  if (head == nullptr) {
    for (auto& [workspace, ids] : bundles_of_) ids.erase(*id);
    return;
  }
  bundles_of_[head->workspace()].insert(*id);
  dirty_bundles_.insert(*id);
}

void TargetingController::OnRevision(const std::string& key) {
  absl::StatusOr<BundleRevisionName> name = ParseBundleRevisionKey(key);
  if (!name.ok()) return;
  const BundleHead* head = heads_.Find(BundleHeadKey(name->bundle_id));
  if (head != nullptr && head->revision() == name->revision) {
    dirty_bundles_.insert(name->bundle_id);
  }
}

void TargetingController::OnDesired(const std::string& key,
                                    const Desired* desired) {
  absl::StatusOr<ClusterBundle> pair =
      ParseClusterBundleKey(kDesiredFamily, key);
  if (!pair.ok()) return;
  if (desired == nullptr) {
    rows_of_bundle_[pair->bundle_id].erase(pair->cluster_id);
    rows_of_cluster_[pair->cluster_id].erase(pair->bundle_id);
    return;
  }
  rows_of_bundle_[pair->bundle_id].insert(pair->cluster_id);
  rows_of_cluster_[pair->cluster_id].insert(pair->bundle_id);
  if (desired->removal() != core::v1::DELETE_CAUSE_UNSPECIFIED) {
    // It may never have been released: then nobody has to let go.
    dirty_pairs_.emplace(Pair(pair->cluster_id, pair->bundle_id), "");
  }
}

void TargetingController::Wake() {
  if (awake_) return;
  awake_ = true;
  loop_.Post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    awake_ = false;
    Run();
  });
}

void TargetingController::SpreadCluster(const std::string& cluster_id,
                                        const std::string& cause) {
  const ClusterIdentity* identity =
      identities_.Find(ClusterIdentityKey(cluster_id));
  if (identity == nullptr) return;
  const auto bundles = bundles_of_.find(identity->workspace());
  if (bundles != bundles_of_.end()) {
    for (const std::string& bundle : bundles->second) {
      dirty_pairs_.emplace(Pair(cluster_id, bundle), cause);
    }
  }
  const auto rows = rows_of_cluster_.find(cluster_id);
  if (rows != rows_of_cluster_.end()) {
    for (const std::string& bundle : rows->second) {
      dirty_pairs_.emplace(Pair(cluster_id, bundle), cause);
    }
  }
}

void TargetingController::SpreadDirt() {
  for (const std::string& workspace : dirty_groups_) {
    for (const std::string& id : clusters_of_[workspace]) {
      const ClusterIdentity* identity =
          identities_.Find(ClusterIdentityKey(id));
      if (identity == nullptr || dirty_clusters_.count(id) > 0) continue;
      const Document* document = ClusterDocument(*identity);
      if (document == nullptr) continue;
      const auto known = targets_.find(id);
      const bool was_known = known != targets_.end();
      TargetCluster before;
      if (was_known) before = known->second;
      targets_.erase(id);
      const TargetCluster& after = TargetOf(*identity, *document);
      const auto same = [](const TargetGroup& a, const TargetGroup& b) {
        return a.name == b.name && a.labels == b.labels;
      };
      if (was_known && std::equal(before.groups.begin(), before.groups.end(),
                                  after.groups.begin(), after.groups.end(),
                                  same)) {
        continue;
      }
      dirty_clusters_.emplace(
          id, absl::StrCat("ClusterGroups of ", workspace));
    }
  }
  dirty_groups_.clear();
  for (const std::string& id : dirty_bundles_) {
    const BundleHead* head = heads_.Find(BundleHeadKey(id));
    if (head == nullptr) continue;
    std::string cause = head->commit().id();
    if (cause.empty()) {
      cause = absl::StrCat("Bundle ", head->workspace(), "/", head->name());
    }
    // A head on its way out touches those who have it, no others.
    const bool removed =
        head->removal() != core::v1::DELETE_CAUSE_UNSPECIFIED;
    const auto& clusters = removed ? rows_of_bundle_[id]
                                   : clusters_of_[head->workspace()];
    for (const std::string& cluster : clusters) {
      dirty_pairs_.emplace(Pair(cluster, id), cause);
    }
  }
  dirty_bundles_.clear();
  for (const auto& [id, cause] : dirty_clusters_) SpreadCluster(id, cause);
  dirty_clusters_.clear();
}

void TargetingController::Run() {
  if (!Loaded() || writing_ || retry_->armed()) return;
  SpreadDirt();
  while (!dirty_pairs_.empty()) {
    Plan plan;
    std::map<Pair, std::string> pairs;
    while (!dirty_pairs_.empty() && plan.ops.size() < kMaxPairs) {
      auto node = dirty_pairs_.extract(dirty_pairs_.begin());
      const size_t before = plan.ops.size();
      ResolvePair(node.key(), node.mapped(), plan);
      if (plan.ops.size() > before) pairs.insert(std::move(node));
    }
    if (plan.ops.empty()) continue;
    writing_ = true;
    std::vector<Compare> compares;
    for (auto& [key, revision] : plan.compares) {
      compares.push_back({key, revision});
    }
    writer_.Txn(std::move(compares), std::move(plan.ops),
                [this, alive = std::weak_ptr<bool>(alive_),
                 pairs = std::move(pairs)](
                    absl::StatusOr<int64_t> revision) mutable {
                  if (alive.expired()) return;
                  OnWritten(std::move(revision), std::move(pairs));
                });
    return;
  }
}

void TargetingController::OnWritten(absl::StatusOr<int64_t> revision,
                                    std::map<Pair, std::string> pairs) {
  writing_ = false;
  last_error_ = revision.status();
  if (!revision.ok()) dirty_pairs_.merge(pairs);
  if (!revision.ok() && !absl::IsFailedPrecondition(revision.status())) {
    retry_->Arm(kRetry);
    return;
  }
  Wake();
}

const Document* TargetingController::ClusterDocument(
    const ClusterIdentity& identity) const {
  return documents_.Find(
      DocumentKey(identity.workspace(), kCluster, identity.name()));
}

const TargetCluster& TargetingController::TargetOf(
    const ClusterIdentity& identity, const Document& document) {
  const auto known = targets_.find(identity.cluster_id());
  if (known != targets_.end()) return known->second;
  std::vector<const Document*> groups;
  const std::string prefix =
      DocumentPrefix(identity.workspace(), kClusterGroup);
  for (auto it = documents_.map().lower_bound(prefix);
       it != documents_.map().end() &&
       it->first.compare(0, prefix.size(), prefix) == 0;
       ++it) {
    groups.push_back(&it->second.first);
  }
  return targets_[identity.cluster_id()] = MakeTargetCluster(document, groups);
}

void TargetingController::Guard(const std::string& key, int64_t revision,
                                Plan& plan) {
  plan.compares[key] = revision;
}

void TargetingController::DropRow(const Pair& pair, Plan& plan) {
  const std::string key = DesiredKey(pair.first, pair.second);
  Guard(key, desired_.ModRevision(key), plan);
  plan.ops.push_back(Op::Delete(key));
}

void TargetingController::PlanRemoval(const Pair& pair, const Desired& row,
                                      const BundleHead& head,
                                      const std::string& cause, Plan& plan) {
  const std::string key = DesiredKey(pair.first, pair.second);
  const std::string released_key = ReleasedKey(pair.first, pair.second);
  if (row.removal() != core::v1::DELETE_CAUSE_UNSPECIFIED) {
    const Released* released = released_.Find(released_key);
    if (released != nullptr && released->state() != Released::STATE_GONE) {
      return;
    }
    // The agent has let go, or never had it.
    Guard(released_key, released_.ModRevision(released_key), plan);
    DropRow(pair, plan);
    return;
  }
  Desired removed = row;
  if (head.removal() != core::v1::DELETE_CAUSE_UNSPECIFIED) {
    removed.set_removal(head.removal());
    removed.set_removed_by(head.removed_by());
  } else {
    removed.set_removal(core::v1::DELETE_CAUSE_TARGET_CHANGED);
    removed.set_removed_by(cause);
  }
  Guard(key, desired_.ModRevision(key), plan);
  plan.ops.push_back(Op::Put(key, SerializeRecord(removed)));
}

void TargetingController::ResolvePair(const Pair& pair,
                                      const std::string& cause, Plan& plan) {
  const auto& [cluster_id, bundle_id] = pair;
  const std::string key = DesiredKey(cluster_id, bundle_id);
  const Desired* row = desired_.Find(key);
  const std::string identity_key = ClusterIdentityKey(cluster_id);
  const ClusterIdentity* identity = identities_.Find(identity_key);
  if (identity == nullptr) return;
  if (identity->revoked()) {
    // The cluster has left, with all that runs in it.
    if (row == nullptr) return;
    Guard(identity_key, identities_.ModRevision(identity_key), plan);
    DropRow(pair, plan);
    return;
  }
  const Document* document = ClusterDocument(*identity);
  const std::string head_key = BundleHeadKey(bundle_id);
  const BundleHead* head = heads_.Find(head_key);
  // Not there yet, or on its way out: nothing changes.
  if (head == nullptr || document == nullptr) return;

  std::optional<ResolvedTarget> resolved;
  const bool removed = head->removal() != core::v1::DELETE_CAUSE_UNSPECIFIED;
  if (!removed) {
    if (document->has_delete_time()) return;
    const BundleRevision* revision =
        revisions_.Find(BundleRevisionKey(bundle_id, head->revision()));
    // Comes with the next batch.
    if (revision == nullptr) return;
    ++resolved_count_;
    resolved = ResolveTarget(*revision, TargetOf(*identity, *document));
  }
  if (!resolved.has_value() && row == nullptr) return;

  const size_t before = plan.ops.size();
  if (!resolved.has_value()) {
    PlanRemoval(pair, *row, *head, cause, plan);
  } else {
    Desired wanted;
    wanted.set_cluster_id(cluster_id);
    wanted.set_bundle_id(bundle_id);
    wanted.set_revision(head->revision());
    *wanted.mutable_options() = std::move(resolved->options);
    wanted.set_options_digest(Sha256(SerializeRecord(wanted.options())));
    wanted.set_target_name(resolved->target_name);
    *wanted.mutable_commit() = head->commit();
    wanted.set_workspace(head->workspace());
    wanted.set_bundle_name(head->name());
    wanted.set_cluster_name(identity->name());
    std::string bytes = SerializeRecord(wanted);
    if (row != nullptr && SerializeRecord(*row) == bytes) return;
    Guard(key, desired_.ModRevision(key), plan);
    plan.ops.push_back(Op::Put(key, std::move(bytes)));
  }
  if (plan.ops.size() == before) return;
  const std::string document_key =
      DocumentKey(identity->workspace(), kCluster, identity->name());
  Guard(head_key, heads_.ModRevision(head_key), plan);
  Guard(identity_key, identities_.ModRevision(identity_key), plan);
  Guard(document_key, documents_.ModRevision(document_key), plan);
}

size_t TargetingController::CountDesired(absl::string_view workspace,
                                         absl::string_view git_repo) const {
  std::set<std::string> clusters;
  const auto bundles = bundles_of_.find(std::string(workspace));
  if (bundles == bundles_of_.end()) return 0;
  for (const std::string& id : bundles->second) {
    const BundleHead* head = heads_.Find(BundleHeadKey(id));
    if (head == nullptr || head->git_repo() != git_repo) continue;
    const auto rows = rows_of_bundle_.find(id);
    if (rows == rows_of_bundle_.end()) continue;
    for (const std::string& cluster : rows->second) {
      const Desired* row = desired_.Find(DesiredKey(cluster, id));
      if (row != nullptr &&
          row->removal() == core::v1::DELETE_CAUSE_UNSPECIFIED) {
        clusters.insert(cluster);
      }
    }
  }
  return clusters.size();
}

std::string TargetingController::DebugString() const {
  return absl::StrCat("loaded=", Loaded(), " writing=", writing_,
                      " rows=", desired_.map().size(),
                      " dirty=", dirty_pairs_.size(),
                      " resolved=", resolved_count_,
                      " last_error=", last_error_.ToString());
}

}  // namespace flotilla::manager
