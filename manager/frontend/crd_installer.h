// SPDX-License-Identifier: Apache-2.0
//
// CrdInstaller puts the CustomResourceDefinitions of fleet.cattle.io into the
// management cluster as crd_plan.h decides, and waits until they are served.
// What it may not do, and what a definition of somebody else lacks, is said.

#ifndef FLOTILLA_MANAGER_FRONTEND_CRD_INSTALLER_H_
#define FLOTILLA_MANAGER_FRONTEND_CRD_INSTALLER_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/event/loop.h"
#include "common/kube/kube_client.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// Loop-affine.
class CrdInstaller {
 public:
  // `notice` is told what people should know, in sentences.
  CrdInstaller(KubeClient& client, Loop& loop,
               std::function<void(const std::string&)> notice);
  CrdInstaller(const CrdInstaller&) = delete;
  CrdInstaller& operator=(const CrdInstaller&) = delete;

  // OK: all are there and served, or somebody else has to install them. Errors:
  // those of the API server; run it again.
  // REQUIRES: no run is under way.
  void Run(absl::AnyInvocable<void(absl::Status)> done);

 private:
  void Next();
  void Judge(const nlohmann::json& live);
  void WaitForIt();
  void Finish(absl::Status status);

  // Collaborators. Not owned.
  KubeClient& client_;
  Loop& loop_;
  const std::function<void(const std::string&)> notice_;

  // Loop state.
  std::vector<nlohmann::json> wanted_;
  size_t at_ = 0;
  absl::Duration deadline_;
  absl::AnyInvocable<void(absl::Status)> done_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<Timer> timer_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_FRONTEND_CRD_INSTALLER_H_
