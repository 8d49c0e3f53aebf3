// SPDX-License-Identifier: Apache-2.0

#include "manager/frontend/object_document.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/kube/object.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;
using storage::v1::Document;

constexpr char kSecret[] = "Secret";
constexpr char kConfigMap[] = "ConfigMap";
constexpr char kDefaultGitSecret[] = "gitcredential";
constexpr char kDefaultHookSecret[] = "gitjob-webhook";
constexpr char kKnownHosts[] = "known-hosts";
// Holds the whole object once more.
constexpr char kLastApplied[] =
    "kubectl.kubernetes.io/last-applied-configuration";

json PlainMetadata(const json& metadata) {
  json plain = json::object();
  for (const char* key : {"name", "namespace"}) {
    const std::string text = TextOr(Member(metadata, key));
    if (!text.empty()) plain[key] = text;
  }
  for (const char* key : {"labels", "annotations"}) {
    json map = Member(metadata, key);
    if (!map.is_object()) continue;
    map.erase(kLastApplied);
    if (!map.empty()) plain[key] = std::move(map);
  }
  return plain;
}

}  // namespace

absl::StatusOr<std::string> DocumentTextOf(absl::string_view kind,
                                           const json& object) {
  if (!object.is_object()) {
    return absl::InvalidArgumentError("the API server sent no object");
  }
  const bool builtin =
      kind == kSecret || kind == kConfigMap || kind == "Namespace";
  json text = object;
  text["apiVersion"] =
      builtin ? "v1" : absl::StrCat(kFleetGroup, "/", kFleetVersion);
  text["kind"] = kind;
  text["metadata"] = PlainMetadata(Member(object, "metadata"));
  text.erase("status");
  if (kind == "Namespace") text.erase("spec");
  return CanonicalJson(text);
}

absl::StatusOr<ParsedDocument> ReadObjectDocument(const DocumentId& id,
                                                  const std::string& text) {
  ParsedDocuments parsed = ParseDocuments({{id.name, text}}, id.workspace);
  std::string problems;
  for (const core::v1::Problem& problem : parsed.errors) {
    // Not the file: it is the object that the message stands on.
    absl::StrAppend(&problems, problems.empty() ? "" : "; ",
                    problem.message());
  }
  if (problems.empty() && parsed.documents.size() != 1) {
    problems = "this kind is of no use here";
  }
  if (!problems.empty()) return absl::InvalidArgumentError(problems);
  return std::move(parsed.documents[0]);
}

std::set<NamedObject> ObjectsNamedBy(const Document& document) {
  std::set<NamedObject> named;
  const std::string& workspace = document.workspace();
  const auto add = [&named, &workspace](const char* kind,
                                        const std::string& name) {
    if (!name.empty()) named.insert({kind, workspace, name});
  };
  const auto add_options = [&add](const storage::v1::DeployOptions& options) {
    for (const auto& resource : options.downstream_resources()) {
      if (resource.kind() == kSecret) add(kSecret, resource.name());
      if (resource.kind() == kConfigMap) add(kConfigMap, resource.name());
    }
  };
  const auto add_bundle = [&add_options](const storage::v1::BundleSpec& spec) {
    add_options(spec.options());
    for (const auto& target : spec.targets()) add_options(target.options());
  };
  if (document.has_git_repo()) {
    const storage::v1::GitRepoSpec& spec = document.git_repo();
    add(kSecret, spec.client_secret_name().empty() ? kDefaultGitSecret
                                                   : spec.client_secret_name());
    add(kSecret, spec.helm_secret_name());
    add(kSecret, spec.helm_secret_name_for_paths());
    add(kSecret, spec.webhook_secret());
    named.insert({kConfigMap, kFleetSystemNamespace, kKnownHosts});
    named.insert({kSecret, kFleetSystemNamespace, kDefaultHookSecret});
  } else if (document.has_helm_op()) {
    add(kSecret, document.helm_op().helm_secret_name());
    add_bundle(document.helm_op().bundle());
  } else if (document.has_bundle()) {
    add_bundle(document.bundle());
  }
  // A policy may give sources without a Secret this one.
  if (document.has_policy()) {
    add(kSecret, document.policy().git_repo().default_secret_name());
    add(kSecret, document.policy().helm_op().default_secret_name());
  } else if (document.has_git_repo_restriction()) {
    add(kSecret,
        document.git_repo_restriction().default_client_secret_name());
  }
  return named;
}

bool IsExported(const Document& document) {
  if (document.door() != Document::DOOR_UNSPECIFIED) return false;
  return document.has_cluster() ||
         (document.has_cluster_group() &&
          document.workspace() == kLocalWorkspace &&
          document.name() == "default");
}

json ObjectOf(const Document& document) {
  json metadata = {{"name", document.name()},
                   {"namespace", document.workspace()}};
  for (const core::v1::LabelPair& label : document.labels()) {
    metadata["labels"][label.key()] = label.value();
  }
  json object = {
      {"apiVersion", absl::StrCat(kFleetGroup, "/", kFleetVersion)},
      {"kind", document.kind()},
      {"metadata", std::move(metadata)},
      {"spec", json::object()}};
  if (document.has_cluster_group()) object["spec"]["selector"] = json::object();
  return object;
}

}  // namespace flotilla::manager
