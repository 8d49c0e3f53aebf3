// SPDX-License-Identifier: Apache-2.0

#include "manager/charts/git_chart_address.h"

#include <cctype>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace flotilla::manager {
namespace {

// user@host:path, and no scheme before it.
bool IsScpLike(absl::string_view address) {
  const size_t at = address.find('@');
  const size_t colon = address.find(':');
  return at != absl::string_view::npos && at > 0 &&
         colon != absl::string_view::npos && at < colon &&
         address.find('/') > at && !absl::StrContains(address, "://");
}

// github.com/team/charts as the URL of its repository.
std::string OfKnownHost(absl::string_view address) {
  for (const char* host : {"github.com/", "gitlab.com/", "bitbucket.org/"}) {
    if (!absl::StartsWith(address, host)) continue;
    std::vector<absl::string_view> parts =
        absl::StrSplit(address, absl::MaxSplits('/', 3));
    if (parts.size() < 3 || parts[1].empty() || parts[2].empty()) break;
    const absl::string_view end =
        absl::EndsWith(parts[2], ".git") ? "" : ".git";
    std::string url = absl::StrCat("https://", parts[0], "/", parts[1], "/",
                                   parts[2], end);
    if (parts.size() > 3) absl::StrAppend(&url, "//", parts[3]);
    return url;
  }
  return "";
}

// Percent signs and pluses decoded, as in a query.
std::string Decoded(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() &&
        std::isxdigit(static_cast<unsigned char>(text[i + 1])) != 0 &&
        std::isxdigit(static_cast<unsigned char>(text[i + 2])) != 0) {
      out += absl::HexStringToBytes(text.substr(i + 1, 2));
      i += 2;
    } else {
      out.push_back(text[i] == '+' ? ' ' : text[i]);
    }
  }
  return out;
}

absl::Status Wrong(absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat("helm.chart: ", text));
}

// Takes the query off `url`, and reads what go-getter knows of it.
absl::Status TakeQuery(std::string* url, GitChartAddress* address) {
  const size_t mark = url->find('?');
  if (mark == std::string::npos) return absl::OkStatus();
  const std::string query = url->substr(mark + 1);
  url->resize(mark);
  for (absl::string_view part : absl::StrSplit(query, '&', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    if (pair.first == "ref") {
      address->ref = Decoded(pair.second);
    } else if (pair.first == "sshkey") {
      // A plus of base64 that is not escaped stays one, as in go-getter.
      const std::string text =
          absl::StrReplaceAll(Decoded(pair.second), {{" ", "+"}});
      if (!absl::Base64Unescape(text, &address->ssh_private_key)) {
        return Wrong("sshkey= is not the base64 of a key");
      }
    } else if (pair.first != "depth") {
      return Wrong(absl::StrCat("the address of a Git repository has ref=, "
                                "sshkey= and depth= behind the question mark, "
                                "and not \"",
                                absl::CHexEscape(pair.first.substr(0, 40)),
                                "\""));
    }
  }
  return absl::OkStatus();
}

// Takes "//folder" off `url`.
absl::Status TakeFolder(std::string* url, GitChartAddress* address) {
  const size_t scheme = url->find("://");
  const size_t start = scheme == std::string::npos ? 0 : scheme + 3;
  const size_t at = url->find("//", start);
  if (at == std::string::npos) return absl::OkStatus();
  std::vector<std::string> parts;
  for (const absl::string_view part :
       absl::StrSplit(absl::string_view(*url).substr(at), '/',
                      absl::SkipEmpty())) {
    if (part == ".") continue;
    if (part == "..")
      return Wrong("the folder behind // leads out of the repository");
    parts.emplace_back(part);
  }
  address->folder = absl::StrJoin(parts, "/");
  url->resize(at);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::optional<GitChartAddress>> ParseGitChartAddress(
    absl::string_view chart) {
  chart = absl::StripAsciiWhitespace(chart);
  std::string url(chart);
  const size_t forced = chart.find("::");
  bool is_git = false;
  // IPv6 addresses have "::", too, behind a scheme.
  if (forced != absl::string_view::npos && chart.find('/') > forced &&
      chart.find(':') == forced) {
    const std::string prefix =
        absl::AsciiStrToLower(chart.substr(0, forced));
    if (prefix != "git" && prefix != "ssh") return std::nullopt;
    is_git = true;
    url = std::string(chart.substr(forced + 2));
  }
  const std::string known = OfKnownHost(url);
  if (!known.empty()) url = known;
  is_git = is_git || !known.empty() || IsScpLike(url) ||
           absl::StartsWith(absl::AsciiStrToLower(url), "ssh://");
  if (!is_git) return std::nullopt;

  GitChartAddress address;
  absl::Status status = TakeQuery(&url, &address);
  if (status.ok()) status = TakeFolder(&url, &address);
  if (!status.ok()) return status;
  if (IsScpLike(url)) {
    const size_t colon = url.find(':');
    url = absl::StrCat("ssh://", url.substr(0, colon), "/",
                       absl::StripPrefix(url.substr(colon + 1), "/"));
  }
  const std::string lower = absl::AsciiStrToLower(url);
  if (!absl::StartsWith(lower, "https://") &&
      !absl::StartsWith(lower, "http://") &&
      !absl::StartsWith(lower, "ssh://")) {
    return Wrong("a chart comes from Git by https:// or ssh://");
  }
  address.url = std::move(url);
  return address;
}

}  // namespace flotilla::manager
