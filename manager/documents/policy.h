// SPDX-License-Identifier: Apache-2.0
//
// What GitRepoRestrictions and Policies of a workspace say about a source or a
// bundle (spec 1.11.1). Decisions only: the same documents give the same
// verdict.
//
// A source or bundle with a violation is taken no further: nothing of it is
// fetched, built, released or deleted. Show the violations on it as condition
// Accepted=False (GitRepo, HelmOp) or Ready=False (Bundle), and as an Event
// with the reason kPolicyViolation.
//
// Stricter than Fleet in three ways: the service accounts of fleet.yaml are
// held against the lists of GitRepoRestrictions too; a target of a HelmOp is
// held against the patterns of repositories and charts as the HelmOp itself is;
// and a chart that is a URL of its own needs a pattern that lets it in when
// there are patterns for repositories alone. Defaults are never written into
// the user's document.

#ifndef FLOTILLA_MANAGER_DOCUMENTS_POLICY_H_
#define FLOTILLA_MANAGER_DOCUMENTS_POLICY_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"

namespace flotilla::manager {

inline constexpr char kPolicyViolation[] = "PolicyViolation";

struct PolicyVerdict {
  bool allowed() const { return violations.empty(); }

  // Each names the field and the documents that forbid it. Sorted as the
  // fields are.
  std::vector<core::v1::Problem> violations;
  // The source, defaults filled in: use it in place of the document. Of
  // EvaluateBundlePolicies(): empty.
  storage::v1::Document source;
  // DeployOptions.create_namespace of its bundles is to be FALSE.
  bool forbids_namespace_creation = false;
  // DeployOptions.allowed_target_namespace_selector of its bundles; of bundles
  // that come from a GitRepo only.
  std::optional<core::v1::LabelSelector> allowed_target_namespace_selector;
};

// `source` is a GitRepo, a HelmOp or a Bundle document. Of `documents` only the
// GitRepoRestrictions and Policies of the source's workspace count, in whatever
// order they are.
PolicyVerdict EvaluatePolicies(
    const storage::v1::Document& source,
    const std::vector<const storage::v1::Document*>& documents);

// For a bundle as it was built: its options, customizations and targets.
// `subject` is what problems are about, such as "Bundle fleet-default/web".
PolicyVerdict EvaluateBundlePolicies(
    absl::string_view subject, absl::string_view workspace,
    bool from_git_repo, const storage::v1::BundleRevision& revision,
    const std::vector<const storage::v1::Document*>& documents);

// Puts what the verdict derives into the options of a bundle. Put it into the
// root's options; it is the same for all targets.
void ApplyVerdict(const PolicyVerdict& verdict,
                  storage::v1::DeployOptions& options);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_POLICY_H_
