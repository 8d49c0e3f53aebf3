// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/admin_service.h"

#include <map>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status/grpc_status.h"
#include "common/status/status_macros.h"
#include "manager/admin/paging.h"
#include "manager/documents/document_json.h"
#include "manager/documents/documents.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

// Joins parts so that keys sort as their parts do.
std::string SortKey(std::initializer_list<absl::string_view> parts) {
  std::string key;
  for (absl::string_view part : parts) {
    key.append(part.data(), part.size());
    key.push_back('\0');
  }
  return key;
}

template <typename Item, typename List, typename KeyOf>
absl::Status FillPage(std::vector<Item> items, uint32_t page_size,
                      const std::string& page_token, KeyOf key_of, List* list,
                      std::string* next_page_token) {
  ASSIGN_OR_RETURN(Page<Item> page, TakePage(std::move(items), page_size,
                                             page_token, key_of));
  for (Item& item : page.items) *list->Add() = std::move(item);
  *next_page_token = std::move(page.next_token);
  return absl::OkStatus();
}

std::string DeploymentKey(const DeploymentName& name) {
  return SortKey({name.workspace, name.cluster, name.bundle, name.bundle_id,
                  name.cluster_workspace, name.cluster_id});
}

absl::Status NotLoaded() {
  return absl::UnavailableError(
      "the manager is still reading its store; try again in a moment");
}

// Reads one page of resources: whole deployments in order, each resource's
// place within its deployment being part of the token.
absl::Status ReadResources(StatusDatabase& database,
                           const std::vector<DeploymentName>& names,
                           uint32_t page_size, const std::string& token,
                           admin::v1::ListResourcesResponse* response) {
  ASSIGN_OR_RETURN(const std::string after, KeyOfToken(token));
  uint32_t skip = 0;
  std::string start;
  if (!after.empty()) {
    const size_t slash = after.rfind('/');
    if (slash == std::string::npos ||
        !absl::SimpleAtoi(after.substr(slash + 1), &skip)) {
      return absl::InvalidArgumentError(
          "page_token is not one that this method gave");
    }
    start = after.substr(0, slash);
  }
  const uint32_t size = PageSize(page_size);
  for (const DeploymentName& name : names) {
    const std::string key = DeploymentKey(name);
    if (key < start) continue;
    const uint32_t first = key == start ? skip : 0;
    ASSIGN_OR_RETURN(auto rows,
                     database.Resources({name.cluster_id, name.bundle_id}));
    for (uint32_t i = first; i < rows.size(); ++i) {
      if (static_cast<uint32_t>(response->resources_size()) == size) {
        response->set_next_page_token(PageToken(absl::StrCat(key, "/", i)));
        return absl::OkStatus();
      }
      admin::v1::Resource* resource = response->add_resources();
      resource->set_workspace(name.workspace);
      resource->set_cluster(name.cluster);
      resource->set_bundle(name.bundle);
      resource->set_stale(!name.online);
      *resource->mutable_status() = std::move(rows[i].status);
    }
  }
  return absl::OkStatus();
}

absl::Status ReadDrift(StatusDatabase& database,
                       const std::vector<DeploymentName>& names,
                       const admin::v1::ListDriftRequest& request,
                       admin::v1::ListDriftResponse* response) {
  int64_t below = 0;
  if (!request.page_token().empty() &&
      (!absl::SimpleAtoi(request.page_token(), &below) || below <= 0)) {
    return absl::InvalidArgumentError(
        "page_token is not one that this method gave");
  }
  std::map<std::pair<std::string, std::string>, const DeploymentName*> by_id;
  std::string only_cluster;
  for (const DeploymentName& name : names) {
    by_id[{name.cluster_id, name.bundle_id}] = &name;
    if (!request.cluster().empty()) only_cluster = name.cluster_id;
  }
  if (by_id.empty()) return absl::OkStatus();
  const int size = static_cast<int>(PageSize(request.page_size()));
  while (true) {
    ASSIGN_OR_RETURN(auto rows, database.Drift(only_cluster, below, size));
    for (auto& row : rows) {
      below = row.id;
      const auto name = by_id.find({row.cluster_id, row.record.bundle_id()});
      if (name == by_id.end()) continue;
      admin::v1::Drift* drift = response->add_drift();
      drift->set_workspace(name->second->workspace);
      drift->set_cluster(name->second->cluster);
      drift->set_bundle(name->second->bundle);
      *drift->mutable_record() = std::move(row.record);
      if (response->drift_size() == size) {
        response->set_next_page_token(absl::StrCat(below));
        return absl::OkStatus();
      }
    }
    if (static_cast<int>(rows.size()) < size) return absl::OkStatus();
  }
}

absl::Status NoDocument(const admin::v1::DocumentRef& ref) {
  return absl::NotFoundError(absl::StrCat(ref.kind(), " ", ref.workspace(), "/",
                                          ref.name(), " not found"));
}

}  // namespace

AdminService::AdminService(Loop& loop, WorkerPool& pool, const ReadModel& model,
                           StatusDatabase& database,
                           const StatusSource& statuses, AdminActions actions)
    : loop_(loop),
      pool_(pool),
      model_(model),
      database_(database),
      statuses_(statuses),
      actions_(std::move(actions)) {}

grpc::ServerUnaryReactor* AdminService::Read(
    grpc::CallbackServerContext* context,
    absl::AnyInvocable<absl::Status()> answer) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.Post([this, reactor, answer = std::move(answer)]() mutable {
    reactor->Finish(
        ToGrpcStatus(model_.loaded() ? answer() : NotLoaded()));
  });
  return reactor;
}

template <typename Request, typename Response, typename Action>
grpc::ServerUnaryReactor* AdminService::Act(
    grpc::CallbackServerContext* context, const Request* request,
    Response* response, const Action& action) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.Post([this, reactor, request, response, &action] {
    if (!model_.loaded()) {
      reactor->Finish(ToGrpcStatus(NotLoaded()));
      return;
    }
    action(*request, [reactor, response](absl::StatusOr<Response> outcome) {
      if (outcome.ok()) *response = *std::move(outcome);
      reactor->Finish(ToGrpcStatus(outcome.status()));
    });
  });
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::ApplyDocuments(
    grpc::CallbackServerContext* context,
    const admin::v1::ApplyDocumentsRequest* request,
    admin::v1::ApplyDocumentsResponse* response) {
  return Act(context, request, response, actions_.apply);
}

grpc::ServerUnaryReactor* AdminService::DeleteDocuments(
    grpc::CallbackServerContext* context,
    const admin::v1::DeleteDocumentsRequest* request,
    admin::v1::DeleteDocumentsResponse* response) {
  return Act(context, request, response, actions_.remove);
}

grpc::ServerUnaryReactor* AdminService::SyncGitRepo(
    grpc::CallbackServerContext* context,
    const admin::v1::SyncGitRepoRequest* request,
    admin::v1::SyncGitRepoResponse* response) {
  return Act(context, request, response, actions_.sync);
}

grpc::ServerUnaryReactor* AdminService::CreateToken(
    grpc::CallbackServerContext* context,
    const admin::v1::CreateTokenRequest* request,
    admin::v1::CreateTokenResponse* response) {
  return Act(context, request, response, actions_.create_token);
}

grpc::ServerUnaryReactor* AdminService::GetVersion(
    grpc::CallbackServerContext* context,
    const admin::v1::GetVersionRequest*,
    admin::v1::GetVersionResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.Post([this, reactor, response] {
    *response = actions_.version();
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::ListGitRepos(
    grpc::CallbackServerContext* context,
    const admin::v1::ListGitReposRequest* request,
    admin::v1::ListGitReposResponse* response) {
  return Read(context, [this, request, response] {
    return FillPage(
        model_.GitRepos(request->workspace(), request->name()),
        request->page_size(), request->page_token(),
        [](const admin::v1::GitRepo& r) {
          return SortKey({r.workspace(), r.name()});
        },
        response->mutable_git_repos(), response->mutable_next_page_token());
  });
}

grpc::ServerUnaryReactor* AdminService::ListBundles(
    grpc::CallbackServerContext* context,
    const admin::v1::ListBundlesRequest* request,
    admin::v1::ListBundlesResponse* response) {
  return Read(context, [this, request, response] {
    return FillPage(
        model_.Bundles(request->workspace(), request->name(),
                       request->git_repo()),
        request->page_size(), request->page_token(),
        [](const admin::v1::Bundle& b) {
          return SortKey({b.workspace(), b.name(), b.bundle_id()});
        },
        response->mutable_bundles(), response->mutable_next_page_token());
  });
}

grpc::ServerUnaryReactor* AdminService::ListClusters(
    grpc::CallbackServerContext* context,
    const admin::v1::ListClustersRequest* request,
    admin::v1::ListClustersResponse* response) {
  return Read(context, [this, request, response] {
    return FillPage(
        model_.Clusters(request->workspace(), request->name()),
        request->page_size(), request->page_token(),
        [](const admin::v1::Cluster& c) {
          return SortKey({c.workspace(), c.name()});
        },
        response->mutable_clusters(), response->mutable_next_page_token());
  });
}

grpc::ServerUnaryReactor* AdminService::ListHelmOps(
    grpc::CallbackServerContext* context,
    const admin::v1::ListHelmOpsRequest* request,
    admin::v1::ListHelmOpsResponse* response) {
  return Read(context, [this, request, response] {
    return FillPage(
        model_.HelmOps(request->workspace(), request->name()),
        request->page_size(), request->page_token(),
        [](const admin::v1::HelmOp& h) {
          return SortKey({h.workspace(), h.name()});
        },
        response->mutable_helm_ops(), response->mutable_next_page_token());
  });
}

grpc::ServerUnaryReactor* AdminService::ListClusterGroups(
    grpc::CallbackServerContext* context,
    const admin::v1::ListClusterGroupsRequest* request,
    admin::v1::ListClusterGroupsResponse* response) {
  return Read(context, [this, request, response] {
    return FillPage(
        model_.ClusterGroups(request->workspace(), request->name()),
        request->page_size(), request->page_token(),
        [](const admin::v1::ClusterGroup& g) {
          return SortKey({g.workspace(), g.name()});
        },
        response->mutable_cluster_groups(),
        response->mutable_next_page_token());
  });
}

grpc::ServerUnaryReactor* AdminService::GetStatus(
    grpc::CallbackServerContext* context,
    const admin::v1::GetStatusRequest* request,
    admin::v1::GetStatusResponse* response) {
  return Read(context, [this, request, response]() -> absl::Status {
    const admin::v1::DocumentRef& ref = request->document();
    const nlohmann::json status = statuses_.StatusOf(
        {CanonicalKind(ref.kind()), ref.workspace(), ref.name()});
    if (status.is_null()) return NoDocument(ref);
    response->set_status_json(status.dump(
        -1, ' ', false, nlohmann::json::error_handler_t::replace));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::GetDocument(
    grpc::CallbackServerContext* context,
    const admin::v1::GetDocumentRequest* request,
    admin::v1::GetDocumentResponse* response) {
  return Read(context, [this, request, response]() -> absl::Status {
    const admin::v1::DocumentRef& ref = request->document();
    const std::string kind = CanonicalKind(ref.kind());
    const storage::v1::Document* document =
        model_.Document(kind, ref.workspace(), ref.name());
    if (document == nullptr) return NoDocument(ref);
    nlohmann::json json = DocumentToJson(*document);
    const nlohmann::json status =
        statuses_.StatusOf({kind, ref.workspace(), ref.name()});
    if (!status.is_null()) json["status"] = status;
    response->set_document_json(
        json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::GetFacts(
    grpc::CallbackServerContext* context,
    const admin::v1::GetFactsRequest* request,
    admin::v1::GetFactsResponse* response) {
  return Read(context, [this, request, response]() -> absl::Status {
    const std::string workspace =
        request->workspace().empty() ? kDefaultWorkspace : request->workspace();
    const core::v1::ClusterFacts* facts =
        model_.Facts(workspace, request->cluster());
    if (facts == nullptr) {
      return absl::NotFoundError(absl::StrCat(
          "the agent of cluster ", workspace, "/", request->cluster(),
          " has not said what it serves, or there is no such cluster"));
    }
    *response->mutable_facts() = *facts;
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AdminService::ListDeployments(
    grpc::CallbackServerContext* context,
    const admin::v1::ListDeploymentsRequest* request,
    admin::v1::ListDeploymentsResponse* response) {
  return Read(context, [this, request, response] {
    return FillPage(
        model_.Deployments({request->workspace(), request->cluster(),
                            request->bundle(), request->git_repo()}),
        request->page_size(), request->page_token(),
        [](const admin::v1::Deployment& d) {
          return SortKey({d.workspace(), d.cluster(), d.bundle(),
                          d.bundle_id(),
                          d.cluster_workspace().empty()
                              ? d.workspace()
                              : d.cluster_workspace(),
                          d.cluster_id()});
        },
        response->mutable_deployments(), response->mutable_next_page_token());
  });
}

grpc::ServerUnaryReactor* AdminService::ListResources(
    grpc::CallbackServerContext* context,
    const admin::v1::ListResourcesRequest* request,
    admin::v1::ListResourcesResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.Post([this, reactor, request, response] {
    if (!model_.loaded()) {
      reactor->Finish(ToGrpcStatus(NotLoaded()));
      return;
    }
    pool_.Submit<absl::Status>(
        [this, request, response,
         names = model_.Names({request->workspace(), request->cluster(),
                               request->bundle(), request->git_repo()})] {
          return ReadResources(database_, names, request->page_size(),
                               request->page_token(), response);
        },
        [reactor](absl::Status status) {
          reactor->Finish(ToGrpcStatus(status));
        });
  });
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::ListDrift(
    grpc::CallbackServerContext* context,
    const admin::v1::ListDriftRequest* request,
    admin::v1::ListDriftResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.Post([this, reactor, request, response] {
    if (!model_.loaded()) {
      reactor->Finish(ToGrpcStatus(NotLoaded()));
      return;
    }
    pool_.Submit<absl::Status>(
        [this, request, response,
         names = model_.Names(
             {request->workspace(), request->cluster(), request->bundle(),
              ""})] { return ReadDrift(database_, names, *request, response); },
        [reactor](absl::Status status) {
          reactor->Finish(ToGrpcStatus(status));
        });
  });
  return reactor;
}

}  // namespace flotilla::manager
