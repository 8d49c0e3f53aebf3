// SPDX-License-Identifier: Apache-2.0
//
// Finds what others would lose with a Namespace or with the definition of a
// kind. What Kubernetes puts there by itself, what is being deleted, and what
// goes with its owner does not count.

#ifndef FLOTILLA_AGENT_APPLY_LEFTOVERS_H_
#define FLOTILLA_AGENT_APPLY_LEFTOVERS_H_

#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "common/kube/kube_client.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// The first objects by name, for people; empty: there are none. An error when
// that cannot be known.
using LeftoversDone = absl::AnyInvocable<void(absl::StatusOr<std::string>)>;

// `key` is a Namespace or a CustomResourceDefinition. `done` runs on the loop,
// not inside the call, and not once the client is destroyed.
void FindLeftovers(KubeClient& client, const core::v1::ResourceKey& key,
                   LeftoversDone done);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_APPLY_LEFTOVERS_H_
