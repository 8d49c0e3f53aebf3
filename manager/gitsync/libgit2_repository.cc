// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/libgit2_repository.h"

#include <fcntl.h>
#include <git2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/base/call_once.h"
#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/crypto/server_trust.h"
#include "common/crypto/sha256.h"
#include "common/status/status_macros.h"
#include "manager/gitsync/display_text.h"
#include "manager/gitsync/git_socket.h"
#include "manager/gitsync/git_url.h"
#include "manager/gitsync/known_hosts.h"
#include "manager/gitsync/stall_guard.h"

namespace flotilla::manager {
namespace {

// What a server says of one branch or tag, and of itself before that.
constexpr uint64_t kBytesOfRef = 256;
constexpr uint64_t kBytesOfGreeting = 1 << 20;
constexpr size_t kMaxSummary = 200;
constexpr size_t kMaxAuthor = 200;
constexpr size_t kMaxLink = 4096;
constexpr size_t kMaxTreeEntries = 100'000;
constexpr size_t kMaxPackObject = size_t{256} << 20;
// GIT_OPT_SET_PACK_MAX_OBJECT_SIZE: in the headers since Debian's security
// update of 1.5.1. A library without it answers -1 and sets nothing; the bytes
// of a fetch are then the bound.
constexpr int kSetPackMaxObjectSize = GIT_OPT_SET_OWNER_VALIDATION + 2;
constexpr ssize_t kObjectCacheBytes = ssize_t{32} << 20;
constexpr size_t kSaltBytes = 32;
constexpr int kNamedRefs = 5;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* value) const {
    Free(value);
  }
};
// Shared: a tree that is open keeps its handle.
using RepositoryPtr = std::shared_ptr<git_repository>;
using RemotePtr = std::unique_ptr<git_remote, Deleter<git_remote_free>>;
using CommitPtr = std::unique_ptr<git_commit, Deleter<git_commit_free>>;
using ObjectPtr = std::unique_ptr<git_object, Deleter<git_object_free>>;
using TreePtr = std::unique_ptr<git_tree, Deleter<git_tree_free>>;
using BlobPtr = std::unique_ptr<git_blob, Deleter<git_blob_free>>;
using OdbPtr = std::unique_ptr<git_odb, Deleter<git_odb_free>>;
using ReferencePtr =
    std::unique_ptr<git_reference, Deleter<git_reference_free>>;

// What libgit2 said last on this thread.
struct GitError {
  int code = 0;
  int klass = 0;
  std::string message;
};

GitError LastError(int code) {
  GitError out;
  out.code = code;
  if (const git_error* error = git_error_last()) {
    out.klass = error->klass;
    if (error->message != nullptr) out.message = error->message;
  }
  return out;
}

std::string Hex(const git_oid* id) {
  char text[GIT_OID_HEXSZ + 1] = {};
  git_oid_tostr(text, sizeof(text), id);
  return text;
}

RepositoryPtr Own(git_repository* repository) {
  return RepositoryPtr(repository, git_repository_free);
}

// Errors of the clone on our disk.
absl::Status DiskError(const GitError& error, absl::string_view what) {
  const std::string text =
      absl::StrCat(what, ": ", ToDisplayText(error.message, 300));
  if (absl::StrContains(error.message, "No space left")) {
    return absl::ResourceExhaustedError(
        absl::StrCat(text, "; free space in the data directory"));
  }
  return absl::DataLossError(text);
}

// libgit2 is one for the process; so is what it is told here.
absl::Status InitLibrary() {
  static absl::once_flag once;
  static absl::Status* const result = new absl::Status;
  absl::call_once(once, [] {
    if (git_libgit2_init() < 0) {
      *result = absl::InternalError("libgit2 cannot be initialised");
      return;
    }
    // No configuration of the machine or of its user counts.
    for (const int level :
         {GIT_CONFIG_LEVEL_SYSTEM, GIT_CONFIG_LEVEL_XDG,
          GIT_CONFIG_LEVEL_GLOBAL, GIT_CONFIG_LEVEL_PROGRAMDATA}) {
      git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, level, "");
    }
    // Its SSH looks for $HOME/.ssh/known_hosts and fails when there is no
    // HOME, as in a system service. What is in that file does not matter:
    // OnCertificate() decides.
    setenv("HOME", "/nonexistent", /*overwrite=*/0);
    // Nothing of a repository is run, so it does not matter who owns one that
    // file:// names.
    git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
    git_libgit2_opts(GIT_OPT_ENABLE_FSYNC_GITDIR, 1);
    git_libgit2_opts(GIT_OPT_SET_CACHE_MAX_SIZE, kObjectCacheBytes);
    git_libgit2_opts(kSetPackMaxObjectSize, kMaxPackObject);
    git_libgit2_opts(GIT_OPT_SET_USER_AGENT, "flotilla");
    *result = RegisterGitSockets();
  });
  return *result;
}

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
  };

  Clones(const Clock& clock, std::string directory, std::string salt,
         const Options& options)
      : clock_(clock), directory_(std::move(directory)),
        salt_(std::move(salt)), options_(options),
        guard_({options.silence_limit, options.total_limit}) {}

  absl::StatusOr<FetchedCommit> Fetch(const GitSource& source);
  absl::StatusOr<std::unique_ptr<FileTree>> OpenTree(
      const std::string& clone_id, const std::string& commit_id);
  void Retain(const std::vector<std::string>& clone_ids);
  void CutAll() { guard_.CutAll(); }

 private:
  struct Attempt;

  std::shared_ptr<Clone> Find(const std::string& id);
  std::string IdOf(const GitSource& source, const GitUrl& url) const;
  absl::StatusOr<RepositoryPtr> OpenForFetch(const Clone& clone);
  absl::StatusOr<git_oid> Download(Attempt& attempt,
                                   git_repository* repository);
  // libgit2's code.
  static int DownloadRefs(Attempt& attempt, git_remote* remote,
                          const std::vector<std::string>& refs);

  const Clock& clock_;
  const std::string directory_;
  const std::string salt_;
  const Options options_;
  StallGuard guard_;

  absl::Mutex mu_;
  std::map<std::string, std::shared_ptr<Clone>> clones_ ABSL_GUARDED_BY(mu_);
};

namespace {

// The files of one commit.
//
// Thread-compatible.
class CommitTree : public FileTree {
 public:
  // `lock` guards `repository`, which other trees of the clone use too; `keep`
  // keeps it and `damaged` alive.
  CommitTree(std::shared_ptr<void> keep, absl::Mutex& lock,
             std::atomic<bool>& damaged, RepositoryPtr repository,
             const git_oid& root)
      : keep_(std::move(keep)), mu_(lock), damaged_(damaged),
        repository_(std::move(repository)), root_(root) {}

 protected:
  absl::StatusOr<std::vector<RawEntry>> ReadDirectory(
      const std::string& directory) override {
    absl::MutexLock lock(&mu_);
    git_oid id = root_;
    for (const absl::string_view part :
         absl::StrSplit(directory, '/', absl::SkipEmpty())) {
      ASSIGN_OR_RETURN(const TreePtr tree, Lookup(id, directory));
      const git_tree_entry* entry =
          git_tree_entry_byname(tree.get(), std::string(part).c_str());
      if (entry == nullptr ||
          git_tree_entry_type(entry) != GIT_OBJECT_TREE) {
        return absl::NotFoundError(
            absl::StrCat("there is no directory \"", directory, "\""));
      }
      id = *git_tree_entry_id(entry);
    }
    ASSIGN_OR_RETURN(const TreePtr tree, Lookup(id, directory));
    const size_t count = git_tree_entrycount(tree.get());
    if (count > kMaxTreeEntries) {
      return absl::ResourceExhaustedError(
          absl::StrCat("directory \"", directory, "\" has ", count,
                       " entries; at most ", kMaxTreeEntries, " are allowed"));
    }
    git_odb* raw_odb = nullptr;
    int code = git_repository_odb(&raw_odb, repository_.get());
    if (code != 0) return Damage(LastError(code), directory);
    const OdbPtr odb(raw_odb);
    std::vector<RawEntry> out;
    out.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      const git_tree_entry* entry = git_tree_entry_byindex(tree.get(), i);
      RawEntry raw;
      raw.name = git_tree_entry_name(entry);
      const git_oid* entry_id = git_tree_entry_id(entry);
      switch (git_tree_entry_filemode(entry)) {
        case GIT_FILEMODE_TREE:
          raw.kind = RawEntry::Kind::kDirectory;
          break;
        case GIT_FILEMODE_BLOB_EXECUTABLE:
          raw.executable = true;
          [[fallthrough]];
        case GIT_FILEMODE_BLOB: {
          raw.kind = RawEntry::Kind::kFile;
          git_object_t type = GIT_OBJECT_INVALID;
          size_t size = 0;
          code = git_odb_read_header(&size, &type, odb.get(), entry_id);
          if (code != 0 || type != GIT_OBJECT_BLOB) {
            return Damage(LastError(code), directory);
          }
          raw.size = size;
          raw.blob_id = Hex(entry_id);
          break;
        }
        case GIT_FILEMODE_LINK:
          raw.kind = RawEntry::Kind::kLink;
          break;
        case GIT_FILEMODE_COMMIT:
          raw.kind = RawEntry::Kind::kSubmodule;
          break;
        default:
          raw.kind = RawEntry::Kind::kOther;
          break;
      }
      out.push_back(std::move(raw));
    }
    return out;
  }

  absl::StatusOr<std::string> ReadFile(const std::string& path,
                                       uint64_t max_bytes) override {
    absl::MutexLock lock(&mu_);
    ASSIGN_OR_RETURN(const TreePtr tree, Lookup(root_, path));
    git_tree_entry* raw_entry = nullptr;
    int code = git_tree_entry_bypath(&raw_entry, tree.get(), path.c_str());
    const std::unique_ptr<git_tree_entry, Deleter<git_tree_entry_free>> entry(
        raw_entry);
    if (code != 0) {
      return Damage(LastError(code), path);
    }
    git_blob* raw_blob = nullptr;
    code = git_blob_lookup(&raw_blob, repository_.get(),
                           git_tree_entry_id(entry.get()));
    const BlobPtr blob(raw_blob);
    if (code != 0) {
      return Damage(LastError(code), path);
    }
    const auto size = static_cast<uint64_t>(git_blob_rawsize(blob.get()));
    if (size > max_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("file \"", path, "\" has ", size, " bytes; at most ",
                       max_bytes, " are allowed"));
    }
    return std::string(
        static_cast<const char*>(git_blob_rawcontent(blob.get())), size);
  }

  absl::StatusOr<std::string> ReadLink(const std::string& path) override {
    auto text = ReadFile(path, kMaxLink);
    // Too long to be one: FileTree says that it leads nowhere.
    if (absl::IsResourceExhausted(text.status())) return std::string();
    return text;
  }

 private:
  absl::StatusOr<TreePtr> Lookup(const git_oid& id, absl::string_view path)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    git_tree* raw = nullptr;
    const int code = git_tree_lookup(&raw, repository_.get(), &id);
    if (code != 0) {
      return Damage(LastError(code), path);
    }
    return TreePtr(raw);
  }

  absl::Status Damage(const GitError& error, absl::string_view path) {
    absl::Status status =
        DiskError(error, absl::StrCat("reading \"", path, "\""));
    if (absl::IsDataLoss(status)) damaged_ = true;
    return status;
  }

  const std::shared_ptr<void> keep_;
  absl::Mutex& mu_;
  std::atomic<bool>& damaged_;
  const RepositoryPtr repository_ ABSL_GUARDED_BY(mu_);
  const git_oid root_;
};

}  // namespace

// One fetch: what the callbacks of libgit2 see.
//
// Thread-compatible.
struct Libgit2Repository::Clones::Attempt {
  const GitSource& source;
  const GitUrl& url;
  const Clock& clock;
  const Options& options;
  SocketScope& scope;

  // Effective credentials.
  std::string username;
  std::string password;
  int password_asked = 0;
  int key_asked = 0;

  std::string SecretHint() const {
    return source.credentials_name.empty()
               ? "name a Secret with credentials in spec.clientSecretName"
               : absl::StrCat("check ", source.credentials_name);
  }

  static int Refuse(Attempt& self, absl::Status status) {
    git_error_set_str(GIT_ERROR_CALLBACK,
                      std::string(status.message()).c_str());
    self.scope.SetError(std::move(status));
    return GIT_EUSER;
  }

  static int OnCredentials(git_credential** out, const char*, const char*,
                           unsigned int allowed, void* payload) {
    Attempt& self = *static_cast<Attempt*>(payload);
    const std::string& user = self.url.user;
    if (self.url.transport == GitUrl::Transport::kSsh) {
      if ((allowed & GIT_CREDENTIAL_USERNAME) != 0 &&
          (allowed & GIT_CREDENTIAL_SSH_MEMORY) == 0) {
        return git_credential_username_new(out, user.c_str());
      }
      if (self.source.credentials.ssh_private_key.empty()) {
        return Refuse(
            self,
            absl::UnauthenticatedError(absl::StrCat(
                "Git server of ", self.url.display,
                " asks for an SSH key, and there is none; ",
                self.SecretHint(), " (type kubernetes.io/ssh-auth, entry "
                "ssh-privatekey)")));
      }
      if ((allowed & GIT_CREDENTIAL_SSH_MEMORY) == 0 || self.key_asked > 0) {
        return Refuse(self, absl::UnauthenticatedError(absl::StrCat(
                                "wrong credentials: Git server of ",
                                self.url.display,
                                " refuses the SSH key; ", self.SecretHint(),
                                ", and that its public key is known there")));
      }
      ++self.key_asked;
      return git_credential_ssh_key_memory_new(
          out, user.c_str(), nullptr,
          self.source.credentials.ssh_private_key.c_str(), nullptr);
    }
    if (self.password.empty() && self.username.empty()) {
      return Refuse(self, absl::UnauthenticatedError(absl::StrCat(
                              "Git server of ", self.url.display,
                              " asks for credentials, and there are none; ",
                              self.SecretHint())));
    }
    if ((allowed & GIT_CREDENTIAL_USERPASS_PLAINTEXT) == 0 ||
        self.password_asked > 0) {
      return Refuse(self, self.WrongCredentials());
    }
    ++self.password_asked;
    return git_credential_userpass_plaintext_new(out, self.username.c_str(),
                                                 self.password.c_str());
  }

  absl::Status WrongCredentials() const {
    return absl::UnauthenticatedError(absl::StrCat(
        "wrong credentials: Git server of ", url.display,
        " refuses user and password; ", SecretHint()));
  }

  static int OnCertificate(git_cert* cert, int valid, const char*,
                           void* payload) {
    Attempt& self = *static_cast<Attempt*>(payload);
    if (cert->cert_type == GIT_CERT_HOSTKEY_LIBSSH2) {
      const auto* key = reinterpret_cast<const git_cert_hostkey*>(cert);
      if ((key->type & GIT_CERT_SSH_RAW) == 0 || key->hostkey == nullptr) {
        return Refuse(self, absl::FailedPreconditionError(absl::StrCat(
                                "the SSH host key of ", self.url.host,
                                " cannot be read")));
      }
      const std::string where =
          self.source.credentials_name.empty()
              ? "entry known_hosts of the Secret in spec.clientSecretName"
              : absl::StrCat("entry known_hosts of ",
                             self.source.credentials_name);
      absl::Status known = CheckHostKey(
          self.source.credentials.known_hosts,
          {self.url.host, self.url.port,
           std::string(key->hostkey, key->hostkey_len)},
          where);
      return known.ok() ? 0 : Refuse(self, std::move(known));
    }
    if (cert->cert_type != GIT_CERT_X509) {
      return Refuse(self, absl::FailedPreconditionError(
                              "the server has a certificate of no known kind"));
    }
    if (valid != 0 || self.source.insecure_skip_tls_verify) return 0;
    const auto* x509 = reinterpret_cast<const git_cert_x509*>(cert);
    const absl::string_view der(static_cast<const char*>(x509->data),
                                x509->len);
    // Against an empty list when there is none: for the reason.
    const absl::Status trusted = VerifyServerCertificate(
        der, self.url.host, self.source.ca_bundle, self.clock.Now());
    if (trusted.ok()) return 0;
    return Refuse(
        self,
        absl::FailedPreconditionError(absl::StrCat(
            "the certificate of Git server ", self.url.host, ":",
            self.url.port, " is not trusted",
            self.source.ca_bundle.empty()
                ? ""
                : absl::StrCat(", not by spec.caBundle either (",
                               trusted.message(), ")"),
            "; put the CA that signed it into spec.caBundle")));
  }

  static int OnProgress(const git_indexer_progress* progress, void* payload) {
    Attempt& self = *static_cast<Attempt*>(payload);
    if (self.scope.guard().cut_all()) {
      return Refuse(self, absl::CancelledError("the manager is stopping"));
    }
    if (progress->received_bytes > self.options.max_fetch_bytes ||
        progress->total_objects > self.options.max_fetch_objects) {
      return Refuse(
          self, absl::ResourceExhaustedError(absl::StrCat(
                    "repository ", self.url.display,
                    " is too large: more than ",
                    self.options.max_fetch_bytes >> 20, " MiB or ",
                    self.options.max_fetch_objects, " objects in one fetch")));
    }
    return 0;
  }

  git_remote_callbacks Callbacks() {
    git_remote_callbacks callbacks = {};
    git_remote_init_callbacks(&callbacks, GIT_REMOTE_CALLBACKS_VERSION);
    callbacks.credentials = OnCredentials;
    callbacks.certificate_check = OnCertificate;
    callbacks.transfer_progress = OnProgress;
    callbacks.payload = this;
    return callbacks;
  }

  // Takes anything out of `text` that must not be seen.
  std::string Scrub(std::string text) const {
    for (const std::string* secret :
         {&password, &source.credentials.password, &url.password}) {
      if (secret->size() >= 3) {
        text = absl::StrReplaceAll(text, {{*secret, "..."}});
      }
    }
    return ToDisplayText(text, 300);
  }

  // Why talking to the server failed. After the remote was freed, so that a
  // connection that was cut has said so.
  absl::Status Translate(const GitError& error) const {
    if (!scope.error().ok()) return scope.error();
    const std::string& message = error.message;
    const std::string lower = absl::AsciiStrToLower(message);
    const auto has = [&lower](absl::string_view text) {
      return absl::StrContains(lower, absl::AsciiStrToLower(text));
    };
    const std::string& at = url.display;
    if (url.transport == GitUrl::Transport::kFile) {
      if (has("No space left")) {
        return absl::ResourceExhaustedError(
            "no space left in the data directory; free some");
      }
      if (error.code == GIT_ENOTFOUND || has("failed to resolve path") ||
          has("could not find repository") || has("unsupported URL")) {
        return absl::NotFoundError(absl::StrCat(
            "there is no Git repository at ", at, "; check spec.repo"));
      }
    }
    if (has("cannot redirect")) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the server of ", at, " redirects to another host, which is not "
          "followed; write the new address into spec.repo if it is right"));
    }
    if (has("status code: 404") || has("status code: 410")) {
      return absl::NotFoundError(absl::StrCat(
          "there is no Git repository at ", at,
          " (HTTP 404); check spec.repo, and the credentials: many servers "
          "hide a repository from who may not read it"));
    }
    if (has("status code: 403")) {
      return absl::PermissionDeniedError(
          absl::StrCat("the server of ", at, " refuses access (HTTP 403); ",
                       SecretHint()));
    }
    if (has("status code: 401") || has("authentication replays") ||
        error.code == GIT_EAUTH) {
      if (url.transport != GitUrl::Transport::kSsh) return WrongCredentials();
      return absl::UnauthenticatedError(absl::StrCat(
          "wrong credentials: Git server of ", at,
          " refuses the SSH key, or the key is damaged or has a passphrase; ",
          SecretHint()));
    }
    if (error.klass == GIT_ERROR_SSH &&
        (has("authenticat") || has("private key") || has("public key"))) {
      return absl::UnauthenticatedError(absl::StrCat(
          "wrong credentials: Git server of ", at,
          " refuses the SSH key, or the key is damaged or has a passphrase (",
          Scrub(message), "); ", SecretHint()));
    }
    if (has("No space left")) {
      return absl::ResourceExhaustedError(
          "no space left in the data directory; free some");
    }
    if (url.transport == GitUrl::Transport::kSsh &&
        (has("EOF") || has("not found") || has("does not exist") ||
         has("does not appear to be"))) {
      return absl::NotFoundError(absl::StrCat(
          "the server of ", at,
          " has no such repository, or this key may not read it; check "
          "spec.repo and ", source.credentials_name.empty()
              ? "spec.clientSecretName"
              : source.credentials_name));
    }
    return absl::UnavailableError(absl::StrCat(
        "fetching from ", at, " failed: ",
        message.empty() ? "no reason given" : Scrub(message)));
  }
};

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
    return Own(raw);
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
  if (code != 0) return DiskError(LastError(code), "making a clone");
  return Own(raw);
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

// "main", "dev" and 3 more.
std::string NameSome(const std::vector<std::string>& names) {
  std::vector<std::string> shown;
  for (const std::string& name : names) {
    if (shown.size() == kNamedRefs) break;
    shown.push_back(absl::StrCat("\"", ToDisplayText(name, 100), "\""));
  }
  std::string text = absl::StrJoin(shown, ", ");
  if (names.size() > shown.size()) {
    absl::StrAppend(&text, " and ", names.size() - shown.size(), " more");
  }
  return text;
}

}  // namespace

int Libgit2Repository::Clones::DownloadRefs(
    Attempt& attempt, git_remote* remote,
    const std::vector<std::string>& refs) {
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
  options.proxy_opts.type = GIT_PROXY_NONE;
  return git_remote_fetch(remote, &list, &options, nullptr);
}

absl::StatusOr<git_oid> Libgit2Repository::Clones::Download(
    Attempt& attempt, git_repository* repository) {
  const GitSource& source = attempt.source;
  const bool by_commit = IsFullCommitId(source.revision);
  git_oid wanted = {};
  if (by_commit) {
    if (source.revision.size() != GIT_OID_HEXSZ ||
        git_oid_fromstr(&wanted, source.revision.c_str()) != 0) {
      return absl::InvalidArgumentError(
          "repositories with SHA-256 commits are not supported");
    }
    // A commit never changes.
    if (HasCommit(repository, wanted)) return wanted;
  }

  git_remote_create_options create = {};
  git_remote_create_options_init(&create, GIT_REMOTE_CREATE_OPTIONS_VERSION);
  create.repository = repository;
  create.flags = GIT_REMOTE_CREATE_SKIP_INSTEADOF |
                 GIT_REMOTE_CREATE_SKIP_DEFAULT_FETCHSPEC;
  git_remote* raw_remote = nullptr;
  int code = git_remote_create_with_opts(
      &raw_remote, attempt.url.fetch_url.c_str(), &create);
  RemotePtr remote(raw_remote);
  const auto fail = [&](int failed) {
    const GitError error = LastError(failed);
    remote = nullptr;
    return attempt.Translate(error);
  };
  if (code != 0) return fail(code);

  git_remote_connect_options connect = {};
  git_remote_connect_options_init(&connect, GIT_REMOTE_CONNECT_OPTIONS_VERSION);
  connect.callbacks = attempt.Callbacks();
  connect.follow_redirects = GIT_REMOTE_REDIRECT_NONE;
  connect.proxy_opts.type = GIT_PROXY_NONE;
  const uint64_t list_bytes =
      attempt.options.max_refs * kBytesOfRef + kBytesOfGreeting;
  attempt.scope.SetMaxBytes(list_bytes, "in its list of branches and tags");
  code = git_remote_connect_ext(remote.get(), GIT_DIRECTION_FETCH, &connect);
  if (code != 0) return fail(code);
  const git_remote_head** heads = nullptr;
  size_t count = 0;
  code = git_remote_ls(&heads, &count, remote.get());
  if (code != 0) return fail(code);
  // Above the limit of OnProgress(), for what is not seen there.
  attempt.scope.SetMaxBytes(
      list_bytes + attempt.options.max_fetch_bytes / 8 * 9, "in one fetch");
  if (count > attempt.options.max_refs) {
    return absl::ResourceExhaustedError(
        absl::StrCat("repository ", attempt.url.display, " has ", count,
                     " branches and tags; at most ", attempt.options.max_refs,
                     " are allowed"));
  }

  std::map<std::string, git_oid> refs;
  std::vector<std::string> branches;
  std::vector<std::string> tags;
  for (size_t i = 0; i < count; ++i) {
    absl::string_view name(heads[i]->name);
    refs[std::string(name)] = heads[i]->oid;
    if (absl::ConsumePrefix(&name, "refs/heads/")) {
      branches.emplace_back(name);
    } else if (absl::ConsumePrefix(&name, "refs/tags/") &&
               !absl::EndsWith(name, "^{}")) {
      tags.emplace_back(name);
    }
  }
  if (branches.empty() && tags.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("repository ", attempt.url.display,
                     " is empty: push a first commit to it"));
  }
  // The default branch is the likeliest to be meant.
  if (count > 0 && heads[0]->symref_target != nullptr) {
    absl::string_view target(heads[0]->symref_target);
    absl::ConsumePrefix(&target, "refs/heads/");
    const auto found = std::find(branches.begin(), branches.end(), target);
    if (found != branches.end()) {
      std::rotate(branches.begin(), found, found + 1);
    }
  }

  std::vector<std::string> download;
  if (by_commit) {
    for (const auto& [name, id] : refs) {
      if (git_oid_equal(&id, &wanted) != 0 &&
          absl::StartsWith(name, "refs/") && !absl::EndsWith(name, "^{}")) {
        download = {name};
        break;
      }
    }
    if (download.empty()) {
      for (const std::string& branch : branches) {
        if (CheckRefName("branch", branch).ok()) {
          download.push_back("refs/heads/" + branch);
        }
      }
      for (const std::string& tag : tags) {
        if (CheckRefName("tag", tag).ok()) {
          download.push_back("refs/tags/" + tag);
        }
      }
    }
  } else if (!source.revision.empty()) {
    RETURN_IF_ERROR(CheckRefName("revision", source.revision));
    const std::string ref = "refs/tags/" + source.revision;
    if (refs.count(ref) == 0) {
      const bool is_branch = refs.count("refs/heads/" + source.revision) > 0;
      return absl::NotFoundError(absl::StrCat(
          "repository ", attempt.url.display, " has no tag \"",
          ToDisplayText(source.revision, 100), "\"",
          is_branch ? "; there is a branch of that name: write it as "
                      "spec.branch"
          : tags.empty()
              ? "; it has no tags at all, and a commit must be given in full"
              : absl::StrCat("; it has ", NameSome(tags),
                             ", and a commit must be given in full")));
    }
    download = {ref};
  } else {
    const std::string branch =
        source.branch.empty() ? "master" : source.branch;
    RETURN_IF_ERROR(CheckRefName("branch", branch));
    const std::string ref = "refs/heads/" + branch;
    if (refs.count(ref) == 0) {
      return absl::NotFoundError(absl::StrCat(
          "repository ", attempt.url.display, " has no branch \"",
          ToDisplayText(branch, 100), "\"",
          branches.empty()
              ? "; it has no branches at all"
              : absl::StrCat("; it has ", NameSome(branches)),
          source.branch.empty() ? "; spec.branch is not set, so \"master\" "
                                  "is used"
                                : ""));
    }
    download = {ref};
  }

  if (!by_commit) wanted = refs[download[0]];
  git_oid have = {};
  const bool known =
      download.size() == 1 &&
      git_reference_name_to_id(&have, repository,
                               LocalRef(download[0]).c_str()) == 0 &&
      git_oid_equal(&have, &wanted) != 0;
  if (!known) {
    code = DownloadRefs(attempt, remote.get(), download);
    if (code != 0) return fail(code);
  }
  remote = nullptr;

  git_object* raw_object = nullptr;
  code = git_object_lookup(&raw_object, repository, &wanted, GIT_OBJECT_ANY);
  const ObjectPtr object(raw_object);
  if (code == GIT_ENOTFOUND && by_commit) {
    return absl::NotFoundError(absl::StrCat(
        "commit ", source.revision, " is on no branch and under no tag of ",
        attempt.url.display, "; check spec.revision"));
  }
  if (code != 0) return DiskError(LastError(code), "reading the clone");
  git_object* raw_commit = nullptr;
  code = git_object_peel(&raw_commit, object.get(), GIT_OBJECT_COMMIT);
  const ObjectPtr commit(raw_commit);
  if (code != 0) {
    return absl::NotFoundError(absl::StrCat(
        "\"", ToDisplayText(source.revision, 100), "\" of ",
        attempt.url.display, " does not lead to a commit"));
  }
  return *git_object_id(commit.get());
}

absl::StatusOr<FetchedCommit> Libgit2Repository::Clones::Fetch(
    const GitSource& source) {
  ASSIGN_OR_RETURN(const GitUrl url, ParseGitUrl(source.url));
  if (guard_.cut_all()) {
    return absl::CancelledError("the manager is stopping");
  }
  const std::shared_ptr<Clone> clone = Find(IdOf(source, url));
  absl::MutexLock lock(&clone->fetch_mu);

  SocketScope scope(url.host, url.port, guard_, options_.connect_timeout);
  Attempt attempt{source, url, clock_, options_, scope, {}, {}};
  attempt.username = source.credentials.username;
  attempt.password = source.credentials.password;
  if (attempt.username.empty() && attempt.password.empty() &&
      url.transport != GitUrl::Transport::kSsh) {
    attempt.username = url.user;
    attempt.password = url.password;
  }
  // A token alone: servers look at either place.
  if (attempt.username.empty()) attempt.username = attempt.password;
  if (url.transport == GitUrl::Transport::kHttp && !url.IsLoopback() &&
      !attempt.password.empty()) {
    return absl::PermissionDeniedError(absl::StrCat(
        "credentials are not sent in clear: use https:// or ssh:// instead of ",
        url.display));
  }

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
    found = Download(attempt, repository.get());
  }
  RETURN_IF_ERROR(found.status());

  git_commit* raw = nullptr;
  const int code = git_commit_lookup(&raw, repository.get(), &*found);
  const CommitPtr commit(raw);
  if (code != 0) return DiskError(LastError(code), "reading the clone");
  FetchedCommit out;
  out.id = Hex(git_commit_id(commit.get()));
  out.tree_id = Hex(git_commit_tree_id(commit.get()));
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
      clone->reader = Own(raw);
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
  RETURN_IF_ERROR(InitLibrary());
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
