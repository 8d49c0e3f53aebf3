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
#include "tools/ctl/bundle_command.h"
#include "tools/ctl/commands.h"
#include "tools/ctl/printer.h"
#include "tools/ctl/render_command.h"
#include "tools/ctl/target_command.h"

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
  std::string document_name;
  std::vector<std::string> files;
  bool ignore_not_found = false;
  Filter filter;
  RenderOptions render;
  BundleOptions bundle;
  bool apply_bundles = false;
  TargetOptions target;
};

// `workspace_default`: commands that change one thing need one workspace;
// lists show all.
std::string WorkspaceOrDefault(const Flags& flags) {
  return flags.filter.workspace.empty() ? "fleet-default"
                                        : flags.filter.workspace;
}

// `flotilla get document KIND NAME`: the name is the second of two words.
absl::Status RunGetDocument(Session& session, const Flags& flags) {
  if (flags.filter.name.empty() || flags.document_name.empty()) {
    return absl::InvalidArgumentError("get document: give a kind and a name");
  }
  ASSIGN_OR_RETURN(const Format format, ParseFormat(flags.output));
  return GetDocument(session, flags.filter.name, WorkspaceOrDefault(flags),
                     flags.document_name, format);
}

absl::Status RunGet(Session& session, const Flags& flags) {
  if (flags.what == "document") return RunGetDocument(session, flags);
  if (!flags.document_name.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("get ", flags.what, ": ", flags.document_name,
                     ": one name, or none for all of them"));
  }
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

// Of commands that print documents: yaml unless json is asked for.
absl::StatusOr<Format> DocumentFormat(const Flags& flags) {
  if (flags.output.empty()) return Format::kYaml;
  ASSIGN_OR_RETURN(const Format format, ParseFormat(flags.output));
  if (format == Format::kTable) {
    return absl::InvalidArgumentError(
        "-o table: documents are printed as yaml or json");
  }
  return format;
}

absl::Status RunRender(const Flags& flags) {
  RenderOptions options = flags.render;
  ASSIGN_OR_RETURN(options.labels, ParseLabels(flags.labels));
  ASSIGN_OR_RETURN(options.format, DocumentFormat(flags));
  return Render(options, std::cout, std::cerr);
}

absl::Status RunDiff(const Flags& flags) {
  RenderOptions options = flags.render;
  ASSIGN_OR_RETURN(options.labels, ParseLabels(flags.labels));
  ASSIGN_OR_RETURN(options.format, ParseFormat(flags.output));
  return Diff(options, std::cout, std::cerr);
}

absl::Status RunTarget(const Flags& flags) {
  TargetOptions options = flags.target;
  ASSIGN_OR_RETURN(options.format, DocumentFormat(flags));
  return PrintTargets(options, std::cout, std::cerr);
}

// `session` is used with --apply only.
absl::Status RunBundle(Session& session, const Flags& flags) {
  BundleOptions options = flags.bundle;
  options.workspace = WorkspaceOrDefault(flags);
  ASSIGN_OR_RETURN(options.format, DocumentFormat(flags));
  ASSIGN_OR_RETURN(const std::string documents,
                   MakeBundles(options, std::cerr));
  if (flags.apply_bundles) {
    return ApplyText(session, options.directory, documents, options.workspace);
  }
  std::cout << documents;
  return absl::OkStatus();
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
      "get",
      "List gitrepos, helmops, bundles, clusters, clustergroups, deployments, "
      "resources, drift; facts CLUSTER; document KIND NAME");
  get->add_option("what", flags.what, "What to list")->required();
  get->add_option("name", flags.filter.name, "Only this one");
  get->add_option("document-name", flags.document_name,
                  "Of `get document KIND NAME`");
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
  CLI::App* diff = app.add_subcommand(
      "diff", "Print what changes for a cluster since a revision; no manager");
  diff->add_option("--against", flags.render.against,
                   "Revision of the directory's Git repository, as HEAD~1")
      ->required();
  for (CLI::App* command : {render, diff}) {
    command->add_option("directory", flags.render.directory, "Repository")
        ->required();
    command->add_option("--gitrepo", flags.render.git_repo_file,
                        "Its GitRepo document, GitRepoRestrictions, Policies");
    command->add_option("--name", flags.render.repo_name,
                        "Name of the GitRepo");
    command->add_option("--labels", flags.labels, "k=v,k=v of the cluster");
    command->add_option("--cluster", flags.render.cluster,
                        "Name of the cluster");
    command->add_option("--group", flags.render.groups, "Group it belongs to")
        ->allow_extra_args(false);
    command->add_option("--cluster-file", flags.render.cluster_file,
                        "Its Cluster document, and ClusterGroups");
    command->add_option("--facts", flags.render.facts_file,
                        "What it serves, as `flotilla get facts` prints it");
  }
  render->add_option("-o,--output", flags.output, "yaml or json");
  diff->add_option("-o,--output", flags.output, "table, yaml or json");

  CLI::App* bundle = app.add_subcommand(
      "bundle", "Print the Bundles of a directory, or apply them");
  bundle->add_option("directory", flags.bundle.directory, "Repository")
      ->required();
  bundle->add_option("--name", flags.bundle.repo_name,
                     "Name of the repository");
  bundle->add_option("--targets", flags.bundle.targets_file,
                     "File with `targets`, as in a GitRepo");
  bundle->add_option("--target-namespace", flags.bundle.target_namespace,
                     "Namespace that everything is forced into");
  bundle->add_option("--service-account", flags.bundle.service_account,
                     "Account in the cluster that is used");
  bundle->add_option("--commit", flags.bundle.commit,
                     "Commit that their label tells; HEAD when not given")
      ->envname("COMMIT");
  bundle->add_flag("--paused", flags.bundle.paused, "Release nothing yet");
  bundle->add_flag("--keep-resources", flags.bundle.keep_resources,
                   "Deleting leaves the objects running");
  bundle->add_flag("--compress", flags.bundle.compress,
                   "Pack all files (base64+gz)");
  bundle->add_flag("--apply", flags.apply_bundles,
                   "Hand them to the manager in place of printing them");
  bundle->add_option("-o,--output", flags.output, "yaml or json");
  workspace(bundle);

  CLI::App* target = app.add_subcommand(
      "target", "Print which clusters a Bundle goes to; no manager");
  target->add_option("--bundle", flags.target.bundle_file,
                     "File with the Bundle, or - for standard input")
      ->required();
  target->add_option("--clusters", flags.target.cluster_files,
                     "File or directory with Clusters and ClusterGroups")
      ->required();
  target->add_option("--targets", flags.target.targets_file,
                     "File with `targets`, as in a GitRepo");
  target->add_option("-o,--output", flags.output, "yaml or json");

  CLI11_PARSE(app, argc, argv);
  if (app.get_subcommands().empty()) {
    std::cerr << "error: a command is missing; run flotilla --help for the "
                 "list\n";
    return EXIT_FAILURE;
  }

  absl::Status status;
  if (render->parsed()) {
    status = RunRender(flags);
  } else if (diff->parsed()) {
    status = RunDiff(flags);
  } else if (target->parsed()) {
    status = RunTarget(flags);
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
    } else if (bundle->parsed()) {
      status = RunBundle(session, flags);
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
