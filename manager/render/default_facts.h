// SPDX-License-Identifier: Apache-2.0
//
// The facts of a plain cluster: Kubernetes 1.36 with nothing installed. For
// `flotilla render` without a cluster; docs say that these are used.

#ifndef FLOTILLA_MANAGER_RENDER_DEFAULT_FACTS_H_
#define FLOTILLA_MANAGER_RENDER_DEFAULT_FACTS_H_

#include "flotilla/core/v1/core.pb.h"

namespace flotilla::manager {

core::v1::ClusterFacts DefaultClusterFacts();

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_DEFAULT_FACTS_H_
