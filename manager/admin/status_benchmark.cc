// SPDX-License-Identifier: Apache-2.0
//
// How long it takes from one change to the statuses that it makes: clusters in
// groups, bundles that are all of one GitRepo and all everywhere.
// The 300 ms that a burst is waited for are not in it: the clock is simulated.
//
//   bazel run -c opt //manager/admin:status_benchmark

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "common/env/fake_clock.h"
#include "common/event/simulated_loop.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "google/protobuf/message_lite.h"
#include "manager/admin/read_model.h"
#include "manager/admin/status_index.h"
#include "manager/status/status_source.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"
#include "manager/store/store.h"

namespace flotilla::manager {
namespace {

struct Size {
  int clusters;
  int groups;
  int bundles;
};
constexpr Size kFleet = {1000, 10, 100};
constexpr Size kLargeGroup = {10000, 1, 1};
constexpr char kWorkspace[] = "fleet-default";

std::string ClusterOf(int i) { return absl::StrCat("cluster-", i); }
std::string BundleOf(int i) { return absl::StrCat("bundle-", i); }

class Fleet {
 public:
  explicit Fleet(const Size& size) : size_(size) {
    presence_.online = true;
    presence_.last_seen = clock_.Now();
    ReadModelSources sources;
    sources.presence = [this](const std::string& cluster) {
      AgentPresence presence = presence_;
      presence.online = cluster != offline_;
      return presence;
    };
    sources.last_poll = [](const std::string&, const std::string&) {
      return std::optional<absl::Time>();
    };
    sources.rejection = [](const std::string&, const std::string&) {
      return std::optional<core::v1::Problem>();
    };
    sources.changed = [this](const StatusSubject& subject) {
      if (index_ != nullptr) index_->OnChange(subject);
    };
    model_ = std::make_unique<ReadModel>(store_, clock_, sources);
    index_ = std::make_unique<StatusIndex>(loop_, clock_, *model_);
    Fill();
    index_->OnResourcesLoaded();
    index_->Listen([this](const StatusSubject&) { ++told_; });
    loop_.RunUntilIdle();
  }

  void Report(int cluster, int bundle, core::v1::Phase phase) {
    storage::v1::Observed observed;
    observed.mutable_state()->set_generation(1);
    observed.mutable_state()->set_phase(phase);
    observed.mutable_state()->mutable_counts()->set_desired(10);
    observed.mutable_state()->mutable_counts()->set_ready(
        phase == core::v1::PHASE_HEALTHY ? 10 : 9);
    Put(kObservedFamily, ObservedKey(ClusterOf(cluster), BundleOf(bundle)),
        observed);
  }

  // What the agent says of one object.
  void ReportObject(int cluster, int bundle, const std::string& message) {
    core::v1::ResourceStatus status;
    status.set_bundle_id(BundleOf(bundle));
    status.mutable_key()->set_group("apps");
    status.mutable_key()->set_version("v1");
    status.mutable_key()->set_kind("Deployment");
    status.mutable_key()->set_namespace_("default");
    status.mutable_key()->set_name("web");
    status.set_sync(core::v1::SYNC_STATE_SYNCED);
    status.set_health(core::v1::HEALTH_PROGRESSING);
    status.set_message(message);
    model_->OnResource(ClusterOf(cluster), status);
  }

  // Until everybody has been told.
  void Settle() {
    Flush();
    loop_.Advance(StatusIndex::kDelay);
  }

  int64_t told() const { return told_; }

 private:
  void Fill() {
    storage::v1::Document repo;
    repo.set_workspace(kWorkspace);
    repo.set_kind("GitRepo");
    repo.set_name("all");
    repo.set_generation(1);
    repo.mutable_git_repo()->set_repo("https://host/r.git");
    Put(kDocumentFamily, DocumentKey(kWorkspace, "GitRepo", "all"), repo);
    storage::v1::Source source;
    source.mutable_commit()->set_id("c1");
    Put(kSourceFamily, SourceKey(kWorkspace, "all"), source);
    storage::v1::BundleBuild build;
    build.set_commit_id("c1");
    build.set_document_generation(1);
    Put(kBundleFamily, BundleBuildKey(kWorkspace, "all"), build);
    for (int g = 0; g < size_.groups; ++g) {
      storage::v1::Document group;
      group.set_workspace(kWorkspace);
      group.set_kind("ClusterGroup");
      group.set_name(absl::StrCat("group-", g));
      core::v1::LabelPair& label =
          *group.mutable_cluster_group()->mutable_selector()
               ->add_match_labels();
      label.set_key("group");
      label.set_value(absl::StrCat(g));
      Put(kDocumentFamily,
          DocumentKey(kWorkspace, "ClusterGroup", group.name()), group);
    }
    for (int b = 0; b < size_.bundles; ++b) {
      storage::v1::BundleHead head;
      head.set_bundle_id(BundleOf(b));
      head.set_workspace(kWorkspace);
      head.set_name(BundleOf(b));
      head.set_git_repo("all");
      Put(kBundleFamily, BundleHeadKey(head.bundle_id()), head);
    }
    for (int c = 0; c < size_.clusters; ++c) FillCluster(c);
    Flush();
  }

  void FillCluster(int c) {
    const std::string id = ClusterOf(c);
    storage::v1::Document cluster;
    cluster.set_workspace(kWorkspace);
    cluster.set_kind("Cluster");
    cluster.set_name(id);
    cluster.mutable_cluster();
    core::v1::LabelPair& label = *cluster.add_labels();
    label.set_key("group");
    label.set_value(absl::StrCat(c % size_.groups));
    Put(kDocumentFamily, DocumentKey(kWorkspace, "Cluster", id), cluster);
    storage::v1::ClusterIdentity identity;
    identity.set_cluster_id(id);
    identity.set_workspace(kWorkspace);
    identity.set_name(id);
    Put(kClusterFamily, ClusterIdentityKey(id), identity);
    for (int b = 0; b < size_.bundles; ++b) {
      storage::v1::Desired desired;
      desired.set_cluster_id(id);
      desired.set_bundle_id(BundleOf(b));
      desired.set_workspace(kWorkspace);
      desired.set_bundle_name(BundleOf(b));
      desired.set_cluster_name(id);
      desired.set_cluster_workspace(kWorkspace);
      Put(kDesiredFamily, DesiredKey(id, BundleOf(b)), desired);
      storage::v1::Rendered rendered;
      rendered.set_manifest_digest("m");
      Put(kRenderedFamily, RenderedKey(id, BundleOf(b)), rendered);
      storage::v1::Released released;
      released.set_state(storage::v1::Released::STATE_ACTIVE);
      released.set_manifest_digest("m");
      released.set_generation(1);
      Put(kReleasedFamily, ReleasedKey(id, BundleOf(b)), released);
      Report(c, b, core::v1::PHASE_HEALTHY);
    }
  }

  void Put(const char* family, const std::string& key,
           const google::protobuf::MessageLite& record) {
    pending_[family].push_back(Op::Put(key, SerializeRecord(record)));
  }

  void Flush() {
    for (auto& [family, ops] : pending_) {
      FamilyWriter(store_, family)
          .Txn({}, std::move(ops), [](absl::StatusOr<int64_t>) {});
    }
    pending_.clear();
    loop_.RunUntilIdle();
  }

  // Constant after construction.
  const Size size_;

  SimulatedLoop loop_;
  FakeClock clock_;
  MemoryStore store_{loop_};
  AgentPresence presence_;
  std::string offline_;
  std::map<std::string, std::vector<Op>> pending_;
  std::unique_ptr<StatusIndex> index_;
  std::unique_ptr<ReadModel> model_;
  int64_t told_ = 0;
};

Fleet& TheFleet() {
  static Fleet& fleet = *new Fleet(kFleet);
  return fleet;
}

void BM_OneDeploymentChanges(benchmark::State& state) {
  Fleet& fleet = TheFleet();
  const int64_t before = fleet.told();
  int64_t n = 0;
  for (auto _ : state) {
    const int which = static_cast<int>(n / 2);
    fleet.Report(which % kFleet.clusters, which % kFleet.bundles,
                 n % 2 == 0 ? core::v1::PHASE_VERIFYING
                            : core::v1::PHASE_HEALTHY);
    fleet.Settle();
    ++n;
  }
  state.counters["statuses"] =
      static_cast<double>(fleet.told() - before) / static_cast<double>(n);
}
BENCHMARK(BM_OneDeploymentChanges)->Unit(benchmark::kMillisecond);

// An object of a deployment that is not ready, in a large group.
void BM_OneObjectChanges(benchmark::State& state) {
  Fleet fleet(kLargeGroup);
  fleet.Report(0, 0, core::v1::PHASE_VERIFYING);
  fleet.Settle();
  const int64_t before = fleet.told();
  int64_t n = 0;
  for (auto _ : state) {
    fleet.ReportObject(0, 0, absl::StrCat(n % 2, " of 3 pods are ready"));
    fleet.Settle();
    ++n;
  }
  state.counters["statuses"] =
      static_cast<double>(fleet.told() - before) / static_cast<double>(n);
}
BENCHMARK(BM_OneObjectChanges)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace flotilla::manager

BENCHMARK_MAIN();
