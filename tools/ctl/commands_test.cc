// SPDX-License-Identifier: Apache-2.0

#include "tools/ctl/commands.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

namespace flotilla::ctl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(ParseLabels, ReadsPairsAndNamesWhatIsNone) {
  EXPECT_THAT(ParseLabels("env=prod, zone = a,empty="),
              IsOkAndHolds(ElementsAre(Pair("empty", ""), Pair("env", "prod"),
                                       Pair("zone", "a"))));
  EXPECT_THAT(ParseLabels(""), IsOkAndHolds(ElementsAre()));
  EXPECT_THAT(ParseLabels("env"), StatusIs(absl::StatusCode::kInvalidArgument,
                                           HasSubstr("key=value")));
}

TEST(ReadDocumentFiles, ReadsADirectoryInOrderAndSaysWhatIsMissing) {
  const std::string dir = absl::StrCat(::testing::TempDir(), "/documents");
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir + "/sub");
  std::ofstream(dir + "/b.yaml") << "b";
  std::ofstream(dir + "/sub/a.yml") << "a";
  std::ofstream(dir + "/README.md") << "not this";

  const auto files = ReadDocumentFiles({dir});
  ASSERT_THAT(files, IsOk());
  ASSERT_EQ(files->size(), 2u);
  EXPECT_EQ((*files)[0].name(), dir + "/b.yaml");
  EXPECT_EQ((*files)[1].content(), "a");

  EXPECT_THAT(ReadDocumentFiles({dir + "/none"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no such")));
  std::filesystem::create_directories(dir + "/empty");
  EXPECT_THAT(ReadDocumentFiles({dir + "/empty"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("holds no")));
}

// A manager that gives clusters one a page.
class PagingManager : public admin::v1::AdminService::Service {
 public:
  grpc::Status ListClusters(
      grpc::ServerContext*, const admin::v1::ListClustersRequest* request,
      admin::v1::ListClustersResponse* response) override {
    const bool first = request->page_token().empty();
    response->add_clusters()->set_name(first ? "dev" : "prod");
    if (first) response->set_next_page_token("more");
    return grpc::Status::OK;
  }
  grpc::Status SyncGitRepo(grpc::ServerContext*,
                           const admin::v1::SyncGitRepoRequest*,
                           admin::v1::SyncGitRepoResponse* response) override {
    auto* result = response->add_results();
    result->set_name("web");
    result->mutable_problem()->set_message("no route to host");
    return grpc::Status::OK;
  }
};

class CommandsTest : public ::testing::Test {
 protected:
  CommandsTest() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&manager_);
    server_ = builder.BuildAndStart();
    stub_ = admin::v1::AdminService::NewStub(
        server_->InProcessChannel(grpc::ChannelArguments()));
  }

  PagingManager manager_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<admin::v1::AdminService::Stub> stub_;
  std::ostringstream out_;
};

TEST_F(CommandsTest, GetReadsAllPages) {
  Session session{*stub_, out_, "test"};

  EXPECT_THAT(Get(session, "cluster", {}, Format::kTable), IsOk());

  EXPECT_THAT(out_.str(), HasSubstr("dev"));
  EXPECT_THAT(out_.str(), HasSubstr("prod"));
}

TEST_F(CommandsTest, AFailedPollIsAnErrorThatSaysWhy) {
  Session session{*stub_, out_, "test"};

  EXPECT_THAT(Sync(session, "", ""),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("web: no route to host")));
}

TEST_F(CommandsTest, UnknownKindsNameTheKnownOnes) {
  Session session{*stub_, out_, "test"};

  EXPECT_THAT(Get(session, "pods", {}, Format::kTable),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("gitrepos, bundles")));
}

TEST(Commands, AManagerThatIsNotThereIsNamedWithWhatToDo) {
  const auto stub = admin::v1::AdminService::NewStub(grpc::CreateChannel(
      "127.0.0.1:1", grpc::InsecureChannelCredentials()));
  std::ostringstream out;
  Session session{*stub, out, "127.0.0.1:1"};

  EXPECT_THAT(Sync(session, "", ""),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("no manager answers at 127.0.0.1:1")));
}

}  // namespace
}  // namespace flotilla::ctl
