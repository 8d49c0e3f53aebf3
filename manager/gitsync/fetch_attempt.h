// SPDX-License-Identifier: Apache-2.0
//
// One conversation with a Git server: credentials and trust as libgit2 asks
// for them, limits, and errors in words that help.

#ifndef FLOTILLA_MANAGER_GITSYNC_FETCH_ATTEMPT_H_
#define FLOTILLA_MANAGER_GITSYNC_FETCH_ATTEMPT_H_

#include <git2.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "common/env/clock.h"
#include "manager/gitsync/git_repository.h"
#include "manager/gitsync/git_socket.h"
#include "manager/gitsync/git_url.h"
#include "manager/gitsync/libgit2_handles.h"

namespace flotilla::manager {

struct FetchLimits {
  uint64_t max_bytes = 0;
  uint32_t max_objects = 0;
};

// Lives on the stack of the thread that calls libgit2.
//
// Thread-compatible.
struct FetchAttempt {
  // All must outlive it.
  FetchAttempt(const GitSource& source, const GitUrl& url, const Clock& clock,
               const FetchLimits& limits, SocketScope& scope);

  // For libgit2; point to this object.
  git_remote_callbacks Callbacks();

  // Why talking to the server failed. After the remote was freed, so that a
  // connection that was cut has said so.
  absl::Status Translate(const GitError& error) const;

  const GitSource& source;
  const GitUrl& url;
  const Clock& clock;
  const FetchLimits& limits;
  SocketScope& scope;

  // Effective credentials.
  std::string username;
  std::string password;
  int password_asked = 0;
  int key_asked = 0;

 private:
  static int Refuse(FetchAttempt& self, absl::Status status);
  static int OnCredentials(git_credential** out, const char*, const char*,
                           unsigned int allowed, void* payload);
  static int OnCertificate(git_cert* cert, int valid, const char*,
                           void* payload);
  static int OnProgress(const git_indexer_progress* progress, void* payload);

  absl::Status WrongCredentials() const;
  std::string SecretHint() const;
  // Takes anything out of `text` that must not be seen.
  std::string Scrub(std::string text) const;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_FETCH_ATTEMPT_H_
