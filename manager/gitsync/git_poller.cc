// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/git_poller.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/storage.pb.h"

#include "common/status/status_macros.h"
#include "manager/documents/policy.h"
#include "manager/gitsync/display_text.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

constexpr char kGitRepoKind[] = "GitRepo";
constexpr char kSecretKind[] = "Secret";
constexpr char kRestrictionKind[] = "GitRepoRestriction";
constexpr char kPolicyKind[] = "Policy";
// Used when it exists and the GitRepo names none (spec.md 9.5).
constexpr char kDefaultSecret[] = "gitcredential";
// Keys of SSH servers for all GitRepos whose Secret has none (spec.md 9.5).
constexpr char kConfigMapKind[] = "ConfigMap";
constexpr char kSystemWorkspace[] = "cattle-fleet-system";
constexpr char kKnownHosts[] = "known-hosts";
constexpr char kKnownHostsKey[] = "known_hosts";
constexpr char kBasicAuth[] = "kubernetes.io/basic-auth";
constexpr char kSshAuth[] = "kubernetes.io/ssh-auth";
constexpr size_t kMaxProblem = 4000;
// A poll spreads its next one by up to this share of the interval.
constexpr int kJitterPercent = 10;

std::string SecretNameOf(const storage::v1::GitRepoSpec& spec) {
  return spec.client_secret_name().empty() ? kDefaultSecret
                                           : spec.client_secret_name();
}

absl::Duration IntervalOf(const storage::v1::GitRepoSpec& spec) {
  return absl::Seconds(spec.polling_interval().seconds()) +
         absl::Nanoseconds(spec.polling_interval().nanos());
}

bool IsKnownHosts(const DocumentName& name) {
  return name.workspace == kSystemWorkspace && name.kind == kConfigMapKind &&
         name.name == kKnownHosts;
}

bool IsRule(const DocumentName& name) {
  return name.kind == kRestrictionKind || name.kind == kPolicyKind;
}

bool SameSource(const storage::v1::Source& a, const storage::v1::Source& b) {
  return SerializeRecord(a) == SerializeRecord(b);
}

}  // namespace

// What is known of one GitRepo document.
struct GitPoller::Poll {
  std::string key;
  std::string workspace;
  std::string name;

  // The document, the newest of its Secret and the known hosts, and the rules
  // of its workspace, that the last fetch was begun for.
  int64_t generation = 0;
  int64_t secret_revision = 0;
  int64_t rules_version = 0;

  std::unique_ptr<Timer> timer;
  // When the timer fires, on the loop's clock.
  std::optional<absl::Duration> due;

  bool wanted = false;   // Waits for a place.
  bool running = false;  // A fetch or its Txn is under way.
  bool again = false;    // Something changed since that began.
  uint64_t fetch = 0;    // Its number.

  // Answered by the poll that is under way, and by the one after it.
  std::vector<SyncDone> askers;
  std::vector<SyncDone> late_askers;

  int failures = 0;
  absl::Status last_status;
  std::optional<absl::Time> last_poll_time;
  std::optional<absl::Time> last_success_time;
};

GitPoller::GitPoller(Loop& loop, Store& store, FamilyWriter& writer,
                     GitRepository& repository, const Clock& clock,
                     Random& random, Unseal unseal, const Options& options)
    : loop_(loop), writer_(writer), repository_(repository), clock_(clock),
      random_(random), unseal_(std::move(unseal)), options_(options),
      sources_(store, kSourceFamily, nullptr, [this] { OnBatch(); }),
      documents_(
          store, kDocumentFamily,
          [this](const std::string& key, const storage::v1::Document* record) {
            OnDocument(key, record);
          },
          [this] { OnBatch(); },
          [](const std::string& key) {
            const auto name = ParseDocumentKey(key);
            return name.ok() &&
                   (name->kind == kGitRepoKind || name->kind == kSecretKind ||
                    IsRule(*name) || IsKnownHosts(*name));
          }) {}

GitPoller::~GitPoller() = default;

void GitPoller::OnDocument(const std::string& key,
                           const storage::v1::Document* document) {
  const auto name = ParseDocumentKey(key);
  if (!name.ok()) return;
  if (name->kind == kGitRepoKind) {
    changed_.push_back(key);
    return;
  }
  if (IsRule(*name)) {
    Rules& rules = rules_[name->workspace];
    ++rules.version;
    if (document == nullptr) {
      rules.keys.erase(key);
    } else {
      rules.keys.insert(key);
    }
  }
  // All that use it.
  for (const auto& [repo_key, poll] : polls_) {
    const storage::v1::Document* repo = documents_.Find(repo_key);
    if (repo == nullptr) continue;
    const bool uses =
        IsKnownHosts(*name) ||
        (poll->workspace == name->workspace &&
         (IsRule(*name) ||
          SecretNameOf(Judge(*repo).source.git_repo()) == name->name));
    if (uses) changed_.push_back(repo_key);
  }
}

PolicyVerdict GitPoller::Judge(const storage::v1::Document& document) const {
  const auto rules = rules_.find(document.workspace());
  PolicyVerdict verdict;
  if (rules == rules_.end() || rules->second.keys.empty()) {
    verdict.source = document;
    return verdict;
  }
  std::vector<const storage::v1::Document*> documents;
  for (const std::string& key : rules->second.keys) {
    const storage::v1::Document* rule = documents_.Find(key);
    if (rule != nullptr) documents.push_back(rule);
  }
  return EvaluatePolicies(document, documents);
}

void GitPoller::OnBatch() {
  if (!loaded()) return;
  if (!started_) {
    started_ = true;
    changed_.clear();
    for (const auto& [key, entry] : documents_.map()) {
      if (entry.first.kind() == kGitRepoKind) changed_.push_back(key);
    }
    // Sources whose document went while nobody looked.
    for (const auto& [key, entry] : sources_.map()) {
      const std::string document_key = DocumentKey(
          entry.first.workspace(), kGitRepoKind, entry.first.name());
      if (documents_.Find(document_key) == nullptr) {
        changed_.push_back(document_key);
      }
    }
    clones_unused_ = true;
  }
  std::vector<std::string> changed;
  changed.swap(changed_);
  std::sort(changed.begin(), changed.end());
  changed.erase(std::unique(changed.begin(), changed.end()), changed.end());
  for (const std::string& key : changed) Reconcile(key);
  StartWanted();
}

void GitPoller::Reconcile(const std::string& document_key) {
  const auto name = ParseDocumentKey(document_key);
  if (!name.ok()) return;
  const storage::v1::Document* document = documents_.Find(document_key);
  if (document == nullptr || document->has_delete_time()) {
    const auto it = polls_.find(document_key);
    if (it != polls_.end()) {
      const std::unique_ptr<Poll> poll = std::move(it->second);
      polls_.erase(it);
      // A fetch that is under way finds that its poll is gone.
      if (poll->running) --running_;
      for (auto* askers : {&poll->askers, &poll->late_askers}) {
        for (SyncDone& done : *askers) {
          done(absl::NotFoundError(absl::StrCat("GitRepo ", name->workspace,
                                                "/", name->name,
                                                " was deleted")));
        }
      }
    }
    const std::string source_key = SourceKey(name->workspace, name->name);
    if (document == nullptr && sources_.Find(source_key) != nullptr) {
      // When it fails it is tried again with the next batch or start.
      writer_.Txn({{document_key, 0}}, {Op::Delete(source_key)},
                  [weak = std::weak_ptr<bool>(alive_), this,
                   document_key](absl::StatusOr<int64_t> done) {
                    if (weak.expired()) return;
                    if (absl::IsFailedPrecondition(done.status())) return;
                    if (!done.ok()) changed_.push_back(document_key);
                    clones_unused_ = true;
                    RetainClones();
                  });
    }
    return;
  }

  std::unique_ptr<Poll>& slot = polls_[document_key];
  const storage::v1::Source* source =
      sources_.Find(SourceKey(name->workspace, name->name));
  const auto rules = rules_.find(name->workspace);
  const int64_t rules_version =
      rules == rules_.end() ? 0 : rules->second.version;
  const int64_t secret_revision = std::max(
      documents_.ModRevision(DocumentKey(
          name->workspace, kSecretKind,
          SecretNameOf(Judge(*document).source.git_repo()))),
      documents_.ModRevision(
          DocumentKey(kSystemWorkspace, kConfigMapKind, kKnownHosts)));
  if (slot == nullptr) {
    slot = std::make_unique<Poll>();
    slot->key = document_key;
    slot->workspace = name->workspace;
    slot->name = name->name;
    slot->timer = loop_.CreateTimer([this, document_key] {
      const auto it = polls_.find(document_key);
      if (it == polls_.end()) return;
      it->second->due.reset();
      Want(*it->second);
      StartWanted();
    });
    slot->generation = document->generation();
    slot->secret_revision = secret_revision;
    slot->rules_version = rules_version;
    const bool known =
        source != nullptr && source->has_commit() && !source->has_problem() &&
        source->document_generation() == document->generation();
    if (document->git_repo().disable_polling() && known) return;
    Want(*slot);
    return;
  }
  Poll& poll = *slot;
  if (poll.generation == document->generation() &&
      poll.secret_revision == secret_revision &&
      poll.rules_version == rules_version) {
    return;
  }
  poll.generation = document->generation();
  poll.secret_revision = secret_revision;
  poll.rules_version = rules_version;
  poll.failures = 0;
  if (poll.running) poll.again = true;
  Want(poll);
}

void GitPoller::Want(Poll& poll) {
  poll.timer->Disarm();
  poll.due.reset();
  if (poll.wanted || poll.running) return;
  poll.wanted = true;
  waiting_.push_back(poll.key);
}

void GitPoller::StartWanted() {
  while (running_ < options_.max_concurrent && !waiting_.empty()) {
    const std::string key = std::move(waiting_.front());
    waiting_.pop_front();
    const auto it = polls_.find(key);
    if (it == polls_.end() || !it->second->wanted) continue;
    Start(*it->second);
  }
}

absl::StatusOr<GitCredentials> GitPoller::ReadCredentials(
    const storage::v1::Document& secret, absl::string_view shown) const {
  const storage::v1::SecretSpec& spec = secret.secret();
  if (spec.type() != kBasicAuth && spec.type() != kSshAuth) {
    return absl::FailedPreconditionError(absl::StrCat(
        shown, " has type \"", ToDisplayText(spec.type(), 100),
        "\"; Git credentials are of type ", kBasicAuth, " or ", kSshAuth));
  }
  absl::StatusOr<std::string> opened = unseal_(spec);
  storage::v1::SecretData data;
  if (!opened.ok() || !data.ParseFromString(*opened)) {
    return absl::FailedPreconditionError(absl::StrCat(
        shown, " cannot be opened: it was sealed with another key file; "
        "apply it again"));
  }
  GitCredentials out;
  for (const storage::v1::SecretEntry& entry : data.entries()) {
    if (entry.key() == "username") out.username = entry.value();
    if (entry.key() == "password") out.password = entry.value();
    if (entry.key() == "ssh-privatekey") out.ssh_private_key = entry.value();
    if (entry.key() == "known_hosts") out.known_hosts = entry.value();
  }
  if (spec.type() == kBasicAuth) {
    out.ssh_private_key.clear();
    if (out.password.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat(shown, " has no entry \"password\"; add it"));
    }
  } else {
    out.username.clear();
    out.password.clear();
    if (out.ssh_private_key.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat(shown, " has no entry \"ssh-privatekey\"; add it"));
    }
  }
  return out;
}

absl::StatusOr<GitSource> GitPoller::MakeSource(
    const storage::v1::Document& document) const {
  const PolicyVerdict verdict = Judge(document);
  if (!verdict.allowed()) {
    std::vector<std::string> texts;
    for (const core::v1::Problem& violation : verdict.violations) {
      texts.push_back(violation.message());
    }
    return absl::PermissionDeniedError(
        absl::StrCat(kPolicyViolation, ": ", absl::StrJoin(texts, "; ")));
  }
  const storage::v1::GitRepoSpec& spec = verdict.source.git_repo();
  GitSource source;
  source.url = spec.repo();
  source.branch = spec.branch();
  source.revision = spec.revision();
  source.ca_bundle = spec.ca_bundle();
  source.insecure_skip_tls_verify = spec.insecure_skip_tls_verify();
  const std::string secret_name = SecretNameOf(spec);
  const storage::v1::Document* secret = documents_.Find(
      DocumentKey(document.workspace(), kSecretKind, secret_name));
  const std::string shown = absl::StrCat("Secret ", document.workspace(), "/",
                                         ToDisplayText(secret_name, 253));
  if (secret == nullptr || secret->has_delete_time()) {
    if (spec.client_secret_name().empty()) {
      source.credentials.known_hosts = SharedKnownHosts();
      return source;
    }
    return absl::FailedPreconditionError(
        absl::StrCat(shown, ", which spec.clientSecretName names, does not "
                     "exist; apply it, or remove spec.clientSecretName"));
  }
  ASSIGN_OR_RETURN(source.credentials, ReadCredentials(*secret, shown));
  source.credentials_name = shown;
  if (source.credentials.known_hosts.empty()) {
    source.credentials.known_hosts = SharedKnownHosts();
  }
  return source;
}

std::string GitPoller::SharedKnownHosts() const {
  const storage::v1::Document* document = documents_.Find(
      DocumentKey(kSystemWorkspace, kConfigMapKind, kKnownHosts));
  if (document == nullptr || document->has_delete_time()) return "";
  for (const core::v1::LabelPair& entry : document->config_map().data()) {
    if (entry.key() == kKnownHostsKey) return entry.value();
  }
  return "";
}

void GitPoller::Start(Poll& poll) {
  const storage::v1::Document* document = documents_.Find(poll.key);
  poll.wanted = false;
  poll.again = false;
  if (document == nullptr) return;
  poll.running = true;
  poll.fetch = next_fetch_++;
  poll.askers = std::move(poll.late_askers);
  poll.late_askers.clear();
  ++running_;
  auto done = [weak = std::weak_ptr<bool>(alive_), this, key = poll.key,
               fetch = poll.fetch](absl::StatusOr<FetchedCommit> result) {
    if (!weak.expired()) OnFetched(key, fetch, std::move(result));
  };
  absl::StatusOr<GitSource> source = MakeSource(*document);
  if (source.ok()) {
    source->ticket = NextFetchTicket();
    repository_.Fetch(*std::move(source), std::move(done));
  } else {
    loop_.Post([done = std::move(done), status = source.status()]() mutable {
      done(std::move(status));
    });
  }
}

void GitPoller::OnFetched(const std::string& key, uint64_t fetch,
                          absl::StatusOr<FetchedCommit> result) {
  const auto it = polls_.find(key);
  if (it == polls_.end() || it->second->fetch != fetch) {
    // The document went meanwhile; its place was given back then.
    StartWanted();
    return;
  }
  Poll& poll = *it->second;
  const storage::v1::Document* document = documents_.Find(key);
  if (poll.again || document == nullptr) {
    // For a document that is not there any more: nothing may be written.
    Finish(poll, result.status(),
           absl::AbortedError("the document changed meanwhile"));
    return;
  }
  poll.last_poll_time = clock_.Now();

  const std::string source_key = SourceKey(poll.workspace, poll.name);
  const storage::v1::Source* before = sources_.Find(source_key);
  storage::v1::Source after;
  if (before != nullptr) after = *before;
  after.set_workspace(poll.workspace);
  after.set_name(poll.name);
  SyncResult sync;
  if (result.ok()) {
    sync.changed = after.commit().id() != result->id;
    core::v1::Commit* commit = after.mutable_commit();
    commit->set_id(result->id);
    commit->set_summary(result->summary);
    commit->set_author(result->author);
    commit->mutable_time()->set_seconds(absl::ToUnixSeconds(result->time));
    commit->set_repo(result->repo);
    after.set_tree_id(result->tree_id);
    after.set_clone_id(result->clone_id);
    after.set_document_generation(poll.generation);
    after.clear_problem();
  } else {
    core::v1::Problem* problem = after.mutable_problem();
    problem->set_code(absl::StatusCodeToString(result.status().code()));
    problem->set_message(
        ToDisplayText(result.status().message(), kMaxProblem));
    problem->set_subject(
        absl::StrCat("GitRepo ", poll.workspace, "/", poll.name));
  }
  sync.commit_id = after.commit().id();
  if (before != nullptr && SameSource(*before, after)) {
    if (result.ok()) {
      Finish(poll, result.status(), std::move(sync));
    } else {
      Finish(poll, result.status(), result.status());
    }
    return;
  }
  if (before != nullptr && before->clone_id() != after.clone_id()) {
    clones_unused_ = true;
  }
  writer_.Txn({{source_key, sources_.ModRevision(source_key)},
               {key, documents_.ModRevision(key)}},
              {Op::Put(source_key, SerializeRecord(after))},
              [weak = std::weak_ptr<bool>(alive_), this, key, fetch,
               fetched = result.status(),
               sync = std::move(sync)](absl::StatusOr<int64_t> stored) mutable {
                if (weak.expired()) return;
                OnStored(key, fetch, std::move(fetched), std::move(sync),
                         std::move(stored));
              });
}

void GitPoller::OnStored(const std::string& key, uint64_t fetch,
                         absl::Status fetched, SyncResult result,
                         absl::StatusOr<int64_t> stored) {
  const auto it = polls_.find(key);
  if (it == polls_.end() || it->second->fetch != fetch) {
    StartWanted();
    return;
  }
  Poll& poll = *it->second;
  if (absl::IsFailedPrecondition(stored.status())) {
    // The document changed on the way (its labels, if not its generation).
    poll.again = true;
    Finish(poll, fetched, absl::AbortedError("the document changed meanwhile"));
    return;
  }
  if (!stored.ok()) {
    Finish(poll, stored.status(), stored.status());
  } else if (!fetched.ok()) {
    Finish(poll, fetched, fetched);
  } else {
    Finish(poll, fetched, std::move(result));
  }
}

void GitPoller::Finish(Poll& poll, absl::Status fetched,
                       absl::StatusOr<SyncResult> result) {
  poll.running = false;
  --running_;
  std::vector<SyncDone> askers = std::move(poll.askers);
  poll.askers.clear();
  if (poll.again) {
    // They want to know of the document as it is now.
    for (SyncDone& done : askers) poll.late_askers.push_back(std::move(done));
    askers.clear();
    Want(poll);
  } else {
    poll.last_status = fetched;
    if (fetched.ok()) {
      poll.failures = 0;
      poll.last_success_time = clock_.Now();
    } else {
      ++poll.failures;
    }
    if (!poll.late_askers.empty()) {
      Want(poll);
    } else {
      Plan(poll);
    }
  }
  StartWanted();
  RetainClones();
  // Last: they may do anything.
  for (SyncDone& done : askers) done(result);
}

void GitPoller::Plan(Poll& poll) {
  const storage::v1::Document* document = documents_.Find(poll.key);
  if (document == nullptr) return;
  absl::Duration delay = IntervalOf(document->git_repo());
  if (delay <= absl::ZeroDuration()) delay = options_.default_interval;
  delay = std::max(delay, options_.min_interval);
  if (poll.failures > 0) {
    // An interval that is longer than the longest back-off stays.
    const absl::Duration limit = std::max(delay, options_.max_backoff);
    for (int i = 0; i < poll.failures && delay < limit; ++i) delay *= 2;
    delay = std::min(delay, limit);
  } else if (document->git_repo().disable_polling()) {
    return;
  }
  delay += delay * (static_cast<double>(random_.Uniform(1000)) / 1000.0 *
                    kJitterPercent / 100.0);
  poll.due = loop_.MonotonicNow() + delay;
  poll.timer->Arm(delay);
}

void GitPoller::RetainClones() {
  if (!clones_unused_ || running_ > 0 || !waiting_.empty()) return;
  clones_unused_ = false;
  std::vector<std::string> used;
  for (const auto& [key, entry] : sources_.map()) {
    if (!entry.first.clone_id().empty()) used.push_back(entry.first.clone_id());
  }
  repository_.RetainClones(std::move(used));
}

void GitPoller::SyncNow(absl::string_view workspace, absl::string_view name,
                        SyncDone done) {
  absl::Status refused;
  const auto it = polls_.find(DocumentKey(workspace, kGitRepoKind, name));
  if (!loaded()) {
    refused =
        absl::UnavailableError("the store is still being read; try again");
  } else if (it == polls_.end()) {
    refused = absl::NotFoundError(
        absl::StrCat("there is no GitRepo ", ToDisplayText(workspace, 253), "/",
                     ToDisplayText(name, 253)));
  }
  if (!refused.ok()) {
    loop_.Post([done = std::move(done), refused]() mutable { done(refused); });
    return;
  }
  Poll& poll = *it->second;
  poll.late_askers.push_back(std::move(done));
  Want(poll);
  // Not inside the call.
  loop_.Post([weak = std::weak_ptr<bool>(alive_), this] {
    if (!weak.expired()) StartWanted();
  });
}

std::optional<GitPoller::PollState> GitPoller::StateOf(
    absl::string_view workspace, absl::string_view name) const {
  const auto it = polls_.find(DocumentKey(workspace, kGitRepoKind, name));
  if (it == polls_.end()) return std::nullopt;
  const Poll& poll = *it->second;
  PollState state;
  state.polling = poll.running || poll.wanted;
  state.last_poll_time = poll.last_poll_time;
  state.last_success_time = poll.last_success_time;
  state.last_status = poll.last_status;
  state.failures = poll.failures;
  if (poll.due.has_value()) {
    state.next_poll_in =
        std::max(absl::ZeroDuration(), *poll.due - loop_.MonotonicNow());
  }
  return state;
}

}  // namespace flotilla::manager
