// SPDX-License-Identifier: Apache-2.0

#include "tools/ctl/commands.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/status/grpc_status.h"
#include "common/status/status_macros.h"
#include "common/version/version.h"
#include "common/yaml/documents.h"
#include "grpcpp/grpcpp.h"
#include "nlohmann/json.hpp"

namespace flotilla::ctl {

namespace fs = std::filesystem;

namespace {

// Longer than any poll of a repository.
constexpr std::chrono::seconds kCallTimeout(120);
constexpr size_t kMaxFileBytes = 16 << 20;

// Says what to do where only the transport's words are left.
absl::Status Explain(const Session& session, const grpc::Status& status) {
  absl::Status result = FromGrpcStatus(status);
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE &&
      status.error_message().find("connect") != std::string::npos) {
    return absl::UnavailableError(absl::StrCat(
        "no manager answers at ", session.server,
        ": start one with `bazel run manager`, or name it with --server"));
  }
  return result;
}

template <typename Request, typename Response>
absl::StatusOr<Response> Call(
    Session& session, const Request& request,
    grpc::Status (admin::v1::AdminService::StubInterface::*method)(
        grpc::ClientContext*, const Request&, Response*)) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
  Response response;
  const grpc::Status status =
      (session.manager.*method)(&context, request, &response);
  if (!status.ok()) return Explain(session, status);
  return response;
}

// All pages as one response.
template <typename Request, typename Response>
absl::StatusOr<Response> CallAllPages(
    Session& session, Request request,
    grpc::Status (admin::v1::AdminService::StubInterface::*method)(
        grpc::ClientContext*, const Request&, Response*)) {
  Response all;
  while (true) {
    ASSIGN_OR_RETURN(Response page, Call(session, request, method));
    const std::string token = page.next_page_token();
    page.clear_next_page_token();
    all.MergeFrom(page);
    if (token.empty()) return all;
    request.set_page_token(token);
  }
}

bool IsDocumentFile(const fs::path& path) {
  const std::string extension = absl::AsciiStrToLower(
      path.extension().string());
  return extension == ".yaml" || extension == ".yml" || extension == ".json";
}

absl::StatusOr<std::string> ReadAll(std::istream& in, absl::string_view name) {
  std::string content;
  std::vector<char> buffer(1 << 16);
  while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) ||
         in.gcount() > 0) {
    content.append(buffer.data(), static_cast<size_t>(in.gcount()));
    if (content.size() > kMaxFileBytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat(name, ": larger than 16 MiB"));
    }
  }
  return content;
}

absl::Status AddFile(const std::string& path,
                     std::vector<admin::v1::DocumentFile>& files) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  }
  ASSIGN_OR_RETURN(std::string content, ReadAll(in, path));
  files.emplace_back();
  files.back().set_name(path);
  files.back().set_content(std::move(content));
  return absl::OkStatus();
}

constexpr const char* kLists[] = {
    "gitrepos",    "bundles",   "helmops", "clusters", "clustergroups",
    "deployments", "resources", "drift",   "facts"};

absl::StatusOr<std::string> Canonical(absl::string_view what) {
  const std::string lower = absl::AsciiStrToLower(what);
  for (absl::string_view known : kLists) {
    if (lower == known || lower + "s" == known) return std::string(known);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      what, ": choose from ", absl::StrJoin(kLists, ", ")));
}

// Fills in what a list request has of the filter.
template <typename Request>
Request Narrow(const Filter& filter) {
  Request request;
  request.set_workspace(filter.workspace);
  request.set_cluster(filter.cluster);
  request.set_bundle(filter.bundle);
  return request;
}

absl::Status NoneFound(absl::string_view kind, const std::string& name) {
  return absl::NotFoundError(absl::StrCat(kind, " ", name, " not found"));
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> ParseLabels(
    absl::string_view text) {
  std::map<std::string, std::string> labels;
  for (absl::string_view pair :
       absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    const std::pair<absl::string_view, absl::string_view> kv =
        absl::StrSplit(pair, absl::MaxSplits('=', 1));
    const absl::string_view key = absl::StripAsciiWhitespace(kv.first);
    if (key.empty() || !absl::StrContains(pair, "=")) {
      return absl::InvalidArgumentError(
          absl::StrCat("label \"", pair, "\": write key=value"));
    }
    labels[std::string(key)] =
        std::string(absl::StripAsciiWhitespace(kv.second));
  }
  return labels;
}

absl::StatusOr<std::vector<admin::v1::DocumentFile>> ReadDocumentFiles(
    const std::vector<std::string>& paths) {
  std::vector<admin::v1::DocumentFile> files;
  for (const std::string& path : paths) {
    if (path == "-") {
      ASSIGN_OR_RETURN(std::string content,
                       ReadAll(std::cin, "standard input"));
      files.emplace_back();
      files.back().set_name("standard input");
      files.back().set_content(std::move(content));
      continue;
    }
    std::error_code error;
    if (!fs::exists(path, error)) {
      return absl::NotFoundError(
          absl::StrCat(path, ": no such file or directory"));
    }
    if (!fs::is_directory(path, error)) {
      RETURN_IF_ERROR(AddFile(path, files));
      continue;
    }
    std::vector<std::string> found;
    for (fs::recursive_directory_iterator it(path, error), end;
         !error && it != end; it.increment(error)) {
      if (it->is_regular_file(error) && IsDocumentFile(it->path())) {
        found.push_back(it->path().string());
      }
    }
    if (error) {
      return absl::UnavailableError(
          absl::StrCat(path, ": ", error.message()));
    }
    if (found.empty()) {
      return absl::NotFoundError(
          absl::StrCat(path, ": holds no .yaml, .yml or .json file"));
    }
    std::sort(found.begin(), found.end());
    for (const std::string& file : found) {
      RETURN_IF_ERROR(AddFile(file, files));
    }
  }
  return files;
}

namespace {

absl::Status ApplyFiles(Session& session,
                        std::vector<admin::v1::DocumentFile> files,
                        const std::string& workspace) {
  admin::v1::ApplyDocumentsRequest request;
  request.set_default_workspace(workspace);
  for (auto& file : files) *request.add_files() = std::move(file);
  ASSIGN_OR_RETURN(
      admin::v1::ApplyDocumentsResponse response,
      Call(session, request,
           &admin::v1::AdminService::StubInterface::ApplyDocuments));
  for (const auto& result : response.results()) {
    absl::string_view outcome = "unchanged";
    if (result.outcome() == admin::v1::ApplyResult::OUTCOME_CREATED) {
      outcome = "created";
    } else if (result.outcome() == admin::v1::ApplyResult::OUTCOME_CONFIGURED) {
      outcome = "configured";
    }
    session.out << Safe(absl::AsciiStrToLower(result.kind())) << " "
                << Safe(result.workspace()) << "/" << Safe(result.name()) << " "
                << outcome << "\n";
  }
  for (const auto& warning : response.warnings()) {
    session.out << "warning: " << ProblemLine(warning) << "\n";
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Apply(Session& session, const std::vector<std::string>& paths,
                   const std::string& workspace) {
  ASSIGN_OR_RETURN(std::vector<admin::v1::DocumentFile> files,
                   ReadDocumentFiles(paths));
  return ApplyFiles(session, std::move(files), workspace);
}

absl::Status ApplyText(Session& session, const std::string& name,
                       const std::string& text, const std::string& workspace) {
  std::vector<admin::v1::DocumentFile> files(1);
  files[0].set_name(name);
  files[0].set_content(text);
  return ApplyFiles(session, std::move(files), workspace);
}

absl::Status Delete(Session& session, const std::vector<std::string>& paths,
                    const std::string& kind, const std::string& name,
                    const std::string& workspace, bool ignore_not_found) {
  admin::v1::DeleteDocumentsRequest request;
  request.set_default_workspace(workspace);
  request.set_ignore_not_found(ignore_not_found);
  ASSIGN_OR_RETURN(auto files, ReadDocumentFiles(paths));
  for (auto& file : files) *request.add_files() = std::move(file);
  if (!kind.empty()) {
    if (name.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("delete ", kind, ": name the document"));
    }
    auto* document = request.add_documents();
    document->set_kind(kind);
    document->set_workspace(workspace);
    document->set_name(name);
  }
  if (request.files_size() == 0 && request.documents_size() == 0) {
    return absl::InvalidArgumentError(
        "nothing to delete: give -f FILE, or a kind and a name");
  }
  ASSIGN_OR_RETURN(
      admin::v1::DeleteDocumentsResponse response,
      Call(session, request,
           &admin::v1::AdminService::StubInterface::DeleteDocuments));
  for (const auto& document : response.deleted()) {
    session.out << Safe(absl::AsciiStrToLower(document.kind())) << " "
                << Safe(document.workspace()) << "/" << Safe(document.name())
                << " deleted\n";
  }
  return absl::OkStatus();
}

absl::Status Get(Session& session, absl::string_view what, const Filter& filter,
                 Format format) {
  using Stub = admin::v1::AdminService::StubInterface;
  ASSIGN_OR_RETURN(const std::string kind, Canonical(what));
  const auto print = [&](const auto& list, auto to_table,
                         bool empty) -> absl::Status {
    if (!filter.name.empty() && empty) return NoneFound(kind, filter.name);
    if (format == Format::kTable) {
      session.out << to_table(list);
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(std::string text, Structured(list, format));
    session.out << text;
    if (!absl::EndsWith(text, "\n")) session.out << "\n";
    return absl::OkStatus();
  };
  if (kind == "gitrepos") {
    admin::v1::ListGitReposRequest request;
    request.set_workspace(filter.workspace);
    request.set_name(filter.name);
    ASSIGN_OR_RETURN(auto list,
                     CallAllPages(session, request, &Stub::ListGitRepos));
    return print(list, GitRepoTable, list.git_repos().empty());
  }
  if (kind == "helmops") {
    admin::v1::ListHelmOpsRequest request;
    request.set_workspace(filter.workspace);
    request.set_name(filter.name);
    ASSIGN_OR_RETURN(auto list,
                     CallAllPages(session, request, &Stub::ListHelmOps));
    return print(list, HelmOpTable, list.helm_ops().empty());
  }
  if (kind == "clustergroups") {
    admin::v1::ListClusterGroupsRequest request;
    request.set_workspace(filter.workspace);
    request.set_name(filter.name);
    ASSIGN_OR_RETURN(auto list,
                     CallAllPages(session, request, &Stub::ListClusterGroups));
    return print(list, ClusterGroupTable, list.cluster_groups().empty());
  }
  if (kind == "facts") {
    admin::v1::GetFactsRequest request;
    request.set_workspace(filter.workspace);
    request.set_cluster(filter.name.empty() ? filter.cluster : filter.name);
    if (request.cluster().empty()) {
      return absl::InvalidArgumentError("get facts: name the cluster");
    }
    ASSIGN_OR_RETURN(const admin::v1::GetFactsResponse response,
                     Call(session, request, &Stub::GetFacts));
    ASSIGN_OR_RETURN(
        std::string text,
        Structured(response.facts(),
                   format == Format::kTable ? Format::kYaml : format));
    session.out << text;
    if (!absl::EndsWith(text, "\n")) session.out << "\n";
    return absl::OkStatus();
  }
  if (kind == "bundles") {
    admin::v1::ListBundlesRequest request;
    request.set_workspace(filter.workspace);
    request.set_name(filter.name);
    request.set_git_repo(filter.git_repo);
    ASSIGN_OR_RETURN(auto list,
                     CallAllPages(session, request, &Stub::ListBundles));
    return print(list, BundleTable, list.bundles().empty());
  }
  if (kind == "clusters") {
    admin::v1::ListClustersRequest request;
    request.set_workspace(filter.workspace);
    request.set_name(filter.name);
    ASSIGN_OR_RETURN(auto list,
                     CallAllPages(session, request, &Stub::ListClusters));
    return print(list, ClusterTable, list.clusters().empty());
  }
  if (kind == "deployments") {
    auto request = Narrow<admin::v1::ListDeploymentsRequest>(filter);
    request.set_git_repo(filter.git_repo);
    if (!filter.name.empty()) request.set_bundle(filter.name);
    ASSIGN_OR_RETURN(auto list,
                     CallAllPages(session, request, &Stub::ListDeployments));
    return print(list, DeploymentTable, list.deployments().empty());
  }
  if (kind == "resources") {
    auto request = Narrow<admin::v1::ListResourcesRequest>(filter);
    request.set_git_repo(filter.git_repo);
    if (!filter.name.empty()) request.set_bundle(filter.name);
    ASSIGN_OR_RETURN(auto list,
                     CallAllPages(session, request, &Stub::ListResources));
    return print(list, ResourceTable, list.resources().empty());
  }
  const auto request = Narrow<admin::v1::ListDriftRequest>(filter);
  ASSIGN_OR_RETURN(auto list,
                   CallAllPages(session, request, &Stub::ListDrift));
  return print(
      list,
      [](const auto& drift) { return DriftTable(drift, absl::Now()); }, false);
}

absl::Status GetDocument(Session& session, const std::string& kind,
                         const std::string& workspace, const std::string& name,
                         Format format) {
  admin::v1::GetDocumentRequest request;
  request.mutable_document()->set_kind(kind);
  request.mutable_document()->set_workspace(workspace);
  request.mutable_document()->set_name(name);
  ASSIGN_OR_RETURN(const admin::v1::GetDocumentResponse response,
                   Call(session, request,
                        &admin::v1::AdminService::StubInterface::GetDocument));
  ASSIGN_OR_RETURN(const nlohmann::json document,
                   ParseJson(response.document_json()));
  using Json = nlohmann::json;
  session.out << (format == Format::kJson
                      ? document.dump(2, ' ', false,
                                      Json::error_handler_t::replace) +
                            "\n"
                      : ToYaml(document));
  return absl::OkStatus();
}

absl::Status Describe(Session& session, absl::string_view what,
                      const Filter& filter) {
  using Stub = admin::v1::AdminService::StubInterface;
  ASSIGN_OR_RETURN(const std::string kind, Canonical(what));
  admin::v1::ListDeploymentsRequest deployments;
  deployments.set_workspace(filter.workspace);
  if (kind == "gitrepos") {
    admin::v1::ListGitReposRequest request;
    request.set_workspace(filter.workspace);
    request.set_name(filter.name);
    ASSIGN_OR_RETURN(auto list,
                     CallAllPages(session, request, &Stub::ListGitRepos));
    if (list.git_repos().empty()) return NoneFound("GitRepo", filter.name);
    for (const auto& r : list.git_repos()) session.out << DescribeGitRepo(r);
    deployments.set_git_repo(filter.name);
  } else if (kind == "bundles") {
    admin::v1::ListBundlesRequest request;
    request.set_workspace(filter.workspace);
    request.set_name(filter.name);
    ASSIGN_OR_RETURN(auto list,
                     CallAllPages(session, request, &Stub::ListBundles));
    if (list.bundles().empty()) return NoneFound("Bundle", filter.name);
    for (const auto& b : list.bundles()) session.out << DescribeBundle(b);
    deployments.set_bundle(filter.name);
  } else if (kind == "clusters") {
    admin::v1::ListClustersRequest request;
    request.set_workspace(filter.workspace);
    request.set_name(filter.name);
    ASSIGN_OR_RETURN(auto list,
                     CallAllPages(session, request, &Stub::ListClusters));
    if (list.clusters().empty()) return NoneFound("Cluster", filter.name);
    for (const auto& c : list.clusters()) session.out << DescribeCluster(c);
    deployments.set_cluster(filter.name);
  } else if (kind == "deployments") {
    deployments.set_bundle(filter.name.empty() ? filter.bundle : filter.name);
    deployments.set_cluster(filter.cluster);
    ASSIGN_OR_RETURN(auto list, CallAllPages(session, deployments,
                                             &Stub::ListDeployments));
    if (list.deployments().empty()) {
      return NoneFound("Deployment", filter.name);
    }
    for (const auto& d : list.deployments()) {
      session.out << DescribeDeployment(d) << "\n";
    }
    return absl::OkStatus();
  } else {
    return absl::InvalidArgumentError(absl::StrCat(
        "describe ", what, ": choose gitrepo, bundle, cluster or deployment"));
  }
  ASSIGN_OR_RETURN(auto list, CallAllPages(session, deployments,
                                           &Stub::ListDeployments));
  session.out << "\n" << DeploymentTable(list);
  return absl::OkStatus();
}

absl::Status Sync(Session& session, const std::string& workspace,
                  const std::string& name) {
  admin::v1::SyncGitRepoRequest request;
  request.set_workspace(workspace);
  request.set_name(name);
  ASSIGN_OR_RETURN(admin::v1::SyncGitRepoResponse response,
                   Call(session, request,
                        &admin::v1::AdminService::StubInterface::SyncGitRepo));
  std::vector<std::string> failed;
  for (const auto& result : response.results()) {
    session.out << "gitrepo " << Safe(result.name()) << " ";
    if (result.has_problem()) {
      session.out << "failed\n";
      failed.push_back(absl::StrCat(result.name(), ": ",
                                    ProblemLine(result.problem())));
      continue;
    }
    session.out << "at " << Safe(result.commit().id().substr(0, 12)) << " "
                << Safe(result.commit().summary())
                << (result.changed() ? " (new)" : " (unchanged)") << "\n";
  }
  if (!failed.empty()) {
    return absl::UnavailableError(absl::StrJoin(failed, "\n"));
  }
  return absl::OkStatus();
}

absl::Status CreateToken(Session& session, const std::string& workspace,
                         const std::string& name, const std::string& labels,
                         absl::Duration ttl) {
  admin::v1::CreateTokenRequest request;
  request.set_workspace(workspace);
  request.set_cluster_name(name);
  ASSIGN_OR_RETURN(const auto pairs, ParseLabels(labels));
  request.mutable_labels()->insert(pairs.begin(), pairs.end());
  request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(ttl));
  ASSIGN_OR_RETURN(admin::v1::CreateTokenResponse response,
                   Call(session, request,
                        &admin::v1::AdminService::StubInterface::CreateToken));
  session.out << response.token() << "\n";
  return absl::OkStatus();
}

absl::Status Version(Session& session) {
  session.out << "flotilla " << kVersion << "\n";
  ASSIGN_OR_RETURN(admin::v1::GetVersionResponse response,
                   Call(session, admin::v1::GetVersionRequest(),
                        &admin::v1::AdminService::StubInterface::GetVersion));
  session.out << "manager " << Safe(response.version()) << ", store "
              << Safe(response.store_id()) << ", agents connect to "
              << Safe(response.agent_address()) << "\n";
  for (const std::string& trouble : response.troubles()) {
    session.out << "warning: " << Safe(trouble) << "\n";
  }
  return absl::OkStatus();
}

}  // namespace flotilla::ctl
