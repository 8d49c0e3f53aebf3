// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/targeting_controller.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/crypto/sha256.h"
#include "common/labels/label_selector.h"
#include "manager/store/records.h"
#include "manager/targeting/template_context.h"

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
constexpr char kMapping[] = "BundleNamespaceMapping";
constexpr char kNamespace[] = "Namespace";
constexpr char kGitRepo[] = "GitRepo";
constexpr char kHelmOp[] = "HelmOp";
constexpr char kBundle[] = "Bundle";
// Tag of Desired.options: field 4, length-delimited.
constexpr char kOptionsTag = (4 << 3) | 2;

std::string NameKey(absl::string_view workspace, absl::string_view name) {
  return absl::StrCat(workspace, "/", name);
}

bool IsTargetingDocument(const std::string& key) {
  absl::StatusOr<DocumentName> name = ParseDocumentKey(key);
  if (!name.ok()) return false;
  for (const char* kind : {kCluster, kClusterGroup, kMapping, kNamespace,
                           kGitRepo, kHelmOp, kBundle}) {
    if (name->kind == kind) return true;
  }
  return false;
}

bool IsRecord(const std::string& key, BundleRecord wanted) {
  absl::StatusOr<BundleRecord> record = ClassifyBundleKey(key);
  return record.ok() && *record == wanted;
}

bool IsRemoval(const Desired& row) {
  return row.removal() != core::v1::DELETE_CAUSE_UNSPECIFIED;
}

// The record's bytes without the options being parsed or copied: fields stand
// in their order, so options go between what comes before and after them.
std::string SerializeDesired(const Desired& before, const Desired& after,
                             const std::string& options) {
  std::string bytes = SerializeRecord(before);
  bytes.push_back(kOptionsTag);
  for (size_t rest = options.size();; rest >>= 7) {
    if (rest < 0x80) {
      bytes.push_back(static_cast<char>(rest));
      break;
    }
    bytes.push_back(static_cast<char>((rest & 0x7f) | 0x80));
  }
  bytes += options;
  bytes += SerializeRecord(after);
  return bytes;
}

}  // namespace

struct TargetingController::ClusterSlot {
  std::string id;
  // Of the identity.
  std::string workspace;
  std::string name;
  bool enrolled = false;
  bool revoked = false;
  std::string identity_key;
  int64_t identity_revision = 0;
  // Of the document.
  bool has_document = false;
  bool deleting = false;
  bool paused = false;
  std::string document_key;
  int64_t document_revision = 0;
  ClusterSubject subject;
  // Absent when no label counts.
  std::optional<storage::v1::TemplateContext> context;
  std::string context_bytes;

  // Identity, document or groups changed since it was folded.
  bool stale = true;
  absl::flat_hash_set<BundleSlot*> rows;
};

struct TargetingController::BundleSlot {
  std::string id;
  // Of the head.
  bool has_head = false;
  std::string head_key;
  int64_t head_revision = 0;
  std::string workspace;
  std::string name;
  std::string git_repo;
  std::string helm_op;
  std::string revision;
  core::v1::Commit commit;
  core::v1::DeleteCause removal = core::v1::DELETE_CAUSE_UNSPECIFIED;
  std::string removed_by;
  // Of the revision; null until it is there.
  std::unique_ptr<BundleResolver> resolver;
  bool paused = false;
  LabelMap labels;
  // Workspaces it may go to, sorted.
  std::set<std::string> reach;

  absl::flat_hash_set<ClusterSlot*> rows;
};

struct TargetingController::Groups {
  std::vector<std::shared_ptr<const GroupSubject>> subjects;
  std::vector<FastSelector> selectors;  // In step with `subjects`.
};

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
          [this](const std::string& key, const Released*) { OnReleased(key); },
          [this] { Wake(); }) {}

TargetingController::~TargetingController() = default;

bool TargetingController::Loaded() const {
  return documents_.loaded() && identities_.loaded() && heads_.loaded() &&
         revisions_.loaded() && desired_.loaded() && released_.loaded();
}

TargetingController::ClusterSlot& TargetingController::ClusterOf(
    const std::string& id) {
  std::unique_ptr<ClusterSlot>& slot = clusters_[id];
  if (slot == nullptr) {
    slot = std::make_unique<ClusterSlot>();
    slot->id = id;
    slot->identity_key = ClusterIdentityKey(id);
  }
  return *slot;
}

TargetingController::BundleSlot& TargetingController::BundleOf(
    const std::string& id) {
  std::unique_ptr<BundleSlot>& slot = bundles_[id];
  if (slot == nullptr) {
    slot = std::make_unique<BundleSlot>();
    slot->id = id;
    slot->head_key = BundleHeadKey(id);
  }
  return *slot;
}

void TargetingController::OnDocument(const std::string& key,
                                     const Document* document) {
  absl::StatusOr<DocumentName> parsed = ParseDocumentKey(key);
  if (!parsed.ok()) return;
  const auto& [workspace, kind, name] = *parsed;
  if (kind == kClusterGroup) {
    groups_.erase(workspace);
    dirty_groups_.insert(workspace);
  } else if (kind == kCluster) {
    OnCluster(workspace, name);
  } else if (kind == kMapping) {
    if (document != nullptr) {
      reach_.SetMapping(*document);
    } else {
      reach_.RemoveMapping(workspace, name);
    }
    dirty_reach_.emplace(workspace,
                         absl::StrCat(kind, " ", workspace, "/", name));
  } else if (kind == kNamespace) {
    // The workspace that it is about is its name.
    if (document != nullptr) {
      reach_.SetNamespace(name, ToLabelMap(document->labels()));
    } else {
      reach_.RemoveNamespace(name);
    }
    for (const std::string& mapping : reach_.MappingWorkspaces()) {
      dirty_reach_.emplace(mapping, absl::StrCat(kind, " ", name));
    }
  } else {
    OnSource(kind, workspace, name);
  }
}

void TargetingController::OnCluster(const std::string& workspace,
                                    const std::string& name) {
  const auto ids = ids_of_name_.find(NameKey(workspace, name));
  if (ids == ids_of_name_.end()) return;
  for (const std::string& id : ids->second) {
    ClusterOf(id).stale = true;
    dirty_clusters_[id] = absl::StrCat("Cluster ", workspace, "/", name);
  }
}

void TargetingController::OnSource(const std::string& kind,
                                   const std::string& workspace,
                                   const std::string& name) {
  // A bundle that stays says in its revision whether it is paused; one that
  // goes has no newer one.
  const auto bundles = bundles_of_.find(workspace);
  if (bundles == bundles_of_.end()) return;
  for (const auto& [id, bundle] : bundles->second) {
    if (bundle->removal == core::v1::DELETE_CAUSE_UNSPECIFIED) continue;
    if ((kind == kGitRepo && bundle->git_repo == name) ||
        (kind == kHelmOp && bundle->helm_op == name) ||
        (kind == kBundle && bundle->name == name)) {
      dirty_bundles_.emplace(id, "");
    }
  }
}

void TargetingController::OnIdentity(const std::string& key,
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
  dirty_clusters_.emplace(*id, cause);
  if (reach_.AddWorkspace(workspace)) {
    for (const std::string& mapping : reach_.MappingWorkspaces()) {
      dirty_reach_.emplace(mapping, cause);
    }
  }
}

void TargetingController::OnHead(const std::string& key,
                                 const BundleHead* head) {
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
  dirty_bundles_.emplace(*id, "");
}

void TargetingController::OnRevision(const std::string& key) {
  absl::StatusOr<BundleRevisionName> name = ParseBundleRevisionKey(key);
  if (!name.ok()) return;
  const auto known = bundles_.find(name->bundle_id);
  if (known == bundles_.end() || !known->second->has_head ||
      known->second->revision != name->revision) {
    return;
  }
  RefreshRevision(*known->second);
  dirty_bundles_.emplace(name->bundle_id, "");
}

void TargetingController::RefreshRevision(BundleSlot& slot) {
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

bool TargetingController::RefreshReach(BundleSlot& slot) {
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

void TargetingController::OnDesired(const std::string& key,
                                    const Desired* desired) {
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
    dirty_pairs_.emplace(Pair(pair->cluster_id, pair->bundle_id), "");
  }
}

void TargetingController::OnReleased(const std::string& key) {
  absl::StatusOr<ClusterBundle> pair =
      ParseClusterBundleKey(kReleasedFamily, key);
  if (!pair.ok()) return;
  const Desired* row =
      desired_.Find(DesiredKey(pair->cluster_id, pair->bundle_id));
  // Only what waits for it to go.
  if (row == nullptr || !IsRemoval(*row)) return;
  dirty_pairs_.emplace(Pair(pair->cluster_id, pair->bundle_id), "");
}

const TargetingController::Groups& TargetingController::GroupsIn(
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

void TargetingController::RefreshCluster(ClusterSlot& slot) {
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

void TargetingController::SpreadGroups(const std::string& workspace) {
  for (const auto& [id, slot] : clusters_in_[workspace]) {
    if (slot->stale) {
      // Never asked, or dirty for another reason.
      dirty_clusters_.emplace(id, absl::StrCat("ClusterGroups of ", workspace));
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
    dirty_clusters_.emplace(id, absl::StrCat("ClusterGroups of ", workspace));
  }
}

void TargetingController::SpreadReach(const std::string& workspace,
                                      const std::string& cause) {
  const auto bundles = bundles_of_.find(workspace);
  if (bundles == bundles_of_.end()) return;
  for (const auto& [id, slot] : bundles->second) {
    if (RefreshReach(*slot)) dirty_bundles_.emplace(id, cause);
  }
}

void TargetingController::SpreadDirt() {
  for (const auto& [workspace, cause] : dirty_reach_) {
    SpreadReach(workspace, cause);
  }
  dirty_reach_.clear();
  for (const std::string& workspace : dirty_groups_) SpreadGroups(workspace);
  dirty_groups_.clear();
}

bool TargetingController::NextWork() {
  if (!dirty_clusters_.empty()) {
    auto node = dirty_clusters_.extract(dirty_clusters_.begin());
    ClusterSlot& cluster = ClusterOf(node.key());
    work_.emplace();
    work_->cause = std::move(node.mapped());
    const auto bundles = bundles_for_.find(cluster.workspace);
    if (bundles != bundles_for_.end()) {
      for (const auto& [id, bundle] : bundles->second) {
        work_->pairs.emplace_back(&cluster, bundle);
      }
    }
    for (BundleSlot* bundle : cluster.rows) {
      if (bundle->reach.count(cluster.workspace) == 0) {
        work_->pairs.emplace_back(&cluster, bundle);
      }
    }
    return true;
  }
  if (dirty_bundles_.empty()) return false;
  auto node = dirty_bundles_.extract(dirty_bundles_.begin());
  BundleSlot& bundle = BundleOf(node.key());
  work_.emplace();
  if (!bundle.has_head) return true;
  work_->cause = std::move(node.mapped());
  if (work_->cause.empty()) work_->cause = bundle.commit.id();
  if (work_->cause.empty()) {
    work_->cause =
        absl::StrCat(bundle.helm_op.empty() ? kBundle : kHelmOp, " ",
                     bundle.workspace, "/",
                     bundle.helm_op.empty() ? bundle.name : bundle.helm_op);
  }
  // A bundle on its way out touches those who have it, no others.
  if (bundle.removal == core::v1::DELETE_CAUSE_UNSPECIFIED) {
    for (const std::string& workspace : bundle.reach) {
      for (const auto& [id, cluster] : clusters_in_[workspace]) {
        work_->pairs.emplace_back(cluster, &bundle);
      }
    }
  }
  const bool removed = bundle.removal != core::v1::DELETE_CAUSE_UNSPECIFIED;
  std::map<std::string, ClusterSlot*> others;
  for (ClusterSlot* cluster : bundle.rows) {
    if (removed || bundle.reach.count(cluster->workspace) == 0) {
      others.emplace(cluster->id, cluster);
    }
  }
  for (const auto& [id, cluster] : others) {
    work_->pairs.emplace_back(cluster, &bundle);
  }
  return true;
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

void TargetingController::Run() {
  if (!Loaded() || writing_ || retry_->armed()) return;
  SpreadDirt();
  StartOnce();
  Plan plan;
  while (plan.ops.size() < kMaxPairs) {
    if (!dirty_pairs_.empty()) {
      auto node = dirty_pairs_.extract(dirty_pairs_.begin());
      ResolvePair(BundleOf(node.key().second), ClusterOf(node.key().first),
                  node.mapped(), plan);
    } else if (work_.has_value() && work_->next < work_->pairs.size()) {
      const auto& [cluster, bundle] = work_->pairs[work_->next++];
      ResolvePair(*bundle, *cluster, work_->cause, plan);
    } else {
      work_.reset();
      if (!NextWork()) break;
    }
  }
  if (plan.ops.empty()) {
    ForgetGoneBundles();
    return;
  }
  writing_ = true;
  std::vector<Compare> compares;
  compares.reserve(plan.compares.size());
  for (auto& [key, revision] : plan.compares) {
    compares.push_back({key, revision});
  }
  writer_.Txn(std::move(compares), std::move(plan.ops),
              [this, alive = std::weak_ptr<bool>(alive_),
               pairs = std::move(plan.pairs)](
                  absl::StatusOr<int64_t> revision) mutable {
                if (alive.expired()) return;
                OnWritten(std::move(revision), std::move(pairs));
              });
}

void TargetingController::StartOnce() {
  if (started_) return;
  started_ = true;
  for (auto it = dirty_clusters_.begin(); it != dirty_clusters_.end();) {
    ClusterSlot& cluster = ClusterOf(it->first);
    RefreshCluster(cluster);
    // What a revoked one drops does not depend on bundles.
    it = cluster.revoked ? std::next(it) : dirty_clusters_.erase(it);
  }
}

void TargetingController::ForgetGoneBundles() {
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

void TargetingController::Guard(BundleSlot& bundle, ClusterSlot& cluster,
                                Plan& plan) {
  plan.compares[bundle.head_key] = bundle.head_revision;
  plan.compares[cluster.identity_key] = cluster.identity_revision;
  plan.compares[cluster.document_key] = cluster.document_revision;
}

void TargetingController::DropRow(BundleSlot& bundle, ClusterSlot& cluster,
                                  Plan& plan) {
  const std::string key = DesiredKey(cluster.id, bundle.id);
  plan.compares[key] = desired_.ModRevision(key);
  plan.ops.push_back(Op::Delete(key));
}

bool TargetingController::SourcePaused(const BundleSlot& slot) const {
  const bool by_repo = !slot.git_repo.empty();
  const bool by_helm = !slot.helm_op.empty();
  const Document* source = documents_.Find(DocumentKey(
      slot.workspace, by_repo ? kGitRepo : by_helm ? kHelmOp : kBundle,
      by_repo ? slot.git_repo : by_helm ? slot.helm_op : slot.name));
  if (source == nullptr) return false;
  return by_repo   ? source->git_repo().paused()
         : by_helm ? source->helm_op().bundle().paused()
                   : source->bundle().paused();
}

void TargetingController::PlanRemoval(BundleSlot& bundle, ClusterSlot& cluster,
                                      const Desired& row,
                                      const std::string& cause, Plan& plan) {
  const std::string key = DesiredKey(cluster.id, bundle.id);
  const bool head_goes = bundle.removal != core::v1::DELETE_CAUSE_UNSPECIFIED;
  // What fleet.yaml said of a bundle that is gone does not hold for ever.
  const bool paused =
      cluster.paused || (head_goes ? SourcePaused(bundle) : bundle.paused);
  Desired removed = row;
  removed.set_paused(paused);
  if (IsRemoval(row)) {
    const std::string released_key = ReleasedKey(cluster.id, bundle.id);
    const Released* released = released_.Find(released_key);
    if (released == nullptr || released->state() == Released::STATE_GONE) {
      // The agent has let go, or never had it.
      plan.compares[released_key] = released_.ModRevision(released_key);
      DropRow(bundle, cluster, plan);
      return;
    }
    // A person may have asked since.
    const bool asked = head_goes &&
                       bundle.removal == core::v1::DELETE_CAUSE_OPERATOR &&
                       row.removal() != bundle.removal;
    if (asked) {
      removed.set_removal(bundle.removal);
      removed.set_removed_by(bundle.removed_by);
    }
    if (!asked && row.paused() == paused) return;
  } else if (head_goes) {
    removed.set_removal(bundle.removal);
    removed.set_removed_by(bundle.removed_by);
  } else {
    removed.set_removal(core::v1::DELETE_CAUSE_TARGET_CHANGED);
    removed.set_removed_by(cause);
  }
  plan.compares[key] = desired_.ModRevision(key);
  plan.ops.push_back(Op::Put(key, SerializeRecord(removed)));
}

void TargetingController::ResolvePair(BundleSlot& bundle, ClusterSlot& cluster,
                                      const std::string& cause, Plan& plan) {
  const bool has_row = bundle.rows.contains(&cluster);
  if (!cluster.enrolled) return;
  // Several things may have changed about it; one write says it all.
  if (plan.pairs.count(Pair(cluster.id, bundle.id)) > 0) return;
  RefreshCluster(cluster);
  const size_t before = plan.ops.size();
  if (cluster.revoked) {
    // The cluster has left, with all that runs in it.
    if (!has_row) return;
    plan.compares[cluster.identity_key] = cluster.identity_revision;
    DropRow(bundle, cluster, plan);
    plan.pairs.emplace(Pair(cluster.id, bundle.id), cause);
    return;
  }
  // Not there yet, or on its way out: nothing changes.
  if (!bundle.has_head || !cluster.has_document) return;

  std::shared_ptr<const SharedTarget> target;
  if (bundle.removal == core::v1::DELETE_CAUSE_UNSPECIFIED) {
    if (cluster.deleting || bundle.resolver == nullptr) return;
    if (bundle.reach.count(cluster.workspace) > 0) {
      ++resolved_count_;
      target = bundle.resolver->Resolve(cluster.subject);
    }
  }
  if (target == nullptr && !has_row) return;

  const std::string key = DesiredKey(cluster.id, bundle.id);
  const Desired* row = desired_.Find(key);
  if (target == nullptr) {
    if (row != nullptr) PlanRemoval(bundle, cluster, *row, cause, plan);
  } else {
    const bool templated = target->templated && cluster.context.has_value();
    const bool paused = bundle.paused || cluster.paused;
    const std::string& cluster_workspace =
        cluster.workspace == bundle.workspace ? std::string()
                                              : cluster.workspace;
    std::string digest = target->options_digest;
    if (templated) digest = Sha256(absl::StrCat(digest, cluster.context_bytes));
    if (row != nullptr && !IsRemoval(*row) && row->removed_by().empty() &&
        row->revision() == bundle.revision &&
        row->options_digest() == digest &&
        row->target_name() == target->resolved.target_name &&
        row->paused() == paused && row->bundle_name() == bundle.name &&
        row->workspace() == bundle.workspace &&
        row->cluster_name() == cluster.name &&
        row->cluster_workspace() == cluster_workspace &&
        SerializeRecord(row->commit()) == SerializeRecord(bundle.commit)) {
      return;
    }
    Desired first;
    first.set_cluster_id(cluster.id);
    first.set_bundle_id(bundle.id);
    first.set_revision(bundle.revision);
    Desired rest;
    rest.set_options_digest(std::move(digest));
    rest.set_target_name(target->resolved.target_name);
    *rest.mutable_commit() = bundle.commit;
    rest.set_workspace(bundle.workspace);
    rest.set_bundle_name(bundle.name);
    rest.set_cluster_name(cluster.name);
    if (templated) *rest.mutable_template_context() = *cluster.context;
    rest.set_paused(paused);
    rest.set_cluster_workspace(cluster_workspace);
    plan.compares[key] = desired_.ModRevision(key);
    plan.ops.push_back(
        Op::Put(key, SerializeDesired(first, rest, target->options_bytes)));
  }
  if (plan.ops.size() == before) return;
  Guard(bundle, cluster, plan);
  plan.pairs.emplace(Pair(cluster.id, bundle.id), cause);
}

size_t TargetingController::CountDesired(absl::string_view workspace,
                                         absl::string_view git_repo) const {
  std::set<std::string> clusters;
  const auto bundles = bundles_of_.find(std::string(workspace));
  if (bundles == bundles_of_.end()) return 0;
  for (const auto& [id, bundle] : bundles->second) {
    if (bundle->git_repo != git_repo) continue;
    for (const ClusterSlot* cluster : bundle->rows) {
      const Desired* row = desired_.Find(DesiredKey(cluster->id, id));
      if (row != nullptr && !IsRemoval(*row)) clusters.insert(cluster->id);
    }
  }
  return clusters.size();
}

std::string TargetingController::DebugString() const {
  return absl::StrCat("loaded=", Loaded(), " writing=", writing_,
                      " rows=", desired_.map().size(),
                      " dirty=", dirty_pairs_.size(), "/",
                      dirty_clusters_.size(), "/", dirty_bundles_.size(),
                      " resolved=", resolved_count_,
                      " last_error=", last_error_.ToString());
}

}  // namespace flotilla::manager
