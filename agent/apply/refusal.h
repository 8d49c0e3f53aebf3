// SPDX-License-Identifier: Apache-2.0
//
// Judges an error of the API server about one object: what it means for the
// object, whether and when to try again, and the words for people.

#ifndef FLOTILLA_AGENT_APPLY_REFUSAL_H_
#define FLOTILLA_AGENT_APPLY_REFUSAL_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// Thread-compatible.
struct Refusal {
  enum class Kind {
    // The API server cannot be reached or is overloaded: nothing is wrong with
    // the object. The deployment is blocked.
    kTransient,
    // Kind or namespace is not there yet.
    kKindMissing,
    kNamespaceMissing,
    // Fields belong to others, who are named.
    kConflict,
    // The object was refused; trying again may help only when something else
    // changes.
    kRefused,
  };
  Kind kind = Kind::kRefused;
  std::string reason;   // One word.
  std::string message;  // For people; of a Secret never its values.
};

// REQUIRES: !status.ok(). `secret`: the server's text may quote the object, so
// only its reason and fields are shown.
Refusal JudgeRefusal(const core::v1::ResourceKey& key,
                     const absl::Status& status, bool secret);

// What would be lost with an object of that kind, so that it is never deleted
// to be made anew. Empty: it may be.
absl::string_view LostWith(const core::v1::ResourceKey& key);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_APPLY_REFUSAL_H_
