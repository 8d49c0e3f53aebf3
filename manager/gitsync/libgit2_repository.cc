// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/libgit2_repository.h"

#include <fcntl.h>
#include <git2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "common/crypto/sha256.h"
#include "common/net/stall_guard.h"
#include "common/status/status_macros.h"
#include "manager/gitsync/commit_tree.h"
#include "manager/gitsync/display_text.h"
#include "manager/gitsync/fetch_attempt.h"
#include "manager/gitsync/git_modules.h"
#include "manager/gitsync/git_proxy.h"
#include "manager/gitsync/git_socket.h"
#include "manager/gitsync/git_url.h"
#include "manager/gitsync/libgit2_handles.h"
#include "manager/gitsync/libgit2_library.h"
#include "manager/gitsync/ref_choice.h"

namespace flotilla::manager {
namespace {

// What a server says of one branch or tag, and of itself before that.
constexpr uint64_t kBytesOfRef = 256;
constexpr uint64_t kBytesOfGreeting = 1 << 20;
constexpr size_t kMaxSummary = 200;
constexpr size_t kMaxAuthor = 200;
constexpr size_t kSaltBytes = 32;
constexpr uint64_t kMaxModulesFile = 1 << 20;
constexpr int kMaxModuleDepth = 10;
constexpr int kMaxModuleFetches = 200;

}  // namespace

// The clones on disk, and everything that other threads do with them.
//
// Thread-safe.
class Libgit2Repository::Clones {
 public:
  // One clone. Fetching and reading use a handle each.
  //
  // Thread-safe.
  struct Clone {
    std::string id;
    std::string path;
    absl::Mutex fetch_mu;
    absl::Mutex read_mu;
    RepositoryPtr reader ABSL_GUARDED_BY(read_mu);
    // A reader met damage: the next fetch begins with a new clone.
    std::atomic<bool> damaged{false};
    // What the server had when it was last asked, by whom it was trusted, and
    // the ticket of that moment: a fetch that was wanted before it need not
    // ask again.
    RemoteRefs refs ABSL_GUARDED_BY(fetch_mu);
    std::string refs_trust ABSL_GUARDED_BY(fetch_mu);
    uint64_t refs_ticket ABSL_GUARDED_BY(fetch_mu) = 0;
  };

  Clones(const Clock& clock, std::string directory, std::string salt,
         const Options& options)
      : clock_(clock), directory_(std::move(directory)),
        salt_(std::move(salt)), options_(options),
        limits_{options.max_fetch_bytes, options.max_fetch_objects},
        guard_({options.silence_limit, options.total_limit}) {}

  absl::StatusOr<FetchedCommit> Fetch(const GitSource& source);
  absl::StatusOr<std::unique_ptr<FileTree>> OpenTree(
      const std::string& clone_id, const std::string& commit_id);
  void Retain(const std::vector<std::string>& clone_ids);
  void CutAll() { guard_.CutAll(); }

 private:
  // Submodules of one fetch.
  struct Modules {
    const GitSource& source;
    const GitUrl& url;
    int fetches = 0;
  };

  // PERMISSION_DENIED for a repository that is one of the clones: what was
  // fetched with somebody's credentials is not for everybody.
  absl::Status CheckNotOurs(const GitUrl& url) const;
  std::shared_ptr<Clone> Find(const std::string& id);
  std::string IdOf(const GitSource& source, const GitUrl& url) const;
  absl::StatusOr<RepositoryPtr> OpenForFetch(const Clone& clone);
  // The commit that `source` means, in the clone's database. `refs` is what
  // the server is known to have; it is asked when there is none.
  absl::StatusOr<git_oid> Download(const GitSource& source, const GitUrl& url,
                                   git_repository* repository,
                                   absl::optional<RemoteRefs>& refs);
  absl::StatusOr<git_oid> DownloadRoot(const GitSource& source,
                                       const GitUrl& url, Clone& clone,
                                       git_repository* repository)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(clone.fetch_mu);
  // Brings the submodules of a commit into the same database.
  absl::Status DownloadModules(Modules& modules, const GitUrl& parent,
                               const git_oid& commit,
                               git_repository* repository, int depth);
  absl::Status DownloadModule(Modules& modules, const GitUrl& parent,
                              const GitModule& module, const git_oid& commit,
                              git_repository* repository, int depth);

  const Clock& clock_;
  const std::string directory_;
  const std::string salt_;
  const Options options_;
  const FetchLimits limits_;
  StallGuard guard_;

  absl::Mutex mu_;
  std::map<std::string, std::shared_ptr<Clone>> clones_ ABSL_GUARDED_BY(mu_);
};

absl::Status Libgit2Repository::Clones::CheckNotOurs(const GitUrl& url) const {
  if (url.transport != GitUrl::Transport::kFile) return absl::OkStatus();
  std::error_code error;
  const auto ours = std::filesystem::weakly_canonical(directory_, error);
  if (error) return absl::ErrnoToStatus(error.value(), directory_);
  const auto named = std::filesystem::weakly_canonical(url.local_path, error);
  // What cannot be looked at is not fetched either.
  if (error) return absl::ErrnoToStatus(error.value(), url.display);
  const auto [end, rest] =
      std::mismatch(ours.begin(), ours.end(), named.begin(), named.end());
  if (end != ours.end()) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(
      url.display, " lies in the manager's data directory, which is no "
      "source; check spec.repo"));
}

std::shared_ptr<Libgit2Repository::Clones::Clone>
Libgit2Repository::Clones::Find(const std::string& id) {
  absl::MutexLock lock(&mu_);
  std::shared_ptr<Clone>& clone = clones_[id];
  if (clone == nullptr) {
    clone = std::make_shared<Clone>();
    clone->id = id;
    clone->path = absl::StrCat(directory_, "/", id, ".git");
  }
  return clone;
}

// Salted: the name of a folder must not help to guess a password.
std::string Libgit2Repository::Clones::IdOf(const GitSource& source,
                                            const GitUrl& url) const {
  std::string text = salt_;
  for (const absl::string_view part :
       {absl::string_view(url.fetch_url), absl::string_view(url.user),
        absl::string_view(url.password),
        absl::string_view(source.credentials.username),
        absl::string_view(source.credentials.password),
        absl::string_view(source.credentials.ssh_private_key)}) {
    absl::StrAppend(&text, part.size(), ":", part, ",");
  }
  return absl::BytesToHexString(Sha256(text).substr(0, 16));
}

absl::StatusOr<RepositoryPtr> Libgit2Repository::Clones::OpenForFetch(
    const Clone& clone) {
  git_repository* raw = nullptr;
  if (git_repository_open_bare(&raw, clone.path.c_str()) == 0) {
    return OwnRepository(raw);
  }
  // Absent, or damaged: either way it can be made again.
  std::error_code removed;
  std::filesystem::remove_all(clone.path, removed);
  git_repository_init_options options = {};
  git_repository_init_options_init(&options,
                                   GIT_REPOSITORY_INIT_OPTIONS_VERSION);
  options.flags = GIT_REPOSITORY_INIT_BARE | GIT_REPOSITORY_INIT_MKDIR;
  options.mode = 0700;
  const int code = git_repository_init_ext(&raw, clone.path.c_str(), &options);
  if (code != 0) return DiskError(LastGitError(code), "making a clone");
  return OwnRepository(raw);
}

namespace {

bool HasCommit(git_repository* repository, const git_oid& id) {
  git_commit* raw = nullptr;
  if (git_commit_lookup(&raw, repository, &id) != 0) return false;
  git_commit_free(raw);
  return true;
}

// Where a ref of the server is kept: never a conflict between "a" and "a/b".
std::string LocalRef(absl::string_view remote_ref) {
  return absl::StrCat(
      "refs/flotilla/",
      absl::BytesToHexString(Sha256(remote_ref).substr(0, 16)));
}

// What decides whether a server is trusted.
std::string TrustOf(const GitSource& source) {
  return absl::StrCat(source.insecure_skip_tls_verify ? "any" : "checked", "\n",
                      source.ca_bundle, "\n", source.credentials.known_hosts);
}

git_oid IdFromHex(const std::string& hex) {
  git_oid id = {};
  git_oid_fromstr(&id, hex.c_str());
  return id;
}

void SetProxy(const GitProxy& proxy, git_proxy_options& options) {
  options.type = proxy.url.empty() ? GIT_PROXY_NONE : GIT_PROXY_SPECIFIED;
  options.url = proxy.url.empty() ? nullptr : proxy.url.c_str();
}

// The fetch of `refs`; libgit2's code.
int DownloadRefs(FetchAttempt& attempt, git_remote* remote,
                 const std::vector<std::string>& refs, const GitProxy& proxy) {
  std::vector<std::string> specs;
  for (const std::string& ref : refs) {
    specs.push_back(absl::StrCat("+", ref, ":", LocalRef(ref)));
  }
  std::vector<char*> pointers;
  for (std::string& spec : specs) pointers.push_back(spec.data());
  const git_strarray list = {pointers.data(), pointers.size()};
  git_fetch_options options = {};
  git_fetch_options_init(&options, GIT_FETCH_OPTIONS_VERSION);
  options.callbacks = attempt.Callbacks();
  options.download_tags = GIT_REMOTE_DOWNLOAD_TAGS_NONE;
  options.prune = GIT_FETCH_NO_PRUNE;
  options.update_fetchhead = 0;
  options.follow_redirects = GIT_REMOTE_REDIRECT_NONE;
  SetProxy(proxy, options.proxy_opts);
  return git_remote_fetch(remote, &list, &options, nullptr);
}

// The commit that an object leads to.
absl::StatusOr<git_oid> PeelToCommit(git_repository* repository,
                                     const git_oid& id,
                                     const GitSource& source,
                                     const GitUrl& url) {
  git_object* raw_object = nullptr;
  int code = git_object_lookup(&raw_object, repository, &id, GIT_OBJECT_ANY);
  const ObjectPtr object(raw_object);
  if (code == GIT_ENOTFOUND && IsFullCommitId(source.revision)) {
    return absl::NotFoundError(absl::StrCat(
        "commit ", source.revision, " is on no branch and under no tag of ",
        url.display, "; check spec.revision"));
  }
  if (code != 0) return DiskError(LastGitError(code), "reading the clone");
  git_object* raw_commit = nullptr;
  code = git_object_peel(&raw_commit, object.get(), GIT_OBJECT_COMMIT);
  const ObjectPtr commit(raw_commit);
  if (code != 0) {
    return absl::NotFoundError(
        absl::StrCat("\"", ToDisplayText(source.revision, 100), "\" of ",
                     url.display, " does not lead to a commit"));
  }
  return *git_object_id(commit.get());
}

}  // namespace

absl::StatusOr<git_oid> Libgit2Repository::Clones::Download(
    const GitSource& source, const GitUrl& url, git_repository* repository,
    absl::optional<RemoteRefs>& refs) {
  RETURN_IF_ERROR(CheckNotOurs(url));
  if (IsFullCommitId(source.revision)) {
    if (source.revision.size() != GIT_OID_HEXSZ) {
      return absl::InvalidArgumentError(
          "repositories with SHA-256 commits are not supported");
    }
    // A commit never changes.
    const git_oid wanted = IdFromHex(source.revision);
    if (HasCommit(repository, wanted)) return wanted;
  }

  ASSIGN_OR_RETURN(const GitProxy proxy, ChooseProxy(options_.proxy, url));
  SocketScope scope(url.host, url.port, guard_, options_.connect_timeout);
  scope.SetProxy(proxy.host, proxy.port);
  FetchAttempt attempt(source, url, clock_, limits_, scope);
  if (url.transport == GitUrl::Transport::kHttp && !url.IsLoopback() &&
      !attempt.password.empty()) {
    return absl::PermissionDeniedError(absl::StrCat(
        "credentials are not sent in clear: use https:// or ssh:// instead of ",
        url.display));
  }
  git_remote_create_options create = {};
  git_remote_create_options_init(&create, GIT_REMOTE_CREATE_OPTIONS_VERSION);
  create.repository = repository;
  create.flags = GIT_REMOTE_CREATE_SKIP_INSTEADOF |
                 GIT_REMOTE_CREATE_SKIP_DEFAULT_FETCHSPEC;
  git_remote* raw_remote = nullptr;
  int code = git_remote_create_with_opts(&raw_remote, url.fetch_url.c_str(),
                                         &create);
  RemotePtr remote(raw_remote);
  const auto fail = [&](int failed) {
    const GitError error = LastGitError(failed);
    remote = nullptr;
    return attempt.Translate(error);
  };
  if (code != 0) return fail(code);

  const uint64_t list_bytes =
      options_.max_refs * kBytesOfRef + kBytesOfGreeting;
  if (!refs.has_value()) {
    git_remote_connect_options connect = {};
    git_remote_connect_options_init(&connect,
                                    GIT_REMOTE_CONNECT_OPTIONS_VERSION);
    connect.callbacks = attempt.Callbacks();
    connect.follow_redirects = GIT_REMOTE_REDIRECT_NONE;
    SetProxy(proxy, connect.proxy_opts);
    scope.SetMaxBytes(list_bytes, "in its list of branches and tags");
    code = git_remote_connect_ext(remote.get(), GIT_DIRECTION_FETCH, &connect);
    if (code != 0) return fail(code);
    const git_remote_head** heads = nullptr;
    size_t count = 0;
    code = git_remote_ls(&heads, &count, remote.get());
    if (code != 0) return fail(code);
    if (count > options_.max_refs) {
      return absl::ResourceExhaustedError(
          absl::StrCat("repository ", url.display, " has ", count,
                       " branches and tags; at most ", options_.max_refs,
                       " are allowed"));
    }
    std::map<std::string, std::string> ids;
    for (size_t i = 0; i < count; ++i) {
      ids[heads[i]->name] = HexOf(&heads[i]->oid);
    }
    refs.emplace(std::move(ids),
                 count > 0 && heads[0]->symref_target != nullptr
                     ? heads[0]->symref_target
                     : "");
  }
  // Above the limit of the indexer, for what is not seen there.
  scope.SetMaxBytes(list_bytes + options_.max_fetch_bytes / 8 * 9,
                    "in one fetch");

  ASSIGN_OR_RETURN(const RemoteRefs::Choice choice,
                   source.any_ref
                       ? refs->ChooseAny(source.revision, url.display)
                       : refs->Choose(source.branch, source.revision,
                                      url.display));
  const git_oid wanted = IdFromHex(choice.id);
  git_oid have = {};
  const bool known =
      choice.refs.size() == 1 &&
      git_reference_name_to_id(&have, repository,
                               LocalRef(choice.refs[0]).c_str()) == 0 &&
      git_oid_equal(&have, &wanted) != 0;
  if (!known) {
    code = DownloadRefs(attempt, remote.get(), choice.refs, proxy);
    if (code != 0) return fail(code);
  }
  remote = nullptr;
  return PeelToCommit(repository, wanted, source, url);
}

absl::StatusOr<git_oid> Libgit2Repository::Clones::DownloadRoot(
    const GitSource& source, const GitUrl& url, Clone& clone,
    git_repository* repository) {
  const std::string trust = TrustOf(source);
  absl::optional<RemoteRefs> refs;
  if (source.ticket != 0 && source.ticket < clone.refs_ticket &&
      clone.refs_trust == trust) {
    refs = clone.refs;
  }
  const bool asked = !refs.has_value();
  const uint64_t ticket = NextFetchTicket();
  absl::StatusOr<git_oid> found = Download(source, url, repository, refs);
  if (asked && refs.has_value()) {
    clone.refs = *refs;
    clone.refs_trust = trust;
    clone.refs_ticket = ticket;
  }
  return found;
}

absl::Status Libgit2Repository::Clones::DownloadModules(
    Modules& modules, const GitUrl& parent, const git_oid& commit_id,
    git_repository* repository, int depth) {
  git_commit* raw_commit = nullptr;
  int code = git_commit_lookup(&raw_commit, repository, &commit_id);
  const CommitPtr commit(raw_commit);
  if (code != 0) return DiskError(LastGitError(code), "reading the clone");
  git_tree* raw_tree = nullptr;
  code = git_commit_tree(&raw_tree, commit.get());
  const TreePtr tree(raw_tree);
  if (code != 0) return DiskError(LastGitError(code), "reading the clone");
  const git_tree_entry* file =
      git_tree_entry_byname(tree.get(), ".gitmodules");
  // A link is not followed: Git does not do so either.
  if (file == nullptr || (git_tree_entry_filemode(file) != GIT_FILEMODE_BLOB &&
                          git_tree_entry_filemode(file) !=
                              GIT_FILEMODE_BLOB_EXECUTABLE)) {
    return absl::OkStatus();
  }
  if (depth >= kMaxModuleDepth) {
    return absl::FailedPreconditionError(
        absl::StrCat("submodules of ", parent.display, " lie deeper than ",
                     kMaxModuleDepth, " levels"));
  }
  git_blob* raw_blob = nullptr;
  code = git_blob_lookup(&raw_blob, repository, git_tree_entry_id(file));
  const BlobPtr blob(raw_blob);
  if (code != 0) return DiskError(LastGitError(code), "reading the clone");
  const auto size = static_cast<uint64_t>(git_blob_rawsize(blob.get()));
  if (size > kMaxModulesFile) {
    return absl::ResourceExhaustedError(
        absl::StrCat(".gitmodules has ", size, " bytes; at most ",
                     kMaxModulesFile, " are allowed"));
  }
  ASSIGN_OR_RETURN(
      const std::vector<GitModule> list,
      ParseGitModules(absl::string_view(
          static_cast<const char*>(git_blob_rawcontent(blob.get())), size)));
  for (const GitModule& module : list) {
    git_tree_entry* raw_entry = nullptr;
    code = git_tree_entry_bypath(&raw_entry, tree.get(), module.path.c_str());
    const TreeEntryPtr entry(raw_entry);
    // A section that is left over names nothing.
    if (code != 0 ||
        git_tree_entry_filemode(entry.get()) != GIT_FILEMODE_COMMIT) {
      continue;
    }
    const absl::Status fetched =
        DownloadModule(modules, parent, module, *git_tree_entry_id(entry.get()),
                       repository, depth);
    if (!fetched.ok()) {
      return absl::Status(
          fetched.code(),
          absl::StrCat("submodule \"", module.path, "\" (.gitmodules:",
                       module.line, "): ", fetched.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status Libgit2Repository::Clones::DownloadModule(
    Modules& modules, const GitUrl& parent, const GitModule& module,
    const git_oid& commit, git_repository* repository, int depth) {
  ASSIGN_OR_RETURN(const std::string text,
                   ResolveModuleUrl(parent, module.url));
  ASSIGN_OR_RETURN(const GitUrl url, ParseGitUrl(text));
  if (!HasCommit(repository, commit)) {
    if (++modules.fetches > kMaxModuleFetches) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "more than ", kMaxModuleFetches, " submodules would be fetched"));
    }
    GitSource source;
    source.url = text;
    source.revision = HexOf(&commit);
    source.credentials.known_hosts = modules.source.credentials.known_hosts;
    // To their own server only; others are asked without.
    if (SameServer(modules.url, url)) {
      source.credentials = modules.source.credentials;
      source.credentials_name = modules.source.credentials_name;
      source.ca_bundle = modules.source.ca_bundle;
      source.insecure_skip_tls_verify = modules.source.insecure_skip_tls_verify;
    }
    absl::optional<RemoteRefs> refs;
    RETURN_IF_ERROR(Download(source, url, repository, refs).status());
  }
  return DownloadModules(modules, url, commit, repository, depth + 1);
}

absl::StatusOr<FetchedCommit> Libgit2Repository::Clones::Fetch(
    const GitSource& source) {
  ASSIGN_OR_RETURN(const GitUrl url, ParseGitUrl(source.url));
  if (guard_.cut_all()) {
    return absl::CancelledError("the manager is stopping");
  }
  const std::shared_ptr<Clone> clone = Find(IdOf(source, url));
  absl::MutexLock lock(&clone->fetch_mu);

  RepositoryPtr repository;
  absl::StatusOr<git_oid> found = absl::DataLossError("");
  // The second time with a new clone, when the first turns out to be damaged.
  for (int i = 0; i < 2 && absl::IsDataLoss(found.status()); ++i) {
    if (i > 0 || clone->damaged.exchange(false)) {
      repository = nullptr;
      std::error_code removed;
      std::filesystem::remove_all(clone->path, removed);
      absl::MutexLock read_lock(&clone->read_mu);
      clone->reader = nullptr;
    }
    ASSIGN_OR_RETURN(repository, OpenForFetch(*clone));
    found = DownloadRoot(source, url, *clone, repository.get());
    if (!found.ok()) continue;
    Modules modules{source, url};
    const absl::Status fetched =
        DownloadModules(modules, url, *found, repository.get(), 0);
    if (!fetched.ok()) found = fetched;
  }
  RETURN_IF_ERROR(found.status());

  git_commit* raw = nullptr;
  const int code = git_commit_lookup(&raw, repository.get(), &*found);
  const CommitPtr commit(raw);
  if (code != 0) return DiskError(LastGitError(code), "reading the clone");
  FetchedCommit out;
  out.id = HexOf(git_commit_id(commit.get()));
  out.tree_id = HexOf(git_commit_tree_id(commit.get()));
  out.clone_id = clone->id;
  const git_signature* author = git_commit_author(commit.get());
  if (author != nullptr) {
    out.author = ToDisplayText(
        absl::StrCat(author->name == nullptr ? "" : author->name, " <",
                     author->email == nullptr ? "" : author->email, ">"),
        kMaxAuthor);
  }
  const char* summary = git_commit_summary(commit.get());
  if (summary != nullptr) {
    out.summary = ToDisplayText(summary, kMaxSummary - 3);
  }
  // What a record can hold: years 1 to 9999.
  out.time = absl::FromUnixSeconds(std::min<int64_t>(
      253'402'300'799,
      std::max<int64_t>(0, git_commit_time(commit.get()))));
  out.repo = url.display;
  return out;
}

absl::StatusOr<std::unique_ptr<FileTree>> Libgit2Repository::Clones::OpenTree(
    const std::string& clone_id, const std::string& commit_id) {
  git_oid id = {};
  if (clone_id.empty() || clone_id.size() > 64 ||
      !std::all_of(clone_id.begin(), clone_id.end(),
                   [](unsigned char c) { return absl::ascii_isxdigit(c); }) ||
      commit_id.size() != GIT_OID_HEXSZ ||
      git_oid_fromstr(&id, commit_id.c_str()) != 0) {
    return absl::NotFoundError("no such clone or commit");
  }
  const std::shared_ptr<Clone> clone = Find(clone_id);
  absl::MutexLock lock(&clone->read_mu);
  // The second time round with a new handle: the clone may have been made
  // again since the first was opened.
  for (const bool fresh : {clone->reader == nullptr, true}) {
    if (fresh) {
      git_repository* raw = nullptr;
      if (git_repository_open_bare(&raw, clone->path.c_str()) != 0) {
        return absl::NotFoundError(
            absl::StrCat("the clone of commit ", commit_id,
                         " is not there any more; it is fetched again"));
      }
      clone->reader = OwnRepository(raw);
    }
    git_commit* raw_commit = nullptr;
    const int code =
        git_commit_lookup(&raw_commit, clone->reader.get(), &id);
    const CommitPtr commit(raw_commit);
    if (code != 0) continue;
    return std::unique_ptr<FileTree>(std::make_unique<CommitTree>(
        clone, clone->read_mu, clone->damaged, clone->reader,
        *git_commit_tree_id(commit.get())));
  }
  return absl::NotFoundError(absl::StrCat(
      "commit ", commit_id, " is not in its clone; it is fetched again"));
}

void Libgit2Repository::Clones::Retain(
    const std::vector<std::string>& clone_ids) {
  const absl::flat_hash_set<std::string> keep(clone_ids.begin(),
                                              clone_ids.end());
  std::error_code error;
  std::vector<std::filesystem::path> gone;
  for (auto it = std::filesystem::directory_iterator(directory_, error);
       !error && it != std::filesystem::directory_iterator();
       it.increment(error)) {
    const std::filesystem::path& path = it->path();
    if (path.extension() == ".git" && !keep.contains(path.stem().string())) {
      gone.push_back(path);
    }
  }
  for (const std::filesystem::path& path : gone) {
    {
      // Trees that are open keep their own handle alive.
      absl::MutexLock lock(&mu_);
      clones_.erase(path.stem().string());
    }
    std::filesystem::remove_all(path, error);
  }
}

namespace {

// Random, made once, readable by us only.
absl::StatusOr<std::string> ReadOrMakeSalt(const std::string& path,
                                           Random& random) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    char buffer[kSaltBytes];
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    close(fd);
    if (got == static_cast<ssize_t>(sizeof(buffer))) {
      return std::string(buffer, sizeof(buffer));
    }
  } else if (errno != ENOENT) {
    return absl::ErrnoToStatus(errno, absl::StrCat("opening ", path));
  }
  // Without it clones get new names and are fetched again: no need to sync.
  const std::string salt = random.Bytes(kSaltBytes);
  const int out =
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (out < 0) return absl::ErrnoToStatus(errno, absl::StrCat("making ", path));
  const ssize_t written = write(out, salt.data(), salt.size());
  const int error = errno;
  close(out);
  if (written != static_cast<ssize_t>(salt.size())) {
    return absl::ErrnoToStatus(error, absl::StrCat("writing ", path));
  }
  return salt;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Libgit2Repository>> Libgit2Repository::Create(
    WorkerPool& pool, const Clock& clock, Random& random,
    const std::string& directory, const Options& options) {
  RETURN_IF_ERROR(InitLibgit2());
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return absl::ErrnoToStatus(errno, absl::StrCat("making ", directory));
  }
  ASSIGN_OR_RETURN(std::string salt,
                   ReadOrMakeSalt(absl::StrCat(directory, "/salt"), random));
  return std::unique_ptr<Libgit2Repository>(new Libgit2Repository(
      pool,
      std::make_shared<Clones>(clock, directory, std::move(salt), options)));
}

Libgit2Repository::Libgit2Repository(WorkerPool& pool,
                                     std::shared_ptr<Clones> clones)
    : pool_(pool), clones_(std::move(clones)) {}

Libgit2Repository::~Libgit2Repository() { clones_->CutAll(); }

void Libgit2Repository::Fetch(GitSource source, Done<FetchedCommit> done) {
  pool_.Submit<absl::StatusOr<FetchedCommit>>(
      [clones = clones_, source = std::move(source)] {
        return clones->Fetch(source);
      },
      [weak = std::weak_ptr<bool>(alive_), done = std::move(done)](
          absl::StatusOr<FetchedCommit> result) mutable {
        if (!weak.expired()) done(std::move(result));
      });
}

absl::StatusOr<std::unique_ptr<FileTree>> Libgit2Repository::OpenTree(
    const std::string& clone_id, const std::string& commit_id) {
  return clones_->OpenTree(clone_id, commit_id);
}

void Libgit2Repository::RetainClones(std::vector<std::string> clone_ids) {
  pool_.Run(
      [clones = clones_, clone_ids = std::move(clone_ids)] {
        clones->Retain(clone_ids);
      },
      [] {});
}

void Libgit2Repository::CutAll() { clones_->CutAll(); }

}  // namespace flotilla::manager
