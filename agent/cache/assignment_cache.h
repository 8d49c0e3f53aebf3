// SPDX-License-Identifier: Apache-2.0
//
// AssignmentCache is the agent's memory that survives: assignments and
// tombstones, the inventory, and who we are; in SQLite (decisions.md 18).
// Manifests and objects lie beside it in a BlobStore.
//
// All of it is held in memory too; reading never waits. Writes are queued, and
// all that is queued becomes one transaction on the worker pool. Assignments
// are seen by readers when they are durable; the inventory at once, since who
// must be sure of it waits for the completion. A write that fails changes
// nothing on disk: Store() then says CODE_STORE_FULL or CODE_INTERNAL for each
// item, others get the error.

#ifndef FLOTILLA_AGENT_CACHE_ASSIGNMENT_CACHE_H_
#define FLOTILLA_AGENT_CACHE_ASSIGNMENT_CACHE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "agent/apply/inventory.h"
#include "common/assignment/set_digest.h"
#include "common/blob/blob_store.h"
#include "common/env/random.h"
#include "common/event/worker_pool.h"
#include "common/kube/object.h"
#include "common/sqlite/database.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/agentstate/v1/agentstate.pb.h"

namespace flotilla::agent {

// Loop-affine.
class AssignmentCache {
 public:
  using Assignments = std::map<std::string, agentstate::v1::StoredAssignment>;

  // What AssignAck says, once it is durable.
  struct Stored {
    std::vector<agent::v1::AssignItem> refused;  // Not STORED.
    std::vector<std::string> changed;            // Bundle ids.
    uint64_t av = 0;
    std::string set_digest;
  };

  // Reads all of `database`, blocking; makes what is missing. FAILED_
  // PRECONDITION when a newer version wrote it; DATA_LOSS when any byte of what
  // was written is another now. `blobs` and `pool` must outlive the cache.
  static absl::StatusOr<std::unique_ptr<AssignmentCache>> Open(
      std::unique_ptr<Database> database, BlobStore& blobs, WorkerPool& pool,
      Random& random);
  AssignmentCache(const AssignmentCache&) = delete;
  AssignmentCache& operator=(const AssignmentCache&) = delete;
  ~AssignmentCache();

  // --- Writes. Completions run on the loop, in order, never inside the call,
  // and not once the cache is destroyed.

  using Done = absl::AnyInvocable<void(absl::Status)>;

  void Store(const agent::v1::Assign& assign,
             absl::AnyInvocable<void(Stored)> done);
  // The manager that Welcome spoke for.
  void SetSession(std::string store_id, uint64_t epoch);
  // All bytes of `generation` are here. Nothing when a newer one is held.
  void SetActive(absl::string_view bundle_id, uint64_t generation, Done done);
  // How far a bundle's hooks are. Nothing when it is not held.
  void SetHooks(absl::string_view bundle_id,
                agentstate::v1::HookProgress progress, Done done);
  // The tombstone is done. Nothing when a newer assignment is held.
  void MarkDeleted(absl::string_view bundle_id, uint64_t generation, Done done);
  // The manager knows that it is done: forget it.
  void DropTombstone(absl::string_view bundle_id, uint64_t generation);
  void PutInventory(std::vector<Inventory::Entry> entries, Done done);
  void RemoveInventory(std::vector<ObjectIdentity> ids, Done done);
  // Durable when `done` runs.
  void PutBlobs(std::vector<std::string> blobs, Done done);
  // Removes every blob but `keep`, after the writes queued before.
  void SweepBlobs(std::vector<std::string> keep);

  // Reads one blob on the pool.
  void GetBlob(std::string digest,
               absl::AnyInvocable<void(absl::StatusOr<std::string>)> done);

  // --- Reads.

  const Assignments& assignments() const { return assignments_; }
  const agentstate::v1::StoredAssignment* Find(
      absl::string_view bundle_id) const;
  const Inventory& inventory() const { return inventory_; }
  std::vector<AssignedItem> Items() const;
  const std::string& instance_id() const { return instance_id_; }
  const std::string& store_id() const { return store_id_; }
  uint64_t epoch() const { return epoch_; }
  uint64_t av() const { return av_; }

 private:
  // What one transaction writes. Absent values are removals.
  struct Batch {
    std::map<std::string, absl::optional<agentstate::v1::StoredAssignment>>
        assignments;
    std::map<ObjectIdentity, absl::optional<Inventory::Entry>> inventory;
    std::map<std::string, std::string> settings;
    std::vector<std::string> blobs;
    absl::optional<std::vector<std::string>> sweep;
    absl::optional<uint64_t> av;
    absl::optional<uint64_t> next_order;
  };
  struct Write {
    absl::AnyInvocable<void(Batch&)> prepare;
    Done done;
  };

  AssignmentCache(std::unique_ptr<Database> database, BlobStore& blobs,
                  WorkerPool& pool);

  absl::Status Load(Random& random);
  // The schema version; 0 for a new file.
  absl::StatusOr<int> LoadSettings();
  absl::Status WriteAll();
  absl::Status Damaged() const;
  void Enqueue(absl::AnyInvocable<void(Batch&)> prepare, Done done);
  void Pump();
  static absl::Status WriteBatch(Database& database, BlobStore& blobs,
                                 const Batch& batch);
  // REQUIRES: inside a transaction.
  static absl::Status WriteRows(Database& database, const Batch& batch);
  void Merge(Batch& batch);
  const agentstate::v1::StoredAssignment* FindIn(
      const Batch& batch, const std::string& bundle_id) const;
  void JudgeAssign(const agent::v1::Assign& assign, Batch& batch,
                   Stored* stored);
  static std::vector<AssignedItem> ItemsOf(const Assignments& assignments);

  // Constant after construction. Shared with work on the pool.
  const std::shared_ptr<Database> database_;
  std::string instance_id_;

  // Collaborators. Not owned.
  BlobStore& blobs_;
  WorkerPool& pool_;

  // Loop state.
  Assignments assignments_;
  Inventory inventory_;
  std::string store_id_;
  uint64_t epoch_ = 0;
  uint64_t av_ = 0;
  uint64_t next_order_ = 1;
  std::deque<Write> queue_;
  bool writing_ = false;
  const std::shared_ptr<bool> alive_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_CACHE_ASSIGNMENT_CACHE_H_
