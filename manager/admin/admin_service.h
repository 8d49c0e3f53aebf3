// SPDX-License-Identifier: Apache-2.0
//
// AdminService serves admin.v1: it moves each call to the loop, answers reads
// from the read model and the status database, and hands changes to those who
// make them (AdminActions). Requests are answered UNAVAILABLE until the read
// model is loaded.
//
// Calls come on gRPC's threads; everything else happens on the loop. The loop
// must go on running until the server has been shut down.

#ifndef FLOTILLA_MANAGER_ADMIN_ADMIN_SERVICE_H_
#define FLOTILLA_MANAGER_ADMIN_ADMIN_SERVICE_H_

#include <functional>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "common/event/loop.h"
#include "common/event/worker_pool.h"
#include "flotilla/admin/v1/admin.grpc.pb.h"
#include "manager/admin/read_model.h"
#include "manager/status/status_database.h"
#include "manager/status/status_source.h"

namespace flotilla::manager {

// Who makes the changes. Each is called on the loop; its completion runs on
// the loop. All are required.
struct AdminActions {
  template <typename T>
  using Done = absl::AnyInvocable<void(absl::StatusOr<T>)>;

  std::function<void(const admin::v1::ApplyDocumentsRequest&,
                     Done<admin::v1::ApplyDocumentsResponse>)>
      apply;
  std::function<void(const admin::v1::DeleteDocumentsRequest&,
                     Done<admin::v1::DeleteDocumentsResponse>)>
      remove;
  std::function<void(const admin::v1::SyncGitRepoRequest&,
                     Done<admin::v1::SyncGitRepoResponse>)>
      sync;
  std::function<void(const admin::v1::CreateTokenRequest&,
                     Done<admin::v1::CreateTokenResponse>)>
      create_token;
  // Answers at any time, also while nothing is loaded.
  std::function<admin::v1::GetVersionResponse()> version;
};

// Thread-safe.
class AdminService : public admin::v1::AdminService::CallbackService {
 public:
  // Nothing is owned; all must outlive the server that it is registered with.
  AdminService(Loop& loop, WorkerPool& pool, const ReadModel& model,
               StatusDatabase& database, const StatusSource& statuses,
               AdminActions actions);

  grpc::ServerUnaryReactor* ApplyDocuments(
      grpc::CallbackServerContext* context,
      const admin::v1::ApplyDocumentsRequest* request,
      admin::v1::ApplyDocumentsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteDocuments(
      grpc::CallbackServerContext* context,
      const admin::v1::DeleteDocumentsRequest* request,
      admin::v1::DeleteDocumentsResponse* response) override;
  grpc::ServerUnaryReactor* ListGitRepos(
      grpc::CallbackServerContext* context,
      const admin::v1::ListGitReposRequest* request,
      admin::v1::ListGitReposResponse* response) override;
  grpc::ServerUnaryReactor* ListBundles(
      grpc::CallbackServerContext* context,
      const admin::v1::ListBundlesRequest* request,
      admin::v1::ListBundlesResponse* response) override;
  grpc::ServerUnaryReactor* ListClusters(
      grpc::CallbackServerContext* context,
      const admin::v1::ListClustersRequest* request,
      admin::v1::ListClustersResponse* response) override;
  grpc::ServerUnaryReactor* ListHelmOps(
      grpc::CallbackServerContext* context,
      const admin::v1::ListHelmOpsRequest* request,
      admin::v1::ListHelmOpsResponse* response) override;
  grpc::ServerUnaryReactor* ListClusterGroups(
      grpc::CallbackServerContext* context,
      const admin::v1::ListClusterGroupsRequest* request,
      admin::v1::ListClusterGroupsResponse* response) override;
  grpc::ServerUnaryReactor* GetStatus(
      grpc::CallbackServerContext* context,
      const admin::v1::GetStatusRequest* request,
      admin::v1::GetStatusResponse* response) override;
  grpc::ServerUnaryReactor* GetDocument(
      grpc::CallbackServerContext* context,
      const admin::v1::GetDocumentRequest* request,
      admin::v1::GetDocumentResponse* response) override;
  grpc::ServerUnaryReactor* GetFacts(
      grpc::CallbackServerContext* context,
      const admin::v1::GetFactsRequest* request,
      admin::v1::GetFactsResponse* response) override;
  grpc::ServerUnaryReactor* ListDeployments(
      grpc::CallbackServerContext* context,
      const admin::v1::ListDeploymentsRequest* request,
      admin::v1::ListDeploymentsResponse* response) override;
  grpc::ServerUnaryReactor* ListResources(
      grpc::CallbackServerContext* context,
      const admin::v1::ListResourcesRequest* request,
      admin::v1::ListResourcesResponse* response) override;
  grpc::ServerUnaryReactor* ListDrift(
      grpc::CallbackServerContext* context,
      const admin::v1::ListDriftRequest* request,
      admin::v1::ListDriftResponse* response) override;
  grpc::ServerUnaryReactor* SyncGitRepo(
      grpc::CallbackServerContext* context,
      const admin::v1::SyncGitRepoRequest* request,
      admin::v1::SyncGitRepoResponse* response) override;
  grpc::ServerUnaryReactor* CreateToken(
      grpc::CallbackServerContext* context,
      const admin::v1::CreateTokenRequest* request,
      admin::v1::CreateTokenResponse* response) override;
  grpc::ServerUnaryReactor* GetVersion(
      grpc::CallbackServerContext* context,
      const admin::v1::GetVersionRequest* request,
      admin::v1::GetVersionResponse* response) override;

 private:
  // Runs `answer` on the loop once the model is loaded, and finishes the call
  // with what it returns.
  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context,
                                 absl::AnyInvocable<absl::Status()> answer);
  // Hands the call to `action` and finishes it with its outcome.
  template <typename Request, typename Response, typename Action>
  grpc::ServerUnaryReactor* Act(grpc::CallbackServerContext* context,
                                const Request* request, Response* response,
                                const Action& action);

  Loop& loop_;
  WorkerPool& pool_;
  const ReadModel& model_;
  StatusDatabase& database_;
  const StatusSource& statuses_;
  const AdminActions actions_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_ADMIN_ADMIN_SERVICE_H_
