// SPDX-License-Identifier: Apache-2.0
//
// SetDigest says in 32 bytes what a cluster's assignment set is, so that both
// halves can compare their sets without sending them. The exact bytes are in
// docs/protocol.md ("Set digest").

#ifndef FLOTILLA_COMMON_ASSIGNMENT_SET_DIGEST_H_
#define FLOTILLA_COMMON_ASSIGNMENT_SET_DIGEST_H_

#include <cstdint>
#include <string>
#include <vector>

namespace flotilla {

// One assignment, or one tombstone that is not finished yet. A tombstone leaves
// the set when the manager has acknowledged the state PHASE_DELETED.
struct AssignedItem {
  std::string bundle_id;
  uint64_t generation = 0;
  std::string manifest_digest;  // Raw; empty for a tombstone.
  bool tombstone = false;
};

// SHA-256, 32 raw bytes. The order of `items` does not matter; a bundle id
// should occur once. The empty set has a digest too.
std::string SetDigest(std::vector<AssignedItem> items);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_ASSIGNMENT_SET_DIGEST_H_
