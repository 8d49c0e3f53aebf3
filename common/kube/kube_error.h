// SPDX-License-Identifier: Apache-2.0
//
// What an API server said when it refused, carried through absl::Status as a
// payload, so that callers branch on codes and on these fields and never on
// words.
//
//   code                 HTTP  meaning
//   INVALID_ARGUMENT     400, 405, 406, 415, 422, and 500 of an apply that does
//                              not fit the kind's schema: the object is wrong
//   UNAUTHENTICATED      401
//   PERMISSION_DENIED    403
//   NOT_FOUND            404   absent object, or unknown kind or namespace: see
//                              `missing`
//   ABORTED              409   conflict: fields of others (IsFieldConflict),
//                              or a uid or resourceVersion that does not hold
//   ALREADY_EXISTS       409   with reason AlreadyExists
//   OUT_OF_RANGE         410   the resource version is too old: list again
//   RESOURCE_EXHAUSTED   413, 429, and answers over a size limit of ours
//   INTERNAL             500
//   UNAVAILABLE          502, 503, and no connection
//   DEADLINE_EXCEEDED    504, and our own deadline
//   UNKNOWN              the stream was reset: it may or may not have happened
//
// An error text of the server may quote an object: never log it for Secrets.

#ifndef FLOTILLA_COMMON_KUBE_KUBE_ERROR_H_
#define FLOTILLA_COMMON_KUBE_KUBE_ERROR_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace flotilla {

// One of `details.causes` of a Kubernetes Status.
//
// Thread-compatible.
struct KubeErrorCause {
  std::string reason;   // "FieldValueInvalid", "FieldManagerConflict", ...
  std::string field;    // "spec.selector"
  std::string message;  // "field is immutable"
};

// See the file comment.
//
// Thread-compatible.
struct KubeError {
  // What a 404 is about.
  enum class Missing {
    kNothing,    // Not a 404.
    kObject,     // The kind is served, the object is not there.
    kNamespace,  // The object's namespace is not there.
    kKind,       // The server does not serve this group, version or kind.
  };

  int http_code = 0;    // 0: no answer came.
  std::string reason;   // Kubernetes' word, such as "Conflict".
  std::string message;  // At most 4 KiB.
  absl::Duration retry_after = absl::ZeroDuration();  // Zero: not said.
  Missing missing = Missing::kNothing;
  std::vector<KubeErrorCause> causes;  // At most 32.
};

// The status for `error`, with `error` in it.
absl::Status ToStatus(const KubeError& error);

// Makes the error out of an answer whose code is not 2xx. `body` may be
// anything; `retry_after` is the header's text, seconds.
KubeError ParseKubeError(int http_code, absl::string_view retry_after,
                         absl::string_view body);

// The error in `status`; nullopt when no API server spoke.
std::optional<KubeError> GetKubeError(const absl::Status& status);

// True for a server-side apply refused because other managers own fields.
bool IsFieldConflict(const absl::Status& status);

// True for a change of a field that may not change: only deleting and creating
// the object helps.
bool IsImmutableField(const absl::Status& status);

// What a 404 is about; kNothing for everything else.
KubeError::Missing MissingWhat(const absl::Status& status);

// How long the server asked to wait; zero when it did not.
absl::Duration RetryAfter(const absl::Status& status);

// True when the same request may succeed later without any change.
bool IsTransient(const absl::Status& status);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_KUBE_ERROR_H_
