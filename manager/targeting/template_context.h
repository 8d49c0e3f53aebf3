// SPDX-License-Identifier: Apache-2.0
//
// What `${ }` in Helm values sees of a cluster (spec 2.4), and whether a
// deployment's values ask for it. Only then does a change of a cluster's labels
// change what it should get.

#ifndef FLOTILLA_MANAGER_TARGETING_TEMPLATE_CONTEXT_H_
#define FLOTILLA_MANAGER_TARGETING_TEMPLATE_CONTEXT_H_

#include <optional>

#include "flotilla/storage/v1/storage.pb.h"

namespace flotilla::manager {

// Whether values or templateValues hold something that depends on the cluster.
bool NeedsTemplateContext(const storage::v1::DeployOptions& options);

// `cluster` is a Document of kind Cluster. Nothing when it has no label that
// counts: templates then stay as they are, as in Fleet (spec 14.9).
std::optional<storage::v1::TemplateContext> MakeTemplateContext(
    const storage::v1::Document& cluster);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_TARGETING_TEMPLATE_CONTEXT_H_
