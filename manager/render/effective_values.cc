// SPDX-License-Identifier: Apache-2.0

#include "manager/render/effective_values.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/crypto/sha256.h"
#include "common/yaml/documents.h"
#include "manager/render/render_input.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;

// Rises when the same input gives another manifest than before: then
// everything is rendered once more.
constexpr int kRenderRules = 4;
constexpr char kDefaultKey[] = "values.yaml";

// Maps are merged, all else is replaced.
void MergeOnTop(const json& top, json* base) {
  for (auto it = top.begin(); it != top.end(); ++it) {
    const auto known = base->find(it.key());
    if (known != base->end() && known->is_object() && it->is_object()) {
      MergeOnTop(*it, &*known);
    } else {
      (*base)[it.key()] = *it;
    }
  }
}

YamlLimits ValuesLimits() {
  YamlLimits limits;
  limits.record_lines = false;
  return limits;
}

absl::string_view KindName(const core::v1::ValuesRef& ref) {
  return ref.kind() == core::v1::ValuesRef::KIND_SECRET ? "Secret"
                                                        : "ConfigMap";
}

bool Same(const core::v1::ValuesRef& a, const core::v1::ValuesRef& b) {
  return a.kind() == b.kind() && a.namespace_() == b.namespace_() &&
         a.name() == b.name() && a.key() == b.key();
}

void AppendPart(absl::string_view part, std::string* text) {
  absl::StrAppend(text, part.size(), ":", part, ";");
}

}  // namespace

absl::optional<render::v1::RenderRequest> ValuesRequest(
    const storage::v1::Desired& desired, absl::string_view random_seed,
    int64_t now_unix_seconds) {
  const storage::v1::HelmOptions& helm = desired.options().helm();
  const bool has_values =
      !helm.values_json().empty() && helm.values_json() != "{}";
  if (!desired.has_template_context() ||
      (!has_values && helm.template_values_size() == 0)) {
    return absl::nullopt;
  }
  const storage::v1::TemplateContext& context = desired.template_context();
  render::v1::RenderRequest request;
  request.set_values_json(helm.values_json());
  request.set_random_seed(std::string(random_seed));
  request.set_now_unix_seconds(now_unix_seconds);
  render::v1::ValuesTemplate* values = request.mutable_values_template();
  values->set_cluster_namespace(context.cluster_namespace());
  values->set_cluster_name(context.cluster_name());
  for (const core::v1::LabelPair& label : context.cluster_labels()) {
    (*values->mutable_cluster_labels())[label.key()] = label.value();
  }
  for (const core::v1::LabelPair& pair : context.cluster_annotations()) {
    (*values->mutable_cluster_annotations())[pair.key()] = pair.value();
  }
  values->set_cluster_values_json(context.cluster_values_json());
  for (const core::v1::LabelPair& pair : helm.template_values()) {
    (*values->mutable_template_values())[pair.key()] = pair.value();
  }
  values->set_labels_only(helm.disable_pre_process());
  return request;
}

storage::v1::DeployOptions WithValues(
    const storage::v1::DeployOptions& options,
    const render::v1::RenderResponse& response) {
  storage::v1::DeployOptions result = options;
  result.mutable_helm()->set_values_json(response.values_json());
  result.mutable_helm()->clear_template_values();
  return result;
}

std::vector<core::v1::ValuesRef> AskedValues(
    const storage::v1::DeployOptions& options) {
  std::vector<core::v1::ValuesRef> refs;
  for (core::v1::ValuesRef ref : options.helm().values_from()) {
    if (ref.namespace_().empty()) {
      ref.set_namespace_(ReleaseNamespace(options));
    }
    if (ref.key().empty()) ref.set_key(kDefaultKey);
    refs.push_back(std::move(ref));
  }
  return refs;
}

bool Answers(const storage::v1::ClusterValues& values,
             const storage::v1::DeployOptions& options) {
  const std::vector<core::v1::ValuesRef> asked = AskedValues(options);
  if (values.service_account() != options.service_account() ||
      values.refs_size() != static_cast<int>(asked.size())) {
    return false;
  }
  for (int i = 0; i < values.refs_size(); ++i) {
    if (!Same(values.refs(i), asked[static_cast<size_t>(i)])) return false;
  }
  return values.has_problem() || values.contents_size() == values.refs_size();
}

absl::StatusOr<storage::v1::DeployOptions> WithClusterValues(
    const storage::v1::DeployOptions& options,
    const storage::v1::ClusterValues& values) {
  json merged = json::object();
  if (!options.helm().values_json().empty()) {
    absl::StatusOr<json> own = ParseJson(options.helm().values_json());
    if (!own.ok() || !own->is_object()) {
      return absl::InvalidArgumentError("helm.values is no map");
    }
    merged = *std::move(own);
  }
  for (int i = 0; i < values.contents_size(); ++i) {
    const core::v1::ValuesRef& ref = values.refs(i);
    const std::string what =
        absl::StrCat("helm.valuesFrom: key ", ref.key(), " of ", KindName(ref),
                     " ", ref.namespace_(), "/", ref.name());
    absl::StatusOr<YamlDocument> document =
        ParseYaml(values.contents(i), ValuesLimits());
    if (!document.ok()) {
      // The words of the error quote keys, and plain text may look like one.
      const bool secret = ref.kind() == core::v1::ValuesRef::KIND_SECRET;
      return absl::InvalidArgumentError(absl::StrCat(
          what, " is not YAML: line ", YamlErrorLine(document.status()),
          secret ? "" : ": ",
          secret ? "" : YamlErrorText(document.status())));
    }
    if (document->value.is_null()) continue;
    if (!document->value.is_object()) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, " is no map of values"));
    }
    MergeOnTop(document->value, &merged);
  }
  storage::v1::DeployOptions result = options;
  result.mutable_helm()->set_values_json(
      merged.dump(-1, ' ', false, json::error_handler_t::replace));
  result.mutable_helm()->clear_values_from();
  return result;
}

SecretTexts SecretsOf(const storage::v1::ClusterValues& values) {
  SecretTexts secrets;
  for (int i = 0; i < values.contents_size(); ++i) {
    if (values.refs(i).kind() != core::v1::ValuesRef::KIND_SECRET) continue;
    const absl::StatusOr<YamlDocument> document =
        ParseYaml(values.contents(i), ValuesLimits());
    if (document.ok()) secrets.Add(document->value);
  }
  return secrets;
}

std::string ClusterDigest(const storage::v1::Desired& desired,
                          absl::string_view facts_digest,
                          const storage::v1::ClusterValues* values) {
  std::string text = absl::StrCat("rules ", kRenderRules, ";");
  AppendPart(facts_digest, &text);
  const storage::v1::TemplateContext& context = desired.template_context();
  if (desired.has_template_context()) {
    AppendPart(context.cluster_namespace(), &text);
    AppendPart(context.cluster_name(), &text);
    for (const core::v1::LabelPair& pair : context.cluster_labels()) {
      AppendPart(pair.key(), &text);
      AppendPart(pair.value(), &text);
    }
    absl::StrAppend(&text, "|");
    for (const core::v1::LabelPair& pair : context.cluster_annotations()) {
      AppendPart(pair.key(), &text);
      AppendPart(pair.value(), &text);
    }
    AppendPart(context.cluster_values_json(), &text);
  }
  if (values != nullptr) {
    absl::StrAppend(&text, "values;");
    AppendPart(values->digest(), &text);
    AppendPart(values->problem().message(), &text);
  }
  return Sha256(text);
}

}  // namespace flotilla::manager
