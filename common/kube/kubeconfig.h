// SPDX-License-Identifier: Apache-2.0
//
// Who we are to which API server: read from a kubeconfig, or from what a pod
// is given. Files are read through a function, so nothing here touches a disk.
//
// File paths and exec plugins run with our rights: they are fine in the
// operator's own kubeconfig and refused from anywhere else (decisions.md 25).
// No error text holds a credential.

#ifndef FLOTILLA_COMMON_KUBE_KUBECONFIG_H_
#define FLOTILLA_COMMON_KUBE_KUBECONFIG_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "common/kube/kube_identity.h"

namespace flotilla {

// Thread-compatible.
struct KubeconfigOptions {
  std::string context;  // Empty: current-context.
  // For messages, and the folder that relative paths are under.
  std::string file_name = "kubeconfig";
  bool allow_files = false;
  bool allow_exec = false;
};

// Content of a file; at most 1 MiB is of use.
using FileReader =
    absl::FunctionRef<absl::StatusOr<std::string>(const std::string& path)>;

// `text` is YAML or JSON.
// Errors: INVALID_ARGUMENT for what is broken or absent; PERMISSION_DENIED for
// what the options do not allow; those of `read_file`.
absl::StatusOr<KubeIdentity> ParseKubeconfig(absl::string_view text,
                                             const KubeconfigOptions& options,
                                             FileReader read_file);

// The folder that a pod's service account is mounted at.
inline constexpr absl::string_view kServiceAccountDirectory =
    "/var/run/secrets/kubernetes.io/serviceaccount";

// `host` and `port` are a pod's KUBERNETES_SERVICE_HOST and
// KUBERNETES_SERVICE_PORT. FAILED_PRECONDITION when they are empty: not in a
// cluster.
absl::StatusOr<KubeIdentity> InClusterIdentity(absl::string_view host,
                                               absl::string_view port,
                                               absl::string_view directory,
                                               FileReader read_file);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_KUBECONFIG_H_
