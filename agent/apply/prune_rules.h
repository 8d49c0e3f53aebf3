// SPDX-License-Identifier: Apache-2.0
//
// What is proof enough to delete an object that no bundle wants any more, and
// what may go while another deletion takes long (docs/apply.md, "How deletion
// is guarded").

#ifndef FLOTILLA_AGENT_APPLY_PRUNE_RULES_H_
#define FLOTILLA_AGENT_APPLY_PRUNE_RULES_H_

#include <string>

#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {

// Annotation of an object: "keep" leaves it in the cluster, "delete" deletes it
// although more would go with it (LostWith()).
inline constexpr absl::string_view kOnRemove = "flotilla.dev/on-remove";

// Thread-compatible.
struct PruneVerdict {
  enum class Word {
    kDelete,
    // As long as nothing of others is in the Namespace, or of the kind.
    kDeleteIfEmpty,
    kLeave,
  };
  Word word = Word::kLeave;
  std::string why;  // For people, with kLeave.
};

// `live` is the object in the cluster, at least its metadata; `known`: its UID
// is the one in our inventory. Otherwise it must bear the mark of `bundle_id`.
PruneVerdict JudgePrune(const core::v1::ResourceKey& key,
                        absl::string_view bundle_id, bool known,
                        const nlohmann::json& live);

// Whether `next`, which is to be deleted after `stuck`, has to wait until that
// is gone, however long it takes: it may be what the deletion needs.
bool WaitsFor(const core::v1::ResourceKey& next,
              const core::v1::ResourceKey& stuck);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_APPLY_PRUNE_RULES_H_
