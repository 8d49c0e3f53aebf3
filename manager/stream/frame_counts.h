// SPDX-License-Identifier: Apache-2.0
//
// FrameCounts says what went over one session, by type of frame, and what was
// ignored and why. "No frame without a change" is asserted on it.

#ifndef FLOTILLA_MANAGER_STREAM_FRAME_COUNTS_H_
#define FLOTILLA_MANAGER_STREAM_FRAME_COUNTS_H_

#include <cstdint>
#include <string>

#include "absl/container/btree_map.h"

namespace flotilla::manager {

// Keys of `received` and `sent` are the names of the oneof's fields: "hello",
// "assign", "bundle". Keys of `ignored` are reasons: "wrong_epoch", "unknown",
// "stale_nonce", "stale_seq", "foreign_items", "foreign_reports",
// "foreign_blobs", "bad_facts", "no_cause", "second_have",
// "foreign_values", "stale_values", "bad_values".
//
// Thread-compatible.
struct FrameCounts {
  absl::btree_map<std::string, uint64_t> received;
  absl::btree_map<std::string, uint64_t> sent;
  absl::btree_map<std::string, uint64_t> ignored;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STREAM_FRAME_COUNTS_H_
