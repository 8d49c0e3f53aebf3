// SPDX-License-Identifier: Apache-2.0
//
// BuildFacts makes what the manager must know of a cluster (decisions.md 6) out
// of what its API server says.

#ifndef FLOTILLA_AGENT_FACTS_CLUSTER_FACTS_H_
#define FLOTILLA_AGENT_FACTS_CLUSTER_FACTS_H_

#include "common/kube/kube_client.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

// Kinds are sorted by (group, version, kind), each once.
core::v1::ClusterFacts BuildFacts(const ServerVersion& version,
                                  const Discovery& discovery);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_FACTS_CLUSTER_FACTS_H_
