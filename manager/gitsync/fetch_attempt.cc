// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/fetch_attempt.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "common/crypto/server_trust.h"
#include "manager/gitsync/display_text.h"
#include "manager/gitsync/known_hosts.h"

namespace flotilla::manager {

FetchAttempt::FetchAttempt(const GitSource& s, const GitUrl& u,
                           const Clock& c, const FetchLimits& l,
                           SocketScope& sockets)
    : source(s), url(u), clock(c), limits(l), scope(sockets) {
  username = source.credentials.username;
  password = source.credentials.password;
  if (username.empty() && password.empty() &&
      url.transport != GitUrl::Transport::kSsh) {
    username = url.user;
    password = url.password;
  }
  // A token alone: servers look at either place.
  if (username.empty()) username = password;
}

std::string FetchAttempt::SecretHint() const {
  return source.credentials_name.empty()
             ? "name a Secret with credentials in spec.clientSecretName"
             : absl::StrCat("check ", source.credentials_name);
}

int FetchAttempt::Refuse(FetchAttempt& self, absl::Status status) {
  git_error_set_str(GIT_ERROR_CALLBACK,
                    std::string(status.message()).c_str());
  self.scope.SetError(std::move(status));
  return GIT_EUSER;
}

int FetchAttempt::OnCredentials(git_credential** out, const char*, const char*,
                         unsigned int allowed, void* payload) {
  FetchAttempt& self = *static_cast<FetchAttempt*>(payload);
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

absl::Status FetchAttempt::WrongCredentials() const {
  return absl::UnauthenticatedError(absl::StrCat(
      "wrong credentials: Git server of ", url.display,
      " refuses user and password; ", SecretHint()));
}

int FetchAttempt::OnCertificate(git_cert* cert, int valid, const char*,
                         void* payload) {
  FetchAttempt& self = *static_cast<FetchAttempt*>(payload);
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

int FetchAttempt::OnProgress(const git_indexer_progress* progress,
                             void* payload) {
  FetchAttempt& self = *static_cast<FetchAttempt*>(payload);
  if (self.scope.guard().cut_all()) {
    return Refuse(self, absl::CancelledError("the manager is stopping"));
  }
  if (progress->received_bytes > self.limits.max_bytes ||
      progress->total_objects > self.limits.max_objects) {
    return Refuse(
        self, absl::ResourceExhaustedError(absl::StrCat(
                  "repository ", self.url.display,
                  " is too large: more than ",
                  self.limits.max_bytes >> 20, " MiB or ",
                  self.limits.max_objects, " objects in one fetch")));
  }
  return 0;
}

git_remote_callbacks FetchAttempt::Callbacks() {
  git_remote_callbacks callbacks = {};
  git_remote_init_callbacks(&callbacks, GIT_REMOTE_CALLBACKS_VERSION);
  callbacks.credentials = OnCredentials;
  callbacks.certificate_check = OnCertificate;
  callbacks.transfer_progress = OnProgress;
  callbacks.payload = this;
  return callbacks;
}

std::string FetchAttempt::Scrub(std::string text) const {
  for (const std::string* secret :
       {&password, &source.credentials.password, &url.password}) {
    if (secret->size() >= 3) {
      text = absl::StrReplaceAll(text, {{*secret, "..."}});
    }
  }
  return ToDisplayText(text, 300);
}

absl::Status FetchAttempt::Translate(const GitError& error) const {
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
  if (has("overly large object")) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the repository ", at, " has a file that is too large when it is "
        "unpacked; take it out of its history"));
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

}  // namespace flotilla::manager
