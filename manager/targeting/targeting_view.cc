// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/targeting_view.h"

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/labels/label_selector.h"
#include "manager/store/records.h"
#include "manager/targeting/desired_rows.h"
#include "manager/targeting/template_context.h"

namespace flotilla::manager {
namespace {

using storage::v1::BundleHead;
using storage::v1::BundleRevision;
using storage::v1::ClusterIdentity;
using storage::v1::Desired;
using storage::v1::Document;
using storage::v1::Released;

constexpr char kCluster[] = "Cluster";
constexpr char kClusterGroup[] = "ClusterGroup";
constexpr char kMapping[] = "BundleNamespaceMapping";
constexpr char kNamespace[] = "Namespace";

std::string NameKey(absl::string_view workspace, absl::string_view name) {
  return absl::StrCat(workspace, "/", name);
}

bool IsTargetingDocument(const std::string& key) {
  absl::StatusOr<DocumentName> name = ParseDocumentKey(key);
  if (!name.ok()) return false;
  for (const char* kind : {kCluster, kClusterGroup, kMapping, kNamespace,
                           "GitRepo", "HelmOp", "Bundle"}) {
    if (name->kind == kind) return true;
  }
  return false;
}

bool IsRecord(const std::string& key, BundleRecord wanted) {
  absl::StatusOr<BundleRecord> record = ClassifyBundleKey(key);
  return record.ok() && *record == wanted;
}

// By workspace, then id.
template <typename Slot>
using ByWorkspace =
    absl::flat_hash_map<std::string, std::map<std::string, Slot*>>;

template <typename Slot>
const std::map<std::string, Slot*>& InWorkspace(const ByWorkspace<Slot>& slots,
                                                const std::string& workspace) {
  static const auto* const kNone = new std::map<std::string, Slot*>;
  const auto it = slots.find(workspace);
  return it == slots.end() ? *kNone : it->second;
}

}  // namespace

TargetingView::TargetingView(Store& store, OnBatch on_batch)
    : on_batch_(std::move(on_batch)),
      documents_(
          store, kDocumentFamily,
          [this](const std::string& key, const Document* document) {
            OnDocument(key, document);
          },
          [this] { on_batch_(); }, IsTargetingDocument),
      identities_(
          store, kClusterFamily,
          [this](const std::string& key, const ClusterIdentity* identity) {
            OnIdentity(key, identity);
          },
          [this] { on_batch_(); }),
      heads_(
          store, kBundleFamily,
          [this](const std::string& key, const BundleHead* head) {
            OnHead(key, head);
          },
          [this] { on_batch_(); },
          [](const std::string& key) {
            return IsRecord(key, BundleRecord::kHead);
          }),
      revisions_(
          store, kBundleFamily,
          [this](const std::string& key, const BundleRevision*) {
            OnRevision(key);
          },
          [this] { on_batch_(); },
          [](const std::string& key) {
            return IsRecord(key, BundleRecord::kRevision);
          }),
      desired_(
          store, kDesiredFamily,
          [this](const std::string& key, const Desired* desired) {
            OnDesired(key, desired);
          },
          [this] { on_batch_(); }),
      released_(
          store, kReleasedFamily,
          [this](const std::string& key, const Released*) { OnReleased(key); },
          [this] { on_batch_(); }) {}

bool TargetingView::loaded() const {
  return documents_.loaded() && identities_.loaded() && heads_.loaded() &&
         revisions_.loaded() && desired_.loaded() && released_.loaded();
}

ClusterSlot& TargetingView::ClusterOf(const std::string& id) {
  std::unique_ptr<ClusterSlot>& slot = clusters_[id];
  if (slot == nullptr) {
    slot = std::make_unique<ClusterSlot>();
    slot->id = id;
    slot->identity_key = ClusterIdentityKey(id);
  }
  return *slot;
}

BundleSlot& TargetingView::BundleOf(const std::string& id) {
  std::unique_ptr<BundleSlot>& slot = bundles_[id];
  if (slot == nullptr) {
    slot = std::make_unique<BundleSlot>();
    slot->id = id;
    slot->head_key = BundleHeadKey(id);
  }
  return *slot;
}

void TargetingView::OnDocument(const std::string& key,
                               const Document* document) {
  absl::StatusOr<DocumentName> parsed = ParseDocumentKey(key);
  if (!parsed.ok()) return;
  const auto& [workspace, kind, name] = *parsed;
  if (kind == kClusterGroup) {
    groups_.erase(workspace);
    dirt_.groups.insert(workspace);
  } else if (kind == kCluster) {
    OnCluster(workspace, name);
  } else if (kind == kMapping) {
    if (document != nullptr) {
      reach_.SetMapping(*document);
    } else {
      reach_.RemoveMapping(workspace, name);
    }
    dirt_.reach.emplace(workspace,
                        absl::StrCat(kind, " ", workspace, "/", name));
  } else if (kind == kNamespace) {
    // The workspace that it is about is its name.
    if (document != nullptr) {
      reach_.SetNamespace(name, ToLabelMap(document->labels()));
    } else {
      reach_.RemoveNamespace(name);
    }
    for (const std::string& mapping : reach_.MappingWorkspaces()) {
      dirt_.reach.emplace(mapping, absl::StrCat(kind, " ", name));
    }
  } else {
    OnSource(kind, workspace, name);
  }
}

void TargetingView::OnCluster(const std::string& workspace,
                              const std::string& name) {
  const auto ids = ids_of_name_.find(NameKey(workspace, name));
  if (ids == ids_of_name_.end()) return;
  for (const std::string& id : ids->second) {
    ClusterOf(id).stale = true;
    dirt_.clusters[id] = absl::StrCat("Cluster ", workspace, "/", name);
  }
}

void TargetingView::OnSource(const std::string& kind,
                             const std::string& workspace,
                             const std::string& name) {
  // A bundle that stays says in its revision whether it is paused; one that
  // goes has no newer one.
  const auto bundles = bundles_of_.find(workspace);
  if (bundles == bundles_of_.end()) return;
  for (const auto& [id, bundle] : bundles->second) {
    if (bundle->removal == core::v1::DELETE_CAUSE_UNSPECIFIED) continue;
    const BundleSource source = SourceOf(*bundle);
    if (source.kind == kind && source.name == name) {
      dirt_.bundles.emplace(id, "");
    }
  }
}

void TargetingView::OnIdentity(const std::string& key,
                               const ClusterIdentity* identity) {
  // An identity is never deleted; one that is gone all the same says nothing.
  if (identity == nullptr) return;
  absl::StatusOr<std::string> id = ParseIdKey(kClusterFamily, key);
  if (!id.ok()) return;
  const std::string& workspace = identity->workspace();
  ClusterSlot& slot = ClusterOf(*id);
  slot.stale = true;
  slot.enrolled = true;
  slot.workspace = workspace;
  slot.name = identity->name();
  clusters_in_[workspace][*id] = &slot;
  ids_of_name_[NameKey(workspace, identity->name())].insert(*id);
  const std::string cause =
      absl::StrCat("Cluster ", workspace, "/", identity->name());
  dirt_.clusters.emplace(*id, cause);
  if (reach_.AddWorkspace(workspace)) {
    for (const std::string& mapping : reach_.MappingWorkspaces()) {
      dirt_.reach.emplace(mapping, cause);
    }
  }
}

void TargetingView::OnHead(const std::string& key, const BundleHead* head) {
  absl::StatusOr<std::string> id = ParseBundleHeadKey(key);
  if (!id.ok()) return;
  BundleSlot& slot = BundleOf(*id);
  if (head == nullptr) {
    slot.has_head = false;
    slot.resolver = nullptr;
    bundles_of_[slot.workspace].erase(*id);
    for (const std::string& workspace : slot.reach) {
      bundles_for_[workspace].erase(*id);
    }
    slot.reach.clear();
    gone_bundles_.insert(*id);
    return;
  }
  slot.has_head = true;
  slot.head_revision = heads_.ModRevision(key);
  slot.workspace = head->workspace();
  slot.name = head->name();
  slot.git_repo = head->git_repo();
  slot.helm_op = head->helm_op();
  slot.commit = head->commit();
  slot.removal = head->removal();
  slot.removed_by = head->removed_by();
  if (slot.revision != head->revision()) {
    slot.revision = head->revision();
    slot.resolver = nullptr;
  }
  bundles_of_[slot.workspace][*id] = &slot;
  RefreshRevision(slot);
  dirt_.bundles.emplace(*id, "");
}

void TargetingView::OnRevision(const std::string& key) {
  absl::StatusOr<BundleRevisionName> name = ParseBundleRevisionKey(key);
  if (!name.ok()) return;
  const auto known = bundles_.find(name->bundle_id);
  if (known == bundles_.end() || !known->second->has_head ||
      known->second->revision != name->revision) {
    return;
  }
  RefreshRevision(*known->second);
  dirt_.bundles.emplace(name->bundle_id, "");
}

void TargetingView::RefreshRevision(BundleSlot& slot) {
  if (slot.resolver == nullptr) {
    const BundleRevision* revision =
        revisions_.Find(BundleRevisionKey(slot.id, slot.revision));
    // Comes with the next batch.
    if (revision == nullptr) return;
    slot.resolver = std::make_unique<BundleResolver>(*revision);
    slot.paused = revision->paused();
    slot.labels = ToLabelMap(revision->labels());
  }
  RefreshReach(slot);
}

bool TargetingView::RefreshReach(BundleSlot& slot) {
  std::set<std::string> reach = reach_.Of(slot.workspace, slot.labels);
  if (reach == slot.reach) return false;
  for (const std::string& workspace : slot.reach) {
    bundles_for_[workspace].erase(slot.id);
  }
  slot.reach = std::move(reach);
  for (const std::string& workspace : slot.reach) {
    bundles_for_[workspace][slot.id] = &slot;
  }
  return true;
}

void TargetingView::OnDesired(const std::string& key, const Desired* desired) {
  absl::StatusOr<ClusterBundle> pair =
      ParseClusterBundleKey(kDesiredFamily, key);
  if (!pair.ok()) return;
  ClusterSlot& cluster = ClusterOf(pair->cluster_id);
  BundleSlot& bundle = BundleOf(pair->bundle_id);
  if (desired == nullptr) {
    cluster.rows.erase(&bundle);
    bundle.rows.erase(&cluster);
    return;
  }
  cluster.rows.insert(&bundle);
  bundle.rows.insert(&cluster);
  if (IsRemoval(*desired)) {
    // It may never have been released: then nobody has to let go.
    dirt_.pairs.emplace(TargetingPair(pair->cluster_id, pair->bundle_id), "");
  }
}

void TargetingView::OnReleased(const std::string& key) {
  absl::StatusOr<ClusterBundle> pair =
      ParseClusterBundleKey(kReleasedFamily, key);
  if (!pair.ok()) return;
  const Desired* row =
      desired_.Find(DesiredKey(pair->cluster_id, pair->bundle_id));
  // Only what waits for it to go.
  if (row == nullptr || !IsRemoval(*row)) return;
  dirt_.pairs.emplace(TargetingPair(pair->cluster_id, pair->bundle_id), "");
}

const TargetingView::Groups& TargetingView::GroupsIn(
    const std::string& workspace) {
  std::unique_ptr<Groups>& groups = groups_[workspace];
  if (groups != nullptr) return *groups;
  groups = std::make_unique<Groups>();
  const std::string prefix = DocumentPrefix(workspace, kClusterGroup);
  for (auto it = documents_.map().lower_bound(prefix);
       it != documents_.map().end() && absl::StartsWith(it->first, prefix);
       ++it) {
    const Document& group = it->second.first;
    if (!group.has_cluster_group() || group.has_delete_time() ||
        !group.cluster_group().has_selector()) {
      continue;
    }
    groups->subjects.push_back(std::make_shared<GroupSubject>(
        group.name(), ToLabelMap(group.labels())));
    groups->selectors.emplace_back(group.cluster_group().selector());
  }
  return *groups;
}

void TargetingView::RefreshCluster(ClusterSlot& slot) {
  if (!slot.stale) return;
  slot.stale = false;
  slot.has_document = false;
  const ClusterIdentity* identity = identities_.Find(slot.identity_key);
  if (identity == nullptr) return;
  slot.identity_revision = identities_.ModRevision(slot.identity_key);
  slot.revoked = identity->revoked();
  slot.document_key = DocumentKey(slot.workspace, kCluster, slot.name);
  slot.document_revision = documents_.ModRevision(slot.document_key);
  const Document* document = documents_.Find(slot.document_key);
  if (document == nullptr) return;
  slot.has_document = true;
  slot.deleting = document->has_delete_time();
  slot.paused = document->cluster().paused();
  TargetCluster target;
  target.name = slot.name;
  target.labels = ToLabelMap(document->labels());
  slot.subject = ClusterSubject(target);
  const Groups& groups = GroupsIn(slot.workspace);
  for (size_t i = 0; i < groups.subjects.size(); ++i) {
    if (groups.selectors[i].Matches(slot.subject.labels)) {
      slot.subject.groups.push_back(groups.subjects[i]);
    }
  }
  slot.context = MakeTemplateContext(*document);
  slot.context_bytes =
      slot.context.has_value() ? SerializeRecord(*slot.context) : "";
}

void TargetingView::SpreadGroups(const std::string& workspace) {
  for (const auto& [id, slot] : clusters_in_[workspace]) {
    if (slot->stale) {
      // Never asked, or dirty for another reason.
      dirt_.clusters.emplace(id, absl::StrCat("ClusterGroups of ", workspace));
      continue;
    }
    const auto before = std::move(slot->subject.groups);
    slot->stale = true;
    RefreshCluster(*slot);
    const auto& after = slot->subject.groups;
    const auto same = [](const std::shared_ptr<const GroupSubject>& a,
                         const std::shared_ptr<const GroupSubject>& b) {
      return a->name == b->name && a->labels == b->labels;
    };
    if (std::equal(before.begin(), before.end(), after.begin(), after.end(),
                   same)) {
      continue;
    }
    dirt_.clusters.emplace(id, absl::StrCat("ClusterGroups of ", workspace));
  }
}

void TargetingView::SpreadReach(const std::string& workspace,
                                const std::string& cause) {
  const auto bundles = bundles_of_.find(workspace);
  if (bundles == bundles_of_.end()) return;
  for (const auto& [id, slot] : bundles->second) {
    if (RefreshReach(*slot)) dirt_.bundles.emplace(id, cause);
  }
}

void TargetingView::SpreadDirt() {
  for (const auto& [workspace, cause] : dirt_.reach) {
    SpreadReach(workspace, cause);
  }
  dirt_.reach.clear();
  for (const std::string& workspace : dirt_.groups) SpreadGroups(workspace);
  dirt_.groups.clear();
}

void TargetingView::ForgetGoneBundles() {
  for (auto it = gone_bundles_.begin(); it != gone_bundles_.end();) {
    const auto slot = bundles_.find(*it);
    const bool back = slot == bundles_.end() || slot->second->has_head;
    if (!back && !slot->second->rows.empty()) {
      ++it;
      continue;
    }
    if (!back) bundles_.erase(slot);
    it = gone_bundles_.erase(it);
  }
}

bool TargetingView::SourcePaused(const BundleSlot& bundle) const {
  const BundleSource source = SourceOf(bundle);
  const Document* document =
      documents_.Find(DocumentKey(bundle.workspace, source.kind, source.name));
  if (document == nullptr) return false;
  if (document->has_git_repo()) return document->git_repo().paused();
  if (document->has_helm_op()) return document->helm_op().bundle().paused();
  return document->bundle().paused();
}

const std::map<std::string, ClusterSlot*>& TargetingView::ClustersIn(
    const std::string& workspace) const {
  return InWorkspace<ClusterSlot>(clusters_in_, workspace);
}

const std::map<std::string, BundleSlot*>& TargetingView::BundlesOf(
    const std::string& workspace) const {
  return InWorkspace<BundleSlot>(bundles_of_, workspace);
}

const std::map<std::string, BundleSlot*>& TargetingView::BundlesFor(
    const std::string& workspace) const {
  return InWorkspace<BundleSlot>(bundles_for_, workspace);
}

}  // namespace flotilla::manager
