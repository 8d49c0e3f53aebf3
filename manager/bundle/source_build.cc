// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/source_build.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "common/status/status_macros.h"
#include "manager/bundle/bundle_content.h"
#include "manager/bundle/bundle_revision.h"
#include "manager/bundle/bundle_source.h"
#include "manager/gitsync/file_tree.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using core::v1::Problem;
using storage::v1::Document;

void Seal(SourceBuild::Bundle& bundle) {
  bundle.bytes = SerializeRecord(bundle.revision);
  bundle.digest = RevisionName(bundle.bytes);
  bundle.revision.Clear();
}

// Stores the files that were read now, and fills in their digests.
absl::Status StoreFiles(BlobStore& blobs, std::vector<BuiltBundle>& bundles) {
  std::vector<std::string> contents;
  for (BuiltBundle& bundle : bundles) {
    if (bundle.fresh == nullptr) continue;
    for (ContentFile& file : bundle.fresh->files) {
      contents.push_back(std::move(file.bytes));
      file.bytes.clear();
    }
  }
  if (contents.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::vector<std::string> digests, blobs.PutAll(contents));
  auto digest = digests.begin();
  for (BuiltBundle& bundle : bundles) {
    if (bundle.fresh == nullptr) continue;
    for (ContentFile& file : bundle.fresh->files) {
      file.digest = std::move(*digest++);
    }
  }
  return absl::OkStatus();
}

// Whether all files are stored that were not read now but by an earlier build.
// Those of a bundle that never came to be are named by no record and may be
// gone.
bool RenewFiles(BlobStore& blobs, const std::vector<BuiltBundle>& bundles) {
  std::vector<std::string> digests;
  for (const BuiltBundle& bundle : bundles) {
    if (bundle.fresh != nullptr) continue;
    for (const ContentFile& file : bundle.content->files) {
      digests.push_back(file.digest);
    }
  }
  return blobs.Renew(digests);
}

// Whether all files are stored that the revisions name.
bool RenewAll(BlobStore& blobs, const SourceBuild& build) {
  std::vector<std::string> digests;
  storage::v1::BundleRevision revision;
  for (const SourceBuild::Bundle& bundle : build.bundles) {
    if (!revision.ParseFromString(bundle.bytes)) return false;
    for (const storage::v1::BundleFile& file : revision.files()) {
      digests.push_back(file.blob_digest());
    }
  }
  return blobs.Renew(digests);
}

void BuildGitRepo(GitRepository& git, BlobStore& blobs, BuildInputs& inputs,
                  const BuildLimits& limits, SourceBuild& build) {
  const Document& document = inputs.document;
  build.cache = std::move(inputs.cache);
  absl::StatusOr<std::unique_ptr<FileTree>> tree =
      git.OpenTree(inputs.source.clone_id(), inputs.source.commit().id());
  if (!tree.ok()) {
    build.errors.push_back(ProblemOf(tree.status(), SubjectOf(document)));
    build.try_again = true;
    return;
  }
  BuildResult result = BuildBundles(**tree, document, build.cache, limits);
  if (!RenewFiles(blobs, result.bundles)) {
    build.cache.clear();
    result = BuildBundles(**tree, document, build.cache, limits);
  }
  build.errors = std::move(result.errors);
  build.warnings = std::move(result.warnings);
  build.read_directories = result.read_directories;
  if (!build.errors.empty()) return;

  const absl::Status stored = StoreFiles(blobs, result.bundles);
  if (!stored.ok()) {
    build.errors.push_back(ProblemOf(stored, SubjectOf(document)));
    build.try_again = true;
    return;
  }
  build.cache.clear();
  for (const BuiltBundle& bundle : result.bundles) {
    build.cache[bundle.content->place()] = bundle.content;
    SourceBuild::Bundle& out = build.bundles.emplace_back();
    out.name = bundle.name;
    out.directory = bundle.content->directory;
    out.revision = MakeRevision(bundle, document);
    out.needs = bundle.content->charts;
  }
}

void BuildDocument(BlobStore& blobs, const BuildInputs& inputs,
                   SourceBuild& build) {
  const Document& document = inputs.document;
  const bool is_helm_op = document.kind() == kHelmOpKind;
  const auto& files =
      is_helm_op ? inputs.chart.files() : document.bundle().resources();
  const auto read =
      [&](const std::string& name) -> absl::StatusOr<std::string> {
    for (const storage::v1::BundleFile& file : files) {
      if (file.name() == name) return blobs.Get(file.blob_digest());
    }
    return absl::NotFoundError(is_helm_op ? "the chart has no such file"
                                          : "spec.resources has no such file");
  };
  absl::StatusOr<DraftRevision> draft =
      is_helm_op ? MakeHelmOpRevision(document, inputs.chart, read)
                 : MakeDocumentRevision(document, read);
  if (!draft.ok()) {
    build.errors.push_back(ProblemOf(draft.status(), SubjectOf(document)));
    return;
  }
  build.warnings = std::move(draft->warnings);
  SourceBuild::Bundle& out = build.bundles.emplace_back();
  out.name = document.name();
  out.revision = std::move(draft->revision);
  out.needs = std::move(draft->needs);
}

void HoldAllAgainstPolicies(const BuildInputs& inputs, SourceBuild& build) {
  std::vector<const Document*> policies;
  for (const Document& policy : inputs.policies) policies.push_back(&policy);
  for (SourceBuild::Bundle& bundle : build.bundles) {
    for (Problem& violation : HoldAgainstPolicies(
             inputs.document, policies, bundle.name, bundle.revision)) {
      if (build.errors.size() >= SourceBuild::kMaxProblems) return;
      build.errors.push_back(std::move(violation));
    }
  }
}

}  // namespace

bool SourceBuild::has_needs() const {
  return std::any_of(bundles.begin(), bundles.end(), [](const Bundle& bundle) {
    return !bundle.needs.empty();
  });
}

SourceBuild BuildSource(GitRepository& git, BlobStore& blobs,
                        BuildInputs inputs, const BuildLimits& limits) {
  SourceBuild build;
  if (inputs.document.kind() == kGitRepoKind) {
    BuildGitRepo(git, blobs, inputs, limits, build);
  } else {
    BuildDocument(blobs, inputs, build);
  }
  HoldAllAgainstPolicies(inputs, build);
  build.try_again =
      build.try_again || std::any_of(build.errors.begin(), build.errors.end(),
                                     [](const Problem& problem) {
                                       return MayPass(problem.code());
                                     });
  if (!build.errors.empty()) {
    build.bundles.clear();
    return build;
  }
  for (SourceBuild::Bundle& bundle : build.bundles) {
    if (bundle.needs.empty()) Seal(bundle);
  }
  return build;
}

void AttachDownloads(const FetchedCharts& fetched, const std::string& subject,
                     const BuildLimits& limits, BlobStore& blobs,
                     SourceBuild& build) {
  for (SourceBuild::Bundle& bundle : build.bundles) {
    if (bundle.needs.empty()) continue;
    const absl::Status attached =
        AttachCharts(bundle.needs, fetched, limits.bundle(), bundle.revision);
    if (!attached.ok()) {
      if (build.errors.size() >= SourceBuild::kMaxProblems) break;
      Problem& problem =
          build.errors.emplace_back(ProblemOf(attached, subject));
      problem.set_file(bundle.needs.front().file);
      problem.set_line(static_cast<uint32_t>(bundle.needs.front().line));
      continue;
    }
    Seal(bundle);
  }
  if (!build.errors.empty() || RenewAll(blobs, build)) return;
  build.errors.push_back(ProblemOf(
      absl::UnavailableError("the charts came so late that files that were "
                             "read before are not stored any more; building "
                             "again"),
      subject));
  build.try_again = true;
}

Problem ProblemOf(const absl::Status& status, absl::string_view subject) {
  Problem problem;
  problem.set_code(absl::StatusCodeToString(status.code()));
  problem.set_subject(std::string(subject));
  problem.set_message(std::string(status.message()));
  return problem;
}

bool MayPass(absl::string_view code) {
  for (const char* passing : {"DATA_LOSS", "UNAVAILABLE", "INTERNAL", "UNKNOWN",
                              "DEADLINE_EXCEEDED"}) {
    if (code == passing) return true;
  }
  return false;
}

}  // namespace flotilla::manager
