// SPDX-License-Identifier: Apache-2.0
//
// From the records of the stages before to what a render takes: the one way for
// the manager and for `flotilla render`, so that both give the same bytes.

#ifndef FLOTILLA_MANAGER_RENDER_DEPLOYMENT_INPUT_H_
#define FLOTILLA_MANAGER_RENDER_DEPLOYMENT_INPUT_H_

#include <string>

#include "absl/status/status.h"
#include "common/blob/blob_store.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/render/render_input.h"

namespace flotilla::manager {

// Without files. The options are as targeting merged them: templates in the
// values are still to be filled in (effective_values.h).
RenderInput MakeDeploymentInput(const storage::v1::Desired& desired,
                                const storage::v1::BundleRevision& bundle,
                                const core::v1::ClusterFacts& facts,
                                std::string random_seed);

// Adds the bundle's files to `input`. RESOURCE_EXHAUSTED when they are too
// large; UNAVAILABLE, saying which file and why, when one cannot be read now.
// Blocks as a BlobStore does.
absl::Status LoadFiles(const BlobStore& blobs,
                       const storage::v1::BundleRevision& bundle,
                       RenderInput& input);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_DEPLOYMENT_INPUT_H_
