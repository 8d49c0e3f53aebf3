// SPDX-License-Identifier: Apache-2.0
//
// `flotilla`, the command line: flags and dispatch only.

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/status/status_macros.h"
#include "flotilla/admin/v1/admin.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "tools/ctl/commands.h"
#include "tools/ctl/printer.h"
#include "tools/ctl/render_command.h"

namespace flotilla::ctl {
namespace {

constexpr char kDefaultServer[] = "127.0.0.1:7444";
constexpr int kMaxMessageBytes = 64 << 20;

struct Flags {
  std::string server = kDefaultServer;
  std::string output;
  std::string ttl = "1h";
  std::string labels;
  std::string what;
  std::vector<std::string> files;
  bool ignore_not_found = false;
  Filter filter;
  RenderOptions render;
};

// `workspace_default`: commands that change one thing need one workspace;
// lists show all.
std::string WorkspaceOrDefault(const Flags& flags) {
  return flags.filter.workspace.empty() ? "fleet-default"
                                        : flags.filter.workspace;
}

absl::Status RunGet(Session& session, const Flags& flags) {
  ASSIGN_OR_RETURN(const Format format, ParseFormat(flags.output));
  return Get(session, flags.what, flags.filter, format);
}

absl::Status RunToken(Session& session, const Flags& flags) {
  absl::Duration ttl;
  if (!absl::ParseDuration(flags.ttl, &ttl) || ttl <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--ttl ", flags.ttl, ": write a duration such as 30m or 1h"));
  }
  return CreateToken(session, WorkspaceOrDefault(flags), flags.filter.name,
                     flags.labels, ttl);
}

absl::Status RunRender(const Flags& flags) {
  RenderOptions options = flags.render;
  ASSIGN_OR_RETURN(options.labels, ParseLabels(flags.labels));
  if (flags.output.empty() || flags.output == "yaml") {
    options.format = Format::kYaml;
  } else {
    ASSIGN_OR_RETURN(options.format, ParseFormat(flags.output));
    if (options.format == Format::kTable) {
      return absl::InvalidArgumentError(
          "-o table: objects are printed as yaml or json");
    }
  }
  return Render(options, std::cout, std::cerr);
}

int Main(int argc, char** argv) {
  CLI::App app("GitOps for many Kubernetes clusters", "flotilla");
  // That there is one is checked below: CLI11 would say of a command that it
  // does not know that there is none.
  app.require_subcommand(0, 1);
  // --server may stand after the command, too.
  app.fallthrough();
  Flags flags;
  app.add_option("--server", flags.server,
                 "Address of the manager's admin listener")
      ->envname("FLOTILLA_SERVER")
      ->capture_default_str();

  const auto workspace = [&flags](CLI::App* command) {
    command->add_option("-w,--workspace", flags.filter.workspace, "Workspace");
  };
  const auto narrow = [&flags](CLI::App* command) {
    command->add_option("--cluster", flags.filter.cluster, "Only this cluster");
    command->add_option("--bundle", flags.filter.bundle, "Only this bundle");
    command->add_option("--gitrepo", flags.filter.git_repo,
                        "Only what comes from this GitRepo");
  };

  CLI::App* apply =
      app.add_subcommand("apply", "Create or change documents");
  apply->add_option("-f,--filename", flags.files,
                    "File, directory, or - for standard input")
      ->required();
  workspace(apply);

  CLI::App* remove = app.add_subcommand(
      "delete", "Delete documents and what they deployed");
  remove->add_option("kind", flags.what, "GitRepo, Bundle, Cluster, ...");
  remove->add_option("name", flags.filter.name, "Name");
  remove->add_option("-f,--filename", flags.files,
                     "File, directory, or - for standard input");
  remove->add_flag("--ignore-not-found", flags.ignore_not_found,
                   "What is not there is no error");
  workspace(remove);

  CLI::App* get = app.add_subcommand(
      "get", "List gitrepos, bundles, clusters, deployments, resources, drift");
  get->add_option("what", flags.what, "What to list")->required();
  get->add_option("name", flags.filter.name, "Only this one");
  get->add_option("-o,--output", flags.output, "table, json or yaml");
  workspace(get);
  narrow(get);

  CLI::App* describe = app.add_subcommand(
      "describe", "Show everything about one gitrepo, bundle or cluster");
  describe->add_option("what", flags.what, "Kind")->required();
  describe->add_option("name", flags.filter.name, "Name")->required();
  workspace(describe);
  narrow(describe);

  CLI::App* sync = app.add_subcommand("sync", "Poll GitRepos now");
  sync->add_option("name", flags.filter.name, "GitRepo; all without it");
  workspace(sync);

  CLI::App* token = app.add_subcommand("token", "Join tokens for agents");
  token->require_subcommand(1);
  CLI::App* create =
      token->add_subcommand("create", "Make a token for one cluster");
  create->add_option("--name", flags.filter.name, "Name of the cluster")
      ->required();
  create->add_option("--labels", flags.labels, "k=v,k=v for a new cluster");
  create->add_option("--ttl", flags.ttl, "How long it can be used")
      ->capture_default_str();
  workspace(create);

  CLI::App* version =
      app.add_subcommand("version", "Versions of this program and the manager");

  CLI::App* render = app.add_subcommand(
      "render", "Print what a cluster would get of a directory; no manager");
  render->add_option("directory", flags.render.directory, "Repository")
      ->required();
  render->add_option("--name", flags.render.repo_name, "Name of the GitRepo");
  render->add_option("--labels", flags.labels, "k=v,k=v of the cluster");
  render->add_option("--cluster", flags.render.cluster, "Name of the cluster");
  render->add_option("--group", flags.render.groups, "Group it belongs to")
      ->allow_extra_args(false);
  render->add_option("-o,--output", flags.output, "yaml or json");

  CLI11_PARSE(app, argc, argv);
  if (app.get_subcommands().empty()) {
    std::cerr << "error: a command is missing; run flotilla --help for the "
                 "list\n";
    return EXIT_FAILURE;
  }

  absl::Status status;
  if (render->parsed()) {
    status = RunRender(flags);
  } else {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
    arguments.SetMaxSendMessageSize(kMaxMessageBytes);
    // A proxy of the environment is no way to a listener on loopback.
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    const std::unique_ptr<admin::v1::AdminService::Stub> stub =
        admin::v1::AdminService::NewStub(grpc::CreateCustomChannel(
            flags.server, grpc::InsecureChannelCredentials(), arguments));
    Session session{*stub, std::cout, flags.server};
    if (apply->parsed()) {
      status = Apply(session, flags.files, WorkspaceOrDefault(flags));
    } else if (remove->parsed()) {
      status = Delete(session, flags.files, flags.what, flags.filter.name,
                      WorkspaceOrDefault(flags), flags.ignore_not_found);
    } else if (get->parsed()) {
      status = RunGet(session, flags);
    } else if (describe->parsed()) {
      status = Describe(session, flags.what, flags.filter);
    } else if (sync->parsed()) {
      status = Sync(session, WorkspaceOrDefault(flags), flags.filter.name);
    } else if (create->parsed()) {
      status = RunToken(session, flags);
    } else if (version->parsed()) {
      status = Version(session);
    }
  }
  std::cout.flush();
  if (!status.ok()) {
    std::cerr << "error: " << Safe(status.message(), /*one_line=*/false)
              << "\n";
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace flotilla::ctl

int main(int argc, char** argv) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  const int code = flotilla::ctl::Main(argc, argv);
  return code == EXIT_SUCCESS ? EXIT_SUCCESS : EXIT_FAILURE;
}
