// SPDX-License-Identifier: Apache-2.0
//
// What is deployed of a bundle, as an immutable BundleRevision: from a built
// directory and its GitRepo (spec 2.5), from a Bundle document (4.3.1), and
// from a HelmOp and its chart (13.2). The same inputs give the same bytes; the
// commit is not among them (decisions.md 1).

#ifndef FLOTILLA_MANAGER_BUNDLE_BUNDLE_REVISION_H_
#define FLOTILLA_MANAGER_BUNDLE_BUNDLE_REVISION_H_

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/bundle/bundle_builder.h"
#include "manager/bundle/chart_needs.h"

namespace flotilla::manager {

inline constexpr char kRepoNameLabel[] = "fleet.cattle.io/repo-name";
inline constexpr char kHelmOpLabel[] = "fleet.cattle.io/fleet-helm-name";

// A revision whose downloads are still to be put in with AttachCharts().
struct DraftRevision {
  storage::v1::BundleRevision revision;
  std::vector<ChartNeed> needs;
  std::vector<core::v1::Problem> warnings;
};

// The revision of a built bundle, its GitRepo's settings put in (spec 2.5).
// What it needs is in `bundle.content->charts`.
storage::v1::BundleRevision MakeRevision(const BuiltBundle& bundle,
                                         const storage::v1::Document& git_repo);

// Holds the revision of a bundle against GitRepoRestrictions and Policies, and
// puts into its options what they derive. `source` is what the bundle comes
// from. Returns the violations, with kPolicyViolation and a file.
std::vector<core::v1::Problem> HoldAgainstPolicies(
    const storage::v1::Document& source,
    const std::vector<const storage::v1::Document*>& policies,
    absl::string_view bundle_name, storage::v1::BundleRevision& revision);

// What a revision with these bytes is called.
std::string RevisionName(absl::string_view bytes);

// Reads a file of the bundle by its name.
using ReadBundleFile =
    absl::FunctionRef<absl::StatusOr<std::string>(const std::string&)>;

// The revision of a Bundle document. With R restrictions all targets but the
// last R are customizations. A chart that is neither among the files nor below
// `.chart/` is a need.
// Errors: INVALID_ARGUMENT for a values file that is absent or broken;
// NOT_FOUND for a chart that is neither among the files nor an address.
absl::StatusOr<DraftRevision> MakeDocumentRevision(
    const storage::v1::Document& bundle, ReadBundleFile read);

// The revision of a HelmOp with the chart that was found for it. All targets
// say where; none means ClusterGroup "default". Values files are files of the
// chart.
// Errors: INVALID_ARGUMENT, also for a target that asks for another chart.
absl::StatusOr<DraftRevision> MakeHelmOpRevision(
    const storage::v1::Document& helm_op,
    const storage::v1::ChartSource& chart, ReadBundleFile read);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUNDLE_REVISION_H_
