// SPDX-License-Identifier: Apache-2.0
//
// flotilla-agent: flags, identity, signals.

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/agent_process.h"
#include "common/env/posix/posix_clock.h"
#include "common/env/posix/posix_random.h"
#include "common/event/real_loop.h"
#include "common/kube/kube_identity.h"
#include "common/kube/kubeconfig.h"
#include "common/log/log.h"
#include "common/rpc/grpc_log.h"
#include "common/status/status_macros.h"
#include "common/version/version.h"

namespace flotilla::agent {
namespace {

struct Flags {
  std::string kubeconfig;
  std::string context;
  bool in_cluster = false;
  std::string manager = "127.0.0.1:7443";
  std::string token;
  std::string token_file;
  std::string data_dir;
  std::string agent_namespace = "cattle-fleet-system";
  std::string log_format = "text";
  std::string unschedulable_after = "5m";
};

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(
        absl::StrCat(path, " cannot be read: does it exist, and may you?"));
  }
  std::string text((std::istreambuf_iterator<char>(file)),
                   std::istreambuf_iterator<char>());
  if (text.size() > (size_t{1} << 20)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is over 1 MiB"));
  }
  return text;
}

absl::StatusOr<KubeIdentity> Cluster(const Flags& flags) {
  if (flags.in_cluster) {
    return InClusterIdentity(Environment("KUBERNETES_SERVICE_HOST"),
                             Environment("KUBERNETES_SERVICE_PORT"),
                             kServiceAccountDirectory, ReadFile);
  }
  std::string path = flags.kubeconfig;
  if (path.empty()) path = Environment("KUBECONFIG");
  if (path.empty()) path = absl::StrCat(Environment("HOME"), "/.kube/config");
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path),
                   _ << "no cluster (give --kubeconfig or --in-cluster)");
  KubeconfigOptions options;
  options.context = flags.context;
  options.file_name = path;
  options.allow_files = true;
  return ParseKubeconfig(text, options, ReadFile);
}

absl::StatusOr<std::string> Token(const Flags& flags) {
  if (!flags.token.empty()) return flags.token;
  if (flags.token_file.empty()) return Environment("FLOTILLA_TOKEN");
  ASSIGN_OR_RETURN(const std::string text, ReadFile(flags.token_file));
  return std::string(absl::StripAsciiWhitespace(text));
}

// One folder for each API server, so that two agents on one machine never
// share their state by accident.
std::string DefaultDataDir(const KubeIdentity& cluster) {
  std::string base = Environment("XDG_DATA_HOME");
  if (base.empty()) base = absl::StrCat(Environment("HOME"), "/.local/share");
  const std::string name = absl::StrReplaceAll(
      cluster.server, {{"https://", ""}, {"http://", ""}, {"/", "_"},
                       {":", "_"}, {"[", ""}, {"]", ""}});
  return absl::StrCat(base, "/flotilla/agent/", name);
}

absl::Status Run(Flags flags) {
  LogOptions log;
  if (flags.log_format == "json") log.format = LogFormat::kJson;
  SetLogOptions(log);
  RouteGrpcLog();
  AgentProcess::Options options;
  ASSIGN_OR_RETURN(options.cluster, Cluster(flags));
  ASSIGN_OR_RETURN(options.token, Token(flags));
  options.manager_address = flags.manager;
  options.data_dir = flags.data_dir.empty() ? DefaultDataDir(options.cluster)
                                            : flags.data_dir;
  options.agent_namespace = flags.agent_namespace;
  if (!absl::ParseDuration(flags.unschedulable_after,
                           &options.health.unschedulable_after) ||
      options.health.unschedulable_after < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--unschedulable-after ", flags.unschedulable_after,
                     " is no duration such as 5m or 90s"));
  }
  const std::string ready = absl::StrCat(
      "flotilla-agent ready: version ", kVersion, ", cluster ",
      options.cluster.server, ", manager ", options.manager_address,
      ", data in ", options.data_dir);

  PosixClock clock;
  PosixRandom random;
  RealLoop loop;
  AgentProcess* running = nullptr;
  bool stopping = false;
  // Before the process starts threads.
  loop.CatchSignals({SIGINT, SIGTERM}, [&](int) {
    if (stopping || running == nullptr) {
      loop.Stop();
      return;
    }
    stopping = true;
    FLOTILLA_LOG(INFO) << "stopping; what runs in the cluster stays";
    running->Stop([&loop] { loop.Stop(); });
  });
  std::signal(SIGPIPE, SIG_IGN);
  ASSIGN_OR_RETURN(
      const std::unique_ptr<AgentProcess> process,
      AgentProcess::Create(std::move(options), loop, clock, random));
  running = process.get();
  process->Start();
  std::cout << ready << std::endl;
  loop.RunUntilStopped();
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App app("Runs in or beside one cluster and keeps it as its manager says",
               "flotilla-agent");
  Flags flags;
  app.add_option("--kubeconfig", flags.kubeconfig,
                 "Kubeconfig of the cluster ($KUBECONFIG, ~/.kube/config)");
  app.add_option("--context", flags.context,
                 "Context in it (the current one)");
  app.add_flag("--in-cluster", flags.in_cluster,
               "Use the pod's service account");
  app.add_option("--manager", flags.manager, "Manager as HOST:PORT")
      ->capture_default_str();
  app.add_option("--token", flags.token,
                 "Join token, needed once ($FLOTILLA_TOKEN)");
  app.add_option("--token-file", flags.token_file,
                 "File with the join token");
  app.add_option("--data-dir", flags.data_dir,
                 "What must survive a restart "
                 "(~/.local/share/flotilla/agent/<API server>)");
  app.add_option("--agent-namespace", flags.agent_namespace,
                 "Namespace of the service accounts that bundles name")
      ->capture_default_str();
  app.add_option("--unschedulable-after", flags.unschedulable_after,
                 "How long a pod may wait for a node before its workload "
                 "counts as Degraded")
      ->capture_default_str();
  app.add_option("--log-format", flags.log_format, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  app.set_version_flag("--version", kVersion);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 1;
  }
  const absl::Status status = Run(std::move(flags));
  if (!status.ok()) {
    std::cerr << "flotilla-agent: " << status.message() << std::endl;
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace flotilla::agent

int main(int argc, char** argv) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return flotilla::agent::Main(argc, argv);
}
