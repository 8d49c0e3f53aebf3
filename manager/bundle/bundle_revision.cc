// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_revision.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/crypto/sha256.h"
#include "common/status/status_macros.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "manager/bundle/values_files.h"
#include "manager/documents/documents.h"
#include "manager/documents/field_reader.h"
#include "manager/documents/fleet_yaml.h"
#include "manager/documents/policy.h"
#include "manager/gitsync/tree_path.h"

namespace flotilla::manager {
namespace {

using core::v1::LabelPair;
using core::v1::Problem;
using google::protobuf::RepeatedPtrField;
using storage::v1::BundleRevision;
using storage::v1::BundleSpec;
using storage::v1::DeployOptions;
using storage::v1::Document;
using storage::v1::HelmOptions;
using storage::v1::Target;

// Where kubectl keeps the document itself.
constexpr char kLastApplied[] =
    "kubectl.kubernetes.io/last-applied-configuration";

void AddDefaultTarget(BundleRevision& revision) {
  Target& target = *revision.add_targets();
  target.set_name("default");
  target.set_cluster_group("default");
}

void SetPairs(const std::map<std::string, std::string>& pairs,
              RepeatedPtrField<LabelPair>& out) {
  out.Clear();
  for (const auto& [key, value] : pairs) {
    LabelPair& pair = *out.Add();
    pair.set_key(key);
    pair.set_value(value);
  }
}

void TakePairs(const RepeatedPtrField<LabelPair>& from,
               std::map<std::string, std::string>& pairs) {
  for (const LabelPair& pair : from) pairs[pair.key()] = pair.value();
}

// metadata.annotations of a document, without kubectl's own.
void SetAnnotations(const Document& document, BundleRevision& revision) {
  std::map<std::string, std::string> annotations;
  TakePairs(document.annotations(), annotations);
  annotations.erase(kLastApplied);
  SetPairs(annotations, *revision.mutable_annotations());
}

void PutSettings(const storage::v1::GitRepoSpec& spec,
                 BundleRevision& revision) {
  DeployOptions& options = *revision.mutable_options();
  if (!spec.target_namespace().empty()) {
    options.set_namespace_(spec.target_namespace());
    for (Target& target : *revision.mutable_customizations()) {
      target.mutable_options()->set_namespace_(spec.target_namespace());
    }
  }
  if (!spec.service_account().empty()) {
    options.set_service_account(spec.service_account());
  }
  if (spec.keep_resources()) options.set_keep_resources(true);
  if (spec.delete_namespace()) options.set_delete_namespace(true);
  if (spec.paused()) revision.set_paused(true);
  options.set_force_sync_generation(spec.force_sync_generation());
  revision.set_source_correct_drift(spec.correct_drift());
  if (options.correct_drift() == storage::v1::TRI_STATE_UNSPECIFIED &&
      spec.correct_drift() == storage::v1::TRI_STATE_TRUE) {
    if (spec.correct_drift_force()) options.set_correct_drift_force(true);
    if (spec.correct_drift_keep_fail_history()) {
      options.set_correct_drift_keep_fail_history(true);
    }
  }
}

// Which chart a helm block of a Bundle document asks for.
absl::Status TakeDocumentChart(const Document& bundle,
                               const HelmOptions& helm,
                               DraftRevision& draft) {
  if (helm.chart().empty() && helm.repo().empty()) return absl::OkStatus();
  const auto& files = bundle.bundle().resources();
  if (helm.repo().empty() && !IsChartAddress(helm.chart())) {
    const absl::StatusOr<std::string> chart = NormalizeTreePath(helm.chart());
    if (!chart.ok()) return chart.status();
    const std::string wanted =
        chart->empty() ? "Chart.yaml" : absl::StrCat(*chart, "/Chart.yaml");
    const bool there = std::any_of(
        files.begin(), files.end(),
        [&](const auto& file) { return file.name() == wanted; });
    if (there) return absl::OkStatus();
    return absl::NotFoundError(absl::StrCat(
        "spec.helm.chart: \"", ShownText(helm.chart()),
        "\" has no Chart.yaml in spec.resources; a chart from elsewhere needs "
        "helm.repo, or a URL as helm.chart"));
  }
  const std::string prefix =
      ChartPrefix(helm.chart(), helm.repo(), helm.version());
  // As `fleet apply -o` writes it.
  const bool carried =
      std::any_of(files.begin(), files.end(), [&](const auto& file) {
        return absl::StartsWith(file.name(), prefix + "/");
      });
  if (carried) return absl::OkStatus();
  for (const ChartNeed& need : draft.needs) {
    if (need.prefix == prefix) return absl::OkStatus();
  }
  ChartNeed& need = draft.needs.emplace_back();
  need.chart = helm.chart();
  need.repo = helm.repo();
  need.version = helm.version();
  need.prefix = prefix;
  return absl::OkStatus();
}

// Merges values files into the options of a document's root and targets.
absl::Status MergeDocumentValues(const Document& document,
                                 const BundleSpec& spec, ReadBundleFile read,
                                 FleetYaml& yaml) {
  yaml.options = spec.options();
  yaml.customizations = spec.targets();
  MergeValuesFiles(
      "",
      absl::StrCat(document.kind(), " ", document.workspace(), "/",
                   document.name()),
      [&read](const std::string& name) -> absl::StatusOr<ValuesFile> {
        absl::StatusOr<std::string> text = read(name);
        if (!text.ok()) return text.status();
        return ValuesFile{name, *std::move(text)};
      },
      yaml);
  if (yaml.errors.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(DescribeProblems(yaml.errors));
}

void TakeSpec(const BundleSpec& spec, BundleRevision& revision) {
  *revision.mutable_depends_on() = spec.depends_on();
  revision.set_paused(spec.paused());
  if (spec.has_rollout()) *revision.mutable_rollout() = spec.rollout();
}

// A target's chart is the root's, as far as it says nothing.
bool AsksForAnother(const HelmOptions& helm, const HelmOptions& root) {
  const auto differs = [](const std::string& own, const std::string& whole) {
    return !own.empty() && own != whole;
  };
  return differs(helm.chart(), root.chart()) ||
         differs(helm.repo(), root.repo()) ||
         differs(helm.version(), root.version());
}

}  // namespace

BundleRevision MakeRevision(const BuiltBundle& bundle,
                            const Document& git_repo) {
  const BundleContent& content = *bundle.content;
  const FleetYaml& yaml = content.yaml;
  const storage::v1::GitRepoSpec& spec = git_repo.git_repo();
  BundleRevision revision;
  for (const ContentFile& file : content.files) {
    storage::v1::BundleFile& out = *revision.add_files();
    out.set_name(file.name);
    out.set_blob_digest(file.digest);
    out.set_size(file.size);
  }
  *revision.mutable_options() = yaml.options;
  *revision.mutable_customizations() = yaml.customizations;
  revision.set_all_matches(yaml.all_matches);
  *revision.mutable_depends_on() = yaml.depends_on;
  revision.set_paused(yaml.paused);
  if (yaml.rollout.has_value()) *revision.mutable_rollout() = *yaml.rollout;
  PutSettings(spec, revision);
  if (yaml.override_targets.has_value()) {
    *revision.mutable_targets() = *yaml.override_targets;
    // Without restrictions every target says where (spec 4.3.1).
    if (revision.targets().empty()) {
      revision.mutable_targets()->Swap(revision.mutable_customizations());
    }
  } else if (spec.targets().empty()) {
    AddDefaultTarget(revision);
  } else {
    *revision.mutable_targets() = spec.targets();
  }
  std::map<std::string, std::string> labels;
  TakePairs(git_repo.labels(), labels);
  labels[kRepoNameLabel] = git_repo.name();
  TakePairs(yaml.labels, labels);
  SetPairs(labels, *revision.mutable_labels());
  *revision.mutable_annotations() = yaml.annotations;
  revision.set_directory(content.directory);
  return revision;
}

std::vector<Problem> HoldAgainstPolicies(
    const Document& source, const std::vector<const Document*>& policies,
    absl::string_view bundle_name, BundleRevision& revision) {
  if (policies.empty()) return {};
  PolicyVerdict verdict = EvaluateBundlePolicies(
      absl::StrCat("Bundle ", source.workspace(), "/", bundle_name),
      source.workspace(), source.has_git_repo(), revision, policies);
  for (Problem& violation : verdict.violations) {
    violation.set_code(kPolicyViolation);
    if (violation.file().empty()) violation.set_file(revision.directory());
  }
  ApplyVerdict(verdict, *revision.mutable_options());
  return std::move(verdict.violations);
}

std::string RevisionName(absl::string_view bytes) {
  return absl::BytesToHexString(Sha256(bytes));
}

absl::StatusOr<DraftRevision> MakeDocumentRevision(const Document& bundle,
                                                   ReadBundleFile read) {
  const BundleSpec& spec = bundle.bundle();
  FleetYaml yaml;
  RETURN_IF_ERROR(MergeDocumentValues(bundle, spec, read, yaml));
  DraftRevision draft;
  draft.warnings = std::move(yaml.warnings);
  RETURN_IF_ERROR(TakeDocumentChart(bundle, yaml.options.helm(), draft));
  for (const Target& target : yaml.customizations) {
    if (!target.options().has_helm()) continue;
    HelmOptions helm = target.options().helm();
    const HelmOptions& root = yaml.options.helm();
    if (helm.chart().empty()) helm.set_chart(root.chart());
    if (helm.repo().empty()) helm.set_repo(root.repo());
    if (helm.version().empty()) helm.set_version(root.version());
    RETURN_IF_ERROR(TakeDocumentChart(bundle, helm, draft));
  }
  BundleRevision& revision = draft.revision;
  *revision.mutable_files() = spec.resources();
  *revision.mutable_options() = yaml.options;
  TakeSpec(spec, revision);
  revision.set_all_matches(spec.all_matches());
  *revision.mutable_restrictions() = spec.target_restrictions();
  const int restrictions = spec.target_restrictions_size();
  const int customizations =
      restrictions == 0
          ? 0
          : std::max(0, yaml.customizations.size() - restrictions);
  for (int i = 0; i < yaml.customizations.size(); ++i) {
    *(i < customizations ? revision.add_customizations()
                         : revision.add_targets()) = yaml.customizations[i];
  }
  *revision.mutable_labels() = bundle.labels();
  SetAnnotations(bundle, revision);
  return draft;
}

absl::StatusOr<DraftRevision> MakeHelmOpRevision(
    const Document& helm_op, const storage::v1::ChartSource& chart,
    ReadBundleFile read) {
  const BundleSpec& spec = helm_op.helm_op().bundle();
  FleetYaml yaml;
  RETURN_IF_ERROR(MergeDocumentValues(helm_op, spec, read, yaml));
  const HelmOptions& helm = yaml.options.helm();
  for (const Target& target : yaml.customizations) {
    if (!AsksForAnother(target.options().helm(), helm)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "spec.targets, \"", ShownText(target.name()),
        "\": its helm block asks for another chart than the HelmOp; make a "
        "HelmOp of its own for it"));
  }
  DraftRevision draft;
  draft.warnings = std::move(yaml.warnings);
  BundleRevision& revision = draft.revision;
  const std::string prefix =
      ChartPrefix(helm.chart(), helm.repo(), helm.version());
  for (const storage::v1::BundleFile& file : chart.files()) {
    storage::v1::BundleFile& out = *revision.add_files();
    out = file;
    out.set_name(absl::StrCat(prefix, "/", file.name()));
  }
  storage::v1::BundleChart& found = *revision.add_charts();
  found.set_chart(helm.chart());
  found.set_repo(helm.repo());
  found.set_version(helm.version());
  found.set_prefix(prefix);
  found.set_resolved_version(chart.version());
  *revision.mutable_options() = yaml.options;
  TakeSpec(spec, revision);
  *revision.mutable_targets() = yaml.customizations;
  if (revision.targets().empty()) AddDefaultTarget(revision);
  std::map<std::string, std::string> labels;
  TakePairs(helm_op.helm_op().labels(), labels);
  labels[kHelmOpLabel] = helm_op.name();
  SetPairs(labels, *revision.mutable_labels());
  return draft;
}

}  // namespace flotilla::manager
