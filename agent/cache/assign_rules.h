// SPDX-License-Identifier: Apache-2.0
//
// Judges the items of an Assign against what is held: the highest generation
// wins, the same again is fine, and the same generation with other content is
// refused (protocol.md 4, step 8).

#ifndef FLOTILLA_AGENT_CACHE_ASSIGN_RULES_H_
#define FLOTILLA_AGENT_CACHE_ASSIGN_RULES_H_

#include <cstddef>

#include "flotilla/agent/v1/agent.pb.h"
#include "flotilla/agentstate/v1/agentstate.pb.h"

namespace flotilla::agent {

// Bundles that one cluster may have.
inline constexpr size_t kMaxBundles = 5000;
// Bytes of one manifest.
inline constexpr uint64_t kMaxManifestBytes = 64 << 20;

// Thread-compatible.
struct AssignVerdict {
  // With its code: CODE_STORED means that `record` is to be held (when
  // `changed`) or is held already.
  agent::v1::AssignItem item;
  agentstate::v1::StoredAssignment record;
  bool changed = false;
};

// `held` is nullptr when the bundle is new; `bundles` counts all that are held.
AssignVerdict JudgeUpsert(const agentstate::v1::StoredAssignment* held,
                          size_t bundles, const agent::v1::Upsert& upsert);
AssignVerdict JudgeTombstone(const agentstate::v1::StoredAssignment* held,
                             size_t bundles,
                             const agent::v1::Tombstone& tombstone);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_CACHE_ASSIGN_RULES_H_
