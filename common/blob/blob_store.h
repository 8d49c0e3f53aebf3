// SPDX-License-Identifier: Apache-2.0
//
// BlobStore keeps immutable bytes by their SHA-256. Putting the same bytes
// twice is one blob. Get() verifies the digest: an absent blob is NOT_FOUND, a
// damaged one DATA_LOSS. What could not be read is never removed for that, for
// the disk or the key may be to blame; it counts as absent until it is put
// again.
//
// Calls block on the disk: use them from a WorkerPool, or from the loop only
// for small blobs where the header of the caller says why.

#ifndef FLOTILLA_COMMON_BLOB_BLOB_STORE_H_
#define FLOTILLA_COMMON_BLOB_BLOB_STORE_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace flotilla {

// Thread-safe.
class BlobStore {
 public:
  virtual ~BlobStore() = default;

  // Durable when it returns OK (fsync). Returns the raw 32-byte digests, in
  // the order of `blobs`. One call for many blobs costs one round of syncs.
  virtual absl::StatusOr<std::vector<std::string>> PutAll(
      const std::vector<std::string>& blobs) = 0;

  absl::StatusOr<std::string> Put(std::string bytes) {
    auto digests = PutAll({std::move(bytes)});
    if (!digests.ok()) return digests.status();
    return std::move((*digests)[0]);
  }

  // `digest` is the raw 32 bytes.
  virtual absl::StatusOr<std::string> Get(absl::string_view digest) const = 0;
  virtual bool Contains(absl::string_view digest) const = 0;

  // Removes a blob; absent is OK.
  virtual absl::Status Remove(absl::string_view digest) = 0;

  // Every digest held, also of what cannot be read.
  virtual absl::StatusOr<std::vector<std::string>> List() const = 0;

  // Whether all of them are here and readable for all that is known; then they
  // count as put now, so that Sweep() spares them. For who names blobs that an
  // earlier call has put.
  virtual bool Renew(const std::vector<std::string>& digests) = 0;

  // Removes the blobs that are not in `named` now, were not in it at the last
  // Sweep(), and were neither put nor renewed since. So the first call removes
  // nothing. Returns how many it removed.
  virtual absl::StatusOr<size_t> Sweep(
      const absl::flat_hash_set<std::string>& named) = 0;

  // Whose blobs they are, as Claim() was told last; empty before.
  virtual absl::StatusOr<std::string> Owner() const = 0;
  // Durable when it returns OK.
  virtual absl::Status Claim(const std::string& owner) = 0;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_BLOB_BLOB_STORE_H_
