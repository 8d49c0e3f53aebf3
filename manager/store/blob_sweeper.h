// SPDX-License-Identifier: Apache-2.0
//
// BlobSweeper removes blobs that no record names. Once an interval it reads the
// whole store as of one revision, looks on a worker which of the blobs on disk
// are named there, and has the others removed that were neither put nor renewed
// since the sweep before (BlobStore::Sweep). So whoever is about to name a blob
// in a record has an interval for it, and a restart begins it anew.
//
// Any record may name a blob, in any field of 32 bytes: no list says which, so
// that a new kind of record cannot lose its blobs. When the store cannot be
// read, a value of it cannot be opened, or it names none of the blobs, as one
// that was begun anew beside them, nothing is removed.

#ifndef FLOTILLA_MANAGER_STORE_BLOB_SWEEPER_H_
#define FLOTILLA_MANAGER_STORE_BLOB_SWEEPER_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/blob/blob_store.h"
#include "common/event/loop.h"
#include "common/event/worker_pool.h"
#include "manager/store/store.h"

namespace flotilla::manager {

// Adds to `named` those of `digests` that the serialised record `value` holds
// in a field of its own, at any depth.
void AddNamedBlobs(absl::string_view value,
                   const absl::flat_hash_set<std::string>& digests,
                   absl::flat_hash_set<std::string>& named);

// Loop-affine.
class BlobSweeper {
 public:
  // What is made between two sweeps is safe for this long at least.
  static constexpr absl::Duration kInterval = absl::Hours(1);

  // Everything must outlive it. `pool` may run on after it is gone.
  BlobSweeper(Loop& loop, WorkerPool& pool, Store& store, BlobStore& blobs);
  ~BlobSweeper();
  BlobSweeper(const BlobSweeper&) = delete;
  BlobSweeper& operator=(const BlobSweeper&) = delete;

  std::string DebugString() const;

 private:
  void Sweep();
  void OnRead(absl::StatusOr<RangeResult> all);
  void OnSwept(const absl::StatusOr<size_t>& removed);

  // Collaborators. Not owned.
  WorkerPool& pool_;
  Store& store_;
  BlobStore& blobs_;

  // Loop state.
  int sweeps_ = 0;
  size_t removed_ = 0;
  const std::unique_ptr<Timer> timer_;
  // Guards completions: false once this object is gone.
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STORE_BLOB_SWEEPER_H_
