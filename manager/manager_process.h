// SPDX-License-Identifier: Apache-2.0
//
// ManagerProcess is the manager's composition root: it builds all parts in the
// order of their dependencies, owns them, and connects the few that speak to
// one another elsewhere than in the store. No logic.
//
// Data directory: key (seals secrets), random-key (charts' random functions),
// store.db, status.db, ca/, blobs/, git/.

#ifndef FLOTILLA_MANAGER_MANAGER_PROCESS_H_
#define FLOTILLA_MANAGER_MANAGER_PROCESS_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "common/env/clock.h"
#include "common/env/random.h"
#include "common/env/subprocess.h"
#include "common/event/loop.h"
#include "common/event/thread_worker_pool.h"
#include "common/kube/kube_identity.h"
#include "manager/gitsync/git_proxy.h"

namespace flotilla::manager {

struct ManagerOptions {
  // Made if absent, mode 0700.
  std::string data_dir;
  // Of the agents' listener; port 0 takes a free one.
  std::string listen = "127.0.0.1:7443";
  // Where agents find that listener, for the Secrets of
  // ClusterRegistrationTokens; empty: `listen`.
  std::string agent_address;
  // Of the admin listener; loopback only.
  std::string admin_listen = "127.0.0.1:7444";
  // Of the listener for webhooks over plain HTTP; empty: there is none.
  std::string webhook_listen;
  // Between the manager and Git servers.
  ProxySettings proxy;
  // The cluster whose Fleet objects are documents; absent: there is none.
  std::optional<KubeIdentity> management_cluster;
  // The program that downloads charts.
  std::string chart_fetcher;
  // What it gets of an environment: proxies, as "NAME=value".
  std::vector<std::string> chart_environment;
  // The render worker's program.
  std::string render_worker;
};

// Loop-affine.
class ManagerProcess {
 public:
  // The world. Not owned; must outlive the process, which stops the pools at
  // its end. Git has threads of its own: a silent server must not hold up the
  // rest.
  struct World {
    Loop& loop;
    ThreadWorkerPool& workers;
    ThreadWorkerPool& git_workers;
    const Clock& clock;
    Random& random;
    Subprocesses& subprocesses;
  };

  // Opens the data directory and the listeners. Blocks. Errors say what is
  // wrong with which path or address, and what to do.
  static absl::StatusOr<std::unique_ptr<ManagerProcess>> Create(
      World world, const ManagerOptions& options);
  ~ManagerProcess();
  ManagerProcess(const ManagerProcess&) = delete;
  ManagerProcess& operator=(const ManagerProcess&) = delete;

  int agent_port() const;
  int admin_port() const;
  // 0 when there is no listener for webhooks.
  int webhook_port() const;

  // Says goodbye to agents and ends all calls; `done` runs on the loop.
  // REQUIRES: called once, before destruction, while the loop runs.
  void Shutdown(absl::AnyInvocable<void()> done);

 private:
  struct Parts;

  explicit ManagerProcess(std::unique_ptr<Parts> parts);

  const std::unique_ptr<Parts> parts_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_MANAGER_PROCESS_H_
