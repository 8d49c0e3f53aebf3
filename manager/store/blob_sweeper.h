// SPDX-License-Identifier: Apache-2.0
//
// BlobSweeper removes blobs that no record names. Once an interval it reads the
// whole store, a page at a time, looks on a worker which of the blobs on disk
// are named there, and has the others removed that were neither put nor renewed
// since the sweep before (BlobStore::Sweep). So whoever is about to name a blob
// in a record has an interval for it, and a restart begins it anew. That also
// covers what moves from a page not yet read to one that was.
//
// Any record may name a blob, in any field of 32 bytes: no list says which, so
// that a new kind of record cannot lose its blobs. Nothing is removed when the
// store cannot be read, a value of it cannot be opened, it names none of the
// blobs, or the blobs are another store's: trouble() says so.
//
// The blobs become the store's (BlobStore::Claim) while there are none yet, and
// where nobody has claimed them once it names one of them.

#ifndef FLOTILLA_MANAGER_STORE_BLOB_SWEEPER_H_
#define FLOTILLA_MANAGER_STORE_BLOB_SWEEPER_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
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

// The blobs on disk, and those of them that the pages read so far name.
struct BlobScan {
  absl::flat_hash_set<std::string> digests;
  absl::flat_hash_set<std::string> named;
};

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

  // Why the last sweep removed nothing, and what to do; empty when it could
  // have. Known soon after the start when the blobs are another store's.
  const std::string& trouble() const { return trouble_; }

  std::string DebugString() const;

 private:
  using ScanPtr = std::shared_ptr<BlobScan>;

  void Sweep();
  void ReadPage(ScanPtr scan, std::string after);
  void OnPage(ScanPtr scan, absl::StatusOr<RangeResult> page);
  void OnSwept(const absl::StatusOr<size_t>& removed);
  void SetTrouble(const absl::Status& why);

  // Collaborators. Not owned.
  WorkerPool& pool_;
  Store& store_;
  BlobStore& blobs_;

  // Loop state.
  int sweeps_ = 0;
  size_t removed_ = 0;
  std::string trouble_;
  const std::unique_ptr<Timer> timer_;
  // Guards completions: false once this object is gone.
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STORE_BLOB_SWEEPER_H_
