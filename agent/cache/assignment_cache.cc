// SPDX-License-Identifier: Apache-2.0

#include "agent/cache/assignment_cache.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "agent/cache/assign_rules.h"
#include "common/crypto/sha256.h"
#include "common/log/log.h"
#include "common/sqlite/database_damage.h"
#include "common/status/status_macros.h"
#include "common/text/cut_text.h"

namespace flotilla::agent {
namespace {

using agent::v1::AssignItem;
using agentstate::v1::StoredAssignment;

// 1: records lay there as they are.
// 2: before each record or setting, the start of a digest (Checked below).
constexpr int kSchemaVersion = 2;
constexpr size_t kCheckBytes = 8;

constexpr char kSchema[] =
    "CREATE TABLE IF NOT EXISTS setting(key TEXT PRIMARY KEY, value BLOB)"
    " WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS assignment(bundle_id TEXT PRIMARY KEY,"
    " record BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS inventory(api_group TEXT, kind TEXT, ns TEXT,"
    " name TEXT, record BLOB NOT NULL, PRIMARY KEY(api_group, kind, ns, name))"
    " WITHOUT ROWID;";

// What is written of a value under a key. SQLite does not notice when a disk
// gives back other bytes, and a tombstone must not come of that.
std::string Checked(absl::string_view key, absl::string_view value) {
  return absl::StrCat(
      Sha256(absl::StrCat(key, absl::string_view("\0", 1), value))
          .substr(0, kCheckBytes),
      value);
}

// The value of what Checked() gave; nothing when it is damaged.
absl::optional<std::string> Opened(absl::string_view key,
                                   const std::string& bytes) {
  if (bytes.size() < kCheckBytes) return absl::nullopt;
  std::string value = bytes.substr(kCheckBytes);
  if (Checked(key, value) != bytes) return absl::nullopt;
  return value;
}

std::string KeyText(const ObjectIdentity& id) {
  const auto& [group, kind, ns, name] = id;
  return absl::StrCat(group, "/", kind, "/", ns, "/", name);
}

uint64_t Number(const std::string& text) {
  uint64_t number = 0;
  return absl::SimpleAtoi(text, &number) ? number : 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<AssignmentCache>> AssignmentCache::Open(
    std::unique_ptr<Database> database, BlobStore& blobs, WorkerPool& pool,
    Random& random) {
  std::unique_ptr<AssignmentCache> cache(
      new AssignmentCache(std::move(database), blobs, pool));
  RETURN_IF_ERROR(cache->Load(random));
  return cache;
}

AssignmentCache::AssignmentCache(std::unique_ptr<Database> database,
                                 BlobStore& blobs, WorkerPool& pool)
    : database_(std::move(database)),
      blobs_(blobs),
      pool_(pool),
      alive_(std::make_shared<bool>(true)) {}

AssignmentCache::~AssignmentCache() { *alive_ = false; }

absl::Status AssignmentCache::Damaged() const {
  return absl::DataLossError(absl::StrCat(
      database_->path(),
      " holds a record that cannot be read: restore it, or move the data "
      "directory away; the manager sends everything again and nothing is "
      "deleted"));
}

absl::StatusOr<int> AssignmentCache::LoadSettings() {
  std::map<std::string, std::string> rows;
  RETURN_IF_ERROR(database_->Query(
      "SELECT key, value FROM setting",
      [&](const Row& row) { rows[row.Blob(0)] = row.Blob(1); }));
  if (rows.empty()) return 0;
  const uint64_t version = Number(rows["schema_version"]);
  if (version == 0) return Damaged();
  if (version > kSchemaVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        database_->path(), " was written by a newer agent (schema ", version,
        ", this one knows ", kSchemaVersion,
        "): install that agent again, or move the data directory away"));
  }
  rows.erase("schema_version");
  std::map<std::string, std::string> settings;
  for (const auto& [key, bytes] : rows) {
    const auto value = version == 1 ? bytes : Opened(key, bytes);
    if (!value.has_value()) return Damaged();
    settings[key] = *value;
  }
  instance_id_ = settings["instance_id"];
  store_id_ = settings["store_id"];
  epoch_ = Number(settings["epoch"]);
  av_ = Number(settings["av"]);
  return static_cast<int>(version);
}

absl::Status AssignmentCache::Load(Random& random) {
  RETURN_IF_ERROR(FindDatabaseDamage(*database_));
  RETURN_IF_ERROR(database_->Execute(kSchema));
  ASSIGN_OR_RETURN(const int version, LoadSettings());
  const auto opened = [version](const std::string& key, std::string bytes) {
    return version == 1 ? bytes : Opened(key, bytes);
  };
  bool damaged = false;
  RETURN_IF_ERROR(database_->Query(
      "SELECT bundle_id, record FROM assignment", [&](const Row& row) {
        const auto bytes = opened(row.Blob(0), row.Blob(1));
        StoredAssignment record;
        if (!bytes.has_value() || !record.ParseFromString(*bytes) ||
            record.bundle_id().empty()) {
          damaged = true;
          return;
        }
        next_order_ = std::max(next_order_, record.order() + 1);
        assignments_[record.bundle_id()] = std::move(record);
      }));
  RETURN_IF_ERROR(database_->Query(
      "SELECT api_group, kind, ns, name, record FROM inventory",
      [&](const Row& row) {
        const auto bytes = opened(
            KeyText({row.Blob(0), row.Blob(1), row.Blob(2), row.Blob(3)}),
            row.Blob(4));
        Inventory::Entry entry;
        if (!bytes.has_value() || !entry.ParseFromString(*bytes)) {
          damaged = true;
          return;
        }
        inventory_.Put(std::move(entry));
      }));
  if (damaged) return Damaged();
  if (version == kSchemaVersion) return absl::OkStatus();
  if (version == 0) instance_id_ = random.Bytes(16);
  return WriteAll();
}

absl::Status AssignmentCache::WriteAll() {
  Batch all;
  all.settings = {{"instance_id", instance_id_},
                  {"store_id", store_id_},
                  {"epoch", absl::StrCat(epoch_)},
                  {"av", absl::StrCat(av_)}};
  for (const auto& [bundle_id, record] : assignments_) {
    all.assignments[bundle_id] = record;
  }
  for (const auto& [id, entry] : inventory_.entries()) {
    all.inventory[id] = entry;
  }
  return database_->Transaction([&]() -> absl::Status {
    RETURN_IF_ERROR(database_->Run(
        "INSERT OR REPLACE INTO setting(key, value) VALUES(?, ?)",
        SqlText{"schema_version"}, absl::StrCat(kSchemaVersion)));
    return WriteRows(*database_, all);
  });
}

const StoredAssignment* AssignmentCache::Find(
    absl::string_view bundle_id) const {
  const auto found = assignments_.find(std::string(bundle_id));
  return found == assignments_.end() ? nullptr : &found->second;
}

const StoredAssignment* AssignmentCache::FindIn(
    const Batch& batch, const std::string& bundle_id) const {
  const auto found = batch.assignments.find(bundle_id);
  if (found == batch.assignments.end()) return Find(bundle_id);
  return found->second.has_value() ? &*found->second : nullptr;
}

std::vector<AssignedItem> AssignmentCache::ItemsOf(
    const Assignments& assignments) {
  std::vector<AssignedItem> items;
  items.reserve(assignments.size());
  for (const auto& [bundle_id, record] : assignments) {
    items.push_back({bundle_id, record.generation(), record.manifest_digest(),
                     record.tombstone()});
  }
  return items;
}

std::vector<AssignedItem> AssignmentCache::Items() const {
  return ItemsOf(assignments_);
}

void AssignmentCache::JudgeAssign(const agent::v1::Assign& assign,
                                  Batch& batch, Stored* stored) {
  uint64_t order = batch.next_order.value_or(next_order_);
  const size_t bundles = assignments_.size() + batch.assignments.size();
  const auto take = [&](AssignVerdict verdict) {
    if (verdict.item.code() != AssignItem::CODE_STORED) {
      FLOTILLA_LOG(WARNING) << "assignment of " << verdict.item.bundle_id()
                            << " generation " << verdict.item.generation()
                            << " refused: "
                            << AssignItem::Code_Name(verdict.item.code())
                            << " " << verdict.item.detail();
      stored->refused.push_back(std::move(verdict.item));
      return;
    }
    if (!verdict.changed) return;
    if (verdict.record.order() == 0) verdict.record.set_order(order++);
    const std::string bundle_id = verdict.record.bundle_id();
    stored->changed.push_back(bundle_id);
    batch.assignments[bundle_id] = std::move(verdict.record);
  };
  for (const agent::v1::Upsert& upsert : assign.upserts()) {
    take(JudgeUpsert(FindIn(batch, upsert.bundle_id()), bundles, upsert));
  }
  for (const agent::v1::Tombstone& tombstone : assign.tombstones()) {
    take(JudgeTombstone(FindIn(batch, tombstone.bundle_id()), bundles,
                        tombstone));
  }
  batch.next_order = order;
  stored->av = std::max({batch.av.value_or(av_), assign.av_to()});
  batch.av = stored->av;
  batch.settings["av"] = absl::StrCat(stored->av);
  Assignments after = assignments_;
  for (const auto& [bundle_id, record] : batch.assignments) {
    if (record.has_value()) {
      after[bundle_id] = *record;
    } else {
      after.erase(bundle_id);
    }
  }
  stored->set_digest = SetDigest(ItemsOf(after));
}

void AssignmentCache::Store(const agent::v1::Assign& assign,
                            absl::AnyInvocable<void(Stored)> done) {
  auto stored = std::make_shared<Stored>();
  auto kept = std::make_shared<const agent::v1::Assign>(assign);
  Enqueue(
      [this, kept, stored](Batch& batch) {
        JudgeAssign(*kept, batch, stored.get());
      },
      [this, kept, stored,
       done = std::move(done)](absl::Status status) mutable {
        if (!status.ok()) {
          FLOTILLA_LOG(ERROR) << "assignments cannot be stored: " << status;
          *stored = Stored();
          const auto refuse = [&](const std::string& bundle_id,
                                  uint64_t generation) {
            AssignItem item;
            item.set_bundle_id(bundle_id);
            item.set_generation(generation);
            item.set_code(absl::IsResourceExhausted(status)
                              ? AssignItem::CODE_STORE_FULL
                              : AssignItem::CODE_INTERNAL);
            item.set_retryable(true);
            item.set_detail(std::string(CutText(status.message(), 4096)));
            stored->refused.push_back(std::move(item));
          };
          for (const auto& upsert : kept->upserts()) {
            refuse(upsert.bundle_id(), upsert.generation());
          }
          for (const auto& tombstone : kept->tombstones()) {
            refuse(tombstone.bundle_id(), tombstone.generation());
          }
          stored->av = av_;
          stored->set_digest = SetDigest(Items());
        }
        done(std::move(*stored));
      });
}

void AssignmentCache::SetSession(std::string store_id, uint64_t epoch) {
  if (store_id == store_id_ && epoch == epoch_) return;
  store_id_ = store_id;
  epoch_ = epoch;
  Enqueue(
      [store_id = std::move(store_id), epoch](Batch& batch) {
        batch.settings["store_id"] = store_id;
        batch.settings["epoch"] = absl::StrCat(epoch);
      },
      [](absl::Status) {});
}

void AssignmentCache::SetActive(absl::string_view bundle_id,
                                uint64_t generation, Done done) {
  Enqueue(
      [this, id = std::string(bundle_id), generation](Batch& batch) {
        const StoredAssignment* held = FindIn(batch, id);
        if (held == nullptr || held->generation() != generation ||
            held->tombstone()) {
          return;
        }
        StoredAssignment record = *held;
        record.set_active_digest(held->manifest_digest());
        record.set_active_generation(generation);
        batch.assignments[id] = std::move(record);
      },
      std::move(done));
}

void AssignmentCache::SetHooks(absl::string_view bundle_id,
                               agentstate::v1::HookProgress progress,
                               Done done) {
  Enqueue(
      [this, id = std::string(bundle_id),
       progress = std::move(progress)](Batch& batch) {
        const StoredAssignment* held = FindIn(batch, id);
        if (held == nullptr) return;
        StoredAssignment record = *held;
        *record.mutable_hooks() = progress;
        batch.assignments[id] = std::move(record);
      },
      std::move(done));
}

void AssignmentCache::MarkDeleted(absl::string_view bundle_id,
                                  uint64_t generation, Done done) {
  Enqueue(
      [this, id = std::string(bundle_id), generation](Batch& batch) {
        const StoredAssignment* held = FindIn(batch, id);
        if (held == nullptr || held->generation() != generation ||
            !held->tombstone()) {
          return;
        }
        StoredAssignment record = *held;
        record.set_deleted(true);
        record.clear_active_digest();
        record.clear_active_generation();
        record.clear_hooks();
        batch.assignments[id] = std::move(record);
      },
      std::move(done));
}

void AssignmentCache::DropTombstone(absl::string_view bundle_id,
                                    uint64_t generation) {
  Enqueue(
      [this, id = std::string(bundle_id), generation](Batch& batch) {
        const StoredAssignment* held = FindIn(batch, id);
        if (held == nullptr || held->generation() != generation ||
            !held->deleted()) {
          return;
        }
        batch.assignments[id] = absl::nullopt;
      },
      [](absl::Status) {});
}

void AssignmentCache::PutInventory(std::vector<Inventory::Entry> entries,
                                   Done done) {
  for (const Inventory::Entry& entry : entries) inventory_.Put(entry);
  Enqueue(
      [entries = std::move(entries)](Batch& batch) {
        for (const Inventory::Entry& entry : entries) {
          batch.inventory[IdentityOf(entry.key())] = entry;
        }
      },
      std::move(done));
}

void AssignmentCache::RemoveInventory(std::vector<ObjectIdentity> ids,
                                      Done done) {
  for (const ObjectIdentity& id : ids) inventory_.Remove(id);
  Enqueue(
      [ids = std::move(ids)](Batch& batch) {
        for (const ObjectIdentity& id : ids) {
          batch.inventory[id] = absl::nullopt;
        }
      },
      std::move(done));
}

void AssignmentCache::PutBlobs(std::vector<std::string> blobs, Done done) {
  Enqueue(
      [blobs = std::move(blobs)](Batch& batch) mutable {
        for (std::string& blob : blobs) {
          batch.blobs.push_back(std::move(blob));
        }
      },
      std::move(done));
}

void AssignmentCache::SweepBlobs(std::vector<std::string> keep) {
  Enqueue(
      [keep = std::move(keep)](Batch& batch) mutable {
        batch.sweep = std::move(keep);
      },
      [](absl::Status) {});
}

void AssignmentCache::GetBlob(
    std::string digest,
    absl::AnyInvocable<void(absl::StatusOr<std::string>)> done) {
  pool_.Submit<absl::StatusOr<std::string>>(
      [&blobs = blobs_, digest = std::move(digest)] {
        return blobs.Get(digest);
      },
      [alive = alive_, done = std::move(done)](
          absl::StatusOr<std::string> blob) mutable {
        if (*alive) done(std::move(blob));
      });
}

void AssignmentCache::Enqueue(absl::AnyInvocable<void(Batch&)> prepare,
                              Done done) {
  queue_.push_back({std::move(prepare), std::move(done)});
  Pump();
}

void AssignmentCache::Pump() {
  if (writing_ || queue_.empty()) return;
  writing_ = true;
  auto batch = std::make_shared<Batch>();
  auto done = std::make_shared<std::vector<Done>>();
  while (!queue_.empty()) {
    // A sweep must not see blobs of its own batch.
    if (batch->sweep.has_value()) break;
    Write write = std::move(queue_.front());
    queue_.pop_front();
    write.prepare(*batch);
    done->push_back(std::move(write.done));
  }
  pool_.Submit<absl::Status>(
      [database = database_, &blobs = blobs_, batch] {
        return WriteBatch(*database, blobs, *batch);
      },
      [this, alive = alive_, batch, done](absl::Status status) {
        if (!*alive) return;
        writing_ = false;
        if (status.ok()) {
          Merge(*batch);
        } else {
          FLOTILLA_LOG_EVERY(ERROR, absl::Seconds(10))
              << "the agent's data cannot be written: " << status;
        }
        for (Done& one : *done) {
          one(status);
          if (!*alive) return;
        }
        Pump();
      });
}

absl::Status AssignmentCache::WriteBatch(Database& database, BlobStore& blobs,
                                         const Batch& batch) {
  if (!batch.blobs.empty()) RETURN_IF_ERROR(blobs.PutAll(batch.blobs));
  if (!batch.assignments.empty() || !batch.inventory.empty() ||
      !batch.settings.empty()) {
    RETURN_IF_ERROR(database.Transaction(
        [&]() -> absl::Status { return WriteRows(database, batch); }));
  }
  if (batch.sweep.has_value()) {
    const absl::flat_hash_set<std::string> keep(batch.sweep->begin(),
                                                batch.sweep->end());
    ASSIGN_OR_RETURN(const std::vector<std::string> held, blobs.List());
    for (const std::string& digest : held) {
      if (!keep.contains(digest)) RETURN_IF_ERROR(blobs.Remove(digest));
    }
  }
  return absl::OkStatus();
}

absl::Status AssignmentCache::WriteRows(Database& database,
                                        const Batch& batch) {
  for (const auto& [key, value] : batch.settings) {
    RETURN_IF_ERROR(database.Run(
        "INSERT OR REPLACE INTO setting(key, value) VALUES(?, ?)",
        SqlText{key}, Checked(key, value)));
  }
  for (const auto& [bundle_id, record] : batch.assignments) {
    RETURN_IF_ERROR(
        record.has_value()
            ? database.Run("INSERT OR REPLACE INTO assignment(bundle_id,"
                           " record) VALUES(?, ?)",
                           SqlText{bundle_id},
                           Checked(bundle_id, record->SerializeAsString()))
            : database.Run("DELETE FROM assignment WHERE bundle_id = ?",
                           SqlText{bundle_id}));
  }
  for (const auto& [id, entry] : batch.inventory) {
    const auto& [group, kind, ns, name] = id;
    RETURN_IF_ERROR(
        entry.has_value()
            ? database.Run("INSERT OR REPLACE INTO inventory(api_group,"
                           " kind, ns, name, record) VALUES(?, ?, ?, ?, ?)",
                           SqlText{group}, SqlText{kind}, SqlText{ns},
                           SqlText{name},
                           Checked(KeyText(id), entry->SerializeAsString()))
            : database.Run("DELETE FROM inventory WHERE api_group = ? AND"
                           " kind = ? AND ns = ? AND name = ?",
                           SqlText{group}, SqlText{kind}, SqlText{ns},
                           SqlText{name}));
  }
  return absl::OkStatus();
}

void AssignmentCache::Merge(Batch& batch) {
  for (auto& [bundle_id, record] : batch.assignments) {
    if (record.has_value()) {
      assignments_[bundle_id] = *std::move(record);
    } else {
      assignments_.erase(bundle_id);
    }
  }
  if (batch.av.has_value()) av_ = *batch.av;
  if (batch.next_order.has_value()) next_order_ = *batch.next_order;
}

}  // namespace flotilla::agent
