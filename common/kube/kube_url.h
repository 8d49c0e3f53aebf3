// SPDX-License-Identifier: Apache-2.0
//
// How requests of Kubernetes look: paths, parameters, media types, and the
// errors of answers. Decisions only.

#ifndef FLOTILLA_COMMON_KUBE_KUBE_URL_H_
#define FLOTILLA_COMMON_KUBE_KUBE_URL_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "common/kube/kube_client.h"

namespace flotilla {

inline constexpr absl::string_view kJsonMedia = "application/json";
inline constexpr absl::string_view kMetadataMedia =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,"
    "application/json";
inline constexpr absl::string_view kMetadataListMedia =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,"
    "application/json";

// An object, or with `collection` all of its kind; `ns` may be empty then, and
// `name` is not heeded.
//
// Thread-compatible.
struct KubePlace {
  absl::string_view group;
  absl::string_view version;  // Empty: any.
  absl::string_view kind;
  absl::string_view ns;
  absl::string_view name;
  bool collection = false;
};

// "/apis/apps/v1/namespaces/ns/deployments/name". NOT_FOUND as in kube_error.h
// when the server does not know the kind, UNAVAILABLE when it may.
absl::StatusOr<std::string> KubePath(const Discovery& discovery,
                                     const KubePlace& place);

// Adds "?name=value" or "&name=value", encoded.
void AddParameter(absl::string_view name, absl::string_view value,
                  std::string* target);

// What an answer to `target` that is not 2xx means; `body` may be a Status.
absl::Status KubeAnswerError(int code, const std::string& retry_after,
                             const std::string& body, absl::string_view target);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_KUBE_URL_H_
