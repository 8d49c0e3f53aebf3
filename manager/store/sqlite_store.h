// SPDX-License-Identifier: Apache-2.0
//
// SqliteStore is the Store of a single manager: one SQLite file, one thread
// that writes and reads it. All calls that are queued when the thread comes
// round go into one SQLite transaction and one fsync; then their completions
// and watch batches are posted to the loop in order.
//
// Values are sealed on disk, every one: what may hold a secret (helm.values,
// credentials, what a user typed) is in most families, and a list of these
// would be forgotten by the next. Keys are not. A value that cannot be opened
// is delivered as it lies there: no record can be parsed from it, so that it is
// no more taken for absent than any other damaged record.
//
// A disk error fails every transaction of that round, and nothing of it is
// written. The last `kept_revisions` revisions can be watched from.

#ifndef FLOTILLA_MANAGER_STORE_SQLITE_STORE_H_
#define FLOTILLA_MANAGER_STORE_SQLITE_STORE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/crypto/sealed_box.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "common/sqlite/database.h"
#include "manager/store/store.h"
#include "manager/store/watcher_set.h"

namespace flotilla::manager {

// Loop-affine.
class SqliteStore : public Store {
 public:
  struct Options {
    // Revisions that a watch may begin from.
    int64_t kept_revisions = 10'000;
    // Statements that lead on from kSchemaVersion, each to the next version.
    // Tests set them.
    std::vector<std::string> more_migrations;
  };

  // Opens or creates the store in the file `path`. Blocks. An older store is
  // copied to "<path>.v<version>" and then migrated. FAILED_PRECONDITION with
  // a sentence for a newer one, one that another process holds, one that was
  // sealed with another key, and a file that is no store. `box` must outlive
  // the store.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(
      Loop& loop, Random& random, const SealedBox& box,
      const std::string& path, const Options& options);
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(
      Loop& loop, Random& random, const SealedBox& box,
      const std::string& path) {
    return Open(loop, random, box, path, Options());
  }
  // Waits for the round that is under way; what is queued behind it is
  // dropped.
  ~SqliteStore() override;

  void RangePage(std::string prefix, std::string after, size_t max_bytes,
                 Done<RangeResult> done) override;
  std::unique_ptr<WatchHandle> Watch(std::string prefix,
                                     int64_t after_revision, OnBatch on_batch,
                                     OnLost on_lost) override;
  std::string store_id() const override { return store_id_; }

 protected:
  void Txn(std::vector<Compare> compares, std::vector<Op> ops,
           Done<int64_t> done) override;

 private:
  struct Job;

  SqliteStore(Loop& loop, const SealedBox& box, std::unique_ptr<Database> db,
              std::string store_id, int64_t revision, int64_t compacted,
              int64_t kept_revisions);

  // On the writer thread.
  void RunJobs();
  void RunRound(std::vector<std::unique_ptr<Job>> jobs);
  absl::Status RunTxn(Job& job);
  absl::Status RunRange(Job& job);
  absl::Status RunWatch(Job& job);
  absl::Status Trim();
  void Enqueue(std::unique_ptr<Job> job);

  // On the loop.
  void Finish(std::vector<std::unique_ptr<Job>>& jobs);

  bool HasJobOrStops() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return stopping_ || !queue_.empty();
  }

  // Constant after construction.
  const std::string store_id_;
  const int64_t kept_revisions_;

  // Collaborators. Not owned.
  const SealedBox& box_;

  // Writer thread state.
  const std::unique_ptr<Database> db_;
  int64_t revision_;
  int64_t compacted_;

  // Loop state.
  WatcherSet watchers_;
  // Posted tasks hold it weakly: none runs after the store is gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  absl::Mutex mu_;
  std::deque<std::unique_ptr<Job>> queue_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;

  // Last: started when all else is there.
  std::thread writer_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STORE_SQLITE_STORE_H_
