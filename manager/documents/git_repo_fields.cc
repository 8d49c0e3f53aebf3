// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/git_repo_fields.h"

#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/duration.pb.h"
#include "manager/documents/bundle_fields.h"
#include "manager/documents/deploy_fields.h"
#include "manager/documents/regex.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;
using storage::v1::GitRepoSpec;

constexpr size_t kMaxCaBundle = 1 << 20;

// Never quotes the URL: there may be a password in it.
std::string RepoProblem(absl::string_view repo) {
  if (repo.empty()) {
    return "must be set: the URL of the repository";
  }
  for (const char c : repo) {
    const auto u = static_cast<unsigned char>(c);
    if (u <= 0x20 || u == 0x7f) {
      return "holds white space or a control character";
    }
  }
  const size_t scheme_end = repo.find("://");
  if (scheme_end == absl::string_view::npos) {
    const size_t colon = repo.find(':');
    const size_t slash = repo.find('/');
    const bool scp_like = colon != absl::string_view::npos && colon > 0 &&
                          colon + 1 < repo.size() &&
                          (slash == absl::string_view::npos || colon < slash);
    if (!scp_like || repo.front() == '-' || absl::StrContains(repo, "::")) {
      return "must be a URL: https://, http://, ssh://, file:// or "
             "user@host:path";
    }
    return "";
  }
  const std::string scheme =
      absl::AsciiStrToLower(repo.substr(0, scheme_end));
  if (scheme == "file") {
    return repo.substr(scheme_end + 3, 1) == "/"
               ? ""
               : "must name an absolute path, such as file:///srv/repo.git";
  }
  if (scheme != "https" && scheme != "http" && scheme != "ssh") {
    return absl::StrCat("has the scheme \"", ShownText(scheme),
                        "\"; use https, http, ssh or file");
  }
  absl::string_view authority = repo.substr(scheme_end + 3);
  authority = authority.substr(0, authority.find_first_of("/?#"));
  const size_t at = authority.rfind('@');
  if (at != absl::string_view::npos) {
    if (absl::StrContains(authority.substr(0, at), ':')) {
      return "holds a password; put it into a Secret and name that in "
             "clientSecretName";
    }
    authority.remove_prefix(at + 1);
  }
  if (authority.empty() || authority.front() == '-') {
    return "has no host name";
  }
  return "";
}

std::string RefProblem(absl::string_view ref) {
  if (ref.empty()) return "";
  bool valid = ref.size() <= 255 && ref.front() != '-' &&
               !absl::StrContains(ref, "..");
  for (const char c : ref) {
    const auto u = static_cast<unsigned char>(c);
    valid = valid && u > 0x20 && u != 0x7f &&
            !absl::StrContains("~^:?*[\\", absl::string_view(&c, 1));
  }
  if (valid) return "";
  return absl::StrCat("\"", ShownText(ref),
                      "\" is not a valid name of a branch, tag or commit");
}

void ReadCaBundle(FieldReader& spec, GitRepoSpec& result) {
  const std::string ca = spec.String("caBundle");
  if (ca.empty()) return;
  std::string pem;
  if (ca.size() > kMaxCaBundle ||
      !absl::Base64Unescape(absl::StrReplaceAll(ca, {{"\n", ""}}), &pem) ||
      !absl::StrContains(pem, "-----BEGIN CERTIFICATE-----") ||
      !IsUtf8(pem)) {
    spec.Error("caBundle",
               "must be base64 of certificates in PEM form; make it with "
               "\"base64 -w0 ca.pem\"");
    return;
  }
  result.set_ca_bundle(std::move(pem));
}

void ReadPaths(FieldReader& spec, GitRepoSpec& result) {
  for (std::string& path : spec.Strings("paths")) {
    const std::string problem = PathProblem(path);
    if (!problem.empty()) spec.Error("paths", problem);
    result.add_paths(std::move(path));
  }
  for (FieldReader& entry : spec.Objects("bundles")) {
    storage::v1::ExplicitBundle& bundle = *result.add_bundles();
    bundle.set_base(entry.String("base"));
    bundle.set_options(entry.String("options"));
    const std::string base_problem = PathProblem(bundle.base());
    if (!base_problem.empty()) entry.Error("base", base_problem);
    // Beside the directory is fine, outside the repository is not.
    const std::string options_problem =
        PathProblem(absl::StrCat(bundle.base(), "/", bundle.options()));
    if (!options_problem.empty() && base_problem.empty()) {
      entry.Error("options", options_problem);
    }
    entry.Finish();
  }
  if (result.paths_size() > 0 && result.bundles_size() > 0) {
    spec.Warning("paths", "has no effect beside bundles");
  }
}

}  // namespace

void ReadGitRepoSpec(FieldReader& spec, GitRepoSpec& result) {
  result.set_repo(spec.String("repo"));
  const std::string repo_problem = RepoProblem(result.repo());
  const json* repo = spec.Value("repo");
  const bool wrong_type = repo != nullptr && !repo->is_string();
  if (!repo_problem.empty() && !wrong_type) spec.Error("repo", repo_problem);
  result.set_branch(spec.String("branch"));
  result.set_revision(spec.String("revision"));
  for (const auto& [key, ref] :
       {std::pair<const char*, const std::string&>("branch", result.branch()),
        {"revision", result.revision()}}) {
    const std::string problem = RefProblem(ref);
    if (!problem.empty()) spec.Error(key, problem);
  }
  ReadPaths(spec, result);
  ReadPlainTargets(spec, "targets", *result.mutable_targets());
  result.set_target_namespace(ReadDnsLabel(spec, "targetNamespace"));
  result.set_service_account(ReadDnsSubdomain(spec, "serviceAccount"));
  result.set_client_secret_name(ReadDnsSubdomain(spec, "clientSecretName"));
  result.set_helm_secret_name(ReadDnsSubdomain(spec, "helmSecretName"));
  result.set_helm_secret_name_for_paths(
      ReadDnsSubdomain(spec, "helmSecretNameForPaths"));
  result.set_webhook_secret(ReadDnsSubdomain(spec, "webhookSecret"));
  result.set_helm_repo_url_regex(spec.String("helmRepoURLRegex"));
  const std::string regex_problem = RegexProblem(result.helm_repo_url_regex());
  if (!regex_problem.empty()) spec.Error("helmRepoURLRegex", regex_problem);
  if (result.helm_repo_url_regex().empty() &&
      (!result.helm_secret_name().empty() ||
       !result.helm_secret_name_for_paths().empty())) {
    spec.Warning("helmRepoURLRegex",
                 "is empty, so no credentials are sent with downloads of "
                 "charts; write an expression that the repositories' URLs "
                 "match");
  }
  ReadCaBundle(spec, result);
  result.set_insecure_skip_tls_verify(spec.Bool("insecureSkipTLSVerify"));
  google::protobuf::Duration interval;
  if (ReadDuration(spec, "pollingInterval", interval)) {
    *result.mutable_polling_interval() = interval;
  }
  result.set_disable_polling(spec.Bool("disablePolling"));
  const CorrectDrift drift = ReadCorrectDrift(spec);
  result.set_correct_drift(drift.enabled);
  result.set_correct_drift_force(drift.force);
  result.set_correct_drift_keep_fail_history(drift.keep_fail_history);
  result.set_paused(spec.Bool("paused"));
  result.set_keep_resources(spec.Bool("keepResources"));
  result.set_delete_namespace(spec.Bool("deleteNamespace"));
  result.set_force_sync_generation(spec.Int("forceSyncGeneration"));
  spec.NoEffect("imageScanInterval",
                "registries are not scanned, and nothing is written back to "
                "Git",
                {"15m", "15m0s", "0", "0s"});
  spec.NoEffect("imageScanCommit",
                "registries are not scanned, and nothing is written back to "
                "Git");
  spec.NoEffect("ociRegistrySecret",
                "files of bundles lie in the manager's own store, whatever "
                "their size");
}

}  // namespace flotilla::manager
