// SPDX-License-Identifier: Apache-2.0
//
// `flotilla-manager`: flags, the real world, ManagerProcess, run.

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/env/posix/posix_clock.h"
#include "common/env/posix/posix_random.h"
#include "common/env/posix/posix_subprocess.h"
#include "common/event/real_loop.h"
#include "common/event/thread_worker_pool.h"
#include "common/kube/kube_identity.h"
#include "common/kube/kubeconfig.h"
#include "common/log/log.h"
#include "common/rpc/grpc_log.h"
#include "common/status/status_macros.h"
#include "common/version/version.h"
#include "manager/charts/fetcher_path.h"
#include "manager/manager_process.h"
#include "manager/render/worker_path.h"

namespace {

// $XDG_DATA_HOME/flotilla/manager, else ~/.local/share/flotilla/manager.
std::string DefaultDataDir() {
  const char* base = std::getenv("XDG_DATA_HOME");
  if (base != nullptr && *base != '\0') {
    return std::string(base) + "/flotilla/manager";
  }
  const char* home = std::getenv("HOME");
  return std::string(home == nullptr ? "." : home) +
         "/.local/share/flotilla/manager";
}

// The first of these environment variables that is set.
std::string FirstOf(const char* name, const char* other) {
  for (const char* each : {name, other}) {
    const char* value = std::getenv(each);
    if (value != nullptr && *value != '\0') return value;
  }
  return "";
}

// "host:port" with the port that it has become: 0 means any.
std::string WithPort(const std::string& address, int port) {
  return absl::StrCat(address.substr(0, address.rfind(':') + 1), port);
}

// Which cluster's objects are documents.
struct ManagementFlags {
  std::string kubeconfig;
  std::string context;
  bool in_cluster = false;
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

absl::StatusOr<std::optional<flotilla::KubeIdentity>> ManagementCluster(
    const ManagementFlags& flags) {
  if (flags.in_cluster) {
    return flotilla::InClusterIdentity(Environment("KUBERNETES_SERVICE_HOST"),
                                       Environment("KUBERNETES_SERVICE_PORT"),
                                       flotilla::kServiceAccountDirectory,
                                       ReadFile);
  }
  // Never the user's own by default: its objects would be taken.
  if (flags.kubeconfig.empty()) return std::nullopt;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(flags.kubeconfig),
                   _ << "--kubeconfig");
  flotilla::KubeconfigOptions options;
  options.context = flags.context;
  options.file_name = flags.kubeconfig;
  options.allow_files = true;
  return flotilla::ParseKubeconfig(text, options, ReadFile);
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  flotilla::manager::ManagerOptions options;
  options.data_dir = DefaultDataDir();
  std::error_code ignored;
  const std::string program =
      std::filesystem::read_symlink("/proc/self/exe", ignored).string();
  options.render_worker = flotilla::manager::FindRenderWorker(program);
  options.chart_fetcher = flotilla::manager::FindChartFetcher(program);
  options.proxy = {FirstOf("http_proxy", "HTTP_PROXY"),
                   FirstOf("https_proxy", "HTTPS_PROXY"),
                   FirstOf("no_proxy", "NO_PROXY")};
  for (const auto& [name, value] :
       {std::pair<const char*, std::string>("HTTP_PROXY",
                                            options.proxy.http_proxy),
        {"HTTPS_PROXY", options.proxy.https_proxy},
        {"NO_PROXY", options.proxy.no_proxy}}) {
    if (!value.empty()) {
      options.chart_environment.push_back(std::string(name) + "=" + value);
    }
  }
  std::string log_format = "text";
  CLI::App app("Brings what lies in Git onto many Kubernetes clusters",
               "flotilla-manager");
  app.add_option("--data-dir", options.data_dir, "Where everything is kept")
      ->capture_default_str();
  app.add_option("--listen", options.listen, "Address for agents")
      ->capture_default_str();
  app.add_option("--agent-address", options.agent_address,
                 "Where agents find that address, for "
                 "ClusterRegistrationTokens (the same)");
  ManagementFlags management;
  CLI::Option* kubeconfig = app.add_option(
      "--kubeconfig", management.kubeconfig,
      "Kubeconfig of the cluster whose GitRepos and other objects of Fleet "
      "are documents; none when absent");
  app.add_option("--context", management.context,
                 "Context in it (the current one)")
      ->needs(kubeconfig);
  app.add_flag("--in-cluster", management.in_cluster,
               "That cluster is the one that the manager runs in")
      ->excludes(kubeconfig);
  app.add_option("--admin-listen", options.admin_listen,
                 "Address for people; loopback only")
      ->capture_default_str();
  app.add_option("--webhook-listen", options.webhook_listen,
                 "Address for webhooks of Git servers, plain HTTP; none when "
                 "absent");
  app.add_option("--render-worker", options.render_worker,
                 "Program that renders charts");
  app.add_option("--chart-fetcher", options.chart_fetcher,
                 "Program that downloads charts");
  app.add_option("--log-format", log_format, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  app.set_version_flag("--version", flotilla::kVersion);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // CLI11 has a code for each mistake; ours are 0 and 1.
    return app.exit(error) == EXIT_SUCCESS ? EXIT_SUCCESS : EXIT_FAILURE;
  }
  flotilla::LogOptions log;
  log.format = log_format == "json" ? flotilla::LogFormat::kJson
                                    : flotilla::LogFormat::kText;
  flotilla::SetLogOptions(log);
  flotilla::RouteGrpcLog();

  absl::StatusOr<std::optional<flotilla::KubeIdentity>> cluster =
      ManagementCluster(management);
  if (!cluster.ok()) {
    std::cerr << "error: " << cluster.status().message() << "\n";
    return EXIT_FAILURE;
  }
  options.management_cluster = *std::move(cluster);

  flotilla::RealLoop loop;
  // Before the first thread starts: threads inherit what is blocked.
  flotilla::manager::ManagerProcess* running = nullptr;
  bool stopping = false;
  loop.CatchSignals({SIGINT, SIGTERM}, [&](int) {
    if (stopping || running == nullptr) return;
    stopping = true;
    FLOTILLA_LOG(INFO) << "stopping";
    running->Shutdown([&loop] { loop.Stop(); });
  });
  flotilla::PosixClock clock;
  flotilla::PosixRandom random;
  flotilla::PosixSubprocesses subprocesses;
  int code = EXIT_SUCCESS;
  {
    flotilla::ThreadWorkerPool workers(loop, 4);
    flotilla::ThreadWorkerPool git_workers(loop, 8);
    auto process = flotilla::manager::ManagerProcess::Create(
        {loop, workers, git_workers, clock, random, subprocesses}, options);
    if (!process.ok()) {
      std::cerr << "error: " << process.status().message() << "\n";
      return EXIT_FAILURE;
    }
    running = process->get();
    FLOTILLA_LOG(INFO) << "flotilla-manager ready: agents connect to "
                       << WithPort(options.listen, (*process)->agent_port())
                       << ", people to "
                       << WithPort(options.admin_listen,
                                   (*process)->admin_port())
                       << ", data in " << options.data_dir;
    if ((*process)->webhook_port() != 0) {
      FLOTILLA_LOG(INFO) << "webhooks are taken at "
                         << WithPort(options.webhook_listen,
                                     (*process)->webhook_port());
    }
    loop.RunUntilStopped();
  }
  return code;
}
