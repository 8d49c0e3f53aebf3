// SPDX-License-Identifier: Apache-2.0

#include "manager/render/deployment_input.h"

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace flotilla::manager {
namespace {

// A bundle that unpacks to more is not rendered.
constexpr uint64_t kMaxBundleBytes = 100 << 20;

}  // namespace

RenderInput MakeDeploymentInput(const storage::v1::Desired& desired,
                                const storage::v1::BundleRevision& bundle,
                                const core::v1::ClusterFacts& facts,
                                std::string random_seed) {
  RenderInput input;
  input.workspace = desired.workspace();
  input.bundle_name = desired.bundle_name();
  input.bundle_id = desired.bundle_id();
  input.revision = desired.revision();
  input.directory = bundle.directory();
  input.options = desired.options();
  input.source_correct_drift = bundle.source_correct_drift();
  input.bundle_labels.assign(bundle.labels().begin(), bundle.labels().end());
  input.depends_on.assign(bundle.depends_on().begin(),
                          bundle.depends_on().end());
  input.facts = facts;
  input.random_seed = std::move(random_seed);
  input.now_unix_seconds = desired.commit().time().seconds();
  return input;
}

absl::Status LoadFiles(const BlobStore& blobs,
                       const storage::v1::BundleRevision& bundle,
                       RenderInput& input) {
  uint64_t total = 0;
  for (const storage::v1::BundleFile& file : bundle.files()) {
    total += file.size();
    if (total > kMaxBundleBytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the bundle's files have more than ",
                       kMaxBundleBytes >> 20, " MiB"));
    }
    absl::StatusOr<std::string> bytes = blobs.Get(file.blob_digest());
    if (!bytes.ok()) {
      return absl::UnavailableError(absl::StrCat(
          "reading ", file.name(), ": ", bytes.status().message()));
    }
    input.files.push_back({file.name(), *std::move(bytes)});
  }
  return absl::OkStatus();
}

}  // namespace flotilla::manager
