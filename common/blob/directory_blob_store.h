// SPDX-License-Identifier: Apache-2.0
//
// DirectoryBlobStore keeps each blob as a file named by its digest:
//
//   ROOT/ab/ab12….sealed   sealed with the process's key file
//   ROOT/tmp/              being written; emptied when the store is opened
//   ROOT/owner             whose blobs they are
//
// All are sealed: a values file, a patch or an environment file holds a secret
// as well as an object of kind Secret does. What lies there in the clear, from
// an earlier version or a backup of one, is sealed when the store is opened.
//
// A blob is written aside, synced, renamed and its folder synced, so that a
// crash leaves all of it or none.
//
// Errors: RESOURCE_EXHAUSTED when the disk is full, PERMISSION_DENIED when the
// folder is not writable, UNAVAILABLE when the disk fails, each with the path.

#ifndef FLOTILLA_COMMON_BLOB_DIRECTORY_BLOB_STORE_H_
#define FLOTILLA_COMMON_BLOB_DIRECTORY_BLOB_STORE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/blob/blob_store.h"
#include "common/crypto/sealed_box.h"

namespace flotilla {

// One store at a time over a folder.
//
// Thread-safe.
class DirectoryBlobStore final : public BlobStore {
 public:
  // Makes the folder if it is absent, and seals what lies in it in the clear.
  // `box` is not owned.
  static absl::StatusOr<std::unique_ptr<DirectoryBlobStore>> Open(
      std::string root, SealedBox& box);

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

 private:
  // A blob that is written aside and not yet in its place.
  struct Pending {
    std::string temporary;
    std::string shard;
    std::string path;
    int fd = -1;
  };

  DirectoryBlobStore(std::string root, SealedBox& box);

  std::string ShardPath(absl::string_view digest) const;
  std::string Path(absl::string_view digest) const;
  absl::StatusOr<size_t> SweepShard(
      const std::string& shard, const absl::flat_hash_set<std::string>& named);
  absl::Status SealWhatIsPlain();
  absl::Status SealWhatIsPlain(const std::string& shard);
  absl::StatusOr<Pending> WriteAside(absl::string_view digest,
                                     absl::string_view bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  static absl::Status SyncEach(std::vector<Pending>& pending);
  // Puts what is durable into its place; returns the folders that changed.
  static absl::StatusOr<absl::flat_hash_set<std::string>> Rename(
      std::vector<Pending>& pending);
  // Notes that the blob could not be read, and returns `why` about it.
  absl::Status Unreadable(absl::string_view digest,
                          const absl::Status& why) const;
  bool IsUnreadable(absl::string_view digest) const;

  // Constant after construction.
  const std::string root_;

  // Collaborators. Not owned.
  SealedBox& box_;

  // Serialises writers, so that what is seen in its place is durable.
  absl::Mutex mu_;
  int64_t next_temporary_ ABSL_GUARDED_BY(mu_) = 0;
  // What the next Sweep() may remove.
  absl::flat_hash_set<std::string> unnamed_ ABSL_GUARDED_BY(mu_);

  // Apart from `mu_`, which is held while the disk is waited for.
  mutable absl::Mutex unreadable_mu_;
  // Digests that Get() could not read and that were not put since.
  mutable absl::flat_hash_set<std::string> unreadable_
      ABSL_GUARDED_BY(unreadable_mu_);
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_BLOB_DIRECTORY_BLOB_STORE_H_
