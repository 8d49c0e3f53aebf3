// SPDX-License-Identifier: Apache-2.0

#include "manager/targeting/render_inputs.h"

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "manager/bundle/bundle_builder.h"
#include "manager/bundle/bundle_revision.h"
#include "manager/documents/policy.h"
#include "manager/store/records.h"
#include "manager/targeting/target_resolver.h"
#include "manager/targeting/template_context.h"

namespace flotilla::manager {
namespace {

using storage::v1::BundleRevision;
using storage::v1::Desired;
using storage::v1::Document;

absl::Status PutFiles(BuiltBundle& bundle, BlobStore& blobs) {
  // Nothing is cached here, so everything is fresh.
  std::vector<std::string> contents;
  for (ContentFile& file : bundle.fresh->files) {
    contents.push_back(std::move(file.bytes));
    file.bytes.clear();
  }
  absl::StatusOr<std::vector<std::string>> digests = blobs.PutAll(contents);
  if (!digests.ok()) return digests.status();
  auto digest = digests->begin();
  for (ContentFile& file : bundle.fresh->files) {
    file.digest = std::move(*digest++);
  }
  return absl::OkStatus();
}

Desired MakeDesired(const RenderSubject& subject, const std::string& bundle,
                    const BundleRevision& revision, ResolvedTarget resolved) {
  Desired desired;
  desired.set_revision(RevisionName(SerializeRecord(revision)));
  *desired.mutable_options() = std::move(resolved.options);
  desired.set_target_name(std::move(resolved.target_name));
  *desired.mutable_commit() = subject.commit;
  desired.set_workspace(subject.git_repo.workspace());
  desired.set_bundle_name(bundle);
  desired.set_cluster_name(subject.cluster.name());
  if (subject.cluster.workspace() != subject.git_repo.workspace()) {
    desired.set_cluster_workspace(subject.cluster.workspace());
  }
  if (NeedsTemplateContext(desired.options())) {
    std::optional<storage::v1::TemplateContext> context =
        MakeTemplateContext(subject.cluster);
    if (context.has_value()) {
      *desired.mutable_template_context() = *std::move(context);
    }
  }
  return desired;
}

// Puts in the bundle's downloads, as far as `charts` has them.
void AttachDownloads(const std::vector<ChartNeed>& needs,
                     const FetchedCharts& charts, BundleRevision& revision,
                     RenderInputList& result) {
  std::vector<ChartNeed> there;
  for (const ChartNeed& need : needs) {
    (charts.count(ChartNeedKey(need)) > 0 ? there : result.needs)
        .push_back(need);
  }
  if (there.empty()) return;
  const absl::Status attached =
      AttachCharts(there, charts, BuildLimits().bundle(), revision);
  if (attached.ok()) return;
  core::v1::Problem& problem = result.errors.emplace_back();
  problem.set_code(absl::StatusCodeToString(attached.code()));
  problem.set_file(there.front().file);
  problem.set_line(static_cast<uint32_t>(there.front().line));
  problem.set_message(std::string(attached.message()));
}

}  // namespace

Document PlainGitRepo(absl::string_view workspace, absl::string_view name) {
  Document git_repo;
  git_repo.set_kind("GitRepo");
  git_repo.set_workspace(std::string(workspace));
  git_repo.set_name(std::string(name));
  storage::v1::Target& all = *git_repo.mutable_git_repo()->add_targets();
  all.set_name("all");
  all.mutable_cluster_selector();
  return git_repo;
}

RenderInputList ReadRenderInputs(FileTree& tree, const RenderSubject& subject,
                                 BlobStore& blobs,
                                 const FetchedCharts& charts) {
  RenderInputList result;
  std::vector<const Document*> policies;
  for (const Document& policy : subject.policies) policies.push_back(&policy);
  PolicyVerdict verdict = EvaluatePolicies(subject.git_repo, policies);
  result.errors = std::move(verdict.violations);
  if (!result.errors.empty()) return result;
  const Document& git_repo = verdict.source;

  BuildResult built = BuildBundles(tree, git_repo);
  result.errors = std::move(built.errors);
  result.warnings = std::move(built.warnings);
  if (!result.errors.empty()) return result;
  for (BuiltBundle& bundle : built.bundles) {
    if (absl::Status put = PutFiles(bundle, blobs); !put.ok()) {
      core::v1::Problem& problem = result.errors.emplace_back();
      problem.set_code(absl::StatusCodeToString(put.code()));
      problem.set_message(std::string(put.message()));
      return result;
    }
    BundleRevision revision = MakeRevision(bundle, git_repo);
    for (core::v1::Problem& violation :
         HoldAgainstPolicies(git_repo, policies, bundle.name, revision)) {
      result.errors.push_back(std::move(violation));
    }
    AttachDownloads(bundle.content->charts, charts, revision, result);
    std::optional<ResolvedTarget> resolved =
        ResolveTarget(revision, subject.target);
    if (!resolved.has_value()) {
      result.not_deployed.push_back(bundle.name);
      continue;
    }
    BundleInput& input = result.bundles.emplace_back();
    input.desired =
        MakeDesired(subject, bundle.name, revision, *std::move(resolved));
    input.revision = std::move(revision);
  }
  if (!result.errors.empty()) result.bundles.clear();
  return result;
}

}  // namespace flotilla::manager
