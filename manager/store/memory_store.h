// SPDX-License-Identifier: Apache-2.0
//
// MemoryStore is the Store of tests: the exact semantics of the real engines
// (store_contract), plus faults on demand. Destroy it before its loop.

#ifndef FLOTILLA_MANAGER_STORE_MEMORY_STORE_H_
#define FLOTILLA_MANAGER_STORE_MEMORY_STORE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "common/event/loop.h"
#include "manager/store/store.h"
#include "manager/store/watcher_set.h"

namespace flotilla::manager {

// Loop-affine.
class MemoryStore : public Store {
 public:
  explicit MemoryStore(
      Loop& loop,
      std::string store_id = "00000000-0000-4000-8000-000000000000");
  ~MemoryStore() override;

  void RangePage(std::string prefix, std::string after, size_t max_bytes,
                 Done<RangeResult> done) override;
  std::unique_ptr<WatchHandle> Watch(std::string prefix,
                                     int64_t after_revision, OnBatch on_batch,
                                     OnLost on_lost) override;
  std::string store_id() const override { return store_id_; }

  // The nth next Txn (1 is the very next) fails with `status` and writes
  // nothing. Counts every Txn of every writer.
  void FailTxn(int nth, absl::Status status);
  // The nth next Range or RangePage fails with `status`.
  void FailRange(int nth, absl::Status status);
  // Forgets the change log up to the current revision: watches from before
  // it are lost. Running ones go on.
  void Compact();

  // Txns so far, failed ones included.
  int txn_count() const { return txn_count_; }
  int64_t revision() const { return revision_; }

  // Past all writers: what a test wants to be there.
  void Put(std::string key, std::string value);
  void Delete(std::string key);
  // Null when absent. Valid until the next write.
  const KeyValue* Find(const std::string& key) const;
  // All keys that begin with `prefix`, in order.
  std::vector<std::string> Keys(const std::string& prefix) const;

 protected:
  void Txn(std::vector<Compare> compares, std::vector<Op> ops,
           Done<int64_t> done) override;

 private:
  absl::StatusOr<int64_t> Commit(const std::vector<Compare>& compares,
                                 std::vector<Op> ops);

  const std::string store_id_;
  int64_t revision_ = 0;
  int64_t compacted_ = 0;
  absl::btree_map<std::string, KeyValue> kvs_;
  std::deque<WatchBatch> log_;
  WatcherSet watchers_;
  int txn_count_ = 0;
  int range_count_ = 0;
  std::map<int, absl::Status> txn_faults_;
  std::map<int, absl::Status> range_faults_;
  // Posted tasks hold it weakly: none runs after the store is gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STORE_MEMORY_STORE_H_
