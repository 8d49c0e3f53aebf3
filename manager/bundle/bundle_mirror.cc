// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_mirror.h"

#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "manager/bundle/bundle_source.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using storage::v1::BundleHead;

std::string NameKey(absl::string_view workspace, absl::string_view name) {
  return absl::StrCat(workspace, "/", name);
}

bool IsRecord(const std::string& key, BundleRecord wanted) {
  absl::StatusOr<BundleRecord> record = ClassifyBundleKey(key);
  return record.ok() && *record == wanted;
}

// Adds `value` to the set at `key`, or takes it out, and the set when empty.
template <typename Map>
void Note(Map& map, const std::string& key, const std::string& value,
          bool gone) {
  if (!gone) {
    map[key].insert(value);
    return;
  }
  const auto it = map.find(key);
  if (it == map.end()) return;
  it->second.erase(value);
  if (it->second.empty()) map.erase(it);
}

}  // namespace

BundleMirror::BundleMirror(Store& store, OnNameFree on_name_free,
                           OnBatch on_batch)
    : on_name_free_(std::move(on_name_free)),
      on_batch_(std::move(on_batch)),
      heads_(
          store, kBundleFamily,
          [this](const std::string& key, const BundleHead* head) {
            OnHead(key, head);
          },
          [this] { on_batch_(); },
          [](const std::string& key) {
            return IsRecord(key, BundleRecord::kHead);
          }),
      builds_(
          store, kBundleFamily, nullptr, [this] { on_batch_(); },
          [](const std::string& key) {
            return IsRecord(key, BundleRecord::kBuild);
          }),
      revision_watch_(store.RangeAndWatch(
          kBundleFamily,
          [this](const WatchBatch& batch) { OnRevisionKeys(batch); })),
      desired_watch_(store.RangeAndWatch(
          kDesiredFamily,
          [this](const WatchBatch& batch) { OnDesiredKeys(batch); })) {}

bool BundleMirror::loaded() const {
  return heads_.loaded() && builds_.loaded() && revisions_loaded_ &&
         desired_loaded_;
}

const BundleHead* BundleMirror::FindHead(const std::string& id) const {
  return heads_.Find(BundleHeadKey(id));
}

const BundleHead* BundleMirror::FindHead(absl::string_view workspace,
                                         absl::string_view name) const {
  const auto it = by_name_.find(NameKey(workspace, name));
  return it == by_name_.end() ? nullptr : FindHead(it->second);
}

std::vector<const BundleHead*> BundleMirror::HeadsOf(
    const std::string& source_key) const {
  std::vector<const BundleHead*> heads;
  const auto ids = by_source_.find(source_key);
  if (ids == by_source_.end()) return heads;
  for (const std::string& id : ids->second) {
    const BundleHead* head = FindHead(id);
    if (head != nullptr) heads.push_back(head);
  }
  return heads;
}

int64_t BundleMirror::HeadRevision(const std::string& id) const {
  return heads_.ModRevision(BundleHeadKey(id));
}

const std::set<std::string>& BundleMirror::RevisionsOf(
    const std::string& id) const {
  static const auto* const kNone = new std::set<std::string>;
  const auto it = revisions_.find(id);
  return it == revisions_.end() ? *kNone : it->second;
}

void BundleMirror::OnHead(const std::string& key, const BundleHead* head) {
  absl::StatusOr<std::string> id = ParseBundleHeadKey(key);
  if (!id.ok()) return;
  removed_.erase(*id);
  with_problems_.erase(*id);
  const auto known = names_.find(*id);
  if (head == nullptr) {
    if (known == names_.end()) return;
    const HeadName gone = std::move(known->second);
    names_.erase(known);
    by_name_.erase(NameKey(gone.workspace, gone.name));
    Note(by_source_, gone.source, *id, /*gone=*/true);
    on_name_free_(gone.workspace, gone.name);
    return;
  }
  const HeadName name{head->workspace(), head->name(), SourceKeyOf(*head)};
  by_name_[NameKey(name.workspace, name.name)] = *id;
  by_source_[name.source].insert(*id);
  names_[*id] = name;
  if (head->removal() != core::v1::DELETE_CAUSE_UNSPECIFIED) {
    removed_.insert(*id);
  }
  if (!head->problems().empty()) with_problems_.insert(*id);
}

void BundleMirror::OnRevisionKeys(const WatchBatch& batch) {
  if (batch.complete) revisions_.clear();
  for (const WatchEvent& event : batch.events) {
    absl::StatusOr<BundleRevisionName> name =
        ParseBundleRevisionKey(event.kv.key);
    if (!name.ok() || !IsRecord(event.kv.key, BundleRecord::kRevision)) {
      continue;
    }
    Note(revisions_, name->bundle_id, name->revision, event.deleted);
  }
  revisions_loaded_ = true;
  on_batch_();
}

void BundleMirror::OnDesiredKeys(const WatchBatch& batch) {
  if (batch.complete) desired_.clear();
  for (const WatchEvent& event : batch.events) {
    absl::StatusOr<ClusterBundle> pair =
        ParseClusterBundleKey(kDesiredFamily, event.kv.key);
    if (!pair.ok()) continue;
    Note(desired_, pair->bundle_id, pair->cluster_id, event.deleted);
  }
  desired_loaded_ = true;
  on_batch_();
}

}  // namespace flotilla::manager
