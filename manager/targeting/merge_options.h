// SPDX-License-Identifier: Apache-2.0
//
// How a target's options are merged over a bundle's (spec 4.4).
//
// Where Fleet's rules were not kept, on purpose:
// * namespaceLabels and namespaceAnnotations: Fleet adds those of all targets
//   of a bundle, matching or not, to every deployment (spec 14.1). Here the
//   ones of the target and customizations that apply count, key by key over
//   the root's.
// * "-" as defaultNamespace, namespace or serviceAccount means "none", as
//   Fleet's documentation says; Fleet itself stores the "-" (spec 14.5).

#ifndef FLOTILLA_MANAGER_TARGETING_MERGE_OPTIONS_H_
#define FLOTILLA_MANAGER_TARGETING_MERGE_OPTIONS_H_

#include "flotilla/storage/v1/storage.pb.h"

namespace flotilla::manager {

// `custom` over `base`.
storage::v1::DeployOptions MergeOptions(
    const storage::v1::DeployOptions& base,
    const storage::v1::DeployOptions& custom);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_TARGETING_MERGE_OPTIONS_H_
