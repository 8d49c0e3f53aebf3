// SPDX-License-Identifier: Apache-2.0
//
// KubeIdentity is one API server and our credentials there, wherever they were
// read (kubeconfig.h).

#ifndef FLOTILLA_COMMON_KUBE_KUBE_IDENTITY_H_
#define FLOTILLA_COMMON_KUBE_KUBE_IDENTITY_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace flotilla {

// A program that prints a credential (client.authentication.k8s.io).
//
// Thread-compatible.
struct ExecPlugin {
  std::string api_version;
  std::string command;
  std::vector<std::string> args;
  std::vector<std::pair<std::string, std::string>> env;
};

// One API server and our credentials there. Holds secrets: never log it.
//
// Thread-compatible.
struct KubeIdentity {
  std::string server;  // "https://host:port" or with a path; no slash at end
  std::string ca_pem;  // Empty: the system's roots.
  bool insecure_skip_tls_verify = false;
  std::string tls_server_name;  // Empty: the server's own.
  std::string proxy_url;        // Empty: none.
  std::string client_cert_pem;
  std::string client_key_pem;
  std::string token;
  // Read for the token, again each minute; wins over `token`.
  std::string token_file;
  std::optional<ExecPlugin> exec;
  std::string ns;  // Default namespace; empty: not said.
};

// INVALID_ARGUMENT when `token` could not stand in an HTTP header: empty, too
// long, or with control characters. White space at its end is cut first.
absl::StatusOr<std::string> CheckToken(absl::string_view token);

// The identity without its secrets, for logs.
std::string DebugString(const KubeIdentity& identity);

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_KUBE_IDENTITY_H_
