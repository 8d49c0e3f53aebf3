// SPDX-License-Identifier: Apache-2.0

#include "agent/connection/blob_fetches.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/crypto/sha256.h"

namespace flotilla::agent {

void BlobFetches::Add(const std::string& digest, uint64_t size) {
  const auto [it, added] = fetches_.try_emplace(digest);
  if (!added) return;
  it->second.size = size;
  queue_.push_back(digest);
}

std::optional<agent::v1::BlobNeed> BlobFetches::NextNeed() {
  agent::v1::BlobNeed need;
  while (!queue_.empty() && outstanding_ < kMaxOutstanding) {
    const std::string& digest = queue_.front();
    Fetch& fetch = fetches_[digest];
    if (outstanding_ > 0 &&
        outstanding_bytes_ + fetch.size > kMaxOutstandingBytes) {
      break;
    }
    fetch.asked = true;
    ++outstanding_;
    outstanding_bytes_ += fetch.size;
    agent::v1::BlobRange* range = need.add_want();
    range->set_digest(digest);
    range->set_offset(fetch.bytes.size());
    queue_.pop_front();
  }
  if (need.want_size() == 0) return std::nullopt;
  need.set_request(next_request_++);
  return need;
}

BlobFetches::Result BlobFetches::Take(const std::string& digest,
                                      absl::StatusOr<std::string> bytes) {
  fetches_.erase(digest);
  return {digest, std::move(bytes)};
}

std::optional<BlobFetches::Result> BlobFetches::OnWrong(
    const std::string& digest, Fetch& fetch) {
  fetch.bytes.clear();
  if (++fetch.tries >= kMaxTries) {
    return Take(digest,
                absl::DataLossError(absl::StrCat(
                    "blob ", absl::BytesToHexString(digest).substr(0, 12),
                    " did not match its digest ", kMaxTries, " times")));
  }
  queue_.push_back(digest);
  return std::nullopt;
}

std::optional<BlobFetches::Result> BlobFetches::OnChunk(
    const agent::v1::BlobChunk& chunk) {
  const auto it = fetches_.find(chunk.digest());
  if (it == fetches_.end() || !it->second.asked) {
    ++ignored_;
    return std::nullopt;
  }
  const std::string digest = it->first;
  Fetch& fetch = it->second;
  const bool refused =
      chunk.error() != agent::v1::BlobChunk::ERROR_UNSPECIFIED;
  const bool wrong =
      chunk.offset() != fetch.bytes.size() ||
      chunk.data().size() > fetch.size - fetch.bytes.size() ||
      (chunk.data().empty() && !chunk.last());
  if (!refused && !wrong) {
    fetch.bytes.append(chunk.data());
    if (!chunk.last()) return std::nullopt;
  }
  // Over, one way or the other.
  fetch.asked = false;
  --outstanding_;
  outstanding_bytes_ -= fetch.size;
  if (refused) {
    return Take(digest, absl::NotFoundError(absl::StrCat(
                            "the manager does not serve blob ",
                            absl::BytesToHexString(digest).substr(0, 12))));
  }
  if (wrong || fetch.bytes.size() != fetch.size ||
      Sha256(fetch.bytes) != digest) {
    return OnWrong(digest, fetch);
  }
  std::string bytes = std::move(fetch.bytes);
  return Take(digest, std::move(bytes));
}

void BlobFetches::OnSessionEnded() {
  for (auto& [digest, fetch] : fetches_) {
    if (!fetch.asked) continue;
    fetch.asked = false;
    queue_.push_front(digest);
  }
  outstanding_ = 0;
  outstanding_bytes_ = 0;
  next_request_ = 1;
}

}  // namespace flotilla::agent
