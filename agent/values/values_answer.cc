// SPDX-License-Identifier: Apache-2.0

#include "agent/values/values_answer.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/assignment/values_digest.h"
#include "common/kube/kube_error.h"
#include "common/kube/object.h"
#include "nlohmann/json.hpp"
#include "common/text/cut_text.h"

namespace flotilla::agent {
namespace {

using core::v1::ValuesRef;
using nlohmann::json;

constexpr size_t kMaxName = 253;
constexpr size_t kMaxMessage = 4096;
constexpr absl::string_view kWhere = "helm.valuesFrom: ";

bool IsObjectName(absl::string_view name) {
  if (name.empty() || name.size() > kMaxName) return false;
  for (const char c : name) {
    if (!absl::ascii_islower(static_cast<unsigned char>(c)) &&
        !absl::ascii_isdigit(static_cast<unsigned char>(c)) && c != '-' &&
        c != '.') {
      return false;
    }
  }
  return name.front() != '.' && name.front() != '-';
}

bool IsSecret(const ValuesRef& ref) {
  return ref.kind() == ValuesRef::KIND_SECRET;
}

std::string Named(const ValuesRef& ref) {
  return absl::StrCat(IsSecret(ref) ? "Secret " : "ConfigMap ",
                      ref.namespace_(), "/", ref.name());
}

}  // namespace

absl::Status CheckRef(const ValuesRef& ref) {
  if ((ref.kind() == ValuesRef::KIND_SECRET ||
       ref.kind() == ValuesRef::KIND_CONFIG_MAP) &&
      IsObjectName(ref.name()) && IsObjectName(ref.namespace_()) &&
      ref.namespace_().find('.') == std::string::npos) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      kWhere, "\"", absl::CHexEscape(ref.namespace_().substr(0, kMaxName)),
      "/", absl::CHexEscape(ref.name().substr(0, kMaxName)),
      "\" names no ConfigMap or Secret: names have lower case letters, "
      "digits, '-' and '.'"));
}

core::v1::ResourceKey ObjectOf(const ValuesRef& ref) {
  core::v1::ResourceKey key;
  key.set_version("v1");
  key.set_kind(IsSecret(ref) ? "Secret" : "ConfigMap");
  key.set_namespace_(ref.namespace_());
  key.set_name(ref.name());
  return key;
}

absl::StatusOr<std::string> ValueIn(const ValuesRef& ref,
                                    absl::string_view object_json) {
  const absl::StatusOr<json> object = ParseKubeJson(object_json);
  if (!object.ok() || !object->is_object()) {
    return absl::FailedPreconditionError(absl::StrCat(
        kWhere, Named(ref), " cannot be read: the API server's answer is no "
                            "object"));
  }
  const auto data = object->find("data");
  const bool has_data = data != object->end() && data->is_object();
  const auto value = has_data ? data->find(ref.key()) : object->end();
  if (!has_data || value == data->end() || !value->is_string()) {
    return absl::FailedPreconditionError(absl::StrCat(
        kWhere, Named(ref), " has no key ", ref.key(),
        "; add it, and the deployment goes on"));
  }
  const std::string& text = value->get_ref<const std::string&>();
  if (!IsSecret(ref)) return text;
  std::string bytes;
  if (!absl::Base64Unescape(text, &bytes)) {
    return absl::FailedPreconditionError(absl::StrCat(
        kWhere, "key ", ref.key(), " of ", Named(ref), " is not base64"));
  }
  return bytes;
}

absl::Status ReadProblem(const ValuesRef& ref, const absl::Status& failed,
                         absl::string_view user) {
  const std::string who = user.empty() ? "the agent" : std::string(user);
  switch (failed.code()) {
    case absl::StatusCode::kNotFound:
      return absl::FailedPreconditionError(absl::StrCat(
          kWhere, Named(ref), " does not exist in this cluster; create it "
                              "with key ",
          ref.key(), ", and the deployment goes on"));
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return absl::PermissionDeniedError(absl::StrCat(
          kWhere, Named(ref), " may not be read by ", who,
          ", as which the bundle is deployed; give it the right to get it"));
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnimplemented:
      return absl::FailedPreconditionError(absl::StrCat(
          kWhere, Named(ref), " cannot be read by ", who, ": ",
          absl::StatusCodeToString(failed.code())));
    default:
      return absl::UnavailableError("the API server did not answer");
  }
}

agent::v1::ValuesReport AnswerTo(
    const agent::v1::ValuesRequest& request,
    absl::StatusOr<std::vector<std::string>> contents) {
  agent::v1::ValuesReport report;
  report.set_bundle_id(request.bundle_id());
  *report.mutable_refs() = request.refs();
  report.set_service_account(request.service_account());
  if (contents.ok()) {
    size_t bytes = 0;
    for (const std::string& content : *contents) bytes += content.size();
    if (bytes > kMaxValuesBytes) {
      contents = absl::ResourceExhaustedError(absl::StrCat(
          kWhere, "the values have ", bytes, " bytes in all; at most ",
          kMaxValuesBytes, " are read from a cluster"));
    }
  }
  if (contents.ok()) {
    for (std::string& content : *contents) {
      report.add_contents(std::move(content));
    }
  } else {
    core::v1::Problem& problem = *report.mutable_problem();
    problem.set_code(absl::StatusCodeToString(contents.status().code()));
    problem.set_message(
        std::string(CutText(contents.status().message(), kMaxMessage)));
  }
  report.set_digest(ValuesDigest(report));
  return report;
}

}  // namespace flotilla::agent
