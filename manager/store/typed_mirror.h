// SPDX-License-Identifier: Apache-2.0
//
// TypedMirror keeps the records under a prefix in memory, parsed, and up to
// date. Every stage reads the store through mirrors. Nothing may be decided
// before all mirrors of a stage are loaded(): an empty mirror that is not
// loaded means "not known", never "nothing".
//
// A record that cannot be parsed is kept out of the map and counted in
// `unreadable`; its key goes to `on_unreadable` when given. It is not reported
// as deleted: when it was there before, its last good value stays.
//
// Callbacks run on the loop, one for each changed key, after the map has the
// change; `on_batch` then runs once for the batch. A callback must not destroy
// the mirror.
//
// Example:
//   TypedMirror<storage::v1::Source> sources(
//       store, kSourceFamily,
//       [this](const std::string& key, const storage::v1::Source* source) {
//         MarkDirty(key);
//       },
//       [this] { Wake(); });

#ifndef FLOTILLA_MANAGER_STORE_TYPED_MIRROR_H_
#define FLOTILLA_MANAGER_STORE_TYPED_MIRROR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "manager/store/records.h"
#include "manager/store/store.h"

namespace flotilla::manager {

// Loop-affine.
template <typename T>
class TypedMirror {
 public:
  // A record and the revision of its last write, for compares.
  using Entry = std::pair<T, int64_t>;
  using Map = absl::btree_map<std::string, Entry>;
  // `record` is null when the key was deleted.
  using OnChange =
      absl::AnyInvocable<void(const std::string& key, const T* record)>;
  using OnBatch = absl::AnyInvocable<void()>;
  // Whether a key is wanted, for families that hold several types.
  using Filter = absl::AnyInvocable<bool(const std::string& key)>;
  using OnUnreadable =
      absl::AnyInvocable<void(const std::string& key, const absl::Status&)>;

  // `store` must outlive it. Callbacks may be null.
  TypedMirror(Store& store, std::string prefix, OnChange on_change = nullptr,
              OnBatch on_batch = nullptr, Filter filter = nullptr,
              OnUnreadable on_unreadable = nullptr)
      : on_change_(std::move(on_change)), on_batch_(std::move(on_batch)),
        filter_(std::move(filter)), on_unreadable_(std::move(on_unreadable)),
        watch_(store.RangeAndWatch(
            std::move(prefix),
            [this](const WatchBatch& batch) { Apply(batch); })) {}

  TypedMirror(const TypedMirror&) = delete;
  TypedMirror& operator=(const TypedMirror&) = delete;

  // Whether everything that was there at the start has come.
  bool loaded() const { return loaded_; }
  const Map& map() const { return map_; }
  // Revision of the last batch.
  int64_t revision() const { return revision_; }
  size_t unreadable() const { return unreadable_.size(); }

  // Null when absent.
  const T* Find(const std::string& key) const {
    const auto it = map_.find(key);
    return it == map_.end() ? nullptr : &it->second.first;
  }
  // For a Compare; 0 when absent.
  int64_t ModRevision(const std::string& key) const {
    const auto it = map_.find(key);
    return it == map_.end() ? 0 : it->second.second;
  }

 private:
  void Apply(const WatchBatch& batch) {
    revision_ = batch.revision;
    if (batch.complete) RemoveOthers(batch);
    for (const WatchEvent& event : batch.events) {
      if (filter_ != nullptr && !filter_(event.kv.key)) continue;
      if (event.deleted) {
        Remove(event.kv.key);
      } else {
        Set(event.kv);
      }
    }
    loaded_ = true;
    if (on_batch_ != nullptr) on_batch_();
  }

  void Set(const KeyValue& kv) {
    const auto known = map_.find(kv.key);
    if (known != map_.end() && known->second.second == kv.mod_revision) return;
    absl::StatusOr<T> record = ParseRecord<T>(kv.key, kv.value);
    if (!record.ok()) {
      unreadable_.insert(kv.key);
      if (on_unreadable_ != nullptr) on_unreadable_(kv.key, record.status());
      return;
    }
    unreadable_.erase(kv.key);
    Entry& entry = map_[kv.key];
    entry = {*std::move(record), kv.mod_revision};
    if (on_change_ != nullptr) on_change_(kv.key, &entry.first);
  }

  void Remove(const std::string& key) {
    unreadable_.erase(key);
    if (map_.erase(key) > 0 && on_change_ != nullptr) on_change_(key, nullptr);
  }

  void RemoveOthers(const WatchBatch& batch) {
    absl::flat_hash_set<std::string> present;
    for (const WatchEvent& event : batch.events) present.insert(event.kv.key);
    std::vector<std::string> gone;
    for (const auto& [key, entry] : map_) {
      if (!present.contains(key)) gone.push_back(key);
    }
    for (const std::string& key : unreadable_) {
      if (!present.contains(key)) gone.push_back(key);
    }
    for (const std::string& key : gone) Remove(key);
  }

  OnChange on_change_;
  OnBatch on_batch_;
  Filter filter_;
  OnUnreadable on_unreadable_;
  Map map_;
  absl::flat_hash_set<std::string> unreadable_;
  int64_t revision_ = 0;
  bool loaded_ = false;
  // Last: nothing is called after it is gone.
  std::unique_ptr<WatchHandle> watch_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STORE_TYPED_MIRROR_H_
