// SPDX-License-Identifier: Apache-2.0
//
// BlobFetches keeps the blobs that the agent asked its manager for: what to ask
// next, what has come, whether it is right. A fetch survives the end of a
// session and goes on at the offset it had. Bytes are held for the fetches that
// are under way only.
//
// Nothing the manager sends makes it hold more than was declared.

#ifndef FLOTILLA_AGENT_CONNECTION_BLOB_FETCHES_H_
#define FLOTILLA_AGENT_CONNECTION_BLOB_FETCHES_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "flotilla/agent/v1/agent.pb.h"

namespace flotilla::agent {

// Loop-affine.
class BlobFetches {
 public:
  struct Result {
    std::string digest;
    absl::StatusOr<std::string> bytes;
  };

  // Joins a fetch of the same digest. REQUIRES: size <= kMaxBlobBytes.
  void Add(const std::string& digest, uint64_t size);

  // What to ask for now, if anything.
  std::optional<agent::v1::BlobNeed> NextNeed();

  // A result when the chunk ends a fetch. Chunks that were not asked for are
  // counted and ignored.
  std::optional<Result> OnChunk(const agent::v1::BlobChunk& chunk);

  // What was asked for and has not come must be asked for again.
  void OnSessionEnded();

  size_t pending() const { return fetches_.size(); }
  uint64_t ignored() const { return ignored_; }

  static constexpr uint64_t kMaxBlobBytes = uint64_t{64} * 1024 * 1024;
  static constexpr size_t kMaxOutstanding = 512;
  static constexpr uint64_t kMaxOutstandingBytes = uint64_t{8} * 1024 * 1024;
  static constexpr int kMaxTries = 3;

 private:
  struct Fetch {
    uint64_t size = 0;
    std::string bytes;
    int tries = 0;
    bool asked = false;
  };

  // The bytes were wrong: from the start again, or give up.
  std::optional<Result> OnWrong(const std::string& digest, Fetch& fetch);
  Result Take(const std::string& digest, absl::StatusOr<std::string> bytes);

  // Loop state.
  absl::flat_hash_map<std::string, Fetch> fetches_;
  std::deque<std::string> queue_;  // Not asked for, in order.
  size_t outstanding_ = 0;
  uint64_t outstanding_bytes_ = 0;
  uint64_t next_request_ = 1;
  uint64_t ignored_ = 0;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_CONNECTION_BLOB_FETCHES_H_
