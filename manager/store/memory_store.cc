// SPDX-License-Identifier: Apache-2.0

#include "manager/store/memory_store.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "manager/store/store.h"
#include "manager/store/watcher_set.h"

namespace flotilla::manager {

MemoryStore::MemoryStore(Loop& loop, std::string store_id)
    : Store(loop), store_id_(std::move(store_id)) {}

MemoryStore::~MemoryStore() = default;

void MemoryStore::RangePage(std::string prefix, std::string after,
                            size_t max_bytes, Done<RangeResult> done) {
  absl::StatusOr<RangeResult> result = RangeResult();
  const auto fault = range_faults_.find(++range_count_);
  if (fault != range_faults_.end()) {
    result = fault->second;
    range_faults_.erase(fault);
  } else {
    result->revision = revision_;
    size_t bytes = 0;
    for (auto it = after.empty() ? kvs_.lower_bound(prefix)
                                 : kvs_.upper_bound(after);
         it != kvs_.end() && absl::StartsWith(it->first, prefix); ++it) {
      bytes += it->first.size() + it->second.value.size();
      if (bytes > max_bytes && !result->kvs.empty()) break;
      result->kvs.push_back(it->second);
    }
  }
  loop().Post([weak = std::weak_ptr<bool>(alive_), done = std::move(done),
               result = std::move(result)]() mutable {
    if (!weak.expired()) done(std::move(result));
  });
}

std::unique_ptr<WatchHandle> MemoryStore::Watch(std::string prefix,
                                                int64_t after_revision,
                                                OnBatch on_batch,
                                                OnLost on_lost) {
  WatcherSet::Added added = watchers_.Add(
      std::move(prefix), after_revision, std::move(on_batch),
      std::move(on_lost));
  // Begins at this place of the queue; later batches are posted behind it.
  std::vector<WatchBatch> backlog;
  for (const WatchBatch& batch : log_) {
    if (batch.revision > after_revision) backlog.push_back(batch);
  }
  loop().Post([this, weak = std::weak_ptr<bool>(alive_),
               watcher = std::move(added.watcher), now = revision_,
               lost = after_revision < compacted_,
               backlog = std::move(backlog)] {
    if (weak.expired()) return;
    if (lost) {
      watchers_.Lose(watcher);
    } else {
      watchers_.Begin(watcher, now, backlog);
    }
  });
  return std::move(added.handle);
}

absl::StatusOr<int64_t> MemoryStore::Commit(
    const std::vector<Compare>& compares, std::vector<Op> ops) {
  RETURN_IF_ERROR(CheckOps(ops));
  for (const Compare& compare : compares) {
    const auto it = kvs_.find(compare.key);
    const int64_t have = it == kvs_.end() ? 0 : it->second.mod_revision;
    if (have != compare.mod_revision) {
      return absl::FailedPreconditionError(absl::StrCat(
          "key ", compare.key, " was changed meanwhile (revision ", have,
          ", expected ", compare.mod_revision, ")"));
    }
  }
  WatchBatch batch;
  batch.revision = revision_ + 1;
  std::sort(ops.begin(), ops.end(),
            [](const Op& a, const Op& b) { return a.key < b.key; });
  for (Op& op : ops) {
    const auto it = kvs_.find(op.key);
    WatchEvent event;
    if (op.kind == Op::Kind::kDelete) {
      if (it == kvs_.end()) continue;
      event.deleted = true;
      event.kv = {op.key, "", batch.revision, it->second.create_revision};
      kvs_.erase(it);
    } else {
      const int64_t created =
          it == kvs_.end() ? batch.revision : it->second.create_revision;
      event.kv = {op.key, std::move(op.value), batch.revision, created};
      kvs_[op.key] = event.kv;
    }
    batch.events.push_back(std::move(event));
  }
  if (batch.events.empty()) return revision_;
  revision_ = batch.revision;
  log_.push_back(batch);
  loop().Post([this, weak = std::weak_ptr<bool>(alive_),
               batch = std::move(batch)] {
    if (!weak.expired()) watchers_.Deliver(batch);
  });
  return revision_;
}

void MemoryStore::Txn(std::vector<Compare> compares, std::vector<Op> ops,
                      Done<int64_t> done) {
  absl::StatusOr<int64_t> result = 0;
  const auto fault = txn_faults_.find(++txn_count_);
  if (fault != txn_faults_.end()) {
    result = fault->second;
    txn_faults_.erase(fault);
  } else {
    result = Commit(compares, std::move(ops));
  }
  loop().Post([weak = std::weak_ptr<bool>(alive_), done = std::move(done),
               result = std::move(result)]() mutable {
    if (!weak.expired() && done != nullptr) done(std::move(result));
  });
}

void MemoryStore::FailTxn(int nth, absl::Status status) {
  txn_faults_[txn_count_ + nth] = std::move(status);
}

void MemoryStore::FailRange(int nth, absl::Status status) {
  range_faults_[range_count_ + nth] = std::move(status);
}

void MemoryStore::Compact() {
  log_.clear();
  compacted_ = revision_;
}

void MemoryStore::Put(std::string key, std::string value) {
  std::vector<Op> ops;
  ops.push_back(Op::Put(std::move(key), std::move(value)));
  (void)Commit({}, std::move(ops));
}

void MemoryStore::Delete(std::string key) {
  std::vector<Op> ops;
  ops.push_back(Op::Delete(std::move(key)));
  (void)Commit({}, std::move(ops));
}

const KeyValue* MemoryStore::Find(const std::string& key) const {
  const auto it = kvs_.find(key);
  return it == kvs_.end() ? nullptr : &it->second;
}

std::vector<std::string> MemoryStore::Keys(const std::string& prefix) const {
  std::vector<std::string> out;
  for (auto it = kvs_.lower_bound(prefix);
       it != kvs_.end() && absl::StartsWith(it->first, prefix); ++it) {
    out.push_back(it->first);
  }
  return out;
}

}  // namespace flotilla::manager
