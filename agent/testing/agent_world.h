// SPDX-License-Identifier: Apache-2.0
//
// AgentWorld is a test fixture: a Reconciler with a disk, a manager and an API
// server in memory, on virtual time.

#ifndef FLOTILLA_AGENT_TESTING_AGENT_WORLD_H_
#define FLOTILLA_AGENT_TESTING_AGENT_WORLD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "flotilla/core/v1/core.pb.h"

#include "agent/cache/assignment_cache.h"
#include "agent/reconcile/reconciler.h"
#include "agent/testing/fake_manager_link.h"
#include "common/blob/memory_blob_store.h"
#include "common/env/fake_clock.h"
#include "common/env/fake_random.h"
#include "common/event/inline_worker_pool.h"
#include "common/event/simulated_loop.h"
#include "common/kube/fake_kube_client.h"
#include "common/kube/object.h"
#include "common/sqlite/database.h"
#include "common/status/status_matchers.h"

namespace flotilla::agent {

// Loop-affine.
class AgentWorld : public testing::Test {
 protected:
  static nlohmann::json ConfigMap(const std::string& name,
                                  const std::string& value = "1") {
    return {{"apiVersion", "v1"},
            {"kind", "ConfigMap"},
            {"metadata", {{"name", name}, {"namespace", "default"}}},
            {"data", {{"key", value}}}};
  }

  static nlohmann::json Deployment(const std::string& name, int replicas) {
    return {{"apiVersion", "apps/v1"},
            {"kind", "Deployment"},
            {"metadata", {{"name", name}, {"namespace", "default"}}},
            {"spec",
             {{"replicas", replicas},
              {"selector", {{"matchLabels", {{"app", name}}}}},
              {"template",
               {{"metadata", {{"labels", {{"app", name}}}}},
                {"spec",
                 {{"containers", {{{"name", "web"}, {"image", "x"}}}}}}}}}}};
  }

  static core::v1::ResourceKey Key(const nlohmann::json& object) {
    return *KeyOf(object);
  }

  // A status that says that all of `replicas` are there.
  static nlohmann::json Ready(int replicas) {
    return {{"replicas", replicas},
            {"updatedReplicas", replicas},
            {"readyReplicas", replicas},
            {"availableReplicas", replicas},
            {"conditions",
             {{{"type", "Available"}, {"status", "True"}},
              {{"type", "Progressing"},
               {"status", "True"},
               {"reason", "NewReplicaSetAvailable"}}}}};
  }

  AgentWorld() {
    link_.Connect();
    Start();
  }

  void Start() {
    auto database = Database::Open(path_);
    ASSERT_THAT(database, IsOk());
    auto cache =
        AssignmentCache::Open(*std::move(database), blobs_, pool_, random_);
    ASSERT_THAT(cache, IsOk());
    cache_ = *std::move(cache);
    reconciler_ = std::make_unique<Reconciler>(Reconciler::Parts{
        *cache_, blobs_, kube_, link_, loop_, clock_, random_, "default"});
    reconciler_->Start();
    link_.Start(*reconciler_);
    Settle();
  }

  // As after SIGKILL: the disk and the cluster are left.
  void Crash() {
    reconciler_.reset();
    cache_.reset();
  }

  void Settle(absl::Duration duration = absl::Milliseconds(900)) {
    loop_.Advance(duration);
    clock_.Advance(duration);
  }

  core::v1::Phase PhaseOf(const std::string& bundle) {
    const auto found = link_.states().find(bundle);
    return found == link_.states().end() ? core::v1::PHASE_UNSPECIFIED
                                         : found->second.phase();
  }
  std::string ProblemsOf(const std::string& bundle) {
    const auto found = link_.states().find(bundle);
    return found == link_.states().end() ? "" : found->second.DebugString();
  }
  bool Exists(const nlohmann::json& object) {
    return kube_.Find(Key(object)).has_value();
  }
  std::string UidOf(const nlohmann::json& object) {
    const auto live = kube_.Find(Key(object));
    return live ? TextOr((*live)["metadata"]["uid"]) : "";
  }
  void Assign(uint64_t generation, const std::vector<nlohmann::json>& objects,
              const std::string& bundle = "b") {
    link_.Assign(bundle, generation, link_.MakeManifest(bundle, objects));
    Settle();
  }

  const std::string path_ = absl::StrCat(
      testing::TempDir(), "/",
      testing::UnitTest::GetInstance()->current_test_info()->name(), ".db");
  SimulatedLoop loop_;
  InlineWorkerPool pool_{loop_};
  MemoryBlobStore blobs_;
  FakeRandom random_;
  FakeClock clock_;
  FakeKubeClient kube_{loop_};
  FakeManagerLink link_{loop_};
  std::unique_ptr<AssignmentCache> cache_;
  std::unique_ptr<Reconciler> reconciler_;
};

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_TESTING_AGENT_WORLD_H_
