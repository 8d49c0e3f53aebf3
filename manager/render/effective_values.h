// SPDX-License-Identifier: Apache-2.0
//
// From the options that targeting merged to those that a render takes:
// templates in the values are filled in (spec 2.4) by the worker, then values
// that lie in the cluster are merged on top (spec 6.5, decisions.md 8).

#ifndef FLOTILLA_MANAGER_RENDER_EFFECTIVE_VALUES_H_
#define FLOTILLA_MANAGER_RENDER_EFFECTIVE_VALUES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/render/v1/render.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/render/secret_texts.h"

namespace flotilla::manager {

// What fills the templates in; nothing when there are none: no context, or
// neither values nor templateValues.
absl::optional<render::v1::RenderRequest> ValuesRequest(
    const storage::v1::Desired& desired, absl::string_view random_seed,
    int64_t now_unix_seconds);

// `options` with the values of the answer, which has no error. What was a
// template is none any more.
storage::v1::DeployOptions WithValues(
    const storage::v1::DeployOptions& options,
    const render::v1::RenderResponse& response);

// What is asked of the cluster: helm.valuesFrom, namespaces and keys filled in.
std::vector<core::v1::ValuesRef> AskedValues(
    const storage::v1::DeployOptions& options);

// Whether `values` is the answer to what `options` ask.
bool Answers(const storage::v1::ClusterValues& values,
             const storage::v1::DeployOptions& options);

// `options` with the cluster's values on top of their own, later ones over
// earlier ones. INVALID_ARGUMENT naming object and key, and never a value, when
// one is no YAML map.
// REQUIRES: Answers(values, options) and there is no values.problem().
absl::StatusOr<storage::v1::DeployOptions> WithClusterValues(
    const storage::v1::DeployOptions& options,
    const storage::v1::ClusterValues& values);

// The values that lie in Secrets.
// REQUIRES: as above, with success.
SecretTexts SecretsOf(const storage::v1::ClusterValues& values);

// Digest of all that a deployment's render takes from its cluster: equal
// digests, nothing to render. `values` is null when none are asked.
std::string ClusterDigest(const storage::v1::Desired& desired,
                          absl::string_view facts_digest,
                          const storage::v1::ClusterValues* values);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_EFFECTIVE_VALUES_H_
