// SPDX-License-Identifier: Apache-2.0
//
// BlobExchange is the part of an AgentSession that brings blobs to the agent:
// what it asked for, in order, in pieces that fit a frame. It gives out only
// what a release of this cluster names (protocol.md: no cluster reads another's
// objects). Owned by an AgentSession.

#ifndef FLOTILLA_MANAGER_STREAM_BLOB_EXCHANGE_H_
#define FLOTILLA_MANAGER_STREAM_BLOB_EXCHANGE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/stream/frame_counts.h"

namespace flotilla::manager {

// Loop-affine.
class BlobExchange {
 public:
  static constexpr size_t kMaxFrameBytes = 256 * 1024;
  static constexpr size_t kMaxWants = 4096;

  // What is ignored is counted in `counts`, which must outlive it.
  explicit BlobExchange(FrameCounts& counts) : counts_(counts) {}
  BlobExchange(const BlobExchange&) = delete;
  BlobExchange& operator=(const BlobExchange&) = delete;

  // The blobs that a release names may be asked for; Disallow() takes one
  // Allow() back.
  void Allow(const storage::v1::Released& released) { Count(released, 1); }
  void Disallow(const storage::v1::Released& released) { Count(released, -1); }

  // Not OK: end the session.
  absl::Status OnNeed(const agent::v1::BlobNeed& need);

  // Blobs to be read, once; then OnBlobs() with at least one of them. Empty
  // while a read is under way or when nothing was asked for.
  std::vector<std::string> TakeReads();
  void OnBlobs(
      std::vector<std::pair<std::string, absl::StatusOr<std::string>>> blobs);

  // The next frame, if any.
  std::optional<agent::v1::BlobChunks> Next();

  size_t wanted() const { return wants_.size(); }

 private:
  struct Want {
    std::string digest;
    uint64_t offset = 0;
    bool refused = false;
  };

  void Count(const storage::v1::Released& released, int delta);

  // Not owned.
  FrameCounts& counts_;

  // Loop state.
  absl::flat_hash_map<std::string, int> allowed_;
  std::deque<Want> wants_;
  absl::flat_hash_map<std::string, absl::StatusOr<std::string>> loaded_;
  bool reading_ = false;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_BLOB_EXCHANGE_H_
