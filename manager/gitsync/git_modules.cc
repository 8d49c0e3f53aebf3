// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/git_modules.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/status/status_macros.h"
#include "manager/gitsync/display_text.h"
#include "manager/gitsync/tree_path.h"

namespace flotilla::manager {
namespace {

constexpr size_t kMaxModules = 1000;

absl::Status At(int line, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(".gitmodules:", line, ": ", what));
}

// The value of "key = value": quotes, escapes and comments as in git-config.
absl::StatusOr<std::string> ReadValue(absl::string_view text, int line) {
  std::string out;
  size_t kept = 0;  // Bytes of `out` that are no blanks at its end.
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '"') {
      quoted = !quoted;
      kept = out.size();
      continue;
    }
    if (!quoted && (c == '#' || c == ';')) break;
    if (c == '\\') {
      if (++i == text.size()) {
        return At(line,
                  "a line that goes on is not supported; write it as one");
      }
      switch (text[i]) {
        case 'n':
          c = '\n';
          break;
        case 't':
          c = '\t';
          break;
        case '"':
        case '\\':
          c = text[i];
          break;
        default:
          return At(line, "there is an unknown escape");
      }
      out.push_back(c);
      kept = out.size();
      continue;
    }
    out.push_back(c);
    if (quoted || !absl::ascii_isspace(static_cast<unsigned char>(c))) {
      kept = out.size();
    }
  }
  if (quoted) return At(line, "a quote is not closed");
  out.resize(kept);
  return out;
}

}  // namespace

absl::StatusOr<std::vector<GitModule>> ParseGitModules(absl::string_view text) {
  std::vector<GitModule> out;
  GitModule current;
  bool in_module = false;
  const auto finish = [&] {
    if (in_module && !current.path.empty() && !current.url.empty()) {
      out.push_back(std::move(current));
    }
    current = GitModule();
  };
  absl::ConsumePrefix(&text, "\xef\xbb\xbf");
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[') {
      finish();
      in_module = absl::StartsWithIgnoreCase(line, "[submodule ");
      if (out.size() > kMaxModules) {
        return At(number, absl::StrCat("there are more than ", kMaxModules,
                                       " submodules"));
      }
      continue;
    }
    const size_t equals = line.find('=');
    if (!in_module || equals == absl::string_view::npos) continue;
    const std::string key = absl::AsciiStrToLower(
        absl::StripAsciiWhitespace(line.substr(0, equals)));
    if (key != "path" && key != "url") continue;
    ASSIGN_OR_RETURN(
        std::string value,
        ReadValue(absl::StripLeadingAsciiWhitespace(line.substr(equals + 1)),
                  number));
    if (key == "url") {
      current.url = std::move(value);
      current.line = number;
      continue;
    }
    absl::StatusOr<std::string> path = NormalizeTreePath(value);
    if (!path.ok() || path->empty()) {
      return At(number, absl::StrCat("path \"", ToDisplayText(value, 200),
                                     "\" is not a path in the repository"));
    }
    current.path = *std::move(path);
  }
  finish();
  return out;
}

absl::StatusOr<std::string> ResolveModuleUrl(const GitUrl& parent,
                                             absl::string_view url) {
  const auto refuse = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the address \"", ToDisplayText(url, 300), "\" ", why));
  };
  std::string resolved(url);
  if (absl::StartsWith(url, "./") || absl::StartsWith(url, "../")) {
    // scp's form has its path behind a colon, without a slash.
    std::string base = parent.fetch_url;
    while (absl::EndsWith(base, "/")) base.pop_back();
    const std::string path(absl::StripPrefix(parent.path, "/"));
    const size_t root = base.size() - std::min(base.size(), path.size());
    absl::string_view rest = url;
    while (true) {
      if (absl::ConsumePrefix(&rest, "./")) continue;
      if (!absl::ConsumePrefix(&rest, "../")) break;
      const size_t slash = base.find_last_of("/:");
      if (base.size() <= root || slash == std::string::npos) {
        return refuse(absl::StrCat("leads out of ", parent.display));
      }
      base.resize(std::max(slash, root));
    }
    resolved = absl::StrCat(
        base, absl::EndsWith(base, ":") || absl::EndsWith(base, "/") ? "" : "/",
        rest);
  }
  const absl::StatusOr<GitUrl> parsed = ParseGitUrl(resolved);
  if (!parsed.ok()) return parsed.status();
  if (parsed->transport == GitUrl::Transport::kFile &&
      parent.transport != GitUrl::Transport::kFile) {
    return refuse("is on the manager's own disk");
  }
  return resolved;
}

bool SameServer(const GitUrl& a, const GitUrl& b) {
  return a.transport == b.transport && a.host == b.host && a.port == b.port;
}

}  // namespace flotilla::manager
