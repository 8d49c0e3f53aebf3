// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/known_hosts.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/crypto/hmac.h"
#include "common/crypto/sha256.h"

namespace flotilla::manager {
namespace {

constexpr size_t kMaxLines = 10'000;
constexpr size_t kMaxPatterns = 100;
constexpr size_t kMaxPattern = 512;

// '*' and '?' as ssh has them; no recursion, so no blow-up.
bool MatchesPattern(absl::string_view pattern, absl::string_view text) {
  size_t p = 0;
  size_t t = 0;
  size_t star = absl::string_view::npos;
  size_t mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (star != absl::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool MatchesHashed(absl::string_view pattern, absl::string_view name) {
  // |1|base64(salt)|base64(HMAC-SHA1(salt, name))
  const std::vector<absl::string_view> parts = absl::StrSplit(pattern, '|');
  if (parts.size() != 4 || !parts[0].empty() || parts[1] != "1") return false;
  std::string salt;
  std::string hash;
  if (!absl::Base64Unescape(parts[2], &salt) ||
      !absl::Base64Unescape(parts[3], &hash)) {
    return false;
  }
  return hash == HmacSha1(salt, name);
}

bool MatchesHosts(absl::string_view patterns, absl::string_view name) {
  if (absl::StartsWith(patterns, "|")) return MatchesHashed(patterns, name);
  bool matches = false;
  size_t count = 0;
  for (absl::string_view pattern : absl::StrSplit(patterns, ',')) {
    if (++count > kMaxPatterns || pattern.size() > kMaxPattern) return false;
    const bool negated = absl::ConsumePrefix(&pattern, "!");
    if (!MatchesPattern(absl::AsciiStrToLower(pattern), name)) continue;
    if (negated) return false;
    matches = true;
  }
  return matches;
}

}  // namespace

std::string HostKeyType(absl::string_view blob) {
  if (blob.size() < 4) return "";
  const auto byte = [&blob](size_t i) {
    return static_cast<size_t>(static_cast<unsigned char>(blob[i]));
  };
  const size_t size =
      byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
  if (size > 64 || size > blob.size() - 4) return "";
  const absl::string_view type = blob.substr(4, size);
  for (const char c : type) {
    const auto u = static_cast<unsigned char>(c);
    if (u <= 0x20 || u >= 0x7f) return "";
  }
  return std::string(type);
}

std::string HostKeyFingerprint(absl::string_view blob) {
  std::string text = absl::Base64Escape(Sha256(blob));
  while (!text.empty() && text.back() == '=') text.pop_back();
  return absl::StrCat("SHA256:", text);
}

absl::Status CheckHostKey(absl::string_view known_hosts, const HostKey& key,
                          absl::string_view where) {
  const std::string host = absl::AsciiStrToLower(key.host);
  const std::string name =
      key.port == 22 ? host : absl::StrCat("[", host, "]:", key.port);
  const std::string type = HostKeyType(key.blob);

  bool trusted = false;
  std::vector<std::string> other_types;
  bool other_key = false;
  size_t count = 0;
  for (absl::string_view line : absl::StrSplit(known_hosts, '\n')) {
    if (++count > kMaxLines) break;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line[0] == '#') continue;
    std::vector<absl::string_view> fields =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    bool revoked = false;
    if (!fields.empty() && fields[0][0] == '@') {
      // Certificates of hosts are not supported by libssh2.
      if (fields[0] != "@revoked") continue;
      revoked = true;
      fields.erase(fields.begin());
    }
    if (fields.size() < 3 || !MatchesHosts(fields[0], name)) continue;
    std::string blob;
    if (!absl::Base64Unescape(fields[2], &blob)) continue;
    const bool same = blob == key.blob;
    if (revoked) {
      if (same) {
        return absl::FailedPreconditionError(absl::StrCat(
            "the SSH host key of ", name, " (", type, " ",
            HostKeyFingerprint(key.blob), ") is marked @revoked in ", where,
            "; do not trust this server until its key was replaced"));
      }
      continue;
    }
    if (same) {
      trusted = true;
    } else if (fields[1] == type) {
      other_key = true;
    } else {
      other_types.emplace_back(fields[1].substr(0, 64));
    }
  }
  if (trusted && !type.empty()) return absl::OkStatus();

  const std::string offered =
      absl::StrCat(type.empty() ? "unknown type" : type, " ",
                   HostKeyFingerprint(key.blob));
  if (other_key) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the SSH host key of ", name, " has changed: it offered ", offered,
        ", but the ", where, " has another ", type,
        " key; if the server's owner confirms the new key, replace the line "
        "there, otherwise somebody may be listening"));
  }
  std::string text = absl::StrCat("unknown SSH host key of ", name,
                                  ": it offered ", offered);
  if (!other_types.empty()) {
    absl::StrAppend(&text, ", but the ", where, " only has a key of type ",
                    other_types[0]);
  }
  absl::StrAppend(
      &text, "; compare the fingerprint with the one that the server's owner "
      "publishes, then add this line to the ", where, ": ", name, " ",
      type.empty() ? "TYPE" : type, " ", absl::Base64Escape(key.blob));
  return absl::FailedPreconditionError(text);
}

}  // namespace flotilla::manager
