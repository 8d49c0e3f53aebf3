// SPDX-License-Identifier: Apache-2.0
//
// Judges the key of an SSH server by the lines of a known_hosts file: plain
// and hashed host names, [host]:port, patterns with '*', '?' and '!',
// @revoked. Nothing is trusted on first use.

#ifndef FLOTILLA_MANAGER_GITSYNC_KNOWN_HOSTS_H_
#define FLOTILLA_MANAGER_GITSYNC_KNOWN_HOSTS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace flotilla::manager {

// What a server offered.
struct HostKey {
  std::string host;
  int port = 22;
  std::string blob;  // As in the SSH protocol: type and key, raw bytes.
};

// FAILED_PRECONDITION when no line vouches for the key, when the lines name
// another key for that host, or when the key is revoked. The text says which
// key was offered and what to add where. `where` names the place for people,
// such as "entry known_hosts of Secret w/git-creds".
absl::Status CheckHostKey(absl::string_view known_hosts, const HostKey& key,
                          absl::string_view where);

// "SHA256:..." as ssh prints it.
std::string HostKeyFingerprint(absl::string_view blob);

// "ssh-ed25519"; empty when `blob` is not a key.
std::string HostKeyType(absl::string_view blob);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_KNOWN_HOSTS_H_
