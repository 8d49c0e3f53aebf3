// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/blob_exchange.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace flotilla::manager {
namespace {

using storage::v1::Released;

constexpr size_t kDigestBytes = 32;
constexpr size_t kMaxIdBytes = 64;
constexpr size_t kMaxReadsAtOnce = 256;

}  // namespace

void BlobExchange::Count(const Released& released, int delta) {
  if (released.generation() == 0 || released.state() == Released::STATE_GONE) {
    return;
  }
  const auto count = [this, delta](const std::string& digest) {
    if (digest.size() != kDigestBytes) return;
    auto [it, added] = allowed_.try_emplace(digest, 0);
    it->second += delta;
    if (it->second <= 0) allowed_.erase(it);
  };
  count(released.manifest_digest());
  for (const std::string& digest : released.blob_digests()) count(digest);
  for (const std::string& digest : released.previous_blob_digests()) {
    count(digest);
  }
}

absl::Status BlobExchange::OnNeed(const agent::v1::BlobNeed& need) {
  if (wants_.size() + static_cast<size_t>(need.want_size()) > kMaxWants) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "more than ", kMaxWants, " blobs asked for and not sent yet"));
  }
  for (const agent::v1::BlobRange& range : need.want()) {
    Want want;
    want.offset = range.offset();
    want.refused = !allowed_.contains(range.digest());
    if (want.refused) ++counts_.ignored["foreign_blobs"];
    want.digest = range.digest().substr(0, kMaxIdBytes);
    wants_.push_back(std::move(want));
  }
  return absl::OkStatus();
}

std::vector<std::string> BlobExchange::TakeReads() {
  std::vector<std::string> digests;
  if (reading_ || !loaded_.empty()) return digests;
  for (const Want& want : wants_) {
    if (want.refused) continue;
    digests.push_back(want.digest);
    if (digests.size() >= kMaxReadsAtOnce) break;
  }
  reading_ = !digests.empty();
  return digests;
}

void BlobExchange::OnBlobs(
    std::vector<std::pair<std::string, absl::StatusOr<std::string>>> blobs) {
  reading_ = false;
  for (auto& [digest, bytes] : blobs) {
    loaded_.insert_or_assign(std::move(digest), std::move(bytes));
  }
}

std::optional<agent::v1::BlobChunks> BlobExchange::Next() {
  agent::v1::BlobChunks frame;
  size_t bytes = 0;
  while (!wants_.empty() && bytes < kMaxFrameBytes) {
    Want& want = wants_.front();
    agent::v1::BlobChunk chunk;
    chunk.set_digest(want.digest);
    chunk.set_offset(want.offset);
    bool finished = true;
    if (want.refused) {
      chunk.set_error(agent::v1::BlobChunk::ERROR_NOT_FOUND);
    } else {
      const auto loaded = loaded_.find(want.digest);
      if (loaded == loaded_.end()) break;
      if (!loaded->second.ok() || want.offset > loaded->second->size()) {
        chunk.set_error(agent::v1::BlobChunk::ERROR_NOT_FOUND);
      } else {
        const std::string& blob = *loaded->second;
        const size_t size =
            std::min<size_t>(blob.size() - want.offset, kMaxFrameBytes - bytes);
        chunk.set_data(blob.substr(want.offset, size));
        want.offset += size;
        finished = want.offset == blob.size();
        chunk.set_last(finished);
      }
      if (finished) loaded_.erase(loaded);
    }
    bytes += chunk.data().size() + 64;
    if (finished) wants_.pop_front();
    frame.mutable_chunks()->Add(std::move(chunk));
  }
  if (frame.chunks().empty()) return std::nullopt;
  return frame;
}

}  // namespace flotilla::manager
