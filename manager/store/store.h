// SPDX-License-Identifier: Apache-2.0
//
// Store is the manager's only shared state, in etcd's shape: keys and bytes,
// one revision that rises with each committed transaction, compare-and-set
// transactions, watches from a revision. Stages of the manager meet only here
// (ARCHITECTURE.md, data flow). Each key family is written by one package; the
// handle that writes it is a `FamilyWriter` given to that package only.
//
// Completions and watch callbacks run on the loop, never inside the call.
// A transaction is durable (fsync) before its completion runs.
// Errors: FAILED_PRECONDITION when a compare does not hold (nothing written);
// RESOURCE_EXHAUSTED when the disk is full; UNAVAILABLE for other disk errors;
// PERMISSION_DENIED for an op outside the writer's family. Calls take effect in
// the order in which they were made: a Range sees every Txn before it. Calls
// whose completion has not run when the store is destroyed are dropped.

#ifndef FLOTILLA_MANAGER_STORE_STORE_H_
#define FLOTILLA_MANAGER_STORE_STORE_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/event/loop.h"

namespace flotilla::manager {

struct KeyValue {
  std::string key;
  std::string value;
  int64_t mod_revision = 0;     // Revision of the last write of this key.
  int64_t create_revision = 0;  // Revision at which this key came to be.
};

// The key must have this mod_revision; 0 means "must not exist".
struct Compare {
  std::string key;
  int64_t mod_revision = 0;
};

struct Op {
  enum class Kind { kPut, kDelete };
  Kind kind = Kind::kPut;
  std::string key;
  std::string value;

  static Op Put(std::string key, std::string value) {
    return {Kind::kPut, std::move(key), std::move(value)};
  }
  static Op Delete(std::string key) {
    return {Kind::kDelete, std::move(key), {}};
  }
};

struct RangeResult {
  std::vector<KeyValue> kvs;  // Sorted by key.
  int64_t revision = 0;       // Store revision of this snapshot.
};

// All changes of one revision under the watched prefix, in key order. A
// deleted key has `deleted` set and an empty value.
struct WatchEvent {
  bool deleted = false;
  KeyValue kv;
};
struct WatchBatch {
  int64_t revision = 0;
  // The batch holds every key under the prefix: what is not in it is gone.
  // True for the first batch of RangeAndWatch(), and for one after a watch
  // that was lost.
  bool complete = false;
  std::vector<WatchEvent> events;
};

// Destroying it ends the watch; no callback runs afterwards.
//
// Loop-affine.
class WatchHandle {
 public:
  virtual ~WatchHandle() = default;
};

// Loop-affine.
class Store {
 public:
  template <typename T>
  using Done = absl::AnyInvocable<void(absl::StatusOr<T>)>;
  using OnBatch = absl::AnyInvocable<void(const WatchBatch&)>;
  using OnLost = absl::AnyInvocable<void(absl::Status)>;

  virtual ~Store() = default;

  // All keys that begin with `prefix`.
  void Range(std::string prefix, Done<RangeResult> done) {
    RangePage(std::move(prefix), "", kUnbounded, std::move(done));
  }

  static constexpr size_t kUnbounded = std::numeric_limits<size_t>::max();

  // As Range(), but only keys above `after` (all, when that is empty), and no
  // more than come to `max_bytes` with their values, or fewer: one at least,
  // unless there is none. Each page is of a revision of its own.
  virtual void RangePage(std::string prefix, std::string after,
                         size_t max_bytes, Done<RangeResult> done) = 0;

  // Delivers every change under `prefix` with a revision above
  // `after_revision`, in order, without gaps. OUT_OF_RANGE through `on_lost`,
  // and nothing more, when those revisions were compacted: Range again.
  virtual std::unique_ptr<WatchHandle> Watch(std::string prefix,
                                             int64_t after_revision,
                                             OnBatch on_batch,
                                             OnLost on_lost) = 0;

  // Range, then Watch from its revision: `on_batch` first gets one batch with
  // every present key (possibly empty), then the changes. Tries again, once a
  // second, while the store cannot be read.
  std::unique_ptr<WatchHandle> RangeAndWatch(std::string prefix,
                                             OnBatch on_batch);

  // Random UUID made when the store was initialised (protocol.md section 2).
  virtual std::string store_id() const = 0;

 protected:
  friend class FamilyWriter;

  explicit Store(Loop& loop) : loop_(loop) {}

  Loop& loop() { return loop_; }

  // All compares hold: all ops are written under one new revision, which is
  // the result. Watchers see the batch of that revision before `done` runs, so
  // a mirror is never older than the caller's own write. Deleting an absent
  // key is OK and makes no event; a transaction that changes nothing makes no
  // revision and returns the current one. INVALID_ARGUMENT: two ops on one
  // key, or a key that does not begin with '/' (see records.h).
  virtual void Txn(std::vector<Compare> compares, std::vector<Op> ops,
                   Done<int64_t> done) = 0;

 private:
  Loop& loop_;
};

// INVALID_ARGUMENT as Txn() says. Used by every engine.
absl::Status CheckOps(const std::vector<Op>& ops);

// The right to write keys under `prefix` ("/source/"). Made once for each
// family in the composition root and given to the family's one writer.
//
// Loop-affine.
class FamilyWriter {
 public:
  FamilyWriter(Store& store, std::string prefix)
      : store_(store), prefix_(std::move(prefix)) {}

  // Compares may name any key; ops only keys under the prefix.
  void Txn(std::vector<Compare> compares, std::vector<Op> ops,
           Store::Done<int64_t> done);

  const std::string& prefix() const { return prefix_; }

 private:
  Store& store_;
  const std::string prefix_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STORE_STORE_H_
