// SPDX-License-Identifier: Apache-2.0
//
// BundleController keeps /bundle/ in step with GitRepo, Bundle and HelmOp
// documents, with the commits in /source/ and the charts in /chart/. For each
// new commit, and each change of a document, it builds all bundles of the
// source on a worker, has the charts fetched that they need from elsewhere,
// stores their files, and writes what changed in one transaction, guarded by
// the revisions of the document, the source and the heads that it read. It is
// the only writer of /bundle/.
//
// A source that a GitRepoRestriction or Policy of its workspace forbids (spec
// 1.11.1), or of which it forbids a bundle, is not built: the violations are
// the problems of its BundleBuild, and what runs goes on. A change of these
// documents, or of the Secret with credentials for charts, builds again.
//
// What it never does: release anything of a build with an error, or take a
// bundle away because something is merely absent. A bundle goes when a
// successful build no longer has it (GIT_REMOVED) or when its document has a
// delete_time (OPERATOR). Its record goes when no cluster has a Desired of it:
// targeting keeps that until the cluster's agent has said that it is gone.
// While a Source has a problem, or was fetched for an older generation of its
// document, the last build stays.
//
// Two sources that claim one name: the build of the newer one fails, the older
// one goes on and shows the problem too (decisions.md 1).
//
// A download that takes long holds up its own source only, and is given up
// when the source has something newer to build.
//
// What a Bundle document has wrong is recorded as the BundleBuild of
// "bundle:<name>", what a HelmOp has as that of "helmop:<name>".

#ifndef FLOTILLA_MANAGER_BUNDLE_BUNDLE_CONTROLLER_H_
#define FLOTILLA_MANAGER_BUNDLE_BUNDLE_CONTROLLER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "common/blob/blob_store.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "common/event/worker_pool.h"
#include "manager/bundle/build_limits.h"
#include "manager/bundle/bundle_builder.h"
#include "manager/bundle/bundle_mirror.h"
#include "manager/bundle/bundle_plan.h"
#include "manager/bundle/chart_round.h"
#include "manager/bundle/name_claims.h"
#include "manager/bundle/source_build.h"
#include "manager/charts/chart_credentials.h"
#include "manager/charts/chart_fetcher.h"
#include "manager/gitsync/git_repository.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"

namespace flotilla::manager {

// Where charts come from. Without a fetcher a bundle that needs a chart from
// elsewhere is an error.
struct ChartSupply {
  // Opens SecretSpec.sealed; the result is a serialised SecretData.
  using Unseal = absl::AnyInvocable<absl::StatusOr<std::string>(
      const storage::v1::SecretSpec&)>;

  ChartFetcher* fetcher = nullptr;  // Not owned.
  Unseal unseal;
};

// Loop-affine.
class BundleController {
 public:
  // Everything must outlive it but `writer`, which writes kBundleFamily.
  BundleController(Loop& loop, WorkerPool& workers, Store& store,
                   FamilyWriter writer, BlobStore& blobs, GitRepository& git,
                   Random& random, ChartSupply charts = {},
                   BuildLimits limits = {});
  BundleController(const BundleController&) = delete;
  BundleController& operator=(const BundleController&) = delete;

  std::string DebugString() const;
  // Builds that have begun since the start.
  int build_count() const { return build_count_; }
  // Directories that all builds together have read.
  size_t read_directories() const { return read_directories_; }

 private:
  // Key of the document: that of a GitRepo, a Bundle or a HelmOp.
  using SourceKeyText = std::string;

  // A record that a build is made from.
  struct Input {
    // Of a Source or a ChartSource; empty for a Bundle document.
    std::string key;
    int64_t revision = 0;
    // As SourceState::built_for.
    std::string built_for;
  };
  struct Finished {
    SourceKeyText source;
    int64_t document_revision = 0;
    Input input;
    // SourceState::epoch when it began.
    int64_t epoch = 0;
    core::v1::Commit commit;
    SourceBuild build;
  };
  // A build that waits for its charts.
  struct Downloads {
    Finished finished;
    ChartRound round;
  };

  struct SourceState {
    bool building = false;
    // Commit and generation that the last build of this process was for.
    std::string built_for;
    // Rises when something else than these asks for a new build.
    int64_t epoch = 0;
    BundleCache cache;
    // While charts are fetched; `building` is true then.
    std::shared_ptr<Downloads> downloads;
  };

  void OnDocument(const std::string& key,
                  const storage::v1::Document* document);
  void OnSecret(const std::string& workspace, const std::string& name);
  void OnPolicy(const std::string& workspace);
  void OnNameFree(const std::string& workspace, const std::string& name);
  void MarkDirty(const SourceKeyText& source);
  // Of a document that is not there any more.
  void Forget(const SourceKeyText& source);
  // Has it built again, whatever it was built for.
  void Renew(const SourceKeyText& source);

  void Wake();
  void Run();
  void RebuildUnlucky();
  bool Loaded() const;
  // These return true when they began a transaction.
  bool Reap();
  bool Reconcile(const SourceKeyText& source);
  bool RemoveBundles(const SourceKeyText& source,
                     const storage::v1::Document& document);
  bool Commit(Finished finished);
  bool Refuse(const SourceKeyText& source,
              const storage::v1::Document& document,
              std::vector<core::v1::Problem> violations);
  bool ClearRefusal(const SourceKeyText& source,
                    const storage::v1::Document& document);
  void StartBuild(const SourceKeyText& source, BuildInputs inputs,
                  const Input& input);
  void OnBuilt(Finished finished, const storage::v1::Document& document);
  // Has everything fetched that the bundles of a build need.
  void StartDownloads(Finished finished, const storage::v1::Document& document);
  void EndDownloads(Downloads& downloads);
  absl::StatusOr<ChartCredentialRules> CredentialsOf(
      const storage::v1::Document& document);
  std::vector<const storage::v1::Document*> PoliciesOf(
      const std::string& workspace) const;
  // Puts the commit or chart of a document into `inputs`; nothing while there
  // is none to build from.
  absl::optional<Input> TakeInput(const storage::v1::Document& document,
                                  BuildInputs& inputs) const;
  int64_t InputRevision(const std::string& key) const;
  void ForEachDocument(
      const std::string& workspace, const char* kind,
      absl::FunctionRef<void(const std::string& key,
                             const storage::v1::Document& document)>
          visit) const;

  void PlanBundles(const Finished& finished,
                   const storage::v1::Document& document, BundlePlan& plan);
  bool Begin(BundlePlan plan, std::vector<SourceKeyText> sources);
  void OnWritten(absl::StatusOr<int64_t> revision,
                 const std::vector<SourceKeyText>& sources);
  // For people; "" when its document is not there any more.
  std::string SubjectOf(const SourceKeyText& source) const;

  // Constant after construction.
  const BuildLimits limits_;

  // Collaborators. Not owned.
  Loop& loop_;
  WorkerPool& workers_;
  BlobStore& blobs_;
  GitRepository& git_;
  Random& random_;
  ChartSupply charts_;

  // Loop state.
  FamilyWriter writer_;
  absl::flat_hash_map<SourceKeyText, SourceState> states_;
  std::set<SourceKeyText> dirty_;
  std::deque<Finished> finished_;
  bool awake_ = false;
  // Invariant: at most one transaction at a time.
  bool writing_ = false;
  int build_count_ = 0;
  size_t read_directories_ = 0;
  absl::Status last_error_;
  NameClaims claims_;
  std::unique_ptr<Timer> retry_;
  // Sources whose build met a fault of the disk.
  std::set<SourceKeyText> unlucky_;
  std::unique_ptr<Timer> rebuild_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  // Declared last: destroyed first.
  TypedMirror<storage::v1::Document> documents_;
  TypedMirror<storage::v1::Source> sources_;
  TypedMirror<storage::v1::ChartSource> chart_sources_;
  BundleMirror bundles_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUNDLE_CONTROLLER_H_
