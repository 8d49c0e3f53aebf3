// SPDX-License-Identifier: Apache-2.0
//
// How long targeting takes: 10,000 clusters in 50 groups, 100 bundles with 20
// customizations each. `reach` is how many clusters of each hundred a bundle
// goes to. BundleResolver alone answers each of the million pairs; the
// controller also writes, in a store in memory, a record for each that is hit.
//
//   bazel run -c opt //manager/targeting:targeting_benchmark

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "common/event/simulated_loop.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "common/labels/label_selector.h"
#include "manager/store/memory_store.h"
#include "manager/store/records.h"
#include "manager/store/store.h"
#include "manager/targeting/cluster_matcher.h"
#include "manager/targeting/target_resolver.h"
#include "manager/targeting/targeting_controller.h"

namespace flotilla::manager {
namespace {

using storage::v1::BundleRevision;
using storage::v1::Document;

constexpr int kClusters = 10000;
constexpr int kBundles = 100;
constexpr int kGroups = 50;
constexpr int kCustomizations = 20;
constexpr char kWorkspace[] = "fleet-default";

void AddLabel(const std::string& key, const std::string& value,
              google::protobuf::RepeatedPtrField<core::v1::LabelPair>& to) {
  core::v1::LabelPair& pair = *to.Add();
  pair.set_key(key);
  pair.set_value(value);
}

// Labels sorted by key. `spin` is what a label change changes.
Document Cluster(int i, int spin) {
  Document document;
  document.set_workspace(kWorkspace);
  document.set_kind("Cluster");
  document.set_name(absl::StrCat("cluster-", i));
  document.mutable_cluster();
  AddLabel("percent", absl::StrCat(i % 100), *document.mutable_labels());
  AddLabel("region", absl::StrCat("region-", i % kCustomizations),
           *document.mutable_labels());
  AddLabel("site", absl::StrCat("site-", i % kGroups),
           *document.mutable_labels());
  AddLabel("spin", absl::StrCat(spin), *document.mutable_labels());
  AddLabel("unique", absl::StrCat("u", i), *document.mutable_labels());
  return document;
}

Document Group(int i) {
  Document document;
  document.set_workspace(kWorkspace);
  document.set_kind("ClusterGroup");
  document.set_name(absl::StrCat("group-", i));
  AddLabel("site", absl::StrCat("site-", i),
           *document.mutable_cluster_group()
                ->mutable_selector()
                ->mutable_match_labels());
  return document;
}

BundleRevision Revision(int i, int reach) {
  BundleRevision revision;
  revision.mutable_options()->set_namespace_(absl::StrCat("app-", i));
  revision.mutable_options()->mutable_helm()->set_values_json(
      R"({"image":{"repository":"app","tag":"1"},"replicas":1})");
  storage::v1::Target& target = *revision.add_targets();
  target.set_name("some");
  core::v1::LabelRequirement& in =
      *target.mutable_cluster_selector()->add_match_expressions();
  in.set_key("percent");
  in.set_operator_(core::v1::LabelRequirement::OPERATOR_IN);
  for (int n = 0; n < reach; ++n) in.add_values(absl::StrCat((n + i) % 100));
  for (int n = 0; n < kCustomizations; ++n) {
    storage::v1::Target& custom = *revision.add_customizations();
    custom.set_name(absl::StrCat("region-", n));
    AddLabel("region", absl::StrCat("region-", n),
             *custom.mutable_cluster_selector()->mutable_match_labels());
    custom.mutable_options()->mutable_helm()->set_values_json(
        absl::StrCat("{\"replicas\":", n, "}"));
  }
  return revision;
}

void BM_ResolveAllPairs(benchmark::State& state) {
  std::vector<std::shared_ptr<const GroupSubject>> groups;
  for (int i = 0; i < kGroups; ++i) {
    groups.push_back(std::make_shared<GroupSubject>(absl::StrCat("group-", i),
                                                    LabelMap()));
  }
  std::vector<Document> documents;
  for (int i = 0; i < kClusters; ++i) documents.push_back(Cluster(i, 0));
  std::vector<BundleRevision> revisions;
  for (int i = 0; i < kBundles; ++i) {
    revisions.push_back(Revision(i, static_cast<int>(state.range(0))));
  }
  for (auto _ : state) {
    std::vector<ClusterSubject> clusters;
    for (int i = 0; i < kClusters; ++i) {
      TargetCluster target;
      target.name = documents[i].name();
      target.labels = ToLabelMap(documents[i].labels());
      clusters.emplace_back(target);
      clusters.back().groups = {groups[i % kGroups]};
    }
    int64_t hits = 0;
    for (const BundleRevision& revision : revisions) {
      BundleResolver resolver(revision);
      for (const ClusterSubject& cluster : clusters) {
        hits += resolver.Resolve(cluster) != nullptr ? 1 : 0;
      }
    }
    state.counters["rows"] = static_cast<double>(hits);
  }
}
BENCHMARK(BM_ResolveAllPairs)
    ->ArgName("reach")
    ->Arg(10)
    ->Arg(100)
    ->Unit(benchmark::kMillisecond);

// A store with everything but /desired/.
class World {
 public:
  explicit World(int reach) : store_(loop_) {
    std::vector<Op> documents;
    std::vector<Op> identities;
    for (int i = 0; i < kGroups; ++i) documents.push_back(Put(Group(i)));
    for (int i = 0; i < kClusters; ++i) {
      documents.push_back(Put(Cluster(i, 0)));
      storage::v1::ClusterIdentity identity;
      identity.set_cluster_id(
          absl::StrCat("00000000-0000-4000-8000-", 100000000000 + i));
      identity.set_workspace(kWorkspace);
      identity.set_name(absl::StrCat("cluster-", i));
      identities.push_back(Op::Put(ClusterIdentityKey(identity.cluster_id()),
                                   SerializeRecord(identity)));
    }
    std::vector<Op> bundles;
    for (int i = 0; i < kBundles; ++i) {
      storage::v1::BundleHead head;
      head.set_bundle_id(
          absl::StrCat("10000000-0000-4000-8000-", 100000000000 + i));
      head.set_workspace(kWorkspace);
      head.set_name(absl::StrCat("bundle-", i));
      head.set_git_repo("repo");
      head.set_revision("r");
      head.mutable_commit()->set_id("c0ffee");
      bundles.push_back(Op::Put(BundleHeadKey(head.bundle_id()),
                                SerializeRecord(head)));
      bundles.push_back(Op::Put(BundleRevisionKey(head.bundle_id(), "r"),
                                SerializeRecord(Revision(i, reach))));
    }
    Write(kDocumentFamily, std::move(documents));
    Write(kClusterFamily, std::move(identities));
    Write(kBundleFamily, std::move(bundles));
  }

  void Start() {
    controller_ = std::make_unique<TargetingController>(
        loop_, store_, FamilyWriter(store_, kDesiredFamily));
    loop_.RunUntilIdle();
  }
  void ChangeLabel(int cluster, int spin) {
    Write(kDocumentFamily, {Put(Cluster(cluster, spin))});
  }
  uint64_t resolved() const { return controller_->resolved_count(); }

 private:
  static Op Put(const Document& document) {
    return Op::Put(
        DocumentKey(document.workspace(), document.kind(), document.name()),
        SerializeRecord(document));
  }
  void Write(const char* family, std::vector<Op> ops) {
    FamilyWriter(store_, family).Txn({}, std::move(ops),
                                     [](absl::StatusOr<int64_t>) {});
    loop_.RunUntilIdle();
  }

  SimulatedLoop loop_;
  MemoryStore store_;
  std::unique_ptr<TargetingController> controller_;
};

void BM_ControllerFromNothing(benchmark::State& state) {
  for (auto _ : state) {
    state.PauseTiming();
    auto world = std::make_unique<World>(static_cast<int>(state.range(0)));
    state.ResumeTiming();
    world->Start();
    state.PauseTiming();
    state.counters["pairs"] = static_cast<double>(world->resolved());
    world.reset();
    state.ResumeTiming();
  }
}
BENCHMARK(BM_ControllerFromNothing)
    ->ArgName("reach")
    ->Arg(1)
    ->Arg(10)
    ->Arg(100)
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

void BM_ControllerOneLabelChange(benchmark::State& state) {
  World world(10);
  world.Start();
  int spin = 0;
  for (auto _ : state) world.ChangeLabel(17, ++spin);
}
BENCHMARK(BM_ControllerOneLabelChange)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace flotilla::manager

BENCHMARK_MAIN();
