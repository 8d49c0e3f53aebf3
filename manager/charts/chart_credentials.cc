// SPDX-License-Identifier: Apache-2.0

#include "manager/charts/chart_credentials.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "nlohmann/json.hpp"
#include "re2/re2.h"

#include "flotilla/storage/v1/storage.pb.h"

#include "common/status/status_macros.h"
#include "common/yaml/documents.h"
#include "manager/bundle/glob.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;

constexpr char kPathsKey[] = "secrets-path.yaml";
// What one expression may cost.
constexpr int kMaxRegexBytes = 1 << 20;
constexpr size_t kMaxPaths = 10000;

YamlLimits SmallYaml() {
  YamlLimits limits;
  limits.max_bytes = 1 << 20;
  limits.max_nodes = 100000;
  limits.max_depth = 20;
  limits.record_lines = false;
  return limits;
}

// "true" and its like, as Go reads booleans.
bool IsTrue(absl::string_view text) {
  for (absl::string_view word : {"1", "t", "T", "true", "TRUE", "True"}) {
    if (absl::StripAsciiWhitespace(text) == word) return true;
  }
  return false;
}

// "./charts/a/" is "charts/a"; the root is ".".
std::string CleanPath(absl::string_view path) {
  std::string clean;
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part != ".") absl::StrAppend(&clean, clean.empty() ? "" : "/", part);
  }
  return clean.empty() ? "." : clean;
}

// Part by part: `*` stays within one.
bool PathMatches(absl::string_view pattern, absl::string_view path) {
  const std::vector<absl::string_view> patterns = absl::StrSplit(pattern, '/');
  const std::vector<absl::string_view> parts = absl::StrSplit(path, '/');
  if (patterns.size() != parts.size()) return false;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!GlobMatches(patterns[i], parts[i])) return false;
  }
  return true;
}

// Where the parts of a URL begin; all npos when it has no host.
struct Authority {
  size_t host = absl::string_view::npos;
  size_t host_end = absl::string_view::npos;
  size_t end = absl::string_view::npos;
};

Authority FindAuthority(absl::string_view url) {
  Authority found;
  const size_t scheme = url.find("://");
  if (scheme == absl::string_view::npos) return found;
  found.host = scheme + 3;
  found.end = std::min(url.find_first_of("/?#", found.host), url.size());
  found.host_end = found.end;
  const absl::string_view authority =
      url.substr(found.host, found.end - found.host);
  // The colons within the brackets of an IPv6 address are the host's.
  const size_t bracket = authority.rfind(']');
  const size_t colon = authority.rfind(':');
  if (colon != absl::string_view::npos &&
      (bracket == absl::string_view::npos || colon > bracket)) {
    found.host_end = found.host + colon;
  }
  return found;
}

// The URL without the user in it, or nullopt for text that is read in more
// than one way: "https://good\@evil".
std::optional<std::string> WithoutUser(absl::string_view url) {
  url = absl::StripAsciiWhitespace(url);
  for (char c : url) {
    if (c == '\\' || c == ' ' || absl::ascii_iscntrl(c)) return std::nullopt;
  }
  const Authority parts = FindAuthority(url);
  if (parts.host == absl::string_view::npos) return std::string(url);
  const absl::string_view authority =
      url.substr(parts.host, parts.end - parts.host);
  const size_t at = authority.rfind('@');
  if (at == absl::string_view::npos) return std::string(url);
  return absl::StrCat(url.substr(0, parts.host), authority.substr(at + 1),
                      url.substr(parts.end));
}

// A URL for messages: no user, no query.
std::string Shown(absl::string_view url) {
  const std::optional<std::string> plain = WithoutUser(url);
  if (!plain.has_value()) return "the chart's URL";
  return plain->substr(0, plain->find_first_of("?#"));
}

// Values of a per-path entry; each is text or, for the last two, a boolean.
absl::Status ReadPathEntry(const json& entry, absl::string_view where,
                           ChartCredentials* out) {
  if (!entry.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": a map with username, password, caBundle, sshPrivateKey, "
               "insecureSkipVerify and basicHTTP is wanted"));
  }
  for (const auto& [key, value] : entry.items()) {
    if (value.is_null()) continue;
    std::string text;
    bool flag = false;
    if (value.is_string()) {
      text = value.get<std::string>();
      flag = IsTrue(text);
    } else if (value.is_boolean()) {
      flag = value.get<bool>();
    } else if (value.is_number()) {
      text = value.dump();
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ".", key, ": text is wanted"));
    }
    // Bytes are base64, as in any Secret; PEM as it is works, too.
    std::string decoded;
    const bool is_bytes = key == "caBundle" || key == "sshPrivateKey";
    if (is_bytes && !absl::StrContains(text, "-----BEGIN")) {
      std::string compact = text;
      absl::RemoveExtraAsciiWhitespace(&compact);
      if (!absl::Base64Unescape(compact, &decoded)) {
        return absl::InvalidArgumentError(absl::StrCat(
            where, ".", key, ": neither PEM nor base64 of it"));
      }
      text = decoded;
    }
    if (key == "username") out->username = text;
    if (key == "password") out->password = text;
    if (key == "caBundle") out->ca_bundle = text;
    if (key == "sshPrivateKey") out->ssh_private_key = text;
    if (key == "insecureSkipVerify") out->insecure_skip_tls_verify = flag;
    if (key == "basicHTTP") out->basic_http = flag;
  }
  return absl::OkStatus();
}

ChartCredentials ReadSecret(const storage::v1::SecretData& secret) {
  ChartCredentials out;
  for (const storage::v1::SecretEntry& entry : secret.entries()) {
    if (entry.key() == "username") out.username = entry.value();
    if (entry.key() == "password") out.password = entry.value();
    if (entry.key() == "cacerts") out.ca_bundle = entry.value();
    if (entry.key() == "ssh-privatekey") out.ssh_private_key = entry.value();
    if (entry.key() == "insecureSkipVerify") {
      out.insecure_skip_tls_verify = IsTrue(entry.value());
    }
    if (entry.key() == "basicHTTP") out.basic_http = IsTrue(entry.value());
  }
  return out;
}

bool HoldsSecrets(const ChartCredentials& credentials) {
  return !credentials.username.empty() || !credentials.password.empty() ||
         !credentials.ssh_private_key.empty();
}

}  // namespace

struct ChartCredentialRules::Rules {
  // Shown: "GitRepo w/app", "Secret w/creds"; the second is empty without one.
  std::string owner;
  std::string secret;
  // The field that names the Secret.
  std::string field;

  // TLS settings of the GitRepo or HelmOp itself.
  std::string ca_bundle;
  bool insecure_skip_tls_verify = false;

  // For every path; absent with credentials by path.
  std::optional<ChartCredentials> one;
  // By clean path or pattern, in lexical order.
  std::map<std::string, ChartCredentials> by_path;

  // Whether URLs are asked at all; HelmOps name theirs.
  bool any_url = false;
  // Null: helmRepoURLRegex is empty.
  std::unique_ptr<RE2> regex;
};

std::string ChartSecretName(const storage::v1::GitRepoSpec& spec) {
  return spec.helm_secret_name_for_paths().empty()
             ? spec.helm_secret_name()
             : spec.helm_secret_name_for_paths();
}

ChartCredentialRules::ChartCredentialRules()
    : rules_(std::make_shared<Rules>()) {}
ChartCredentialRules::~ChartCredentialRules() = default;
ChartCredentialRules::ChartCredentialRules(const ChartCredentialRules&) =
    default;
ChartCredentialRules& ChartCredentialRules::operator=(
    const ChartCredentialRules&) = default;

absl::StatusOr<ChartCredentialRules> ChartCredentialRules::ForGitRepo(
    absl::string_view workspace, const storage::v1::GitRepoSpec& spec,
    const storage::v1::SecretData* secret) {
  auto rules = std::make_shared<Rules>();
  rules->owner = "the GitRepo";
  rules->ca_bundle = spec.ca_bundle();
  rules->insecure_skip_tls_verify = spec.insecure_skip_tls_verify();
  rules->field = spec.helm_secret_name_for_paths().empty()
                     ? "spec.helmSecretName"
                     : "spec.helmSecretNameForPaths";
  if (!spec.helm_repo_url_regex().empty()) {
    RE2::Options options(RE2::Quiet);
    options.set_longest_match(true);
    options.set_max_mem(kMaxRegexBytes);
    rules->regex = std::make_unique<RE2>(spec.helm_repo_url_regex(), options);
    if (!rules->regex->ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "spec.helmRepoURLRegex is not a regular expression: ",
          rules->regex->error()));
    }
  }
  const std::string name = ChartSecretName(spec);
  if (!name.empty()) {
    rules->secret = absl::StrCat("Secret ", workspace, "/", name);
    if (secret == nullptr) {
      return absl::FailedPreconditionError(absl::StrCat(
          rules->secret, ", which ", rules->field,
          " names, does not exist; apply it, or remove ", rules->field));
    }
    if (spec.helm_secret_name_for_paths().empty()) {
      rules->one = ReadSecret(*secret);
    } else {
      RETURN_IF_ERROR(ReadPaths(*secret, *rules));
    }
  }
  ChartCredentialRules out;
  out.rules_ = std::move(rules);
  return out;
}

absl::Status ChartCredentialRules::ReadPaths(
    const storage::v1::SecretData& secret, Rules& rules) {
  const std::string* text = nullptr;
  for (const storage::v1::SecretEntry& entry : secret.entries()) {
    if (entry.key() == kPathsKey) text = &entry.value();
  }
  const std::string where = absl::StrCat(rules.secret, ", ", kPathsKey);
  if (text == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(
        rules.secret, ", which ", rules.field, " names, has no entry ",
        kPathsKey, "; add it"));
  }
  absl::StatusOr<YamlDocument> document = ParseYaml(*text, SmallYaml());
  if (!document.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": ", document.status().message()));
  }
  if (!document->value.is_object() || document->value.size() > kMaxPaths) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": a map from paths to credentials is wanted, of at most ",
        kMaxPaths, " entries"));
  }
  for (const auto& [path, entry] : document->value.items()) {
    ChartCredentials credentials;
    RETURN_IF_ERROR(ReadPathEntry(entry, absl::StrCat(where, ": ", path),
                                  &credentials));
    rules.by_path[CleanPath(path)] = std::move(credentials);
  }
  return absl::OkStatus();
}

absl::StatusOr<ChartCredentialRules> ChartCredentialRules::ForHelmOp(
    absl::string_view workspace, const storage::v1::HelmOpSpec& spec,
    const storage::v1::SecretData* secret) {
  auto rules = std::make_shared<Rules>();
  rules->owner = "the HelmOp";
  rules->field = "spec.helmSecretName";
  rules->insecure_skip_tls_verify = spec.insecure_skip_tls_verify();
  rules->any_url = true;
  if (!spec.helm_secret_name().empty()) {
    rules->secret =
        absl::StrCat("Secret ", workspace, "/", spec.helm_secret_name());
    if (secret == nullptr) {
      return absl::FailedPreconditionError(absl::StrCat(
          rules->secret, ", which spec.helmSecretName names, does not exist; "
                         "apply it, or remove spec.helmSecretName"));
    }
    rules->one = ReadSecret(*secret);
  }
  ChartCredentialRules out;
  out.rules_ = std::move(rules);
  return out;
}

const ChartCredentials* ChartCredentialRules::Find(
    absl::string_view path) const {
  if (rules_->one.has_value()) return &*rules_->one;
  const std::string clean = CleanPath(path);
  const auto exact = rules_->by_path.find(clean);
  if (exact != rules_->by_path.end()) return &exact->second;
  for (const auto& [pattern, credentials] : rules_->by_path) {
    if (HasGlobMeta(pattern) && PathMatches(pattern, clean)) {
      return &credentials;
    }
  }
  return nullptr;
}

bool ChartCredentialRules::Allows(absl::string_view url) const {
  const std::optional<std::string> plain = WithoutUser(url);
  if (!plain.has_value()) return false;
  if (rules_->any_url) return true;
  if (rules_->regex == nullptr) return false;
  re2::StringPiece match;
  if (!rules_->regex->Match(*plain, 0, plain->size(), RE2::ANCHOR_START, &match,
                            1)) {
    return false;
  }
  const size_t end = match.size();
  const Authority parts = FindAuthority(*plain);
  if (parts.host == absl::string_view::npos) return true;
  const bool within_host = end > parts.host && end < parts.host_end;
  const bool within_port = end > parts.host_end + 1 && end < parts.end;
  return !within_host && !within_port;
}

ChartCredentials ChartCredentialRules::Merge(
    const ChartCredentials* found) const {
  ChartCredentials out;
  if (found != nullptr) out = *found;
  if (found != nullptr) out.name = rules_->secret;
  if (!rules_->ca_bundle.empty()) {
    if (!out.ca_bundle.empty() && out.ca_bundle.back() != '\n') {
      out.ca_bundle.push_back('\n');
    }
    out.ca_bundle += rules_->ca_bundle;
  }
  out.insecure_skip_tls_verify |= rules_->insecure_skip_tls_verify;
  return out;
}

std::string ChartCredentialRules::HintFor(const ChartCredentials* found,
                                          absl::string_view path,
                                          absl::string_view url) const {
  if (rules_->secret.empty()) {
    if (rules_->owner.empty()) return "";
    return absl::StrCat("no credentials were sent: ", rules_->owner,
                        " names none in spec.helmSecretName");
  }
  if (found == nullptr) {
    return absl::StrCat("no credentials were sent: ", rules_->secret,
                        " has none for path \"", CleanPath(path), "\" in ",
                        kPathsKey);
  }
  if (!HoldsSecrets(*found)) {
    return absl::StrCat("no credentials were sent: ", rules_->secret,
                        " has neither username nor password");
  }
  if (rules_->any_url) return "";
  if (rules_->regex == nullptr) {
    return absl::StrCat(
        "credentials of ", rules_->secret,
        " were not sent: spec.helmRepoURLRegex of the GitRepo is empty; set it "
        "to an expression that matches ", Shown(url));
  }
  return absl::StrCat(
      "credentials of ", rules_->secret,
      " were not sent: spec.helmRepoURLRegex of the GitRepo does not match ",
      Shown(url), " from its beginning to the end of a host at least");
}

ChartCredentials ChartCredentialRules::ForChart(absl::string_view path,
                                                absl::string_view repo,
                                                absl::string_view chart) const {
  const absl::string_view url = repo.empty() ? chart : repo;
  const ChartCredentials* found = Find(path);
  ChartCredentials out = Merge(found);
  if (found != nullptr && HoldsSecrets(*found) && Allows(url)) return out;
  out.username.clear();
  out.password.clear();
  out.ssh_private_key.clear();
  out.hint = HintFor(found, path, url);
  return out;
}

ChartCredentials ChartCredentialRules::ForDependencies(
    absl::string_view path, absl::string_view chart_yaml) const {
  const ChartCredentials* found = Find(path);
  ChartCredentials out = Merge(found);
  std::string refused;
  const absl::StatusOr<YamlDocument> chart = ParseYaml(chart_yaml, SmallYaml());
  if (chart.ok() && chart->value.is_object() &&
      chart->value.contains("dependencies") &&
      chart->value["dependencies"].is_array()) {
    for (const json& dependency : chart->value["dependencies"]) {
      if (!dependency.is_object() || !dependency.contains("repository") ||
          !dependency["repository"].is_string()) {
        continue;
      }
      std::string repo = dependency["repository"].get<std::string>();
      if (!absl::StrContains(repo, "://") ||
          absl::StartsWith(repo, "file:")) {
        continue;
      }
      if (found == nullptr || !HoldsSecrets(*found) || !Allows(repo)) {
        if (refused.empty()) refused = std::move(repo);
      } else if (std::find(out.dependency_repos.begin(),
                           out.dependency_repos.end(),
                           repo) == out.dependency_repos.end()) {
        out.dependency_repos.push_back(std::move(repo));
      }
    }
  }
  if (!refused.empty()) out.hint = HintFor(found, path, refused);
  if (out.dependency_repos.empty()) {
    out.username.clear();
    out.password.clear();
    out.ssh_private_key.clear();
  }
  return out;
}

}  // namespace flotilla::manager
