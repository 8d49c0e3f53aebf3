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
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/blob/blob_store.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "common/event/worker_pool.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/bundle/bundle_builder.h"
#include "manager/bundle/chart_needs.h"
#include "manager/charts/chart_credentials.h"
#include "manager/charts/chart_fetcher.h"
#include "manager/documents/policy.h"
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

  // What a worker made.
  struct Built {
    struct Bundle {
      std::string name;
      std::string directory;
      // Empty once it is sealed.
      storage::v1::BundleRevision revision;
      std::vector<ChartNeed> needs;
      // The revision's bytes and their SHA-256 in hex.
      std::string bytes;
      std::string digest;
    };
    std::vector<Bundle> bundles;
    std::vector<core::v1::Problem> errors;
    std::vector<core::v1::Problem> warnings;
    BundleCache cache;
    size_t read_directories = 0;
    // An error has to do with the disk or the network, not with what was
    // built.
    bool try_again = false;
  };
  struct Finished {
    SourceKeyText source;
    std::string built_for;
    int64_t document_revision = 0;
    // Of a Source or a ChartSource; empty for a Bundle document.
    std::string input_key;
    int64_t input_revision = 0;
    // SourceState::epoch when it began.
    int64_t epoch = 0;
    core::v1::Commit commit;
    Built built;
  };
  // The downloads of one build.
  struct ChartRound {
    Finished finished;
    // Needs that are one request.
    std::vector<std::vector<ChartNeed>> needs;
    size_t waiting = 0;
    FetchedCharts fetched;
  };

  struct SourceState {
    bool building = false;
    // Commit and generation that the last build of this process was for.
    std::string built_for;
    // Rises when something else than these asks for a new build.
    int64_t epoch = 0;
    BundleCache cache;
    // Names that another source has.
    std::set<std::string> contested;
    // While charts are fetched; `building` is true then.
    std::shared_ptr<ChartRound> round;
  };

  struct Write {
    std::vector<Compare> compares;
    std::vector<Op> ops;
    // Key of a head to its place in `ops`.
    absl::flat_hash_map<std::string, size_t> heads;
    // Tried again when the write fails.
    std::vector<SourceKeyText> sources;
  };

  // What a build is made of.
  struct Inputs {
    storage::v1::Document document;  // Defaults of policies filled in.
    storage::v1::Source source;
    storage::v1::ChartSource chart;
    BundleCache cache;
    // Restrictions and policies, and what they say of the document.
    std::vector<storage::v1::Document> policies;
    PolicyVerdict verdict;
  };

  static Built Build(GitRepository& git, BlobStore& blobs, Inputs inputs,
                     const BuildLimits& limits);
  static void BuildGitRepo(GitRepository& git, BlobStore& blobs,
                           Inputs& inputs, const BuildLimits& limits,
                           Built& built);
  static void BuildDocument(BlobStore& blobs, const Inputs& inputs,
                            Built& built);
  static void HoldAllAgainstPolicies(const Inputs& inputs, Built& built);
  static void Seal(Built::Bundle& bundle);
  static void AttachAll(const FetchedCharts& fetched, const std::string& who,
                        const BuildLimits& limits, Built& built);

  void OnDocument(const std::string& key,
                  const storage::v1::Document* document);
  void OnSecret(const std::string& workspace, const std::string& name);
  void OnPolicy(const std::string& workspace);
  void OnHead(const std::string& key, const storage::v1::BundleHead* head);
  void OnRevisionKeys(const WatchBatch& batch);
  void OnDesiredKeys(const WatchBatch& batch);
  void MarkDirty(const SourceKeyText& source);
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
              const PolicyVerdict& verdict);
  bool ClearRefusal(const SourceKeyText& source,
                    const storage::v1::Document& document);
  void StartBuild(const SourceKeyText& source, Inputs inputs,
                  const std::string& input_key, const std::string& built_for);
  void OnBuilt(Finished finished, const storage::v1::Document& document);
  void StartRound(Finished finished, const storage::v1::Document& document);
  void OnFetched(const std::shared_ptr<ChartRound>& round, size_t at,
                 absl::StatusOr<FetchedChart> chart);
  void EndRound(const std::shared_ptr<ChartRound>& round);
  absl::StatusOr<ChartCredentialRules> CredentialsOf(
      const storage::v1::Document& document);
  std::vector<const storage::v1::Document*> PoliciesOf(
      const std::string& workspace) const;
  int64_t InputRevision(const std::string& key) const;

  void PlanBundle(const storage::v1::Document& document,
                  const Built::Bundle& bundle, const core::v1::Commit& commit,
                  Write& write);
  void PlanBuildRecord(const Finished& finished,
                       const storage::v1::Document& document,
                       std::vector<core::v1::Problem> errors, Write& write);
  std::vector<core::v1::Problem> FindContested(
      const SourceKeyText& source, const storage::v1::Document& document,
      const std::vector<Built::Bundle>& bundles);
  void PlanContestedHeads(const SourceKeyText& source,
                          const storage::v1::Document& document, Write& write);
  void PutHead(const storage::v1::BundleHead& head, Write& write);
  bool Begin(Write write);
  void OnWritten(absl::StatusOr<int64_t> revision,
                 const std::vector<SourceKeyText>& sources);

  std::vector<const storage::v1::BundleHead*> HeadsOf(
      const SourceKeyText& source) const;
  const storage::v1::BundleHead* FindHead(absl::string_view workspace,
                                          absl::string_view name) const;
  static bool Owns(const storage::v1::Document& document,
                   const storage::v1::BundleHead& head);

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
  // "workspace/name" -> bundle id; bundle id -> that name and its source;
  // source -> bundle ids.
  struct HeadName {
    std::string name;
    SourceKeyText source;
  };
  absl::flat_hash_map<std::string, std::string> by_name_;
  absl::flat_hash_map<std::string, HeadName> names_;
  absl::flat_hash_map<SourceKeyText, std::set<std::string>> by_source_;
  // "workspace/name" -> sources that would have it.
  std::map<std::string, std::set<SourceKeyText>> claims_;
  // Ids of bundles on their way out, and of those with problems.
  std::set<std::string> removed_;
  std::set<std::string> with_problems_;
  // Bundle id -> revisions, and clusters with a Desired.
  absl::flat_hash_map<std::string, std::set<std::string>> revisions_;
  absl::flat_hash_map<std::string, absl::flat_hash_set<std::string>> desired_;
  bool revisions_loaded_ = false;
  bool desired_loaded_ = false;
  std::unique_ptr<Timer> retry_;
  // Sources whose build met a fault of the disk.
  std::set<SourceKeyText> unlucky_;
  std::unique_ptr<Timer> rebuild_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  // Declared last: destroyed first.
  TypedMirror<storage::v1::Document> documents_;
  TypedMirror<storage::v1::Source> sources_;
  TypedMirror<storage::v1::ChartSource> chart_sources_;
  TypedMirror<storage::v1::BundleHead> heads_;
  TypedMirror<storage::v1::BundleBuild> builds_;
  std::unique_ptr<WatchHandle> revision_watch_;
  std::unique_ptr<WatchHandle> desired_watch_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUNDLE_CONTROLLER_H_
