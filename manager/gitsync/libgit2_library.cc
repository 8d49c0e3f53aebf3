// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/libgit2_library.h"

#include <git2.h>

#include <cstdlib>

#include "absl/base/call_once.h"
#include "absl/status/status.h"
#include "manager/gitsync/git_socket.h"

namespace flotilla::manager {
namespace {

constexpr size_t kMaxPackObject = size_t{256} << 20;
// GIT_OPT_SET_PACK_MAX_OBJECT_SIZE: in the headers since Debian's security
// update of 1.5.1. A library without it answers -1 and sets nothing; the bytes
// of a fetch are then the bound.
constexpr int kSetPackMaxObjectSize = GIT_OPT_SET_OWNER_VALIDATION + 2;
constexpr ssize_t kObjectCacheBytes = ssize_t{32} << 20;

}  // namespace

absl::Status InitLibgit2() {
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

}  // namespace flotilla::manager
