// SPDX-License-Identifier: Apache-2.0
//
// GitRepository fetches commits of remote repositories into clones of its own
// and opens their trees. Nothing is ever checked out; hooks, filters and
// configuration of a repository are not looked at.
//
// Errors are worded for people (what, where, what to do) and hold neither
// passwords nor keys:
//   UNAVAILABLE         the server cannot be reached, or broke off
//   DEADLINE_EXCEEDED   no progress for a while
//   UNAUTHENTICATED     the credentials are wrong or missing
//   PERMISSION_DENIED   the server refuses this user, or we refuse the address
//   FAILED_PRECONDITION unknown or changed host key, certificate not trusted,
//                       empty repository, redirect to another host
//   NOT_FOUND           no such repository, branch, tag or commit
//   INVALID_ARGUMENT    a URL or name that is not one
//   RESOURCE_EXHAUSTED  over a limit, or the disk is full
//   DATA_LOSS           the clone is damaged

#ifndef FLOTILLA_MANAGER_GITSYNC_GIT_REPOSITORY_H_
#define FLOTILLA_MANAGER_GITSYNC_GIT_REPOSITORY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "manager/gitsync/file_tree.h"

namespace flotilla::manager {

// Never logged, never stored, in no error text. Empty fields are absent.
struct GitCredentials {
  std::string username;
  std::string password;
  std::string ssh_private_key;  // PEM or OpenSSH form, no passphrase.
  std::string known_hosts;      // As ssh's file of that name.
};

// What to fetch.
struct GitSource {
  // https://, http://, ssh://, file:// or user@host:path.
  std::string url;
  // Empty means "master".
  std::string branch;
  // A tag, or a commit in full; wins over `branch`.
  std::string revision;
  // `revision` may be a branch, too, and the default branch is meant without
  // one; `branch` is not looked at.
  bool any_ref = false;
  // PEM certificates to trust besides the system's.
  std::string ca_bundle;
  // The Secret of the credentials, for messages: "Secret w/git-creds". Empty
  // when there is none.
  std::string credentials_name;
  bool insecure_skip_tls_verify = false;
  GitCredentials credentials;
  // NextFetchTicket() when the fetch was asked for: what is known of the
  // server from later on will do. 0: the server is asked in any case.
  uint64_t ticket = 0;
};

// Rises with each call, from 1. Thread-safe.
uint64_t NextFetchTicket();

struct FetchedCommit {
  std::string id;       // Hex.
  std::string tree_id;  // Hex.
  std::string clone_id;
  std::string author;   // "Name <address>".
  std::string summary;  // First line of the message, at most 200 bytes.
  absl::Time time;
  std::string repo;  // URL without credentials.
};

// Fetch() is loop-affine, OpenTree() may be called from any thread.
//
// Thread-safe.
class GitRepository {
 public:
  template <typename T>
  using Done = absl::AnyInvocable<void(absl::StatusOr<T>)>;

  virtual ~GitRepository() = default;

  // Brings the wanted commit into the clone. `done` runs on the loop.
  virtual void Fetch(GitSource source, Done<FetchedCommit> done) = 0;

  // The files of a commit that was fetched. Blocks on the disk. NOT_FOUND when
  // the clone or the commit is not there (any more). The tree may outlive
  // this object, but is used by one thread at a time.
  virtual absl::StatusOr<std::unique_ptr<FileTree>> OpenTree(
      const std::string& clone_id, const std::string& commit_id) = 0;

  // Removes, some time later, all clones but these. Call it when no Fetch() is
  // under way. A tree that is open stays readable.
  virtual void RetainClones(std::vector<std::string> clone_ids) = 0;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_GIT_REPOSITORY_H_
