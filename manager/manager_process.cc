// SPDX-License-Identifier: Apache-2.0

#include "manager/manager_process.h"

#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/blob/directory_blob_store.h"
#include "common/crypto/private_file.h"
#include "common/crypto/sealed_box.h"
#include "common/http/http_server.h"
#include "common/kube/curl_transport.h"
#include "common/kube/http_kube_client.h"
#include "common/log/log.h"
#include "common/rpc/server.h"
#include "common/status/status_macros.h"
#include "common/version/version.h"
#include "manager/admin/admin_actions.h"
#include "manager/admin/admin_service.h"
#include "manager/admin/read_model.h"
#include "manager/admin/status_index.h"
#include "manager/bundle/bundle_controller.h"
#include "manager/charts/chart_cache.h"
#include "manager/charts/chart_poller.h"
#include "manager/charts/git_chart_fetcher.h"
#include "manager/charts/process_chart_fetcher.h"
#include "manager/documents/document_registry.h"
#include "manager/documents/secret_seal.h"
#include "manager/frontend/management_cluster.h"
#include "manager/frontend/token_secrets.h"
#include "manager/gitsync/fair_git_repository.h"
#include "manager/gitsync/git_poller.h"
#include "manager/gitsync/libgit2_repository.h"
#include "manager/render/render_controller.h"
#include "manager/render/renderer_version.h"
#include "manager/render/worker_renderer.h"
#include "manager/rollout/rollout_controller.h"
#include "manager/status/status_database.h"
#include "manager/status/status_recorder.h"
#include "manager/store/blob_sweeper.h"
#include "manager/store/records.h"
#include "manager/store/sqlite_store.h"
#include "manager/stream/agent_service.h"
#include "manager/stream/certificate_authority.h"
#include "manager/stream/enrolment.h"
#include "manager/stream/identity_registry.h"
#include "manager/stream/session_hub.h"
#include "manager/targeting/targeting_controller.h"
#include "manager/webhook/webhook_receiver.h"

namespace flotilla::manager {
namespace {

constexpr absl::Duration kDrainLimit = absl::Seconds(2);
constexpr size_t kRandomKeyBytes = 32;
constexpr char kThisProgram[] = "/proc/self/exe";
// Half of the threads that there are for it, see main.cc.
constexpr size_t kFetchesPerGitServer = 4;
constexpr int kMaxAdminBytes = 64 << 20;
constexpr size_t kMaxWebhookBytes = 5 << 20;

absl::Status MakeDirectory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error) {
    std::filesystem::permissions(path, std::filesystem::perms::owner_all,
                                 error);
  }
  if (error) {
    return absl::PermissionDeniedError(absl::StrCat(
        "data directory ", path, ": ", error.message(),
        "; choose another with --data-dir, or make it writable"));
  }
  return absl::OkStatus();
}

// The seed of charts' random functions: as lasting as the data directory, or
// every generated password would change.
absl::StatusOr<std::string> LoadRandomKey(const std::string& path,
                                          Random& random) {
  absl::StatusOr<std::string> key = ReadPrivateFile(path);
  if (key.ok() && key->size() == kRandomKeyBytes) return key;
  if (key.ok()) {
    return absl::DataLossError(absl::StrCat(
        path, ": damaged; restore it from a backup, or move it away and accept "
              "that charts generate new passwords"));
  }
  if (!absl::IsNotFound(key.status())) return key.status();
  std::string fresh = random.Bytes(kRandomKeyBytes);
  RETURN_IF_ERROR(WritePrivateFile(path, fresh));
  return fresh;
}

AgentPresence PresenceOf(const SessionHub& hub, const std::string& cluster_id) {
  const ClusterPresence known = hub.Presence(cluster_id);
  AgentPresence presence;
  presence.online = known.online;
  presence.agent_version = known.agent_version;
  if (known.last_seen != absl::InfinitePast()) {
    presence.last_seen = known.last_seen;
  }
  const std::optional<SessionView> session = hub.Session(cluster_id);
  if (session.has_value()) {
    presence.frames.emplace();
    presence.frames->set_epoch(session->epoch);
    for (const auto& [frame, n] : session->counts.received) {
      (*presence.frames->mutable_received())[frame] = n;
    }
    for (const auto& [frame, n] : session->counts.sent) {
      (*presence.frames->mutable_sent())[frame] = n;
    }
  }
  return presence;
}

}  // namespace

// In the order of dependencies: what comes later may use what comes earlier,
// and is destroyed first.
struct ManagerProcess::Parts {
  explicit Parts(World w) : world(w) {}
  ~Parts();
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  World world;
  std::unique_ptr<SealedBox> box;
  std::string random_key;
  std::unique_ptr<SqliteStore> store;
  std::unique_ptr<StatusDatabase> status;
  std::unique_ptr<DirectoryBlobStore> blobs;
  std::unique_ptr<CertificateAuthority> authority;
  std::unique_ptr<Libgit2Repository> git;
  std::optional<FairGitRepository> fair_git;
  // Charts have clones of their own: the poller lets go of all but its own.
  std::unique_ptr<Libgit2Repository> chart_git;
  std::optional<FairGitRepository> fair_chart_git;

  // Write handles of the families whose writers take them by reference.
  std::optional<FamilyWriter> source_writer;
  std::optional<FamilyWriter> cluster_writer;
  std::optional<FamilyWriter> token_writer;
  std::optional<FamilyWriter> session_writer;
  std::optional<FamilyWriter> facts_writer;
  std::optional<FamilyWriter> highwater_writer;
  std::optional<FamilyWriter> values_writer;

  std::optional<DocumentRegistry> documents;
  std::optional<GitPoller> poller;
  std::unique_ptr<ThreadWorkerPool> webhook_workers;
  std::optional<WebhookReceiver> webhooks;
  std::unique_ptr<ChartCache> chart_cache;
  std::optional<ProcessChartFetcher> charts;
  std::optional<GitChartFetcher> git_charts;
  std::optional<ChartPoller> chart_poller;
  std::optional<BundleController> bundles;
  std::optional<TargetingController> targeting;
  std::optional<WorkerRenderer> renderer;
  std::optional<RenderController> rendering;
  std::optional<BlobSweeper> sweeper;
  std::optional<RolloutController> rollout;
  std::optional<StatusRecorder> recorder;
  std::optional<IdentityRegistry> identities;
  std::optional<Enrolment> enrolment;
  std::optional<SessionHub> hub;
  std::optional<ReadModel> model;
  std::optional<StatusIndex> statuses;
  std::unique_ptr<CurlTransport> management_transport;
  std::optional<HttpKubeClient> management_client;
  std::optional<ManagementCluster> management_cluster;
  std::optional<AgentService> agent_service;
  std::optional<AdminService> admin_service;
  std::unique_ptr<RpcServer> agent_server;
  std::unique_ptr<RpcServer> admin_server;
  std::unique_ptr<HttpServer> webhook_server;

  // What the recorder tells the read model and the statuses.
  StatusListener ListenerOf();
  void BuildStages(const ManagerOptions& options);
  absl::Status ConnectManagementCluster(const ManagerOptions& options);
  absl::Status StartServers(const ManagerOptions& options);
};

// Work that is under way uses the parts: it ends before them.
ManagerProcess::Parts::~Parts() {
  if (git != nullptr) git->CutAll();
  if (chart_git != nullptr) chart_git->CutAll();
  world.git_workers.Stop();
  world.workers.Stop();
  if (webhook_workers != nullptr) webhook_workers->Stop();
}

StatusListener ManagerProcess::Parts::ListenerOf() {
  StatusListener listener;
  listener.on_resource = [this](const std::string& cluster_id,
                                const core::v1::ResourceStatus& said) {
    if (model.has_value()) model->OnResource(cluster_id, said);
  };
  listener.on_forgotten = [this](const std::string& cluster_id,
                                 const std::string& bundle_id) {
    if (model.has_value()) model->OnForgotten(cluster_id, bundle_id);
  };
  listener.on_rejection = [this](const std::string& cluster_id,
                                 const std::string& bundle_id) {
    if (model.has_value()) model->OnRejection(cluster_id, bundle_id);
  };
  listener.on_loaded = [this] {
    if (statuses.has_value()) statuses->OnResourcesLoaded();
  };
  return listener;
}

void ManagerProcess::Parts::BuildStages(const ManagerOptions& options) {
  Loop& loop = world.loop;
  WorkerPool& workers = world.workers;
  source_writer.emplace(*store, kSourceFamily);
  cluster_writer.emplace(*store, kClusterFamily);
  token_writer.emplace(*store, kTokenFamily);
  session_writer.emplace(*store, kSessionFamily);
  facts_writer.emplace(*store, kFactsFamily);
  highwater_writer.emplace(*store, kHighWaterFamily);
  values_writer.emplace(*store, kValuesFamily);

  documents.emplace(loop, workers, *store,
                    FamilyWriter(*store, kDocumentFamily), *blobs, *box,
                    world.clock, world.random);
  fair_git.emplace(*git, kFetchesPerGitServer);
  poller.emplace(loop, *store, *source_writer, *fair_git, world.clock,
                 world.random,
                 [this](const storage::v1::SecretSpec& secret) {
                   return OpenSecret(*box, secret);
                 });
  // One: who floods it keeps nothing but other webhooks waiting.
  webhook_workers = std::make_unique<ThreadWorkerPool>(loop, /*threads=*/1);
  webhooks.emplace(
      loop, *store, *webhook_workers,
      [this](const storage::v1::SecretSpec& secret) {
        return OpenSecret(*box, secret);
      },
      [this](const std::string& workspace, const std::string& name) {
        poller->SyncNow(workspace, name,
                        [](const absl::StatusOr<GitPoller::SyncResult>&) {});
      });
  ProcessChartFetcherOptions chart_options;
  chart_options.fetcher_path = options.chart_fetcher;
  chart_options.environment = options.chart_environment;
  chart_options.cache_secret = random_key;
  charts.emplace(loop, workers, world.subprocesses, *blobs, chart_cache.get(),
                 std::move(chart_options));
  fair_chart_git.emplace(*chart_git, kFetchesPerGitServer);
  git_charts.emplace(loop, workers, *fair_chart_git, *blobs, *charts,
                     [this] { return poller->SharedKnownHosts(); });
  chart_poller.emplace(loop, *store, FamilyWriter(*store, kChartFamily),
                       *charts, world.clock, world.random,
                       [this](const storage::v1::SecretSpec& secret) {
                         return OpenSecret(*box, secret);
                       });
  ChartSupply supply;
  supply.fetcher = &*git_charts;
  supply.unseal = [this](const storage::v1::SecretSpec& secret) {
    return OpenSecret(*box, secret);
  };
  bundles.emplace(loop, workers, *store, FamilyWriter(*store, kBundleFamily),
                  *blobs, *git, world.random, std::move(supply));
  targeting.emplace(loop, *store, FamilyWriter(*store, kDesiredFamily));
  WorkerRendererOptions render_options;
  render_options.worker_path = options.render_worker;
  renderer.emplace(loop, world.subprocesses, render_options);
  // Said now, not when the first chart comes.
  workers.Submit<absl::Status>(
      [&subprocesses = world.subprocesses, path = options.render_worker] {
        return CheckRenderWorker(subprocesses, path);
      },
      [](const absl::Status& checked) {
        if (!checked.ok()) FLOTILLA_LOG(WARNING) << checked.message();
      });
  RenderControllerOptions rendering_options;
  rendering_options.random_key = random_key;
  rendering_options.cache.renderer =
      RendererVersion({kThisProgram, options.render_worker});
  rendering.emplace(loop, workers, *store,
                    FamilyWriter(*store, kRenderedFamily),
                    FamilyWriter(*store, kRenderCacheFamily), *blobs, *renderer,
                    std::move(rendering_options));
  sweeper.emplace(loop, workers, *store, *blobs);
  rollout.emplace(loop, *store, FamilyWriter(*store, kReleasedFamily));
  recorder.emplace(loop, workers, world.clock, *store,
                   FamilyWriter(*store, kObservedFamily), *status,
                   ListenerOf());
  identities.emplace(loop, *store, *cluster_writer);
  enrolment.emplace(Enrolment::Collaborators{loop, world.clock, world.random,
                                             *store, *token_writer,
                                             *identities, *authority});
  SessionHub::Options hub_options;
  hub_options.on_notice = [](const std::string& text) {
    FLOTILLA_LOG(INFO) << text;
  };
  hub_options.on_presence = [this](const std::string& cluster_id) {
    if (model.has_value()) model->OnPresence(cluster_id);
  };
  hub.emplace(
      SessionHub::Collaborators{loop, world.clock, world.random, *store,
                                *session_writer, *facts_writer,
                                *highwater_writer, *identities, *blobs,
                                workers, *recorder, *values_writer},
      std::move(hub_options));
  ReadModelSources sources;
  sources.presence = [this](const std::string& cluster_id) {
    return PresenceOf(*hub, cluster_id);
  };
  sources.last_poll = [this](const std::string& workspace,
                             const std::string& name) {
    const auto state = poller->StateOf(workspace, name);
    return state.has_value() ? state->last_poll_time : std::nullopt;
  };
  sources.rejection = [this](const std::string& cluster_id,
                             const std::string& bundle_id) {
    return recorder->Rejection(cluster_id, bundle_id);
  };
  sources.changed = [this](const StatusSubject& subject) {
    if (statuses.has_value()) statuses->OnChange(subject);
  };
  model.emplace(*store, world.clock, std::move(sources));
  statuses.emplace(loop, world.clock, *model);
}

absl::Status ManagerProcess::Parts::ConnectManagementCluster(
    const ManagerOptions& options) {
  if (!options.management_cluster.has_value()) return absl::OkStatus();
  CurlTransportOptions transport;
  transport.user_agent = absl::StrCat("flotilla-manager/", kVersion);
  ASSIGN_OR_RETURN(management_transport,
                   CurlTransport::Create(*options.management_cluster,
                                         transport, world.loop));
  management_client.emplace(*management_transport, world.loop,
                            HttpKubeClientOptions());
  ManagementCluster::Options front;
  front.agent_address =
      options.agent_address.empty() ? options.listen : options.agent_address;
  front.notice = [](const std::string& text) { FLOTILLA_LOG(INFO) << text; };
  front.mint = [this](MintRequest request, auto done) {
    Enrolment::TokenRequest token;
    token.workspace = std::move(request.workspace);
    token.name = std::move(request.name);
    token.labels = std::move(request.labels);
    token.ttl = request.ttl;
    enrolment->CreateToken(std::move(token), std::move(done));
  };
  management_cluster.emplace(
      ManagementCluster::Collaborators{world.loop, world.workers, world.clock,
                                       world.random, *store, *documents,
                                       *management_client, &*statuses},
      std::move(front));
  return absl::OkStatus();
}

absl::Status ManagerProcess::Parts::StartServers(
    const ManagerOptions& options) {
  ASSIGN_OR_RETURN(CertificateAuthority::ServerIdentity identity,
                   authority->MakeServerIdentity(world.clock.Now()));
  AdminActions actions = MakeAdminActions(world.workers, *model, *documents,
                                          *poller, *enrolment, world.clock);
  actions.version = [this, address = options.listen] {
    admin::v1::GetVersionResponse version;
    version.set_version(kVersion);
    version.set_store_id(store->store_id());
    version.set_agent_address(address);
    if (!sweeper->trouble().empty()) {
      version.add_troubles("blobs that nothing names are not removed: " +
                           sweeper->trouble());
    }
    return version;
  };
  admin_service.emplace(world.loop, world.workers, *model, *status, *statuses,
                        std::move(actions));
  ServerOptions people;
  people.address = options.admin_listen;
  people.max_receive_bytes = kMaxAdminBytes;
  ASSIGN_OR_RETURN(admin_server, RpcServer::Start(world.loop, people,
                                                  {&*admin_service}));

  if (!options.webhook_listen.empty()) {
    HttpServerOptions hooks;
    hooks.address = options.webhook_listen;
    hooks.max_body_bytes = kMaxWebhookBytes;
    ASSIGN_OR_RETURN(
        webhook_server,
        HttpServer::Start(
            world.loop, hooks,
            [this](HttpServerRequest request, HttpServer::Respond respond) {
              if (request.method != "POST") {
                HttpResponse response;
                response.status = 405;
                response.body = "webhooks are sent here by POST\n";
                respond(std::move(response));
                return;
              }
              webhooks->Receive(
                  std::move(request.headers), std::move(request.body),
                  [respond = std::move(respond)](WebhookAnswer answer) mutable {
                    HttpResponse response;
                    response.status = answer.status;
                    response.body = answer.text + "\n";
                    respond(std::move(response));
                  });
            }));
  }

  // Last: once agents connect, only a running loop can let go of them.
  agent_service.emplace(world.loop, *hub, *enrolment);
  ServerOptions agents;
  agents.address = options.listen;
  agents.tls.key = identity.key_pem;
  agents.tls.certificate = identity.certificate_pem;
  agents.tls.client_ca = authority->certificate().ToPem();
  ASSIGN_OR_RETURN(agent_server, RpcServer::Start(world.loop, agents,
                                                  {&*agent_service}));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ManagerProcess>> ManagerProcess::Create(
    World world, const ManagerOptions& options) {
  auto parts = std::make_unique<Parts>(world);
  const std::string& dir = options.data_dir;
  RETURN_IF_ERROR(MakeDirectory(dir));
  ASSIGN_OR_RETURN(
      parts->box,
      SealedBox::Create(dir + "/key", world.random,
                        {dir + "/store.db", dir + "/ca", dir + "/blobs"}));
  // A key that is not right is found before the store is sealed with it.
  RETURN_IF_ERROR(
      CertificateAuthority::Load(dir + "/ca", *parts->box).status());
  // First of what is written to: it holds off a second manager on the same
  // directory.
  ASSIGN_OR_RETURN(parts->store,
                   SqliteStore::Open(world.loop, world.random, *parts->box,
                                     dir + "/store.db"));
  ASSIGN_OR_RETURN(parts->random_key,
                   LoadRandomKey(dir + "/random-key", world.random));
  ASSIGN_OR_RETURN(parts->status, StatusDatabase::Open(dir + "/status.db"));
  ASSIGN_OR_RETURN(parts->blobs,
                   DirectoryBlobStore::Open(dir + "/blobs", *parts->box));
  ASSIGN_OR_RETURN(parts->chart_cache, ChartCache::Open(dir + "/charts.db"));
  ASSIGN_OR_RETURN(parts->authority,
                   CertificateAuthority::LoadOrCreate(dir + "/ca", *parts->box,
                                                      world.clock.Now()));
  Libgit2Repository::Options git_options;
  git_options.proxy = options.proxy;
  ASSIGN_OR_RETURN(parts->git,
                   Libgit2Repository::Create(world.git_workers, world.clock,
                                             world.random, dir + "/git",
                                             git_options));
  ASSIGN_OR_RETURN(parts->chart_git,
                   Libgit2Repository::Create(world.git_workers, world.clock,
                                             world.random, dir + "/git-charts",
                                             git_options));
  parts->BuildStages(options);
  RETURN_IF_ERROR(parts->ConnectManagementCluster(options));
  RETURN_IF_ERROR(parts->StartServers(options));
  return std::unique_ptr<ManagerProcess>(
      new ManagerProcess(std::move(parts)));
}

ManagerProcess::ManagerProcess(std::unique_ptr<Parts> parts)
    : parts_(std::move(parts)) {}

ManagerProcess::~ManagerProcess() = default;

int ManagerProcess::agent_port() const { return parts_->agent_server->port(); }

int ManagerProcess::webhook_port() const {
  return parts_->webhook_server == nullptr ? 0
                                           : parts_->webhook_server->port();
}

int ManagerProcess::admin_port() const { return parts_->admin_server->port(); }

void ManagerProcess::Shutdown(absl::AnyInvocable<void()> done) {
  Parts* parts = parts_.get();
  parts->hub->Drain(kDrainLimit, [parts, done = std::move(done)]() mutable {
    parts->agent_server->Shutdown(
        kDrainLimit, [parts, done = std::move(done)]() mutable {
          parts->admin_server->Shutdown(kDrainLimit, std::move(done));
        });
  });
}

}  // namespace flotilla::manager
