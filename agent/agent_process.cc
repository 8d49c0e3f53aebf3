// SPDX-License-Identifier: Apache-2.0

#include "agent/agent_process.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/crypto/private_file.h"
#include "common/log/log.h"
#include "common/sqlite/database.h"
#include "common/sqlite/database_damage.h"
#include "common/status/status_macros.h"
#include "common/version/version.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

absl::StatusOr<std::unique_ptr<AgentProcess>> AgentProcess::Create(
    Options options, Loop& loop, const Clock& clock, Random& random) {
  std::unique_ptr<AgentProcess> process(
      new AgentProcess(options, loop, clock, random));
  RETURN_IF_ERROR(process->Open(std::move(options), clock));
  return process;
}

AgentProcess::AgentProcess(const Options&, Loop& loop, const Clock& clock,
                           Random& random)
    : loop_(loop),
      clock_(clock),
      random_(random),
      pool_(loop, /*threads=*/2),
      identity_pool_(loop, /*threads=*/1) {}

AgentProcess::~AgentProcess() {
  // What work is under way uses the parts below.
  pool_.Stop();
  identity_pool_.Stop();
  // The link calls the reconciler; it goes first.
  facts_.reset();
  link_.reset();
}

absl::Status AgentProcess::Open(Options options, const Clock& clock) {
  const std::string& folder = options.data_dir;
  RETURN_IF_ERROR(MakePrivateFolder(folder))
      << "the data directory " << folder
      << " cannot be used (choose another with --data-dir)";
  ASSIGN_OR_RETURN(box_,
                   SealedBox::Create(absl::StrCat(folder, "/key"), random_));
  ASSIGN_OR_RETURN(blobs_, DirectoryBlobStore::Open(
                               absl::StrCat(folder, "/blobs"), *box_));
  RETURN_IF_ERROR(OpenCache(folder));
  CurlTransportOptions transport;
  transport.user_agent = absl::StrCat("flotilla-agent/", kVersion);
  ASSIGN_OR_RETURN(transport_, CurlTransport::Create(std::move(options.cluster),
                                                     transport, loop_));
  client_ = std::make_unique<HttpKubeClient>(*transport_, loop_,
                                             HttpKubeClientOptions());
  identities_ = std::make_unique<FileIdentityStore>(folder, identity_pool_);
  GrpcManagerLink::Options link;
  link.manager_address = options.manager_address;
  link.token = options.token;
  link.agent_version = kVersion;
  link_ = std::make_unique<GrpcManagerLink>(loop_, clock, random_,
                                            *identities_, std::move(link));
  reconciler_ = std::make_unique<Reconciler>(Reconciler::Parts{
      *cache_, *blobs_, *client_, *link_, loop_, clock_, random_,
      options.agent_namespace, options.health});
  return absl::OkStatus();
}

absl::Status AgentProcess::OpenCache(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/agent.db");
  const auto open = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(
        std::unique_ptr<Database> database, Database::Open(path),
        _ << "the data directory " << folder
          << " cannot be used (choose another with --data-dir)");
    ASSIGN_OR_RETURN(cache_, AssignmentCache::Open(std::move(database), *blobs_,
                                                   pool_, random_));
    return absl::OkStatus();
  };
  const absl::Status opened = open();
  if (!absl::IsDataLoss(opened)) return opened;
  RETURN_IF_ERROR(SetDamagedDatabaseAside(path)) << opened.message();
  FLOTILLA_LOG(ERROR)
      << path << " was damaged and is " << path
      << ".damaged now. The manager sends everything again and nothing is "
         "deleted; delete by hand what Git gave up while the agent was not "
         "connected. The error was: "
      << opened;
  return open();
}

void AgentProcess::Start() {
  reconciler_->Start();
  link_->Start(*reconciler_);
  FactsWatcher::Told told;
  told.cluster_uid = [this](std::string uid) {
    link_->SetClusterUid(std::move(uid));
  };
  told.facts = [this](core::v1::ClusterFacts facts) {
    link_->SetFacts(std::move(facts));
  };
  told.kinds_changed = [this] { reconciler_->OnKindsChanged(); };
  facts_ = std::make_unique<FactsWatcher>(*client_, loop_, random_,
                                          std::move(told));
}

void AgentProcess::Stop(absl::AnyInvocable<void()> done) {
  link_->Stop(std::move(done));
}

}  // namespace flotilla::agent
