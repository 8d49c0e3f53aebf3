// SPDX-License-Identifier: Apache-2.0
//
// BundleController keeps /bundle/ in step with GitRepo and Bundle documents and
// with the commits in /source/. For each new commit, and each change of a
// document, it builds all bundles of the source on a worker, stores their
// files, and writes what changed in one transaction, guarded by the revisions
// of the document, the source and the heads that it read. It is the only
// writer of /bundle/.
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
// What a Bundle document has wrong is recorded as the BundleBuild of
// "bundle:<name>".

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
#include "manager/gitsync/git_repository.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"

namespace flotilla::manager {

// Loop-affine.
class BundleController {
 public:
  // Everything must outlive it but `writer`, which writes kBundleFamily.
  BundleController(Loop& loop, WorkerPool& workers, Store& store,
                   FamilyWriter writer, BlobStore& blobs, GitRepository& git,
                   Random& random, BuildLimits limits = {});
  BundleController(const BundleController&) = delete;
  BundleController& operator=(const BundleController&) = delete;

  std::string DebugString() const;
  // Builds that have begun since the start.
  int build_count() const { return build_count_; }
  // Directories that all builds together have read.
  size_t read_directories() const { return read_directories_; }

 private:
  // Key of the document: that of a GitRepo or a Bundle.
  using SourceKeyText = std::string;

  struct SourceState {
    bool building = false;
    // Commit and generation that the last build of this process was for.
    std::string built_for;
    BundleCache cache;
    // Names that another source has.
    std::set<std::string> contested;
  };

  // What a worker made.
  struct Built {
    struct Bundle {
      std::string name;
      storage::v1::BundleRevision revision;
    };
    std::vector<Bundle> bundles;
    std::vector<core::v1::Problem> errors;
    std::vector<core::v1::Problem> warnings;
    BundleCache cache;
    size_t read_directories = 0;
    // An error has to do with the disk, not with what was built.
    bool try_again = false;
  };
  struct Finished {
    SourceKeyText source;
    std::string built_for;
    int64_t document_revision = 0;
    std::string source_key;  // Empty for a Bundle document.
    int64_t source_revision = 0;
    core::v1::Commit commit;
    Built built;
  };
  struct Write {
    std::vector<Compare> compares;
    std::vector<Op> ops;
    // Tried again when the write fails.
    std::vector<SourceKeyText> sources;
  };

  static Built BuildGitRepo(GitRepository& git, BlobStore& blobs,
                            const storage::v1::Document& document,
                            const storage::v1::Source& source,
                            const BundleCache& cache,
                            const BuildLimits& limits);
  static Built BuildDocument(BlobStore& blobs,
                             const storage::v1::Document& document);

  void OnDocument(const std::string& key,
                  const storage::v1::Document* document);
  void OnHead(const std::string& key, const storage::v1::BundleHead* head);
  void OnRevisionKeys(const WatchBatch& batch);
  void OnDesiredKeys(const WatchBatch& batch);
  void MarkDirty(const SourceKeyText& source);

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
  void StartBuild(const SourceKeyText& source,
                  const storage::v1::Document& document,
                  const storage::v1::Source* commit,
                  const std::string& built_for);

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
  TypedMirror<storage::v1::BundleHead> heads_;
  TypedMirror<storage::v1::BundleBuild> builds_;
  std::unique_ptr<WatchHandle> revision_watch_;
  std::unique_ptr<WatchHandle> desired_watch_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_BUNDLE_BUNDLE_CONTROLLER_H_
