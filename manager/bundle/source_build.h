// SPDX-License-Identifier: Apache-2.0
//
// Builds all bundles of one source: a GitRepo at a commit, a HelmOp with the
// chart that was found for it, or a Bundle document. Their files go to the
// BlobStore. Blocks: use it from a WorkerPool.

#ifndef FLOTILLA_MANAGER_BUNDLE_SOURCE_BUILD_H_
#define FLOTILLA_MANAGER_BUNDLE_SOURCE_BUILD_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "common/blob/blob_store.h"
#include "manager/bundle/build_limits.h"
#include "manager/bundle/bundle_builder.h"
#include "manager/bundle/chart_needs.h"
#include "manager/gitsync/git_repository.h"

namespace flotilla::manager {

// What a build is made of.
struct BuildInputs {
  storage::v1::Document document;  // Defaults of policies filled in.
  storage::v1::Source source;      // Of a GitRepo.
  storage::v1::ChartSource chart;  // Of a HelmOp.
  BundleCache cache;               // Of the last build.
  // Restrictions and policies that each bundle is held against.
  std::vector<storage::v1::Document> policies;
};

// With an error there are no bundles.
struct SourceBuild {
  // Of one build.
  static constexpr size_t kMaxProblems = 100;

  struct Bundle {
    std::string name;
    std::string directory;
    // Empty once it is sealed.
    storage::v1::BundleRevision revision;
    std::vector<ChartNeed> needs;
    // The revision's bytes, and what it is called; empty until it is sealed,
    // which waits for the needs.
    std::string bytes;
    std::string digest;
  };
  std::vector<Bundle> bundles;
  std::vector<core::v1::Problem> errors;
  std::vector<core::v1::Problem> warnings;
  BundleCache cache;
  size_t read_directories = 0;
  // An error has to do with the disk or the network, not with what was built.
  bool try_again = false;

  // Whether charts are to be fetched before it can be used.
  bool has_needs() const;
};

SourceBuild BuildSource(GitRepository& git, BlobStore& blobs,
                        BuildInputs inputs, const BuildLimits& limits);

// Puts downloads into the bundles that need them, seals these, and renews the
// blobs of all: downloads may have taken longer than BlobStore::Sweep() waits.
// Errors are about `subject`.
void AttachDownloads(const FetchedCharts& fetched, const std::string& subject,
                     const BuildLimits& limits, BlobStore& blobs,
                     SourceBuild& build);

core::v1::Problem ProblemOf(const absl::Status& status,
                              absl::string_view subject);

// Whether an error with this code may pass by itself.
bool MayPass(absl::string_view code);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_SOURCE_BUILD_H_
