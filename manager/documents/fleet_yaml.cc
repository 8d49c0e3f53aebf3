// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/fleet_yaml.h"

#include <utility>

#include "absl/status/statusor.h"
#include "common/yaml/documents.h"
#include "manager/documents/bundle_fields.h"
#include "manager/documents/field_reader.h"

namespace flotilla::manager {
namespace {

YamlLimits FleetYamlLimits() {
  YamlLimits limits;
  limits.max_bytes = 4 << 20;
  limits.max_nodes = 200000;
  limits.lenient = true;
  return limits;
}

void ReadRoot(FieldReader& root, FleetYaml& result) {
  result.name = root.String("name");
  if (!result.name.empty()) {
    const std::string problem = DnsSubdomainProblem(result.name);
    if (!problem.empty()) root.Error("name", problem);
  }
  ReadLabels(root, "labels", result.labels);
  result.options = ReadDeployOptions(root, result.lines);
  for (const char* key : {"targets", "targetCustomizations"}) {
    for (FieldReader& target : root.Objects(key)) {
      OptionLines& lines = result.customization_lines.emplace_back();
      *result.customizations.Add() = ReadBundleTarget(target, lines);
    }
  }
  NameTargets(result.customizations);

  result.all_matches = ReadAllMatches(root);
  if (root.Has("overrideTargets")) {
    ReadPlainTargets(root, "overrideTargets",
                     result.override_targets.emplace());
  }
  root.Ignored({"overrideTargets"});
  ReadDependencies(root, result.depends_on);
  result.paused = root.Bool("paused");
  result.rollout = ReadRollout(root);
  ReadAnnotations(root, "annotations", result.annotations);

  root.NoEffect("forceSyncGeneration", "that of the GitRepo counts");
  result.options.clear_force_sync_generation();
  root.NoEffect("imageScans",
                "registries are not scanned, and nothing is written back to "
                "Git");
  root.NoEffect("targetRestrictions",
                "the targets of the GitRepo say where, and overrideTargets "
                "replaces them");
  for (const char* key :
       {"resources", "contentsId", "helmOpOptions", "valuesHash"}) {
    root.NoEffect(key, "the files of the directory are the bundle");
  }
  root.Finish();
}

}  // namespace

FleetYaml ParseFleetYaml(absl::string_view text, absl::string_view file,
                         absl::string_view subject,
                         std::set<std::string>* keys) {
  FleetYaml result;
  absl::StatusOr<YamlDocument> document = ParseYaml(text, FleetYamlLimits());
  if (!document.ok()) {
    result.errors.push_back(YamlProblem(document.status(), file, subject));
    return result;
  }
  ProblemLog log(std::string(file), std::string(subject), &*document);
  log.set_lenient();
  log.set_key_record(keys);
  if (document->value.is_object()) {
    FieldReader root(document->value, "", log);
    ReadRoot(root, result);
  } else if (!document->value.is_null()) {
    log.Error("", "must be a map of keys");
  }
  result.errors = log.errors();
  result.warnings = log.warnings();
  for (const YamlDoubt& doubt : document->doubts) {
    if (result.warnings.size() >= ProblemLog::kMaxProblems) break;
    result.warnings.push_back(YamlWarning(doubt, file, subject));
  }
  return result;
}

}  // namespace flotilla::manager
