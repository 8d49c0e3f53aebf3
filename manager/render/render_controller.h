// SPDX-License-Identifier: Apache-2.0
//
// RenderController keeps /rendered in step with /desired: for each deployment
// it makes the manifest that bundle, options and the cluster's facts give, puts
// it and its objects into the blob store, and commits the record. It is the
// only writer of /rendered.
//
// * A deployment whose cluster has told no facts yet is pending: no record.
// * When a render fails, the record says why and the last good manifest stays.
//   One cluster's error blocks that cluster only.
// * What is not the bundle's fault (worker cannot be started, disk full) is
//   shown as a problem with code UNAVAILABLE and tried again.
// * Deployments that agree in everything that the result depends on share one
//   render: the first one renders, the others wait for it and take its result,
//   also after a restart (render_cache.h).
// * Templates in the values are filled in first, for each cluster: what counts
//   for sharing is the outcome.
// * With helm.valuesFrom, a deployment is pending until the cluster's answer to
//   just what is asked is there. Nothing of such a render is shared
//   (decisions.md 8).
//
// On a failed commit the deployments are looked at again.

#ifndef FLOTILLA_MANAGER_RENDER_RENDER_CONTROLLER_H_
#define FLOTILLA_MANAGER_RENDER_RENDER_CONTROLLER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/blob/blob_store.h"
#include "common/event/loop.h"
#include "common/event/worker_pool.h"
#include "flotilla/render/v1/render.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/render/manifest_builder.h"
#include "manager/render/render_cache.h"
#include "manager/render/renderer.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"

namespace flotilla::manager {

struct RenderControllerOptions {
  // The manager's key for random functions (decisions.md 7): the same for the
  // life of the manager's data. Not empty.
  std::string random_key;
  // Bundles rendered at the same time.
  int max_jobs = 4;
  RenderCacheOptions cache;
};

// Loop-affine.
class RenderController {
 public:
  // References must outlive it. `rendered` writes kRenderedFamily, `cached`
  // kRenderCacheFamily.
  RenderController(Loop& loop, WorkerPool& pool, Store& store,
                   FamilyWriter rendered, FamilyWriter cached, BlobStore& blobs,
                   Renderer& renderer, RenderControllerOptions options);
  ~RenderController();
  RenderController(const RenderController&) = delete;
  RenderController& operator=(const RenderController&) = delete;

  // Renders so far, results that were shared and values that were filled in
  // not counted.
  int64_t render_count() const { return render_count_; }
  std::string DebugString() const;

 private:
  // "<cluster_id>/<bundle_id>", the end of a key in both families.
  using Pair = std::string;

  // One deployment that is being rendered.
  struct Job {
    Pair pair;
    std::string share_key;
    storage::v1::Desired desired;
    storage::v1::BundleRevision bundle;
    std::string cluster_digest;
    // Warnings of filling in the values.
    std::vector<core::v1::Problem> warnings;
    RenderInput input;
    std::unique_ptr<BundleRender> render;
    bool has_slot = false;
    // Made with values of the cluster: shared with nobody.
    bool is_private = false;
    RenderResultPtr result;
  };
  using JobPtr = std::shared_ptr<Job>;

  void OnDesired(const std::string& key, const storage::v1::Desired* desired);
  void OnFacts(const std::string& key);
  void OnValues(const std::string& key);
  void OnRevision(const std::string& key);
  void Wake();
  void Run();
  // Starts a job for the pair, or has it wait, when there is something to do.
  void Consider(const Pair& pair);
  void CollectOrphans();
  bool IsCurrent(const storage::v1::Desired& desired,
                 const storage::v1::Rendered* rendered,
                 const std::string& cluster_digest) const;
  // Gives the job options that can be rendered. False when it has to wait, or
  // was ended.
  bool PrepareValues(const JobPtr& job,
                     const storage::v1::ClusterValues* values);
  void FillValues(JobPtr job, render::v1::RenderRequest request);
  void OnValuesFilled(JobPtr job,
                      absl::StatusOr<render::v1::RenderResponse> response);

  // The steps of a job, each on the loop.
  void CheckShared(JobPtr job, RenderResultPtr result);
  void Load(JobPtr job);
  void OnLoaded(JobPtr job, absl::Status status);
  // Asks the worker for the next step, or builds.
  void Advance(JobPtr job);
  void OnResponse(JobPtr job,
                  absl::StatusOr<render::v1::RenderResponse> response);
  void Build(JobPtr job);
  void Finish(JobPtr job, RenderResultPtr result);
  void FinishWithError(JobPtr job, const absl::Status& status, bool transient);
  // Says whose problem it is.
  void FinishWithProblem(JobPtr job, core::v1::Problem problem,
                         bool transient);

  void Commit();
  void OnCommitted(absl::StatusOr<int64_t> revision,
                   std::vector<Pair> pairs);
  storage::v1::Rendered MakeRecord(const Job& job,
                                   const storage::v1::Rendered* old) const;

  // Constant after construction.
  const RenderControllerOptions options_;

  // Collaborators. Not owned.
  Loop& loop_;
  WorkerPool& pool_;
  BlobStore& blobs_;
  Renderer& renderer_;

  // Loop state.
  FamilyWriter writer_;
  absl::btree_set<Pair> dirty_;
  // Pairs that wait for a free slot.
  absl::btree_set<Pair> deferred_;
  // Values that were filled in for pairs whose render has not begun.
  struct Filled {
    // Of what they were made from.
    int64_t desired_revision = 0;
    std::shared_ptr<const storage::v1::DeployOptions> options;
    std::vector<core::v1::Problem> warnings;
  };
  absl::flat_hash_map<Pair, Filled> filled_;
  int slots_used_ = 0;
  // Records whose deployment is gone.
  absl::btree_set<Pair> gone_;
  bool orphans_collected_ = false;
  // Pairs that are in a job, and whether they changed meanwhile.
  absl::flat_hash_map<Pair, bool> busy_;
  // Share keys that are in a job, with the pairs that wait for its result.
  absl::flat_hash_map<std::string, std::vector<Pair>> sharing_;
  // Keys of revisions that are not there yet.
  absl::flat_hash_map<std::string, absl::btree_set<Pair>> missing_;
  absl::btree_set<Pair> failed_;
  int failures_ = 0;
  std::vector<JobPtr> finished_;
  int64_t render_count_ = 0;
  bool committing_ = false;
  bool posted_ = false;

  std::unique_ptr<Timer> retry_;
  // Guards completions: false once this object is gone.
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  // Declared last: destroyed first.
  RenderCache cache_;
  TypedMirror<storage::v1::BundleRevision> revisions_;
  TypedMirror<storage::v1::Facts> facts_;
  TypedMirror<storage::v1::ClusterValues> values_;
  TypedMirror<storage::v1::Rendered> rendered_;
  TypedMirror<storage::v1::Desired> desired_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_RENDER_CONTROLLER_H_
