// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/deploy_fields.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "manager/documents/values.h"

namespace flotilla::manager {
namespace {

using core::v1::LabelPair;
using core::v1::LabelRequirement;
using core::v1::LabelSelector;
using core::v1::ValuesRef;
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

void AddPairs(const std::map<std::string, std::string>& from,
              RepeatedPtrField<LabelPair>& out) {
  for (const auto& [key, value] : from) {
    LabelPair& pair = *out.Add();
    pair.set_key(key);
    pair.set_value(value);
  }
}

void ReadReleaseName(FieldReader& helm, HelmOptions& options) {
  options.set_release_name(helm.String("releaseName"));
  const std::string& release = options.release_name();
  if (release.empty()) return;
  std::string problem = DnsSubdomainProblem(release);
  if (problem.empty() && release.size() > kMaxReleaseName) {
    problem = absl::StrCat("has ", release.size(),
                           " characters; a release name has at most ",
                           kMaxReleaseName);
  }
  if (!problem.empty()) helm.Error("releaseName", problem);
}

void ReadValuesFrom(FieldReader& helm, HelmOptions& options) {
  for (FieldReader& entry : helm.Objects("valuesFrom")) {
    bool found = false;
    // In this order when both are given.
    for (const auto& [key, kind] :
         {std::pair<const char*, ValuesRef::Kind>(
              "configMapKeyRef", ValuesRef::KIND_CONFIG_MAP),
          {"secretKeyRef", ValuesRef::KIND_SECRET}}) {
      found = found || entry.Has(key);
      std::optional<FieldReader> ref = entry.Object(key);
      if (!ref.has_value()) continue;
      ValuesRef& result = *options.add_values_from();
      result.set_kind(kind);
      result.set_namespace_(ReadDnsLabel(*ref, "namespace"));
      result.set_name(ReadDnsSubdomain(*ref, "name"));
      if (!ref->Has("name")) ref->Error("", "has no name");
      result.set_key(ref->String("key"));
      if (result.key().empty()) result.set_key("values.yaml");
      ref->Finish();
    }
    if (!found) {
      entry.Warning("", "has no effect: it has neither a configMapKeyRef nor "
                        "a secretKeyRef");
    }
    entry.Finish();
  }
}

void ReadHelm(FieldReader helm, HelmOptions& options, OptionLines& lines) {
  options.set_chart(helm.String("chart"));
  options.set_repo(helm.String("repo"));
  options.set_version(helm.String("version"));
  lines.helm_chart = helm.LineOf("chart");
  lines.helm_repo = helm.LineOf("repo");
  lines.helm_version = helm.LineOf("version");
  ReadReleaseName(helm, options);
  options.set_disable_pre_process(helm.Bool("disablePreProcess"));
  if (const json* values = helm.Value("values"); values != nullptr) {
    if (values->is_object()) {
      options.set_values_json(CanonicalValues(*values));
    } else {
      helm.Error("values", "must be a map");
    }
  }
  lines.values_files_key = helm.LineOf("valuesFiles");
  for (std::string& file : helm.Strings("valuesFiles")) {
    lines.values_files.push_back(helm.log().LineOf(absl::StrCat(
        helm.PointerOf("valuesFiles"), "/", lines.values_files.size())));
    options.add_values_files(std::move(file));
  }
  ReadValuesFrom(helm, options);
  AddPairs(helm.StringMap("templateValues"),
           *options.mutable_template_values());
  options.set_timeout_seconds(helm.Int32("timeoutSeconds"));
  options.set_max_history(helm.Int32("maxHistory"));
  options.set_take_ownership(helm.Bool("takeOwnership"));
  options.set_force(helm.Bool("force"));
  options.set_wait_for_jobs(helm.Bool("waitForJobs"));
  options.set_atomic(helm.Bool("atomic"));
  options.set_disable_dns(helm.Bool("disableDNS"));
  options.set_skip_schema_validation(helm.Bool("skipSchemaValidation"));
  options.set_disable_dependency_update(helm.Bool("disableDependencyUpdate"));
  helm.Finish();
}

std::string ComparePatchText(FieldReader& patch, const char* key) {
  std::string text = patch.String(key);
  if (text.empty()) patch.Warning("", absl::StrCat("has no ", key));
  return text;
}

void ReadComparePatch(FieldReader& reader, core::v1::ComparePatch& patch) {
  patch.set_api_version(ComparePatchText(reader, "apiVersion"));
  patch.set_kind(ComparePatchText(reader, "kind"));
  patch.set_namespace_(reader.String("namespace"));
  patch.set_name(reader.String("name"));
  for (std::string& pointer : reader.Strings("jsonPointers")) {
    if (!pointer.empty() && pointer.front() != '/') {
      reader.Error("jsonPointers",
                   absl::StrCat("\"", ShownText(pointer),
                                "\" is not a JSON pointer; write \"/\" before "
                                "each part, such as \"/spec/replicas\""));
    }
    patch.add_json_pointers(std::move(pointer));
  }
  for (FieldReader& operation : reader.Objects("operations")) {
    core::v1::JsonPatchOperation& result = *patch.add_operations();
    result.set_op(operation.String("op"));
    result.set_path(operation.String("path"));
    static const auto& ops = *new std::vector<std::string>{
        "add", "copy", "ignore", "move", "remove", "replace", "test"};
    if (std::find(ops.begin(), ops.end(), result.op()) == ops.end()) {
      operation.Error("op", absl::StrCat("\"", ShownText(result.op()),
                                         "\" is not one of ",
                                         absl::StrJoin(ops, ", ")));
    } else if (result.op() != "ignore" &&
               (result.path().empty() || result.path().front() != '/')) {
      operation.Error("path", "must be a JSON pointer, such as "
                              "\"/spec/replicas\"");
    }
    if (const json* value = operation.Value("value"); value != nullptr) {
      result.set_value_json(
          value->dump(-1, ' ', false, json::error_handler_t::replace));
    }
    operation.Finish();
  }
  reader.Finish();
}

void ReadIgnore(FieldReader ignore, DeployOptions& options) {
  const json* list = ignore.Value("conditions");
  if (list != nullptr && !list->is_array()) {
    ignore.Error("conditions", "must be a list of maps of strings");
  }
  if (list != nullptr && list->is_array()) {
    // A list whose items are maps without fixed keys.
    for (size_t i = 0; i < list->size(); ++i) {
      const std::string index = std::to_string(i);
      json wrapped = json::object();
      wrapped[index] = (*list)[i];
      FieldReader item(wrapped, ignore.PointerOf("conditions"), ignore.log());
      AddPairs(item.StringMap(index),
               *options.add_ignore_conditions()->mutable_fields());
    }
  }
  ignore.Finish();
}

// Our own: rules for the health of kinds, in Lua.
void ReadHealthRules(FieldReader& reader, DeployOptions& options) {
  constexpr int kMaxRules = 50;
  constexpr size_t kMaxScript = size_t{32} << 10;
  for (FieldReader& entry : reader.Objects("healthRules")) {
    core::v1::HealthRule& rule = *options.add_health_rules();
    const std::string api_version = entry.String("apiVersion");
    rule.set_group(entry.String("group"));
    if (!api_version.empty()) {
      // "v1" is of the core group.
      const size_t slash = api_version.find('/');
      rule.set_group(slash == std::string::npos ? std::string()
                                                : api_version.substr(0, slash));
    }
    rule.set_kind(entry.String("kind"));
    if (rule.kind().empty()) entry.Error("", "has no kind");
    rule.set_script(entry.String("script"));
    if (rule.script().empty()) entry.Error("", "has no script");
    if (rule.script().size() > kMaxScript) {
      entry.Error("script", "is over 32 KiB");
    }
    entry.Finish();
  }
  if (options.health_rules_size() > kMaxRules) {
    reader.Error("healthRules", absl::StrCat("has more than ", kMaxRules,
                                             " rules"));
  }
}

TriState TriStateOf(const std::optional<bool>& value) {
  if (!value.has_value()) return storage::v1::TRI_STATE_UNSPECIFIED;
  return *value ? storage::v1::TRI_STATE_TRUE : storage::v1::TRI_STATE_FALSE;
}

void ReadDownstreamResources(FieldReader& reader, DeployOptions& options) {
  for (FieldReader& entry : reader.Objects("downstreamResources")) {
    storage::v1::DownstreamResource& resource =
        *options.add_downstream_resources();
    const std::string kind = entry.String("kind");
    for (const char* known : {"Secret", "ConfigMap"}) {
      if (absl::EqualsIgnoreCase(kind, known)) resource.set_kind(known);
    }
    if (resource.kind().empty()) {
      entry.Error("kind", absl::StrCat("\"", ShownText(kind),
                                       "\" is not one of Secret, ConfigMap"));
    }
    resource.set_name(ReadDnsSubdomain(entry, "name"));
    if (!entry.Has("name")) entry.Error("", "has no name");
    entry.Finish();
  }
  reader.NoEffect("downstreamResources",
                  "Secrets and ConfigMaps of the workspace are not copied to "
                  "clusters yet; create them there, or put them into the "
                  "bundle");
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
  const std::map<std::string, std::string> labels = reader.StringMap(key);
  for (const auto& [name, value] : labels) {
    for (const std::string& problem :
         {LabelKeyProblem(name), LabelValueProblem(value)}) {
      if (!problem.empty()) reader.Error(key, problem);
    }
  }
  AddPairs(labels, out);
}

void ReadAnnotations(FieldReader& reader, absl::string_view key,
                     RepeatedPtrField<LabelPair>& out) {
  const std::map<std::string, std::string> pairs = reader.StringMap(key);
  for (const auto& [name, value] : pairs) {
    const std::string problem = LabelKeyProblem(absl::AsciiStrToLower(name));
    if (!problem.empty()) {
      reader.Error(key, absl::StrCat("\"", ShownText(name),
                                     "\" is not a valid annotation key"));
    }
  }
  AddPairs(pairs, out);
}

std::string ReadDnsLabel(FieldReader& reader, absl::string_view key) {
  std::string text = reader.String(key);
  const std::string problem = text.empty() ? "" : DnsLabelProblem(text);
  if (!problem.empty()) reader.Error(key, problem);
  return text;
}

std::string ReadDnsSubdomain(FieldReader& reader, absl::string_view key) {
  std::string text = reader.String(key);
  const std::string problem = text.empty() ? "" : DnsSubdomainProblem(text);
  if (!problem.empty()) reader.Error(key, problem);
  return text;
}

std::string PathProblem(absl::string_view path) {
  absl::ConsumePrefix(&path, "/");
  int depth = 0;
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == ".") continue;
    depth += part == ".." ? -1 : 1;
    if (depth < 0) {
      return absl::StrCat("\"", ShownText(path), "\" leads out of its root");
    }
  }
  for (const char c : path) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f) {
      return absl::StrCat("\"", ShownText(path),
                          "\" holds a control character");
    }
  }
  return "";
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
  const DeployOptions& options = *target.mutable_options() =
      ReadDeployOptions(reader, lines);
  const auto top_only = [&reader](bool is_set, absl::string_view key,
                                  absl::string_view name) {
    if (!is_set) return;
    reader.Warning(key, absl::StrCat(name, " counts for the whole bundle and "
                                     "has no effect in a target: write it "
                                     "outside of the list of targets"));
  };
  top_only(options.delete_namespace(), "deleteNamespace", "deleteNamespace");
  top_only(options.delete_crd_resources(), "deleteCRDResources",
           "deleteCRDResources");
  top_only(options.ignore_conditions_size() > 0, "ignore", "ignore");
  top_only(options.helm().skip_schema_validation(), "helm",
           "skipSchemaValidation");
  top_only(options.helm().disable_dependency_update(), "helm",
           "disableDependencyUpdate");
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

CorrectDrift ReadCorrectDrift(FieldReader& reader) {
  CorrectDrift result;
  std::optional<FieldReader> object = reader.Object("correctDrift");
  if (!object.has_value()) return result;
  result.enabled = TriStateOf(object->OptionalBool("enabled"));
  result.force = object->Bool("force");
  result.keep_fail_history = object->Bool("keepFailHistory");
  object->Finish();
  return result;
}

DeployOptions ReadDeployOptions(FieldReader& reader, OptionLines& lines) {
  DeployOptions options;
  options.set_default_namespace(ReadDnsLabel(reader, "defaultNamespace"));
  options.set_namespace_(ReadDnsLabel(reader, "namespace"));
  if (std::optional<FieldReader> helm = reader.Object("helm");
      helm.has_value()) {
    ReadHelm(*std::move(helm), *options.mutable_helm(), lines);
  }
  const CorrectDrift drift = ReadCorrectDrift(reader);
  options.set_correct_drift(drift.enabled);
  options.set_correct_drift_force(drift.force);
  options.set_correct_drift_keep_fail_history(drift.keep_fail_history);
  options.set_keep_resources(reader.Bool("keepResources"));
  options.set_delete_namespace(reader.Bool("deleteNamespace"));
  options.set_delete_crd_resources(reader.Bool("deleteCRDResources"));
  options.set_force_sync_generation(reader.Int("forceSyncGeneration"));
  options.set_service_account(ReadDnsSubdomain(reader, "serviceAccount"));
  if (std::optional<FieldReader> kustomize = reader.Object("kustomize");
      kustomize.has_value()) {
    options.set_kustomize_dir(kustomize->String("dir"));
    lines.kustomize_dir = kustomize->LineOf("dir");
    const std::string problem = PathProblem(options.kustomize_dir());
    if (!problem.empty()) kustomize->Error("dir", problem);
    kustomize->Finish();
  }
  if (std::optional<FieldReader> yaml = reader.Object("yaml");
      yaml.has_value()) {
    for (std::string& overlay : yaml->Strings("overlays")) {
      const std::string problem = PathProblem(overlay);
      if (!problem.empty()) yaml->Error("overlays", problem);
      lines.yaml_overlays.push_back(yaml->log().LineOf(absl::StrCat(
          yaml->PointerOf("overlays"), "/", lines.yaml_overlays.size())));
      options.add_yaml_overlays(std::move(overlay));
    }
    yaml->Finish();
  }
  if (std::optional<FieldReader> diff = reader.Object("diff");
      diff.has_value()) {
    for (FieldReader& patch : diff->Objects("comparePatches")) {
      ReadComparePatch(patch, *options.add_compare_patches());
    }
    diff->Finish();
  }
  if (std::optional<FieldReader> ignore = reader.Object("ignore");
      ignore.has_value()) {
    ReadIgnore(*std::move(ignore), options);
  }
  ReadLabels(reader, "namespaceLabels", *options.mutable_namespace_labels());
  ReadAnnotations(reader, "namespaceAnnotations",
                  *options.mutable_namespace_annotations());
  ReadHealthRules(reader, options);
  ReadDownstreamResources(reader, options);
  options.set_create_namespace(
      TriStateOf(reader.OptionalBool("createNamespace")));
  LabelSelector selector;
  if (ReadLabelSelector(reader, "allowedTargetNamespaceSelector", selector)) {
    *options.mutable_allowed_target_namespace_selector() =
        std::move(selector);
  }
  reader.NoEffect("overwrites",
                  "an object that moves to another bundle is handed over "
                  "without it");
  return options;
}

}  // namespace flotilla::manager
