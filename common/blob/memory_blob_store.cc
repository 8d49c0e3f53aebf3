// SPDX-License-Identifier: Apache-2.0

#include "common/blob/memory_blob_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/blob/digest.h"

namespace flotilla {

absl::StatusOr<std::vector<std::string>> MemoryBlobStore::PutAll(
    const std::vector<std::string>& blobs) {
  absl::MutexLock lock(&mu_);
  if (!put_status_.ok()) return put_status_;
  std::vector<std::string> digests;
  digests.reserve(blobs.size());
  for (const std::string& bytes : blobs) {
    digests.push_back(DigestOf(bytes));
    blobs_.emplace(digests.back(), bytes);
  }
  return digests;
}

absl::StatusOr<std::string> MemoryBlobStore::Get(
    absl::string_view digest) const {
  absl::MutexLock lock(&mu_);
  const auto it = blobs_.find(std::string(digest));
  if (it == blobs_.end()) {
    return absl::NotFoundError(
        absl::StrCat("no blob ", DigestToHex(digest), " here"));
  }
  if (DigestOf(it->second) != digest) {
    blobs_.erase(it);
    return absl::DataLossError(absl::StrCat(
        "blob ", DigestToHex(digest), " was damaged and has been removed"));
  }
  return it->second;
}

bool MemoryBlobStore::Contains(absl::string_view digest) const {
  absl::MutexLock lock(&mu_);
  return blobs_.contains(std::string(digest));
}

absl::Status MemoryBlobStore::Remove(absl::string_view digest) {
  absl::MutexLock lock(&mu_);
  blobs_.erase(std::string(digest));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> MemoryBlobStore::List() const {
  absl::MutexLock lock(&mu_);
  std::vector<std::string> digests;
  digests.reserve(blobs_.size());
  for (const auto& [digest, bytes] : blobs_) digests.push_back(digest);
  return digests;
}

void MemoryBlobStore::Damage(absl::string_view digest) {
  absl::MutexLock lock(&mu_);
  blobs_[std::string(digest)] += "damage";
}

void MemoryBlobStore::FailPuts(absl::Status status) {
  absl::MutexLock lock(&mu_);
  put_status_ = std::move(status);
}

}  // namespace flotilla
