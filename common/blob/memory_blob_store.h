// SPDX-License-Identifier: Apache-2.0
//
// MemoryBlobStore keeps blobs in memory: for tests, and for commands that need
// no disk. It has no fault but those that a test plants with Damage() and
// FailPuts().

#ifndef FLOTILLA_COMMON_BLOB_MEMORY_BLOB_STORE_H_
#define FLOTILLA_COMMON_BLOB_MEMORY_BLOB_STORE_H_

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/blob/blob_store.h"

namespace flotilla {

// See the file comment.
//
// Thread-safe.
class MemoryBlobStore final : public BlobStore {
 public:
  absl::StatusOr<std::vector<std::string>> PutAll(
      const std::vector<std::string>& blobs) override;
  absl::StatusOr<std::string> Get(absl::string_view digest) const override;
  bool Contains(absl::string_view digest) const override;
  absl::Status Remove(absl::string_view digest) override;
  absl::StatusOr<std::vector<std::string>> List() const override;
  bool Renew(const std::vector<std::string>& digests) override;
  absl::StatusOr<size_t> Sweep(
      const absl::flat_hash_set<std::string>& named) override;
  absl::StatusOr<std::string> Owner() const override;
  absl::Status Claim(const std::string& owner) override;

  // Changes the stored bytes of a blob, as a failing disk would.
  void Damage(absl::string_view digest);
  // What PutAll() returns from now on, if it is an error.
  void FailPuts(absl::Status status);

 private:
  mutable absl::Mutex mu_;
  mutable absl::btree_map<std::string, std::string> blobs_
      ABSL_GUARDED_BY(mu_);
  // What the next Sweep() may remove.
  absl::flat_hash_set<std::string> unnamed_ ABSL_GUARDED_BY(mu_);
  std::string owner_ ABSL_GUARDED_BY(mu_);
  absl::Status put_status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_BLOB_MEMORY_BLOB_STORE_H_
