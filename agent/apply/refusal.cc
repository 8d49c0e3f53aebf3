// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/refusal.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/kube/kube_error.h"
#include "common/kube/object.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {
namespace {

constexpr size_t kMaxMessage = 1000;

std::string Cut(std::string text) {
  if (text.size() > kMaxMessage) {
    text.resize(kMaxMessage);
    // Not in the middle of a character.
    while (!text.empty() && (text.back() & 0xC0) == 0x80) text.pop_back();
    if (!text.empty() && (text.back() & 0x80) != 0) text.pop_back();
    text += "...";
  }
  return text;
}

std::string FieldsOf(const KubeError& error) {
  std::vector<std::string> fields;
  for (const KubeErrorCause& cause : error.causes) {
    const std::string field(absl::StripPrefix(cause.field, "."));
    if (field.empty() ||
        std::find(fields.begin(), fields.end(), field) != fields.end()) {
      continue;
    }
    fields.push_back(field);
    if (fields.size() == 5) break;
  }
  return absl::StrJoin(fields, ", ");
}

// The managers are named in the causes' texts: conflict with "kubectl" ...
std::string ConflictText(const KubeError& error) {
  std::vector<std::string> parts;
  for (const KubeErrorCause& cause : error.causes) {
    if (cause.reason != "FieldManagerConflict") continue;
    parts.push_back(absl::StrCat(absl::StripPrefix(cause.field, "."), " (",
                                 cause.message, ")"));
    if (parts.size() == 5) break;
  }
  if (parts.empty()) return error.message;
  return absl::StrJoin(parts, ", ");
}

std::string ServerText(const KubeError& error, bool secret) {
  if (!secret) return error.message;
  const std::string fields = FieldsOf(error);
  return absl::StrCat(error.reason.empty() ? "refused" : error.reason,
                      fields.empty() ? "" : ": ", fields);
}

}  // namespace

absl::string_view LostWith(const core::v1::ResourceKey& key) {
  const bool core = key.group().empty();
  if (core && key.kind() == "Namespace") return "all that is in it";
  if (core && (key.kind() == "PersistentVolumeClaim" ||
               key.kind() == "PersistentVolume")) {
    return "its data";
  }
  if (key.group() == "apiextensions.k8s.io" &&
      key.kind() == "CustomResourceDefinition") {
    return "every object of its kind";
  }
  return "";
}

Refusal JudgeRefusal(const core::v1::ResourceKey& key,
                     const absl::Status& status, bool secret) {
  const std::optional<KubeError> error = GetKubeError(status);
  Refusal refusal;
  if (!error.has_value() && absl::IsFailedPrecondition(status)) {
    // Nothing was sent: there is nobody to act as (service_accounts.h).
    refusal.kind = Refusal::Kind::kTransient;
    refusal.reason = "ServiceAccount";
    refusal.message = Cut(std::string(status.message()));
    return refusal;
  }
  if (!error.has_value() || error->http_code == 0) {
    refusal.kind = Refusal::Kind::kTransient;
    refusal.reason = "ApiServerUnavailable";
    refusal.message = Cut(
        absl::StrCat("API server cannot be reached: ", status.message()));
    if (!error.has_value() && !IsTransient(status) &&
        !absl::IsUnauthenticated(status)) {
      refusal.kind = Refusal::Kind::kRefused;
      refusal.reason = "Refused";
      refusal.message = Cut(std::string(status.message()));
    }
    if (MissingWhat(status) == KubeError::Missing::kKind) {
      refusal.kind = Refusal::Kind::kKindMissing;
    }
    if (refusal.kind != Refusal::Kind::kKindMissing) return refusal;
  }
  const KubeError::Missing missing = MissingWhat(status);
  if (missing == KubeError::Missing::kKind) {
    refusal.kind = Refusal::Kind::kKindMissing;
    refusal.reason = "UnknownKind";
    refusal.message = absl::StrCat(
        "the cluster does not serve kind ", key.kind(), " of ",
        JoinApiVersion(key.group(), key.version()),
        "; it is applied when a CustomResourceDefinition brings it");
    return refusal;
  }
  if (missing == KubeError::Missing::kNamespace) {
    refusal.kind = Refusal::Kind::kNamespaceMissing;
    refusal.reason = "NamespaceMissing";
    refusal.message =
        absl::StrCat("namespace ", key.namespace_(),
                     " does not exist; it is applied when that does");
    return refusal;
  }
  if (IsFieldConflict(status)) {
    refusal.kind = Refusal::Kind::kConflict;
    refusal.reason = "ForeignObject";
    refusal.message = Cut(absl::StrCat(
        "the object exists and is not Flotilla's; these fields belong to "
        "others: ",
        secret ? FieldsOf(*error) : ConflictText(*error),
        ". Remove it, or set helm.takeOwnership: true to take it over"));
    return refusal;
  }
  // A namespace that is being deleted refuses new objects until it is gone.
  const bool terminating =
      error->http_code == 403 &&
      absl::StrContains(error->message, "is being terminated");
  if (IsTransient(status) || terminating || absl::IsUnauthenticated(status)) {
    refusal.kind = Refusal::Kind::kTransient;
    refusal.reason =
        error->reason.empty() ? "ApiServerError" : error->reason;
    refusal.message =
        Cut(absl::StrCat("API server refused ", KeyText(key), " for now (",
                         error->http_code, "): ", ServerText(*error, secret)));
    return refusal;
  }
  refusal.kind = Refusal::Kind::kRefused;
  refusal.reason = error->reason.empty() ? "Refused" : error->reason;
  const std::string fields = FieldsOf(*error);
  if (IsImmutableField(status)) {
    refusal.reason = "ImmutableField";
    const absl::string_view lost = LostWith(key);
    refusal.message = Cut(absl::StrCat(
        "field ", fields.empty() ? "(see the text)" : fields,
        " is immutable: ", ServerText(*error, secret), ". Change it back",
        lost.empty()
            ? ", or set helm.force: true, which deletes the object and makes "
              "it anew"
            : absl::StrCat("; a ", key.kind(),
                           " is never deleted to be made anew, even by force, "
                           "because ",
                           lost, " would go with it")));
    return refusal;
  }
  refusal.message = Cut(
      secret ? absl::StrCat("API server refused ", KeyText(key), " (",
                            error->http_code, "): ", ServerText(*error, true),
                            ". Its words may quote the Secret and are not "
                            "shown; look at the agent's rights, at admission "
                            "webhooks and at these fields")
             : error->message);
  return refusal;
}

}  // namespace flotilla::agent
