// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/deploy_fields.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "manager/documents/values.h"

namespace flotilla::manager {
namespace {

using core::v1::LabelPair;
using core::v1::LabelRequirement;
using core::v1::LabelSelector;
using google::protobuf::RepeatedPtrField;
using nlohmann::json;
using storage::v1::DeployOptions;
using storage::v1::HelmOptions;
using storage::v1::Target;
using storage::v1::TriState;

constexpr size_t kMaxReleaseName = 53;

bool IsLowerAlnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool IsAlnum(char c) {
  return IsLowerAlnum(c) || (c >= 'A' && c <= 'Z');
}

// Letters and digits at both ends, and `-`, `_`, `.` between them.
bool IsQualifiedName(absl::string_view name) {
  if (name.empty() || name.size() > 63) return false;
  if (!IsAlnum(name.front()) || !IsAlnum(name.back())) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return IsAlnum(c) || c == '-' || c == '_' || c == '.';
  });
}

void CheckNamespace(FieldReader& reader, absl::string_view key,
                    const std::string& name) {
  if (name.empty()) return;
  const std::string problem = DnsLabelProblem(name);
  if (!problem.empty()) reader.Error(key, problem);
}

LabelRequirement::Operator ParseOperator(absl::string_view text) {
  if (text == "In") return LabelRequirement::OPERATOR_IN;
  if (text == "NotIn") return LabelRequirement::OPERATOR_NOT_IN;
  if (text == "Exists") return LabelRequirement::OPERATOR_EXISTS;
  if (text == "DoesNotExist") return LabelRequirement::OPERATOR_DOES_NOT_EXIST;
  return LabelRequirement::OPERATOR_UNSPECIFIED;
}

void ReadRequirement(FieldReader& reader, LabelRequirement& requirement) {
  requirement.set_key(reader.String("key"));
  const std::string key_problem = LabelKeyProblem(requirement.key());
  if (!key_problem.empty()) reader.Error("key", key_problem);
  const std::string op = reader.String("operator");
  requirement.set_operator_(ParseOperator(op));
  for (std::string& value : reader.Strings("values")) {
    const std::string problem = LabelValueProblem(value);
    if (!problem.empty()) reader.Error("values", problem);
    requirement.add_values(std::move(value));
  }
  switch (requirement.operator_()) {
    case LabelRequirement::OPERATOR_IN:
    case LabelRequirement::OPERATOR_NOT_IN:
      if (requirement.values().empty()) {
        reader.Error("values", absl::StrCat("must not be empty with operator ",
                                            op));
      }
      break;
    case LabelRequirement::OPERATOR_EXISTS:
    case LabelRequirement::OPERATOR_DOES_NOT_EXIST:
      if (!requirement.values().empty()) {
        reader.Error("values", absl::StrCat("must be empty with operator ",
                                            op));
      }
      break;
    default:
      reader.Error("operator",
                   absl::StrCat("\"", ShownText(op),
                                "\" is not one of In, NotIn, Exists, "
                                "DoesNotExist"));
  }
  reader.Finish();
}

void ReadHelm(FieldReader helm, HelmOptions& options, OptionLines& lines) {
  options.set_chart(helm.String("chart"));
  lines.helm_chart = helm.LineOf("chart");
  options.set_release_name(helm.String("releaseName"));
  const std::string& release = options.release_name();
  if (!release.empty()) {
    std::string problem = DnsSubdomainProblem(release);
    if (problem.empty() && release.size() > kMaxReleaseName) {
      problem = absl::StrCat("has ", release.size(),
                             " characters; a release name has at most ",
                             kMaxReleaseName);
    }
    if (!problem.empty()) helm.Error("releaseName", problem);
  }
  // What it asks for is what happens: nothing is evaluated.
  if (helm.Bool("disablePreProcess")) lines.literal_values = true;
  if (const json* values = helm.Value("values"); values != nullptr) {
    std::string inner;
    if (!values->is_object()) {
      helm.Error("values", "must be a map");
    } else if (FindTemplate(*values, lines.literal_values, inner)) {
      helm.log().Error(absl::StrCat(helm.PointerOf("values"), inner),
                       "holds a template (\"${\" or "
                       "\"global.fleet.clusterLabels.\"), which is not "
                       "supported yet; write the value itself, in "
                       "targetCustomizations where clusters differ",
                       "UNIMPLEMENTED");
    } else {
      options.set_values_json(CanonicalValues(*values));
    }
  }
  lines.values_files_key = helm.LineOf("valuesFiles");
  for (std::string& file : helm.Strings("valuesFiles")) {
    lines.values_files.push_back(helm.log().LineOf(absl::StrCat(
        helm.PointerOf("valuesFiles"), "/", lines.values_files.size())));
    options.add_values_files(std::move(file));
  }
  options.set_take_ownership(helm.Bool("takeOwnership"));
  helm.Unsupported({"repo", "version", "valuesFrom", "templateValues",
                    "timeoutSeconds", "force", "maxHistory", "waitForJobs",
                    "atomic", "disableDNS", "skipSchemaValidation",
                    "disableDependencyUpdate"});
  helm.Finish();
}

}  // namespace

std::string DnsLabelProblem(absl::string_view name) {
  const bool valid =
      !name.empty() && name.size() <= 63 && IsLowerAlnum(name.front()) &&
      IsLowerAlnum(name.back()) &&
      std::all_of(name.begin(), name.end(),
                  [](char c) { return IsLowerAlnum(c) || c == '-'; });
  if (valid) return "";
  return absl::StrCat("\"", ShownText(name),
                      "\" is not a valid name: at most 63 lower-case letters, "
                      "digits and '-', a letter or digit at both ends");
}

std::string DnsSubdomainProblem(absl::string_view name) {
  bool valid = !name.empty() && name.size() <= 253;
  for (const absl::string_view part : absl::StrSplit(name, '.')) {
    valid = valid && !part.empty() && IsLowerAlnum(part.front()) &&
            IsLowerAlnum(part.back()) &&
            std::all_of(part.begin(), part.end(), [](char c) {
              return IsLowerAlnum(c) || c == '-';
            });
  }
  if (valid) return "";
  return absl::StrCat("\"", ShownText(name),
                      "\" is not a valid name: at most 253 lower-case letters, "
                      "digits, '-' and '.', a letter or digit at both ends");
}

std::string LabelKeyProblem(absl::string_view key) {
  const size_t slash = key.find('/');
  bool valid = false;
  if (slash == absl::string_view::npos) {
    valid = IsQualifiedName(key);
  } else {
    valid = DnsSubdomainProblem(key.substr(0, slash)).empty() &&
            IsQualifiedName(key.substr(slash + 1));
  }
  if (valid) return "";
  return absl::StrCat("\"", ShownText(key), "\" is not a valid label key");
}

std::string LabelValueProblem(absl::string_view value) {
  if (value.empty() || IsQualifiedName(value)) return "";
  return absl::StrCat("\"", ShownText(value),
                      "\" is not a valid label value: at most 63 letters, "
                      "digits, '-', '_' and '.', a letter or digit at both "
                      "ends");
}

bool ReadLabelSelector(FieldReader& reader, absl::string_view key,
                       LabelSelector& selector) {
  std::optional<FieldReader> object = reader.Object(key);
  if (!object.has_value()) return false;
  ReadLabels(*object, "matchLabels", *selector.mutable_match_labels());
  for (FieldReader& requirement : object->Objects("matchExpressions")) {
    ReadRequirement(requirement, *selector.add_match_expressions());
  }
  object->Finish();
  return true;
}

void ReadLabels(FieldReader& reader, absl::string_view key,
                RepeatedPtrField<LabelPair>& out) {
  // A std::map: sorted by key.
  for (const auto& [name, value] : reader.StringMap(key)) {
    for (const std::string& problem :
         {LabelKeyProblem(name), LabelValueProblem(value)}) {
      if (!problem.empty()) reader.Error(key, problem);
    }
    LabelPair& pair = *out.Add();
    pair.set_key(name);
    pair.set_value(value);
  }
}

void ReadTargetSelectors(FieldReader& reader, Target& target) {
  target.set_name(reader.String("name"));
  target.set_cluster_name(reader.String("clusterName"));
  target.set_cluster_group(reader.String("clusterGroup"));
  bool has_selector = false;
  LabelSelector selector;
  if (ReadLabelSelector(reader, "clusterSelector", selector)) {
    *target.mutable_cluster_selector() = std::move(selector);
    has_selector = true;
  }
  LabelSelector group_selector;
  if (ReadLabelSelector(reader, "clusterGroupSelector", group_selector)) {
    *target.mutable_cluster_group_selector() = std::move(group_selector);
    has_selector = true;
  }
  // A selector of a wrong type is an error already.
  has_selector = has_selector || reader.Has("clusterSelector") ||
                 reader.Has("clusterGroupSelector");
  if (!has_selector && target.cluster_name().empty() &&
      target.cluster_group().empty()) {
    reader.Warning("",
                   "has no clusterName, clusterSelector, clusterGroup or "
                   "clusterGroupSelector, so it matches no cluster; write "
                   "\"clusterSelector: {}\" for all of them");
  }
}

Target ReadBundleTarget(FieldReader& reader, OptionLines& lines) {
  Target target;
  ReadTargetSelectors(reader, target);
  target.set_do_not_deploy(reader.Bool("doNotDeploy"));
  *target.mutable_options() = ReadDeployOptions(reader, lines);
  reader.Unsupported({"forceSyncGeneration"});
  reader.Finish();
  return target;
}

void NameTargets(RepeatedPtrField<Target>& list) {
  for (int i = 0; i < list.size(); ++i) {
    if (list[i].name().empty()) {
      list[i].set_name(absl::StrFormat("target%03d", i));
    }
  }
}

TriState ReadCorrectDrift(FieldReader& reader) {
  std::optional<FieldReader> object = reader.Object("correctDrift");
  if (!object.has_value()) return storage::v1::TRI_STATE_UNSPECIFIED;
  const std::optional<bool> enabled = object->OptionalBool("enabled");
  object->Unsupported({"force", "keepFailHistory"});
  object->Finish();
  if (!enabled.has_value()) return storage::v1::TRI_STATE_UNSPECIFIED;
  return *enabled ? storage::v1::TRI_STATE_TRUE : storage::v1::TRI_STATE_FALSE;
}

DeployOptions ReadDeployOptions(FieldReader& reader, OptionLines& lines) {
  DeployOptions options;
  options.set_default_namespace(reader.String("defaultNamespace"));
  CheckNamespace(reader, "defaultNamespace", options.default_namespace());
  options.set_namespace_(reader.String("namespace"));
  CheckNamespace(reader, "namespace", options.namespace_());
  if (std::optional<FieldReader> helm = reader.Object("helm");
      helm.has_value()) {
    ReadHelm(*std::move(helm), *options.mutable_helm(), lines);
  }
  options.set_correct_drift(ReadCorrectDrift(reader));
  options.set_keep_resources(reader.Bool("keepResources"));
  if (std::optional<FieldReader> kustomize = reader.Object("kustomize");
      kustomize.has_value()) {
    kustomize->UnsupportedUnless("dir", {"."});
    kustomize->Finish();
  }
  reader.Unsupported({"serviceAccount", "yaml", "diff", "deleteNamespace",
                      "deleteCRDResources", "ignore", "namespaceLabels",
                      "namespaceAnnotations", "downstreamResources",
                      "createNamespace", "overwrites",
                      "allowedTargetNamespaceSelector"});
  return options;
}

}  // namespace flotilla::manager
