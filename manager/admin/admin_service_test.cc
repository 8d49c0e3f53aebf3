// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/admin_service.h"

#include <cstdio>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/env/fake_clock.h"
#include "common/event/real_loop.h"
#include "common/event/thread_worker_pool.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "manager/admin/read_model.h"
#include "manager/admin/status_index.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using ::testing::HasSubstr;

// The service behind a real server, with a loop on a thread of its own.
class AdminServiceTest : public ::testing::Test {
 protected:
  AdminServiceTest() : pool_(loop_, 1), store_(loop_) {
    const std::string path = absl::StrCat(
        ::testing::TempDir(), "/admin-",
        ::testing::UnitTest::GetInstance()->current_test_info()->name(), ".db");
    for (const char* end : {"", "-wal", "-shm"}) {
      std::remove((path + end).c_str());
    }
    database_ = *StatusDatabase::Open(path);
    ReadModelSources sources;
    sources.presence = [](const std::string&) { return AgentPresence(); };
    sources.last_poll = [](const std::string&, const std::string&) {
      return std::optional<absl::Time>();
    };
    sources.rejection = [](const std::string&, const std::string&) {
      return std::optional<core::v1::Problem>();
    };
    model_ = std::make_unique<ReadModel>(store_, clock_, sources);
    AdminActions actions;
    actions.apply = [](const admin::v1::ApplyDocumentsRequest& request,
                       auto done) {
      admin::v1::ApplyDocumentsResponse response;
      response.add_results()->set_name(request.default_workspace());
      done(response);
    };
    actions.remove = [](const admin::v1::DeleteDocumentsRequest&, auto done) {
      done(absl::NotFoundError("no such GitRepo"));
    };
    actions.version = [] {
      admin::v1::GetVersionResponse version;
      version.set_version("1");
      return version;
    };
    statuses_ = std::make_unique<StatusIndex>(loop_, clock_, *model_);
    service_ = std::make_unique<AdminService>(loop_, pool_, *model_, *database_,
                                              *statuses_, actions);
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = admin::v1::AdminService::NewStub(
        server_->InProcessChannel(grpc::ChannelArguments()));
  }

  void Run() {
    thread_ = std::thread([this] { loop_.RunUntilStopped(); });
  }

  ~AdminServiceTest() override {
    if (!thread_.joinable()) Run();
    server_->Shutdown();
    loop_.Stop();
    thread_.join();
  }

  void AddClusters(int count) {
    std::vector<Op> ops;
    for (int i = 0; i < count; ++i) {
      storage::v1::Document cluster;
      cluster.set_workspace("w");
      cluster.set_kind("Cluster");
      cluster.set_name(absl::StrCat("c", i));
      cluster.mutable_cluster();
      ops.push_back(Op::Put(DocumentKey("w", "Cluster", cluster.name()),
                            SerializeRecord(cluster)));
    }
    FamilyWriter(store_, kDocumentFamily)
        .Txn({}, std::move(ops),
             [this](absl::StatusOr<int64_t>) { added_.Notify(); });
  }

  RealLoop loop_;
  ThreadWorkerPool pool_;
  FakeClock clock_;
  MemoryStore store_;
  std::unique_ptr<StatusDatabase> database_;
  std::unique_ptr<ReadModel> model_;
  std::unique_ptr<StatusIndex> statuses_;
  std::unique_ptr<AdminService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<admin::v1::AdminService::Stub> stub_;
  absl::Notification added_;
  std::thread thread_;
};

TEST_F(AdminServiceTest, GivesClustersInPages) {
  AddClusters(5);
  Run();
  // Watchers have seen it by then.
  added_.WaitForNotification();
  admin::v1::ListClustersRequest request;
  request.set_page_size(3);
  std::vector<std::string> names;
  do {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    admin::v1::ListClustersResponse response;
    ASSERT_TRUE(stub_->ListClusters(&context, request, &response).ok());
    for (const auto& c : response.clusters()) names.push_back(c.name());
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());

  EXPECT_THAT(names, ::testing::ElementsAre("c0", "c1", "c2", "c3", "c4"));
}

TEST_F(AdminServiceTest, PassesChangesOnAndTheirErrorsBack) {
  Run();
  {
    grpc::ClientContext context;
    admin::v1::ApplyDocumentsRequest request;
    request.set_default_workspace("w");
    admin::v1::ApplyDocumentsResponse response;
    ASSERT_TRUE(stub_->ApplyDocuments(&context, request, &response).ok());
    EXPECT_EQ(response.results(0).name(), "w");
  }
  grpc::ClientContext context;
  admin::v1::DeleteDocumentsResponse response;
  const grpc::Status status = stub_->DeleteDocuments(
      &context, admin::v1::DeleteDocumentsRequest(), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("no such GitRepo"));
}

TEST_F(AdminServiceTest, RefusesATokenThatItDidNotGive) {
  Run();
  grpc::ClientContext context;
  admin::v1::ListDriftRequest request;
  request.set_page_token("x");
  admin::v1::ListDriftResponse response;

  EXPECT_EQ(stub_->ListDrift(&context, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace flotilla::manager
