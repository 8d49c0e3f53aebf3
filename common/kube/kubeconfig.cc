// SPDX-License-Identifier: Apache-2.0

#include "common/kube/kubeconfig.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

#include "common/kube/kube_identity.h"
#include "common/kube/object.h"
#include "common/status/status_macros.h"
#include "common/yaml/documents.h"

namespace flotilla {
namespace {

using nlohmann::json;

constexpr size_t kMaxKubeconfig = 4 << 20;

// Reads one kubeconfig. Names of members are those of its `v1` format.
//
// Thread-compatible.
class Reader {
 public:
  Reader(const KubeconfigOptions& options, FileReader read_file)
      : options_(options), read_file_(read_file) {}

  absl::StatusOr<KubeIdentity> Read(const json& root) {
    if (!root.is_object()) return Broken("it is no map");
    std::string context_name = options_.context;
    if (context_name.empty()) {
      context_name = TextOr(Member(root, "current-context"));
    }
    if (context_name.empty()) {
      return Broken("it has no current-context; name a context");
    }
    ASSIGN_OR_RETURN(const json context,
                     Named(root, "contexts", "context", context_name));
    const std::string cluster_name = TextOr(Member(context, "cluster"));
    const std::string user_name = TextOr(Member(context, "user"));
    ASSIGN_OR_RETURN(const json cluster,
                     Named(root, "clusters", "cluster", cluster_name));
    KubeIdentity identity;
    identity.ns = TextOr(Member(context, "namespace"));
    RETURN_IF_ERROR(ReadCluster(cluster, cluster_name, &identity));
    if (!user_name.empty()) {
      ASSIGN_OR_RETURN(const json user,
                       Named(root, "users", "user", user_name));
      RETURN_IF_ERROR(ReadUser(user, user_name, &identity));
    }
    return identity;
  }

 private:
  absl::Status Broken(absl::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat(options_.file_name, ": ", what));
  }

  absl::StatusOr<json> Named(const json& root, absl::string_view list_name,
                             absl::string_view member,
                             const std::string& name) const {
    const json& list = Member(root, list_name);
    if (list.is_array()) {
      for (const json& item : list) {
        if (TextOr(Member(item, "name")) == name) {
          const json& value = Member(item, member);
          if (value.is_object()) return value;
        }
      }
    }
    return Broken(absl::StrCat("there is no ", member, " \"", name, "\" under ",
                               list_name));
  }

  absl::Status ReadCluster(const json& cluster, const std::string& name,
                           KubeIdentity* identity) {
    std::string server = TextOr(Member(cluster, "server"));
    while (absl::EndsWith(server, "/")) server.pop_back();
    if (!absl::StartsWith(server, "https://") &&
        !absl::StartsWith(server, "http://")) {
      return Broken(absl::StrCat("cluster \"", name,
                                 "\": server must be an http(s) URL"));
    }
    if (server.find('@') != std::string::npos ||
        std::any_of(server.begin(), server.end(),
                    [](unsigned char c) { return c <= ' ' || c == 0x7f; })) {
      return Broken(absl::StrCat(
          "cluster \"", name,
          "\": server must not hold a user name, spaces or control "
          "characters"));
    }
    identity->server = std::move(server);
    identity->insecure_skip_tls_verify =
        BoolOr(Member(cluster, "insecure-skip-tls-verify"), false);
    identity->tls_server_name = TextOr(Member(cluster, "tls-server-name"));
    identity->proxy_url = TextOr(Member(cluster, "proxy-url"));
    return ReadDataOrFile(cluster, "certificate-authority", &identity->ca_pem);
  }

  absl::Status ReadUser(const json& user, const std::string& name,
                        KubeIdentity* identity) {
    for (const absl::string_view member :
         {"auth-provider", "username", "password", "as", "as-uid", "as-groups",
          "as-user-extra"}) {
      if (!Member(user, member).is_null()) {
        return Broken(absl::StrCat("user \"", name, "\": ", member,
                                   " is not supported; use a token, a client "
                                   "certificate or an exec plugin"));
      }
    }
    RETURN_IF_ERROR(
        ReadDataOrFile(user, "client-certificate", &identity->client_cert_pem));
    RETURN_IF_ERROR(
        ReadDataOrFile(user, "client-key", &identity->client_key_pem));
    if (identity->client_cert_pem.empty() != identity->client_key_pem.empty()) {
      return Broken(absl::StrCat(
          "user \"", name,
          "\": client-certificate and client-key need each other"));
    }
    const std::string token = TextOr(Member(user, "token"));
    if (!token.empty()) {
      ASSIGN_OR_RETURN(identity->token, CheckToken(token),
                       _ << options_.file_name << ": user \"" << name << "\"");
    }
    const std::string token_file = TextOr(Member(user, "tokenFile"));
    if (!token_file.empty()) {
      if (!options_.allow_files) return NotAllowed("tokenFile");
      identity->token_file = Resolve(token_file);
    }
    const json& exec = Member(user, "exec");
    if (!exec.is_null()) {
      if (!options_.allow_exec) return NotAllowed("exec");
      RETURN_IF_ERROR(ReadExec(exec, name, identity));
    }
    return absl::OkStatus();
  }

  absl::Status ReadExec(const json& exec, const std::string& name,
                        KubeIdentity* identity) {
    ExecPlugin plugin;
    plugin.api_version = TextOr(Member(exec, "apiVersion"));
    plugin.command = TextOr(Member(exec, "command"));
    if (plugin.command.empty()) {
      return Broken(absl::StrCat("user \"", name, "\": exec has no command"));
    }
    // A name is looked up in PATH, a path is relative to the file.
    if (plugin.command.find('/') != std::string::npos) {
      plugin.command = Resolve(plugin.command);
    }
    const json& args = Member(exec, "args");
    if (args.is_array()) {
      for (const json& arg : args) plugin.args.push_back(TextOr(arg));
    }
    const json& env = Member(exec, "env");
    if (env.is_array()) {
      for (const json& item : env) {
        plugin.env.emplace_back(TextOr(Member(item, "name")),
                                TextOr(Member(item, "value")));
      }
    }
    identity->exec = std::move(plugin);
    return absl::OkStatus();
  }

  // `<name>-data` is base64, `<name>` is a path; the first one wins.
  absl::Status ReadDataOrFile(const json& object, const std::string& name,
                              std::string* content) {
    const std::string data = TextOr(Member(object, name + "-data"));
    if (!data.empty()) {
      std::string compact = data;
      absl::StripAsciiWhitespace(&compact);
      if (!absl::Base64Unescape(compact, content)) {
        return Broken(absl::StrCat(name, "-data is not base64"));
      }
      return absl::OkStatus();
    }
    const std::string path = TextOr(Member(object, name));
    if (path.empty()) return absl::OkStatus();
    if (!options_.allow_files) return NotAllowed(name);
    ASSIGN_OR_RETURN(*content, read_file_(Resolve(path)),
                     _ << options_.file_name << ": " << name);
    return absl::OkStatus();
  }

  absl::Status NotAllowed(absl::string_view what) const {
    return absl::PermissionDeniedError(absl::StrCat(
        options_.file_name, ": ", what,
        " reads or runs something on this machine and is allowed only in the "
        "operator's own kubeconfig; put the data itself into the document"));
  }

  std::string Resolve(const std::string& path) const {
    if (path.empty() || path[0] == '/') return path;
    const size_t slash = options_.file_name.rfind('/');
    return slash == std::string::npos
               ? path
               : absl::StrCat(options_.file_name.substr(0, slash + 1), path);
  }

  const KubeconfigOptions& options_;
  const FileReader read_file_;
};

}  // namespace

absl::StatusOr<KubeIdentity> ParseKubeconfig(absl::string_view text,
                                             const KubeconfigOptions& options,
                                             FileReader read_file) {
  YamlLimits limits;
  limits.max_bytes = kMaxKubeconfig;
  limits.record_lines = false;
  ASSIGN_OR_RETURN(const YamlDocument document, ParseYaml(text, limits),
                   _ << options.file_name);
  return Reader(options, read_file).Read(document.value);
}

absl::StatusOr<KubeIdentity> InClusterIdentity(absl::string_view host,
                                               absl::string_view port,
                                               absl::string_view directory,
                                               FileReader read_file) {
  if (host.empty() || port.empty()) {
    return absl::FailedPreconditionError(
        "not in a cluster: KUBERNETES_SERVICE_HOST and "
        "KUBERNETES_SERVICE_PORT are not set; give a kubeconfig");
  }
  const bool host_ok =
      std::all_of(host.begin(), host.end(), [](unsigned char c) {
        return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == ':';
      });
  int port_number = 0;
  if (!host_ok || !absl::SimpleAtoi(port, &port_number) || port_number <= 0 ||
      port_number > 65535) {
    return absl::InvalidArgumentError(
        "KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is no host and "
        "port");
  }
  KubeIdentity identity;
  const bool is_ipv6 = host.find(':') != absl::string_view::npos;
  identity.server = absl::StrCat("https://", is_ipv6 ? "[" : "", host,
                                 is_ipv6 ? "]" : "", ":", port_number);
  ASSIGN_OR_RETURN(identity.ca_pem,
                   read_file(absl::StrCat(directory, "/ca.crt")),
                   _ << "the service account's CA");
  identity.token_file = absl::StrCat(directory, "/token");
  ASSIGN_OR_RETURN(const std::string token, read_file(identity.token_file),
                   _ << "the service account's token");
  ASSIGN_OR_RETURN(identity.token, CheckToken(token), _ << identity.token_file);
  // Absent where the token is projected alone.
  const absl::StatusOr<std::string> ns =
      read_file(absl::StrCat(directory, "/namespace"));
  if (ns.ok()) identity.ns = std::string(absl::StripAsciiWhitespace(*ns));
  return identity;
}

}  // namespace flotilla
