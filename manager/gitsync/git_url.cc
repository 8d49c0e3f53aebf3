// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/git_url.h"

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/status/status_macros.h"

namespace flotilla::manager {
namespace {

constexpr size_t kMaxUrl = 2048;

bool IsPrintable(absl::string_view text) {
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (u <= 0x20 || u == 0x7f || c == '\\') return false;
  }
  return true;
}

// A host is a name, an IPv4 or an IPv6 address: nothing that a program could
// take for an option or a second part of a URL.
bool IsHost(absl::string_view host) {
  if (host.empty() || host.size() > 253) return false;
  if (host[0] == '-' || host[0] == '.') return false;
  const bool v6 = host.find(':') != absl::string_view::npos;
  for (const char c : host) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c))) continue;
    if (c == '.' || c == '-' || (!v6 && c == '_')) continue;
    if (v6 && c == ':') continue;
    return false;
  }
  return true;
}

bool PercentDecode(absl::string_view in, std::string* out) {
  out->clear();
  for (size_t i = 0; i < in.size(); ++i) {
    if (in[i] != '%') {
      out->push_back(in[i]);
      continue;
    }
    if (i + 2 >= in.size() || !absl::ascii_isxdigit(in[i + 1]) ||
        !absl::ascii_isxdigit(in[i + 2])) {
      return false;
    }
    const auto digit = [](char c) {
      return c <= '9' ? c - '0' : absl::ascii_tolower(c) - 'a' + 10;
    };
    const int value = digit(in[i + 1]) * 16 + digit(in[i + 2]);
    if (value < 0x20 || value == 0x7f) return false;
    out->push_back(static_cast<char>(value));
    i += 2;
  }
  return true;
}

// Text of an error: the URL with what stands before '@' taken out.
absl::Status Bad(absl::string_view url, absl::string_view why) {
  std::string shown;
  const size_t at = url.rfind('@');
  const size_t scheme = url.find("://");
  if (at == absl::string_view::npos) {
    shown = std::string(url.substr(0, 200));
  } else {
    if (scheme != absl::string_view::npos && scheme < at) {
      shown = absl::StrCat(url.substr(0, scheme + 3), "...");
    }
    absl::StrAppend(&shown, url.substr(at, 200));
  }
  for (char& c : shown) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f) c = '?';
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", shown, "\" is not a URL of a Git repository: ", why));
}

// "[::1]:22", "host:22", "host".
absl::Status ParseAuthority(absl::string_view url, absl::string_view authority,
                            int default_port, GitUrl* out) {
  // The last '@': a password may hold one, a host may not.
  const size_t at = authority.rfind('@');
  if (at != absl::string_view::npos) {
    const absl::string_view userinfo = authority.substr(0, at);
    authority = authority.substr(at + 1);
    const size_t colon = userinfo.find(':');
    const bool decoded =
        PercentDecode(userinfo.substr(0, colon), &out->user) &&
        (colon == absl::string_view::npos ||
         PercentDecode(userinfo.substr(colon + 1), &out->password));
    if (!decoded) return Bad(url, "the user or password is badly encoded");
  }
  absl::string_view port;
  if (absl::StartsWith(authority, "[")) {
    const size_t end = authority.find(']');
    if (end == absl::string_view::npos) return Bad(url, "']' is missing");
    out->host = absl::AsciiStrToLower(authority.substr(1, end - 1));
    if (out->host.find(':') == std::string::npos) {
      return Bad(url, "only IPv6 addresses stand in brackets");
    }
    port = authority.substr(end + 1);
  } else {
    const size_t colon = authority.find(':');
    out->host = absl::AsciiStrToLower(authority.substr(0, colon));
    if (colon != absl::string_view::npos) port = authority.substr(colon);
    if (out->host.find(':') != std::string::npos) {
      return Bad(url, "the host is not valid");
    }
  }
  if (!IsHost(out->host)) return Bad(url, "the host is not valid");
  out->port = default_port;
  if (!port.empty()) {
    if (!absl::ConsumePrefix(&port, ":") || port.size() > 5 ||
        !absl::SimpleAtoi(port, &out->port) || out->port < 1 ||
        out->port > 65535) {
      return Bad(url, "the port is not a number from 1 to 65535");
    }
  }
  if (absl::StartsWith(out->user, "-")) {
    return Bad(url, "the user must not begin with '-'");
  }
  return absl::OkStatus();
}

std::string HostAndPort(const GitUrl& url, int default_port) {
  const bool v6 = url.host.find(':') != std::string::npos;
  std::string out = v6 ? absl::StrCat("[", url.host, "]") : url.host;
  if (url.port != default_port) absl::StrAppend(&out, ":", url.port);
  return out;
}

}  // namespace

bool GitUrl::IsLoopback() const {
  if (host == "localhost" || host == "::1") return true;
  if (!absl::StartsWith(host, "127.")) return false;
  for (const char c : host) {
    if (c != '.' && !absl::ascii_isdigit(static_cast<unsigned char>(c))) {
      return false;
    }
  }
  return true;
}

absl::StatusOr<GitUrl> ParseGitUrl(absl::string_view url) {
  if (url.empty()) {
    return absl::InvalidArgumentError(
        "the URL of the repository is empty; set spec.repo");
  }
  if (url.size() > kMaxUrl) {
    return absl::InvalidArgumentError(
        absl::StrCat("the URL of the repository has more than ", kMaxUrl,
                     " bytes"));
  }
  if (!IsPrintable(url)) {
    return Bad(url, "it holds a space, a backslash or a control character");
  }
  GitUrl out;
  const size_t scheme_end = url.find("://");
  if (scheme_end == absl::string_view::npos) {
    // user@host:path
    const size_t colon = url.find(':');
    const size_t slash = url.find('/');
    if (absl::StrContains(url, "::")) {
      return Bad(url, "transports that run programs are not supported; use "
                      "https://, ssh:// or file://");
    }
    if (colon == absl::string_view::npos || slash < colon) {
      return Bad(url, "use https://, ssh://, file:// or user@host:path");
    }
    const absl::string_view authority = url.substr(0, colon);
    out.transport = GitUrl::Transport::kSsh;
    RETURN_IF_ERROR(ParseAuthority(url, authority, 22, &out));
    if (!out.password.empty()) {
      return Bad(url, "a password cannot stand in it");
    }
    out.path = std::string(url.substr(colon + 1));
    if (out.path.empty() || absl::StartsWith(out.path, "-")) {
      return Bad(url, "the path after ':' is not valid");
    }
    if (out.user.empty()) out.user = "git";
    out.fetch_url = absl::StrCat(out.user, "@", out.host, ":", out.path);
    out.display = out.fetch_url;
    return out;
  }

  const std::string scheme =
      absl::AsciiStrToLower(url.substr(0, scheme_end));
  const absl::string_view rest = url.substr(scheme_end + 3);
  int default_port = 0;
  if (scheme == "https") {
    out.transport = GitUrl::Transport::kHttps;
    default_port = 443;
  } else if (scheme == "http") {
    out.transport = GitUrl::Transport::kHttp;
    default_port = 80;
  } else if (scheme == "ssh") {
    out.transport = GitUrl::Transport::kSsh;
    default_port = 22;
  } else if (scheme == "file") {
    out.transport = GitUrl::Transport::kFile;
  } else {
    return Bad(url,
               "this transport is not supported; use https://, ssh:// or "
               "file://");
  }
  const size_t slash = rest.find('/');
  const absl::string_view authority = rest.substr(0, slash);
  if (slash != absl::string_view::npos) {
    out.path = std::string(rest.substr(slash));
  }
  if (out.path.size() < 2) return Bad(url, "the path is missing");

  if (out.transport == GitUrl::Transport::kFile) {
    if (!authority.empty() && authority != "localhost") {
      return Bad(url, "file:// must be followed by an absolute path");
    }
    if (!PercentDecode(out.path, &out.local_path)) {
      return Bad(url, "a % in it must be followed by two hex digits");
    }
    out.fetch_url = absl::StrCat("file://", out.path);
    out.display = out.fetch_url;
    return out;
  }
  RETURN_IF_ERROR(ParseAuthority(url, authority, default_port, &out));
  if (absl::StrContains(out.path, '#')) {
    return Bad(url, "it must have no fragment");
  }
  if (out.transport == GitUrl::Transport::kSsh) {
    if (!out.password.empty()) {
      return Bad(url, "a password cannot stand in it; use a key");
    }
    if (out.user.empty()) out.user = "git";
    out.fetch_url = absl::StrCat("ssh://", out.user, "@",
                                 HostAndPort(out, default_port), out.path);
  } else {
    out.fetch_url = absl::StrCat(scheme, "://", HostAndPort(out, default_port),
                                 out.path);
  }
  // A query may hold a token.
  out.display = out.fetch_url.substr(0, out.fetch_url.find('?'));
  return out;
}

absl::Status CheckRefName(absl::string_view what, absl::string_view name) {
  bool good = !name.empty() && name.size() <= 255 && name != "@" &&
              name[0] != '-' && name[0] != '/' && name.back() != '/' &&
              name.back() != '.' && !absl::StrContains(name, "..") &&
              !absl::StrContains(name, "//") &&
              !absl::StrContains(name, "@{") &&
              !absl::StrContains(name, "/.") && name[0] != '.' &&
              !absl::EndsWith(name, ".lock") &&
              !absl::StrContains(name, ".lock/");
  for (const char c : name) {
    const auto u = static_cast<unsigned char>(c);
    if (u <= 0x20 || u == 0x7f) good = false;
    if (absl::StrContains("~^:?*[\\", c)) good = false;
  }
  if (good) return absl::OkStatus();
  std::string shown(name.substr(0, 100));
  for (char& c : shown) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f) c = '?';
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", shown, "\" is not a valid ", what, "; see git-check-ref-format"));
}

bool IsFullCommitId(absl::string_view text) {
  if (text.size() != 40 && text.size() != 64) return false;
  for (const char c : text) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return false;
  }
  return true;
}

}  // namespace flotilla::manager
