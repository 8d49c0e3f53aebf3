// SPDX-License-Identifier: Apache-2.0

#include "common/blob/memory_blob_store.h"

#include <iterator>
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
    unnamed_.erase(digests.back());
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

bool MemoryBlobStore::Renew(const std::vector<std::string>& digests) {
  absl::MutexLock lock(&mu_);
  for (const std::string& digest : digests) {
    if (!blobs_.contains(digest)) return false;
    unnamed_.erase(digest);
  }
  return true;
}

absl::StatusOr<size_t> MemoryBlobStore::Sweep(
    const absl::flat_hash_set<std::string>& named) {
  absl::MutexLock lock(&mu_);
  absl::flat_hash_set<std::string> unnamed;
  size_t removed = 0;
  for (auto it = blobs_.begin(); it != blobs_.end();) {
    const bool doomed =
        !named.contains(it->first) && unnamed_.contains(it->first);
    if (!named.contains(it->first) && !doomed) unnamed.insert(it->first);
    removed += doomed ? 1 : 0;
    it = doomed ? blobs_.erase(it) : std::next(it);
  }
  unnamed_ = std::move(unnamed);
  return removed;
}

absl::StatusOr<std::string> MemoryBlobStore::Owner() const {
  absl::MutexLock lock(&mu_);
  return owner_;
}

absl::Status MemoryBlobStore::Claim(const std::string& owner) {
  absl::MutexLock lock(&mu_);
  owner_ = owner;
  return absl::OkStatus();
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
