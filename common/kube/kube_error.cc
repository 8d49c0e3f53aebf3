// SPDX-License-Identifier: Apache-2.0

#include "common/kube/kube_error.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "nlohmann/json.hpp"

#include "common/kube/object.h"
#include "common/text/cut_text.h"

namespace flotilla {
namespace {

using nlohmann::json;

constexpr absl::string_view kPayloadUrl = "flotilla.dev/kube-error";
constexpr size_t kMaxMessage = 4096;
constexpr size_t kMaxCauses = 32;
// A server that asks for more is not believed.
constexpr int64_t kMaxRetryAfterSeconds = 600;

std::string Cut(std::string text) {
  if (text.size() <= kMaxMessage) return text;
  return absl::StrCat(CutText(text, kMaxMessage - 3), "...");
}

absl::StatusCode CodeOf(const KubeError& error) {
  switch (error.http_code) {
    case 400:
    case 405:
    case 406:
    case 415:
    case 422:
      return absl::StatusCode::kInvalidArgument;
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 409:
      return error.reason == "AlreadyExists" ? absl::StatusCode::kAlreadyExists
                                             : absl::StatusCode::kAborted;
    case 410:
      return absl::StatusCode::kOutOfRange;
    case 413:
    case 429:
      return absl::StatusCode::kResourceExhausted;
    case 500:
      // Server-side apply says so about a body that does not fit its schema.
      return absl::StartsWith(error.message,
                              "failed to create typed patch object")
                 ? absl::StatusCode::kInvalidArgument
                 : absl::StatusCode::kInternal;
    case 502:
    case 503:
      return absl::StatusCode::kUnavailable;
    case 504:
      return absl::StatusCode::kDeadlineExceeded;
    default:
      return absl::StatusCode::kUnknown;
  }
}

KubeError::Missing MissingOf(const KubeError& error, const json& details,
                             bool is_status) {
  if (error.http_code != 404) return KubeError::Missing::kNothing;
  // A path that nobody serves is answered in plain text or with a Status that
  // names no object.
  if (!is_status) return KubeError::Missing::kKind;
  const std::string name = TextOr(Member(details, "name"));
  if (name.empty()) return KubeError::Missing::kKind;
  if (TextOr(Member(details, "kind")) == "namespaces") {
    return KubeError::Missing::kNamespace;
  }
  return KubeError::Missing::kObject;
}

bool SaysImmutable(absl::string_view message) {
  const std::string text = absl::AsciiStrToLower(message);
  for (const absl::string_view words :
       {"immutable", "updates to statefulset spec", "cannot change roleref",
        "may not change once set", "pod updates may not change fields",
        "may not be changed", "may not be modified"}) {
    if (absl::StrContains(text, words)) return true;
  }
  return false;
}

}  // namespace

absl::Status ToStatus(const KubeError& error) {
  absl::Status status(
      CodeOf(error),
      error.message.empty()
          ? absl::StrCat("the API server answered ", error.http_code)
          : error.message);
  json causes = json::array();
  for (const KubeErrorCause& cause : error.causes) {
    causes.push_back({{"reason", cause.reason},
                      {"field", cause.field},
                      {"message", cause.message}});
  }
  const json payload = {
      {"code", error.http_code},
      {"reason", error.reason},
      {"message", error.message},
      {"retryAfterMs", absl::ToInt64Milliseconds(error.retry_after)},
      {"missing", static_cast<int>(error.missing)},
      {"causes", std::move(causes)}};
  status.SetPayload(kPayloadUrl, absl::Cord(CanonicalJson(payload)));
  return status;
}

KubeError ParseKubeError(int http_code, absl::string_view retry_after,
                         absl::string_view body) {
  KubeError error;
  error.http_code = http_code;
  json status;
  if (absl::StatusOr<json> parsed = ParseKubeJson(body); parsed.ok()) {
    status = *std::move(parsed);
  }
  const bool is_status = TextOr(Member(status, "kind")) == "Status";
  const json& details = Member(status, "details");
  if (is_status) {
    error.reason = TextOr(Member(status, "reason"));
    error.message = Cut(TextOr(Member(status, "message")));
    const json& causes = Member(details, "causes");
    if (causes.is_array()) {
      for (const json& cause : causes) {
        if (error.causes.size() >= kMaxCauses) break;
        error.causes.push_back({TextOr(Member(cause, "reason")),
                                TextOr(Member(cause, "field")),
                                Cut(TextOr(Member(cause, "message")))});
      }
    }
  }
  if (error.message.empty()) {
    // Not a Kubernetes answer: a proxy's page, or plain text. Its first line
    // says enough.
    const absl::string_view line =
        body.substr(0, body.find('\n')).substr(0, 200);
    const bool printable =
        std::all_of(line.begin(), line.end(),
                    [](unsigned char c) { return c >= 0x20 && c < 0x7f; });
    error.message = absl::StrCat("the API server answered ", http_code,
                                 line.empty() || !printable ? "" : ": ",
                                 printable ? line : absl::string_view());
  }
  int64_t seconds = 0;
  if (!absl::SimpleAtoi(retry_after, &seconds)) {
    seconds = IntegerOr(Member(details, "retryAfterSeconds"), 0);
  }
  error.retry_after =
      absl::Seconds(std::clamp<int64_t>(seconds, 0, kMaxRetryAfterSeconds));
  error.missing = MissingOf(error, details, is_status);
  return error;
}

std::optional<KubeError> GetKubeError(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kPayloadUrl);
  if (!payload.has_value()) return std::nullopt;
  const absl::StatusOr<json> value = ParseKubeJson(std::string(*payload));
  if (!value.ok()) return std::nullopt;
  KubeError error;
  error.http_code = static_cast<int>(IntegerOr(Member(*value, "code"), 0));
  error.reason = TextOr(Member(*value, "reason"));
  error.message = TextOr(Member(*value, "message"));
  error.retry_after =
      absl::Milliseconds(IntegerOr(Member(*value, "retryAfterMs"), 0));
  error.missing =
      static_cast<KubeError::Missing>(IntegerOr(Member(*value, "missing"), 0));
  const json& causes = Member(*value, "causes");
  if (causes.is_array()) {
    for (const json& cause : causes) {
      error.causes.push_back({TextOr(Member(cause, "reason")),
                              TextOr(Member(cause, "field")),
                              TextOr(Member(cause, "message"))});
    }
  }
  return error;
}

bool IsFieldConflict(const absl::Status& status) {
  if (!absl::IsAborted(status)) return false;
  const std::optional<KubeError> error = GetKubeError(status);
  if (!error.has_value()) return false;
  return std::any_of(error->causes.begin(), error->causes.end(),
                     [](const KubeErrorCause& cause) {
                       return cause.reason == "FieldManagerConflict";
                     });
}

bool IsImmutableField(const absl::Status& status) {
  const std::optional<KubeError> error = GetKubeError(status);
  if (!error.has_value() || error->http_code != 422) return false;
  return SaysImmutable(error->message) ||
         std::any_of(error->causes.begin(), error->causes.end(),
                     [](const KubeErrorCause& cause) {
                       return SaysImmutable(cause.message);
                     });
}

KubeError::Missing MissingWhat(const absl::Status& status) {
  if (!absl::IsNotFound(status)) return KubeError::Missing::kNothing;
  const std::optional<KubeError> error = GetKubeError(status);
  return error.has_value() ? error->missing : KubeError::Missing::kNothing;
}

absl::Duration RetryAfter(const absl::Status& status) {
  const std::optional<KubeError> error = GetKubeError(status);
  return error.has_value() ? error->retry_after : absl::ZeroDuration();
}

bool IsTransient(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kCancelled:
      return true;
    case absl::StatusCode::kResourceExhausted: {
      const std::optional<KubeError> error = GetKubeError(status);
      return error.has_value() && error->http_code == 429;
    }
    case absl::StatusCode::kAborted:
      return !IsFieldConflict(status);
    default:
      return false;
  }
}

}  // namespace flotilla
