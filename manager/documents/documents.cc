// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/documents.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/yaml/documents.h"
#include "google/protobuf/duration.pb.h"
#include "manager/documents/bundle_fields.h"
#include "manager/documents/deploy_fields.h"
#include "manager/documents/field_reader.h"
#include "manager/documents/git_repo_fields.h"
#include "manager/documents/regex.h"
#include "manager/documents/secret_fields.h"
#include "manager/documents/values.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using core::v1::LabelSelector;
using google::protobuf::RepeatedPtrField;
using nlohmann::json;
using storage::v1::Document;

constexpr absl::string_view kFleetApi = "fleet.cattle.io/v1alpha1";
constexpr absl::string_view kCoreApi = "v1";
constexpr size_t kMaxConfigMapBytes = 1 << 20;

struct KindRow {
  const char* kind;
  const char* plural;
  absl::string_view api;
};

// Kinds that are accepted, in the order of messages.
const std::vector<KindRow>& Kinds() {
  static const auto& kinds = *new std::vector<KindRow>{
      {"GitRepo", "GitRepos", kFleetApi},
      {"HelmOp", "HelmOps", kFleetApi},
      {"Bundle", "Bundles", kFleetApi},
      {"Cluster", "Clusters", kFleetApi},
      {"ClusterGroup", "ClusterGroups", kFleetApi},
      {"Policy", "Policies", kFleetApi},
      {"GitRepoRestriction", "GitRepoRestrictions", kFleetApi},
      {"BundleNamespaceMapping", "BundleNamespaceMappings", kFleetApi},
      {"ClusterRegistrationToken", "ClusterRegistrationTokens", kFleetApi},
      {"Secret", "Secrets", kCoreApi},
      {"ConfigMap", "ConfigMaps", kCoreApi},
      {"Namespace", "Namespaces", kCoreApi},
  };
  return kinds;
}

// Kinds of Fleet that are passed over, and what happens instead.
const std::map<std::string, std::string>& PassedOverKinds() {
  static const auto& kinds = *new std::map<std::string, std::string>{
      {"BundleDeployment", "the manager decides what each cluster gets"},
      {"Content", "files of bundles lie in the manager's own store"},
      {"ClusterRegistration", "a cluster joins with a token"},
      {"ImageScan",
       "registries are not scanned, and nothing is written back to Git"},
      {"Schedule", "changes are deployed at any time"},
  };
  return kinds;
}

void ReadMetadata(FieldReader& root, absl::string_view default_workspace,
                  Document& document) {
  document.set_workspace(std::string(default_workspace));
  std::optional<FieldReader> metadata = root.Object("metadata");
  if (!metadata.has_value()) {
    if (!root.Has("metadata")) root.Error("", "has no metadata.name");
    return;
  }
  document.set_name(metadata->String("name"));
  const std::string name_problem = DnsSubdomainProblem(document.name());
  if (document.name().empty()) {
    metadata->Error("", "has no name");
  } else if (!name_problem.empty()) {
    metadata->Error("name", name_problem);
  }
  const std::string workspace = metadata->String("namespace");
  if (document.kind() == "Namespace") {
    // Its labels are looked up by the workspace that it is.
    if (!workspace.empty()) {
      metadata->Error("namespace", "must be empty: a Namespace lies in none");
    }
    document.set_workspace(document.name());
    if (!document.name().empty() && name_problem.empty()) {
      const std::string problem = DnsLabelProblem(document.name());
      if (!problem.empty()) metadata->Error("name", problem);
      if (!problem.empty()) document.set_workspace("default");
    } else {
      document.set_workspace("default");
    }
  } else if (!workspace.empty()) {
    document.set_workspace(workspace);
  }
  const std::string workspace_problem = DnsLabelProblem(document.workspace());
  if (!workspace_problem.empty()) {
    metadata->Error("namespace", workspace_problem);
  }
  ReadLabels(*metadata, "labels", *document.mutable_labels());
  ReadAnnotations(*metadata, "annotations", *document.mutable_annotations());
  // What Kubernetes writes there.
  metadata->Ignored({"creationTimestamp", "deletionTimestamp",
                     "deletionGracePeriodSeconds", "finalizers", "generateName",
                     "generation", "managedFields", "ownerReferences",
                     "resourceVersion", "selfLink", "uid"});
  metadata->Finish();
}

void ReadCluster(FieldReader& spec, storage::v1::ClusterSpec& result) {
  result.set_paused(spec.Bool("paused"));
  result.set_client_id(spec.String("clientID"));
  if (const json* values = spec.Value("templateValues"); values != nullptr) {
    if (values->is_object()) {
      result.set_template_values_json(CanonicalValues(*values));
    } else {
      spec.Error("templateValues", "must be a map");
    }
  }
  for (const char* key : {"kubeConfigSecret", "kubeConfigSecretNamespace"}) {
    spec.NoEffect(key,
                  "the manager holds no credentials of clusters; install the "
                  "agent there with a token of \"flotilla token create\"");
  }
  for (const char* key :
       {"redeployAgentGeneration", "agentEnvVars", "agentNamespace",
        "privateRepoURL", "agentTolerations", "agentAffinity",
        "agentResources", "hostNetwork", "agentSchedulingCustomization",
        "agentPullSecrets"}) {
    spec.NoEffect(key,
                  "the agent's Deployment is yours: set it where you install "
                  "the agent");
  }
}

void ReadClusterGroup(FieldReader& spec,
                      storage::v1::ClusterGroupSpec& result) {
  LabelSelector selector;
  if (ReadLabelSelector(spec, "selector", selector)) {
    *result.mutable_selector() = std::move(selector);
  } else if (!spec.Has("selector")) {
    spec.Warning("", "has no selector, so the group has no clusters; write "
                     "\"selector: {}\" for all of them");
  }
}

void AddTexts(FieldReader& reader, absl::string_view key,
              RepeatedPtrField<std::string>& out) {
  for (std::string& text : reader.Strings(key)) *out.Add() = std::move(text);
}

// Regular expressions or exact texts.
void AddPatterns(FieldReader& reader, absl::string_view key,
                 RepeatedPtrField<std::string>& out) {
  AddTexts(reader, key, out);
  for (const std::string& pattern : out) {
    const std::string problem = RegexProblem(pattern);
    if (problem.empty()) continue;
    reader.Warning(key, absl::StrCat(problem,
                                     "; it allows this exact text alone"));
  }
}

void ReadRestriction(FieldReader& root,
                     storage::v1::GitRepoRestrictionSpec& result) {
  result.set_default_service_account(
      ReadDnsSubdomain(root, "defaultServiceAccount"));
  AddTexts(root, "allowedServiceAccounts",
           *result.mutable_allowed_service_accounts());
  AddPatterns(root, "allowedRepoPatterns",
              *result.mutable_allowed_repo_patterns());
  result.set_default_client_secret_name(
      ReadDnsSubdomain(root, "defaultClientSecretName"));
  AddTexts(root, "allowedClientSecretNames",
           *result.mutable_allowed_client_secret_names());
  AddTexts(root, "allowedTargetNamespaces",
           *result.mutable_allowed_target_namespaces());
  LabelSelector selector;
  if (ReadLabelSelector(root, "allowedTargetNamespaceSelector", selector)) {
    *result.mutable_allowed_target_namespace_selector() = std::move(selector);
  }
}

void ReadPolicy(FieldReader& root, storage::v1::PolicySpec& result) {
  result.set_require_service_account(root.Bool("requireServiceAccount"));
  AddTexts(root, "allowedServiceAccounts",
           *result.mutable_allowed_service_accounts());
  result.set_allow_namespace_creation(root.Bool("allowNamespaceCreation"));
  if (std::optional<FieldReader> git = root.Object("gitRepo");
      git.has_value()) {
    storage::v1::SourcePolicy& policy = *result.mutable_git_repo();
    policy.set_default_service_account(
        ReadDnsSubdomain(*git, "defaultServiceAccount"));
    policy.set_default_secret_name(
        ReadDnsSubdomain(*git, "defaultClientSecretName"));
    AddTexts(*git, "allowedClientSecretNames",
             *policy.mutable_allowed_secret_names());
    AddPatterns(*git, "allowedRepoPatterns",
                *policy.mutable_allowed_repo_patterns());
    git->Finish();
  }
  if (std::optional<FieldReader> helm = root.Object("helmOp");
      helm.has_value()) {
    storage::v1::SourcePolicy& policy = *result.mutable_helm_op();
    policy.set_default_service_account(
        ReadDnsSubdomain(*helm, "defaultServiceAccount"));
    policy.set_default_secret_name(
        ReadDnsSubdomain(*helm, "defaultHelmSecretName"));
    AddTexts(*helm, "allowedHelmSecretNames",
             *policy.mutable_allowed_secret_names());
    AddPatterns(*helm, "allowedHelmRepoPatterns",
                *policy.mutable_allowed_repo_patterns());
    AddPatterns(*helm, "allowedChartPatterns",
                *policy.mutable_allowed_chart_patterns());
    helm->Finish();
  }
}

void ReadMapping(FieldReader& root,
                 storage::v1::BundleNamespaceMappingSpec& result) {
  LabelSelector bundles;
  if (ReadLabelSelector(root, "bundleSelector", bundles)) {
    *result.mutable_bundle_selector() = std::move(bundles);
  }
  LabelSelector namespaces;
  if (ReadLabelSelector(root, "namespaceSelector", namespaces)) {
    *result.mutable_namespace_selector() = std::move(namespaces);
  }
  for (const char* key : {"bundleSelector", "namespaceSelector"}) {
    if (!root.Has(key)) {
      root.Warning("", absl::StrCat("has no ", key,
                                    ", so it matches nothing; write \"", key,
                                    ": {}\" for all"));
    }
  }
}

void ReadConfigMap(FieldReader& root, storage::v1::ConfigMapSpec& result) {
  size_t total = 0;
  for (const auto& [key, value] : root.StringMap("data")) {
    core::v1::LabelPair& pair = *result.add_data();
    pair.set_key(key);
    pair.set_value(value);
    total += key.size() + value.size();
  }
  if (total > kMaxConfigMapBytes) {
    root.Error("data",
               absl::StrCat("has more than ", kMaxConfigMapBytes, " bytes"));
  }
  root.NoEffect("binaryData", "only text is read; put it into data");
  root.Ignored({"immutable"});
}

// The kind when it is accepted; logs an error and returns "" otherwise.
std::string ReadKind(FieldReader& root) {
  const std::string api = root.String("apiVersion");
  const std::string kind = root.String("kind");
  if (!root.Has("kind")) {
    root.Error("", absl::StrCat("has no kind; accepted are ",
                                AcceptedKinds()));
    return "";
  }
  if (kind.empty()) {
    // A kind that is no text has been reported.
    if (root.log().ok()) {
      root.Error("kind", absl::StrCat("is empty; accepted are ",
                                      AcceptedKinds()));
    }
    return "";
  }
  const auto row = std::find_if(
      Kinds().begin(), Kinds().end(),
      [&kind](const KindRow& r) { return kind == r.kind; });
  if (row == Kinds().end()) {
    const std::string meant = CanonicalKind(kind);
    root.Error("kind",
               absl::StrCat("\"", ShownText(kind),
                            "\" is not a kind that can be applied",
                            meant.empty() ? std::string()
                                          : absl::StrCat("; did you mean \"",
                                                         meant, "\"?"),
                            "; accepted are ", AcceptedKinds()));
    return "";
  }
  if (api != row->api) {
    root.Error("apiVersion",
               absl::StrCat("must be \"", row->api, "\" for a ", kind,
                            ", and is \"", ShownText(api), "\""));
    return "";
  }
  return kind;
}

std::string SubjectOf(const Document& document) {
  return absl::StrCat(document.kind(), " ", ShownText(document.workspace()),
                      "/", ShownText(document.name()));
}

// Kinds without a `spec`: their keys stand at the top level.
bool ReadFlatKind(FieldReader& root, ParsedDocument& parsed) {
  Document& document = parsed.document;
  const std::string& kind = document.kind();
  if (kind == "Secret") {
    ReadSecret(root, *document.mutable_secret(), parsed.secret_data);
  } else if (kind == "ConfigMap") {
    ReadConfigMap(root, *document.mutable_config_map());
  } else if (kind == "Policy") {
    ReadPolicy(root, *document.mutable_policy());
  } else if (kind == "GitRepoRestriction") {
    ReadRestriction(root, *document.mutable_git_repo_restriction());
  } else if (kind == "BundleNamespaceMapping") {
    ReadMapping(root, *document.mutable_bundle_namespace_mapping());
  } else {
    return false;
  }
  if (root.Has("spec")) {
    // A policy that is read as empty would allow everything.
    root.Error("spec", absl::StrCat("does not belong to a ", kind,
                                    "; write its keys at the top level"));
  }
  return true;
}

void ReadSpec(FieldReader& spec, ParsedDocument& parsed) {
  Document& document = parsed.document;
  const std::string& kind = document.kind();
  if (kind == "GitRepo") {
    ReadGitRepoSpec(spec, *document.mutable_git_repo());
  } else if (kind == "HelmOp") {
    ReadHelmOpSpec(spec, *document.mutable_helm_op());
  } else if (kind == "Cluster") {
    ReadCluster(spec, *document.mutable_cluster());
  } else if (kind == "ClusterGroup") {
    ReadClusterGroup(spec, *document.mutable_cluster_group());
  } else if (kind == "ClusterRegistrationToken") {
    google::protobuf::Duration ttl;
    auto& token = *document.mutable_cluster_registration_token();
    if (ReadDuration(spec, "ttl", ttl)) *token.mutable_ttl() = ttl;
  } else if (kind == "Namespace") {
    document.mutable_namespace_();
    spec.Ignored({"finalizers"});
  } else {
    ReadBundleSpec(spec, *document.mutable_bundle(), parsed.contents);
  }
}

void ReadDocument(FieldReader& root, absl::string_view default_workspace,
                  ParsedDocument& parsed) {
  Document& document = parsed.document;
  const std::string kind = ReadKind(root);
  if (kind.empty()) return;
  document.set_kind(kind);
  ReadMetadata(root, default_workspace, document);
  root.log().set_subject(SubjectOf(document));
  if (!ReadFlatKind(root, parsed)) {
    static const json& empty = *new json(json::object());
    std::optional<FieldReader> given = root.Object("spec");
    FieldReader spec =
        given.has_value() ? *given
                          : FieldReader(empty, root.PointerOf("spec"),
                                        root.log());
    ReadSpec(spec, parsed);
    spec.Finish();
  }
  root.Ignored({"status"});
  root.Finish();
}

// Reads all files of one call.
//
// Thread-compatible.
class Reading {
 public:
  Reading(absl::string_view default_workspace, std::set<std::string>* keys)
      : workspace_(default_workspace), keys_(keys) {}

  void ReadFile(const NamedText& file) {
    absl::StatusOr<std::vector<YamlDocument>> documents =
        ParseYamlDocuments(file.text);
    if (!documents.ok()) {
      result_.errors.push_back(
          YamlProblem(documents.status(), file.name, ""));
      return;
    }
    for (const YamlDocument& yaml : *documents) {
      ReadValue(file, yaml, yaml.value, "");
    }
  }

  ParsedDocuments Take() { return std::move(result_); }

 private:
  // `value` is a document at `pointer` of `yaml`.
  void ReadValue(const NamedText& file, const YamlDocument& yaml,
                 const json& value, const std::string& pointer) {
    ProblemLog log(file.name, "", &yaml);
    log.set_key_record(keys_);
    if (pointer.empty() && ReadList(file, yaml)) return;
    if (PassOver(value, pointer, log)) {
      Keep(log);
      return;
    }
    ParsedDocument parsed;
    parsed.file = file.name;
    parsed.line = pointer.empty() ? yaml.line : yaml.LineOf(pointer);
    if (value.is_object()) {
      FieldReader root(value, pointer, log);
      ReadDocument(root, workspace_, parsed);
    } else {
      log.Error(pointer, absl::StrCat("is not a document; accepted kinds are ",
                                      AcceptedKinds()));
    }
    if (log.ok() && !seen_.insert(SubjectOf(parsed.document)).second) {
      log.Error(pointer, absl::StrCat(SubjectOf(parsed.document),
                                      " is there twice; keep one"));
    }
    Keep(log);
    if (log.ok()) result_.documents.push_back(std::move(parsed));
  }

  // As `kubectl get -o yaml` writes several objects.
  bool ReadList(const NamedText& file, const YamlDocument& yaml) {
    if (!yaml.value.is_object()) return false;
    const auto kind = yaml.value.find("kind");
    const auto items = yaml.value.find("items");
    if (kind == yaml.value.end() || !kind->is_string() ||
        !absl::EndsWith(kind->get_ref<const std::string&>(), "List") ||
        items == yaml.value.end() || !items->is_array()) {
      return false;
    }
    for (size_t i = 0; i < items->size(); ++i) {
      ReadValue(file, yaml, (*items)[i], absl::StrCat("/items/", i));
    }
    return true;
  }

  bool PassOver(const json& value, const std::string& pointer,
                ProblemLog& log) {
    if (!value.is_object()) return false;
    const auto kind = value.find("kind");
    const auto api = value.find("apiVersion");
    if (kind == value.end() || !kind->is_string() || api == value.end() ||
        !api->is_string() ||
        api->get_ref<const std::string&>() != kFleetApi) {
      return false;
    }
    const auto it =
        PassedOverKinds().find(kind->get_ref<const std::string&>());
    if (it == PassedOverKinds().end()) return false;
    log.Warning(pointer, absl::StrCat("a ", it->first, " has no effect: ",
                                      it->second));
    return true;
  }

  void Keep(const ProblemLog& log) {
    result_.errors.insert(result_.errors.end(), log.errors().begin(),
                          log.errors().end());
    result_.warnings.insert(result_.warnings.end(), log.warnings().begin(),
                            log.warnings().end());
  }

  const absl::string_view workspace_;
  std::set<std::string>* const keys_;
  std::set<std::string> seen_;
  ParsedDocuments result_;
};

}  // namespace

ParsedDocuments ParseDocuments(const std::vector<NamedText>& files,
                               absl::string_view default_workspace,
                               std::set<std::string>* keys) {
  if (default_workspace.empty()) default_workspace = kDefaultWorkspace;
  Reading reading(default_workspace, keys);
  for (const NamedText& file : files) reading.ReadFile(file);
  return reading.Take();
}

std::string CanonicalKind(absl::string_view kind) {
  for (const KindRow& row : Kinds()) {
    if (absl::EqualsIgnoreCase(kind, row.kind) ||
        absl::EqualsIgnoreCase(kind, row.plural)) {
      return row.kind;
    }
  }
  return "";
}

std::string ApiVersionOf(absl::string_view kind) {
  for (const KindRow& row : Kinds()) {
    if (kind == row.kind) return std::string(row.api);
  }
  return "";
}

std::string AcceptedKinds() {
  return absl::StrJoin(Kinds(), ", ", [](std::string* out, const KindRow& row) {
    out->append(row.kind);
  });
}

std::vector<std::string> PassedOverKindNames() {
  std::vector<std::string> names;
  for (const auto& [name, text] : PassedOverKinds()) names.push_back(name);
  return names;
}

std::string DescribeProblems(const std::vector<core::v1::Problem>& problems) {
  std::string out;
  for (const core::v1::Problem& problem : problems) {
    if (!out.empty()) out.push_back('\n');
    if (!problem.file().empty()) {
      absl::StrAppend(&out, problem.file(), ":");
      if (problem.line() > 0) absl::StrAppend(&out, problem.line(), ":");
      out.push_back(' ');
    }
    if (!problem.subject().empty()) {
      absl::StrAppend(&out, problem.subject(), ": ");
    }
    absl::StrAppend(&out, problem.message());
  }
  return out;
}

}  // namespace flotilla::manager
