// SPDX-License-Identifier: Apache-2.0
//
// GitPoller keeps the Source of each GitRepo document up to date: it polls on
// time, when the document or its Secret changes, and when asked. It is the
// only writer of /source/ (records.h).
//
// A Source changes only when its commit, its error or its document's
// generation does. An error never takes the commit away: what runs goes on
// running. After errors polls come less often, up to once in five minutes.
// Passwords stay in memory for the time of a fetch.

#ifndef FLOTILLA_MANAGER_GITSYNC_GIT_POLLER_H_
#define FLOTILLA_MANAGER_GITSYNC_GIT_POLLER_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "flotilla/storage/v1/storage.pb.h"

#include "common/env/clock.h"
#include "common/env/random.h"
#include "common/event/loop.h"
#include "manager/documents/policy.h"
#include "manager/gitsync/git_repository.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"

namespace flotilla::manager {

// Loop-affine.
class GitPoller {
 public:
  struct Options {
    absl::Duration default_interval = absl::Seconds(15);
    absl::Duration min_interval = absl::Seconds(1);
    absl::Duration max_backoff = absl::Minutes(5);
    // Fetches handed to the repository at once. Those of a silent server stay
    // there for long, so many: the repository has few threads and is fair.
    int max_concurrent = 1000;
  };

  // What a poll that was asked for found.
  struct SyncResult {
    std::string commit_id;
    bool changed = false;  // It is another commit than before.
  };
  using SyncDone = absl::AnyInvocable<void(absl::StatusOr<SyncResult>)>;

  // For the admin API; lives in memory only.
  struct PollState {
    bool polling = false;
    std::optional<absl::Time> last_poll_time;     // When the last one ended.
    std::optional<absl::Time> last_success_time;
    absl::Status last_status;
    int failures = 0;  // In a row.
    // Until the next poll; absent when none is planned.
    std::optional<absl::Duration> next_poll_in;
  };

  // Opens SecretSpec.sealed; the result is a serialised SecretData.
  using Unseal = absl::AnyInvocable<absl::StatusOr<std::string>(
      const storage::v1::SecretSpec& secret) const>;

  // All must outlive it. `writer` is the one of kSourceFamily.
  GitPoller(Loop& loop, Store& store, FamilyWriter& writer,
            GitRepository& repository, const Clock& clock, Random& random,
            Unseal unseal, const Options& options);
  GitPoller(Loop& loop, Store& store, FamilyWriter& writer,
            GitRepository& repository, const Clock& clock, Random& random,
            Unseal unseal)
      : GitPoller(loop, store, writer, repository, clock, random,
                  std::move(unseal), Options()) {}
  ~GitPoller();
  GitPoller(const GitPoller&) = delete;
  GitPoller& operator=(const GitPoller&) = delete;

  // Polls at once, also when a poll is under way (which may have looked too
  // early). `done` gets what that poll found, after the Source is stored.
  // NOT_FOUND when there is no such GitRepo; UNAVAILABLE before the store is
  // read.
  void SyncNow(absl::string_view workspace, absl::string_view name,
               SyncDone done);

  // Absent when there is no such GitRepo.
  std::optional<PollState> StateOf(absl::string_view workspace,
                                   absl::string_view name) const;

  // Whether the store is read.
  bool loaded() const { return documents_.loaded() && sources_.loaded(); }

  // Of ConfigMap cattle-fleet-system/known-hosts; empty without it.
  std::string SharedKnownHosts() const;

 private:
  struct Poll;

  void OnDocument(const std::string& key,
                  const storage::v1::Document* document);
  void OnBatch();
  void Reconcile(const std::string& document_key);
  void StartWanted();
  void Start(Poll& poll);
  void OnFetched(const std::string& key, uint64_t fetch,
                 absl::StatusOr<FetchedCommit> result);
  void OnStored(const std::string& key, uint64_t fetch, absl::Status fetched,
                SyncResult result, absl::StatusOr<int64_t> stored);
  void Finish(Poll& poll, absl::Status fetched,
              absl::StatusOr<SyncResult> result);
  void Want(Poll& poll);
  void Plan(Poll& poll);
  void RetainClones();

  absl::StatusOr<GitSource> MakeSource(
      const storage::v1::Document& document) const;
  // The document as the rules of its workspace leave it.
  PolicyVerdict Judge(const storage::v1::Document& document) const;
  absl::StatusOr<GitCredentials> ReadCredentials(
      const storage::v1::Document& secret, absl::string_view shown) const;

  Loop& loop_;
  FamilyWriter& writer_;
  GitRepository& repository_;
  const Clock& clock_;
  Random& random_;
  const Unseal unseal_;
  const Options options_;

  // By the key of the document.
  absl::btree_map<std::string, std::unique_ptr<Poll>> polls_;
  // GitRepoRestrictions and Policies of a workspace.
  struct Rules {
    std::set<std::string> keys;
    int64_t version = 0;  // Rises with each change.
  };
  std::map<std::string, Rules> rules_;
  // Documents that changed in the batch that is being read.
  std::vector<std::string> changed_;
  bool started_ = false;
  // Keys of polls that wait for a place.
  std::deque<std::string> waiting_;
  int running_ = 0;
  uint64_t next_fetch_ = 1;
  bool clones_unused_ = false;

  // Completions hold it weakly: none runs after this is gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  TypedMirror<storage::v1::Source> sources_;
  TypedMirror<storage::v1::Document> documents_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_GIT_POLLER_H_
