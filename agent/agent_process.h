// SPDX-License-Identifier: Apache-2.0
//
// AgentProcess builds the parts of an agent in the order in which they need one
// another, and owns them. It has no logic. The data directory holds agent.db
// (what survives), blobs/ (manifests and objects), identity.json (certificate)
// and key (which seals Secrets among the blobs).

#ifndef FLOTILLA_AGENT_AGENT_PROCESS_H_
#define FLOTILLA_AGENT_AGENT_PROCESS_H_

#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "agent/cache/assignment_cache.h"
#include "agent/connection/file_identity_store.h"
#include "agent/connection/grpc_manager_link.h"
#include "agent/facts/facts_watcher.h"
#include "agent/health/health_judge.h"
#include "agent/reconcile/reconciler.h"
#include "common/blob/directory_blob_store.h"
#include "common/crypto/sealed_box.h"
#include "common/env/clock.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "common/event/thread_worker_pool.h"
#include "common/kube/curl_transport.h"
#include "common/kube/http_kube_client.h"
#include "common/kube/kube_identity.h"

namespace flotilla::agent {

// Loop-affine.
class AgentProcess {
 public:
  struct Options {
    KubeIdentity cluster;
    std::string manager_address;
    std::string token;
    std::string data_dir;
    // Where the service accounts of deployments are.
    std::string agent_namespace = "cattle-fleet-system";
    HealthOptions health = {};
  };

  // Opens the disk, blocking; asks nobody. `loop`, `clock` and `random` must
  // outlive the process. Errors say what to do.
  static absl::StatusOr<std::unique_ptr<AgentProcess>> Create(
      Options options, Loop& loop, const Clock& clock, Random& random);
  AgentProcess(const AgentProcess&) = delete;
  AgentProcess& operator=(const AgentProcess&) = delete;
  ~AgentProcess();

  void Start();

  // Leaves the manager; what runs in the cluster stays.
  void Stop(absl::AnyInvocable<void()> done);

 private:
  AgentProcess(const Options& options, Loop& loop, const Clock& clock,
               Random& random);

  absl::Status Open(Options options, const Clock& clock);
  // A damaged database is set aside: the manager has all that was in it.
  absl::Status OpenCache(const std::string& folder);

  // Collaborators. Not owned.
  Loop& loop_;
  const Clock& clock_;
  Random& random_;

  // In the order of need; destroyed in reverse.
  std::unique_ptr<SealedBox> box_;
  std::unique_ptr<DirectoryBlobStore> blobs_;
  ThreadWorkerPool pool_;
  // The loop's own writes must not wait for slow work of others.
  ThreadWorkerPool identity_pool_;
  std::unique_ptr<AssignmentCache> cache_;
  std::unique_ptr<CurlTransport> transport_;
  std::unique_ptr<HttpKubeClient> client_;
  std::unique_ptr<FileIdentityStore> identities_;
  std::unique_ptr<GrpcManagerLink> link_;
  std::unique_ptr<Reconciler> reconciler_;
  std::unique_ptr<FactsWatcher> facts_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_AGENT_PROCESS_H_
