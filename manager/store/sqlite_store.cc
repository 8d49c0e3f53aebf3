// SPDX-License-Identifier: Apache-2.0

#include "manager/store/sqlite_store.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/status/status_macros.h"
#include "manager/store/sqlite_schema.h"

namespace flotilla::manager {
namespace {

// Calls in one round: bounds how long the first of them waits for the last.
constexpr size_t kMaxRound = 512;
// Bounds the rows that are looked at for a page: a query runs to its end.
constexpr int64_t kMaxPageKeys = 1000;

// The least string above all that begin with `prefix`; "" when there is none.
std::string PrefixEnd(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) {
    prefix.pop_back();
  }
  if (!prefix.empty()) {
    prefix.back() = static_cast<char>(
        static_cast<unsigned char>(prefix.back()) + 1);
  }
  return prefix;
}

// What the callers of Txn() and Range() are told.
absl::Status ToStoreError(const absl::Status& status) {
  if (absl::IsResourceExhausted(status)) return status;
  return absl::UnavailableError(status.message());
}

// Of what lies in the tables; as it lies there when it cannot be opened.
std::string OpenValue(const SealedBox& box, absl::string_view key,
                      std::string value) {
  absl::StatusOr<std::string> plain = box.Open(value, key);
  return plain.ok() ? *std::move(plain) : std::move(value);
}

}  // namespace

struct SqliteStore::Job {
  enum class Kind { kTxn, kRange, kWatch };
  Kind kind = Kind::kTxn;

  // Asked.
  std::vector<Compare> compares;
  std::vector<Op> ops;
  Done<int64_t> txn_done;
  std::string prefix;
  std::string after;
  size_t max_bytes = kUnbounded;
  Done<RangeResult> range_done;
  int64_t after_revision = 0;
  std::shared_ptr<WatcherSet::Watcher> watcher;

  // Found.
  absl::Status status;
  int64_t revision = 0;
  WatchBatch batch;
  RangeResult range;
  bool lost = false;
  std::vector<WatchBatch> backlog;
};

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(
    Loop& loop, Random& random, const SealedBox& box, const std::string& path,
    const Options& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<Database> db, Database::Open(path));
  RETURN_IF_ERROR(
      PrepareSqliteSchema(*db, random, box, options.more_migrations));
  ASSIGN_OR_RETURN(std::string store_id, ReadMeta(*db, "store_id", ""));
  if (store_id.empty()) {
    return absl::DataLossError(
        absl::StrCat("store ", path, " is damaged: it has no store_id"));
  }
  ASSIGN_OR_RETURN(const int64_t revision, ReadMetaInt(*db, "revision"));
  ASSIGN_OR_RETURN(const int64_t compacted, ReadMetaInt(*db, "compacted"));
  return std::unique_ptr<SqliteStore>(new SqliteStore(
      loop, box, std::move(db), std::move(store_id), revision, compacted,
      std::max<int64_t>(1, options.kept_revisions)));
}

SqliteStore::SqliteStore(Loop& loop, const SealedBox& box,
                         std::unique_ptr<Database> db, std::string store_id,
                         int64_t revision, int64_t compacted,
                         int64_t kept_revisions)
    : Store(loop), store_id_(std::move(store_id)),
      kept_revisions_(kept_revisions), box_(box), db_(std::move(db)),
      revision_(revision), compacted_(compacted),
      writer_([this] { RunJobs(); }) {}

SqliteStore::~SqliteStore() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  writer_.join();
}

void SqliteStore::Enqueue(std::unique_ptr<Job> job) {
  absl::MutexLock lock(&mu_);
  queue_.push_back(std::move(job));
}

void SqliteStore::RangePage(std::string prefix, std::string after,
                            size_t max_bytes, Done<RangeResult> done) {
  auto job = std::make_unique<Job>();
  job->kind = Job::Kind::kRange;
  job->prefix = std::move(prefix);
  job->after = std::move(after);
  job->max_bytes = max_bytes;
  job->range_done = std::move(done);
  Enqueue(std::move(job));
}

std::unique_ptr<WatchHandle> SqliteStore::Watch(std::string prefix,
                                                int64_t after_revision,
                                                OnBatch on_batch,
                                                OnLost on_lost) {
  WatcherSet::Added added = watchers_.Add(
      prefix, after_revision, std::move(on_batch), std::move(on_lost));
  auto job = std::make_unique<Job>();
  job->kind = Job::Kind::kWatch;
  job->prefix = std::move(prefix);
  job->after_revision = after_revision;
  job->watcher = std::move(added.watcher);
  Enqueue(std::move(job));
  return std::move(added.handle);
}

void SqliteStore::Txn(std::vector<Compare> compares, std::vector<Op> ops,
                      Done<int64_t> done) {
  auto job = std::make_unique<Job>();
  job->kind = Job::Kind::kTxn;
  job->compares = std::move(compares);
  job->ops = std::move(ops);
  job->txn_done = std::move(done);
  Enqueue(std::move(job));
}

void SqliteStore::RunJobs() {
  while (true) {
    std::vector<std::unique_ptr<Job>> jobs;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &SqliteStore::HasJobOrStops));
      if (stopping_) return;
      while (!queue_.empty() && jobs.size() < kMaxRound) {
        jobs.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
    }
    RunRound(std::move(jobs));
  }
}

void SqliteStore::RunRound(std::vector<std::unique_ptr<Job>> jobs) {
  const int64_t revision = revision_;
  const int64_t compacted = compacted_;
  const auto run = [this](Job& job) -> absl::Status {
    switch (job.kind) {
      case Job::Kind::kTxn:
        return RunTxn(job);
      case Job::Kind::kRange:
        return RunRange(job);
      case Job::Kind::kWatch:
        return RunWatch(job);
    }
    return absl::OkStatus();
  };
  absl::Status status = db_->Transaction([&]() -> absl::Status {
    for (const auto& job : jobs) RETURN_IF_ERROR(run(*job));
    if (revision_ == revision) return absl::OkStatus();
    RETURN_IF_ERROR(Trim());
    return WriteMeta(*db_, "revision", absl::StrCat(revision_));
  });
  if (!status.ok()) {
    // Nothing was written. Readers may have seen what now is not there.
    revision_ = revision;
    compacted_ = compacted;
    status = ToStoreError(status);
    for (const auto& job : jobs) {
      job->batch = WatchBatch();
      if (job->kind == Job::Kind::kTxn) {
        job->status = status;
        continue;
      }
      const absl::Status read = run(*job);
      if (!read.ok()) job->status = ToStoreError(read);
    }
  }
  // AnyInvocable must not be copied, and its destructor belongs to the loop:
  // the jobs travel as one.
  loop().Post([this, weak = std::weak_ptr<bool>(alive_),
               jobs = std::move(jobs)]() mutable {
    if (!weak.expired()) Finish(jobs);
  });
}

absl::Status SqliteStore::RunTxn(Job& job) {
  job.status = CheckOps(job.ops);
  if (!job.status.ok()) return absl::OkStatus();
  for (const Compare& compare : job.compares) {
    int64_t have = 0;
    RETURN_IF_ERROR(db_->Query(
        "SELECT mod_revision FROM kv WHERE key = ?",
        [&have](const Row& row) { have = row.Int(0); }, compare.key));
    if (have != compare.mod_revision) {
      job.status = absl::FailedPreconditionError(absl::StrCat(
          "key ", compare.key, " was changed meanwhile (revision ", have,
          ", expected ", compare.mod_revision, ")"));
      return absl::OkStatus();
    }
  }
  std::sort(job.ops.begin(), job.ops.end(),
            [](const Op& a, const Op& b) { return a.key < b.key; });
  WatchBatch batch;
  batch.revision = revision_ + 1;
  for (Op& op : job.ops) {
    int64_t created = 0;
    RETURN_IF_ERROR(db_->Query(
        "SELECT create_revision FROM kv WHERE key = ?",
        [&created](const Row& row) { created = row.Int(0); }, op.key));
    WatchEvent event;
    event.deleted = op.kind == Op::Kind::kDelete;
    std::string sealed;
    if (event.deleted) {
      if (created == 0) continue;
      RETURN_IF_ERROR(db_->Run("DELETE FROM kv WHERE key = ?", op.key));
      event.kv = {std::move(op.key), "", batch.revision, created};
    } else {
      if (created == 0) created = batch.revision;
      sealed = box_.Seal(op.value, op.key);
      event.kv = {std::move(op.key), std::move(op.value), batch.revision,
                  created};
      RETURN_IF_ERROR(db_->Run(
          "INSERT INTO kv(key, value, mod_revision, create_revision) "
          "VALUES(?, ?, ?, ?) ON CONFLICT(key) DO UPDATE SET "
          "value = excluded.value, mod_revision = excluded.mod_revision",
          event.kv.key, sealed, batch.revision, created));
    }
    RETURN_IF_ERROR(db_->Run(
        "INSERT INTO change_log(revision, key, deleted, value, "
        "create_revision) VALUES(?, ?, ?, ?, ?)",
        batch.revision, event.kv.key, event.deleted ? 1 : 0, sealed,
        created));
    batch.events.push_back(std::move(event));
  }
  if (!batch.events.empty()) {
    revision_ = batch.revision;
    job.batch = std::move(batch);
  }
  job.revision = revision_;
  return absl::OkStatus();
}

absl::Status SqliteStore::RunRange(Job& job) {
  job.range = RangeResult();
  job.range.revision = revision_;
  size_t bytes = 0;
  const auto add = [this, &job, &bytes](const Row& row) {
    if (bytes > job.max_bytes) return;
    std::string key = row.Blob(0);
    std::string value = OpenValue(box_, key, row.Blob(1));
    bytes += key.size() + value.size();
    if (bytes > job.max_bytes && !job.range.kvs.empty()) return;
    job.range.kvs.push_back(
        {std::move(key), std::move(value), row.Int(2), row.Int(3)});
  };
  // The least key above another has a zero byte more.
  const std::string start =
      job.after.empty() ? job.prefix : job.after + '\0';
  const std::string end = PrefixEnd(job.prefix);
  const int64_t limit = job.max_bytes == kUnbounded ? -1 : kMaxPageKeys;
  if (end.empty()) {
    return db_->Query(
        "SELECT key, value, mod_revision, create_revision FROM kv "
        "WHERE key >= ? ORDER BY key LIMIT ?",
        add, start, limit);
  }
  return db_->Query(
      "SELECT key, value, mod_revision, create_revision FROM kv "
      "WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
      add, start, end, limit);
}

absl::Status SqliteStore::RunWatch(Job& job) {
  job.backlog.clear();
  job.revision = revision_;
  job.lost = job.after_revision < compacted_;
  if (job.lost || job.after_revision >= revision_) return absl::OkStatus();
  const std::string end = PrefixEnd(job.prefix);
  return db_->Query(
      "SELECT revision, key, deleted, value, create_revision FROM change_log "
      "WHERE revision > ? AND key >= ? AND (? OR key < ?) "
      "ORDER BY revision, key",
      [this, &job](const Row& row) {
        const int64_t revision = row.Int(0);
        if (job.backlog.empty() || job.backlog.back().revision != revision) {
          job.backlog.emplace_back();
          job.backlog.back().revision = revision;
        }
        WatchEvent event;
        event.deleted = row.Int(2) != 0;
        event.kv = {row.Blob(1), "", revision, row.Int(4)};
        if (!event.deleted) {
          event.kv.value = OpenValue(box_, event.kv.key, row.Blob(3));
        }
        job.backlog.back().events.push_back(std::move(event));
      },
      job.after_revision, job.prefix, end.empty() ? 1 : 0, end);
}

absl::Status SqliteStore::Trim() {
  const int64_t limit = revision_ - kept_revisions_;
  if (limit <= compacted_) return absl::OkStatus();
  RETURN_IF_ERROR(
      db_->Run("DELETE FROM change_log WHERE revision <= ?", limit));
  compacted_ = limit;
  return WriteMeta(*db_, "compacted", absl::StrCat(compacted_));
}

void SqliteStore::Finish(std::vector<std::unique_ptr<Job>>& jobs) {
  const std::weak_ptr<bool> alive = alive_;
  for (const auto& job : jobs) {
    switch (job->kind) {
      case Job::Kind::kTxn:
        if (!job->batch.events.empty()) {
          if (!watchers_.Deliver(job->batch)) return;
        }
        if (job->txn_done == nullptr) break;
        if (job->status.ok()) {
          job->txn_done(job->revision);
        } else {
          job->txn_done(job->status);
        }
        break;
      case Job::Kind::kRange:
        if (job->status.ok()) {
          job->range_done(std::move(job->range));
        } else {
          job->range_done(job->status);
        }
        break;
      case Job::Kind::kWatch:
        // A store that cannot be read is read again from the start.
        if (job->lost || !job->status.ok()) {
          watchers_.Lose(job->watcher);
        } else {
          watchers_.Begin(job->watcher, job->revision, job->backlog);
        }
        break;
    }
    if (alive.expired()) return;
  }
}

}  // namespace flotilla::manager
