// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/documents.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/yaml/documents.h"
#include "google/protobuf/io/gzip_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "manager/documents/deploy_fields.h"
#include "manager/documents/field_reader.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;
using storage::v1::BundleSpec;
using storage::v1::Document;
using storage::v1::GitRepoSpec;
using storage::v1::SecretData;

constexpr absl::string_view kFleetApi = "fleet.cattle.io/v1alpha1";
constexpr size_t kMaxCaBundle = 1 << 20;
constexpr size_t kMaxSecretValue = 1 << 20;
constexpr size_t kMaxBundleFiles = 10000;
constexpr uint64_t kMaxBundleBytes = 32 << 20;
constexpr absl::Duration kMaxDuration = absl::Hours(2562047);

// A file's name inside a bundle: relative, no "..", forward slashes.
std::string FileNameProblem(absl::string_view name) {
  bool valid = !name.empty() && name.size() <= 4096 && name.front() != '/';
  for (const char c : name) {
    const auto u = static_cast<unsigned char>(c);
    valid = valid && u >= 0x20 && u != 0x7f && c != '\\';
  }
  for (const absl::string_view part : absl::StrSplit(name, '/')) {
    valid = valid && !part.empty() && part != "." && part != "..";
  }
  if (valid) return "";
  return absl::StrCat("\"", ShownText(name),
                      "\" is not a valid file name: write it relative to the "
                      "bundle's root, without \"..\" and backslashes");
}

std::string PathProblem(absl::string_view path) {
  absl::ConsumePrefix(&path, "/");
  int depth = 0;
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == ".") continue;
    depth += part == ".." ? -1 : 1;
    if (depth < 0) {
      return absl::StrCat("\"", ShownText(path), "\" leaves the repository");
    }
  }
  for (const char c : path) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f) {
      return absl::StrCat("\"", ShownText(path),
                          "\" holds a control character");
    }
  }
  return "";
}

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

void ReadGitRepoTargets(FieldReader& spec, GitRepoSpec& result) {
  for (FieldReader& reader : spec.Objects("targets")) {
    storage::v1::Target& target = *result.add_targets();
    ReadTargetSelectors(reader, target);
    reader.Finish();
  }
  NameTargets(*result.mutable_targets());
}

void ReadGitRepo(FieldReader& spec, GitRepoSpec& result) {
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
  for (std::string& path : spec.Strings("paths")) {
    const std::string problem = PathProblem(path);
    if (!problem.empty()) spec.Error("paths", problem);
    result.add_paths(std::move(path));
  }
  ReadGitRepoTargets(spec, result);
  result.set_target_namespace(spec.String("targetNamespace"));
  if (!result.target_namespace().empty()) {
    const std::string problem = DnsLabelProblem(result.target_namespace());
    if (!problem.empty()) spec.Error("targetNamespace", problem);
  }
  result.set_client_secret_name(spec.String("clientSecretName"));
  if (!result.client_secret_name().empty()) {
    const std::string problem =
        DnsSubdomainProblem(result.client_secret_name());
    if (!problem.empty()) spec.Error("clientSecretName", problem);
  }
  const std::string ca = spec.String("caBundle");
  if (!ca.empty()) {
    std::string pem;
    if (ca.size() > kMaxCaBundle ||
        !absl::Base64Unescape(absl::StrReplaceAll(ca, {{"\n", ""}}), &pem) ||
        !absl::StrContains(pem, "-----BEGIN CERTIFICATE-----")) {
      spec.Error("caBundle",
                 "must be base64 of certificates in PEM form; make it with "
                 "\"base64 -w0 ca.pem\"");
    } else {
      result.set_ca_bundle(std::move(pem));
    }
  }
  result.set_insecure_skip_tls_verify(spec.Bool("insecureSkipTLSVerify"));
  const json* interval = spec.Value("pollingInterval");
  if (interval != nullptr && *interval != json(0)) {
    absl::StatusOr<absl::Duration> parsed =
        interval->is_string()
            ? ParseGoDuration(interval->get_ref<const std::string&>())
            : absl::InvalidArgumentError(
                  "must be a duration in quotes, such as \"15s\"");
    if (!parsed.ok()) {
      spec.Error("pollingInterval", parsed.status().message());
    } else if (*parsed > absl::ZeroDuration()) {
      const int64_t seconds = absl::IDivDuration(*parsed, absl::Seconds(1),
                                                 &*parsed);
      result.mutable_polling_interval()->set_seconds(seconds);
      result.mutable_polling_interval()->set_nanos(
          static_cast<int32_t>(absl::ToInt64Nanoseconds(*parsed)));
    }
  }
  result.set_disable_polling(spec.Bool("disablePolling"));
  result.set_correct_drift(ReadCorrectDrift(spec));
  result.set_keep_resources(spec.Bool("keepResources"));
  result.set_force_sync_generation(spec.Int("forceSyncGeneration"));
  spec.UnsupportedUnless("imageScanInterval", {"15m", "15m0s"});
  spec.Unsupported({"bundles", "serviceAccount", "helmSecretName",
                    "helmSecretNameForPaths", "helmRepoURLRegex", "paused",
                    "deleteNamespace", "imageScanCommit", "ociRegistrySecret",
                    "webhookSecret"});
}

void ReadCluster(FieldReader& spec) {
  spec.Unsupported(
      {"paused", "clientID", "kubeConfigSecret", "kubeConfigSecretNamespace",
       "redeployAgentGeneration", "agentEnvVars", "agentNamespace",
       "privateRepoURL", "templateValues", "agentTolerations",
       "agentAffinity", "agentResources", "hostNetwork",
       "agentSchedulingCustomization", "agentPullSecrets"});
}

// Undoes "base64+gz", at most `max_bytes`.
absl::StatusOr<std::string> DecodeContent(absl::string_view content,
                                          uint64_t max_bytes) {
  std::string packed;
  if (!absl::Base64Unescape(content, &packed)) {
    return absl::InvalidArgumentError("is not valid base64");
  }
  google::protobuf::io::ArrayInputStream input(
      packed.data(), static_cast<int>(packed.size()));
  google::protobuf::io::GzipInputStream gzip(
      &input, google::protobuf::io::GzipInputStream::GZIP);
  std::string out;
  const void* chunk = nullptr;
  int size = 0;
  while (gzip.Next(&chunk, &size)) {
    if (out.size() + static_cast<size_t>(size) > max_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("unpacks to more than ", max_bytes, " bytes"));
    }
    out.append(static_cast<const char*>(chunk), static_cast<size_t>(size));
  }
  // Z_STREAM_END is 1; anything else is a cut or damaged stream.
  if (gzip.ZlibErrorCode() != 1) {
    return absl::InvalidArgumentError("is not a whole gzip stream");
  }
  return out;
}

void ReadBundle(FieldReader& spec, BundleSpec& result,
                std::vector<std::string>& contents) {
  OptionLines lines;
  *result.mutable_options() = ReadDeployOptions(spec, lines);
  for (FieldReader& reader : spec.Objects("targets")) {
    OptionLines target_lines;
    target_lines.literal_values = lines.literal_values;
    *result.add_targets() = ReadBundleTarget(reader, target_lines);
  }
  NameTargets(*result.mutable_targets());

  std::map<std::string, std::string> files;
  uint64_t total = 0;
  for (FieldReader& reader : spec.Objects("resources")) {
    const std::string name = reader.String("name");
    const std::string content = reader.String("content");
    const std::string encoding = reader.String("encoding");
    reader.Finish();
    const std::string problem = FileNameProblem(name);
    if (!problem.empty()) {
      reader.Error("name", problem);
      continue;
    }
    absl::StatusOr<std::string> bytes =
        absl::InvalidArgumentError("must be \"\" or \"base64+gz\"");
    if (encoding.empty()) bytes = content;
    if (encoding == "base64+gz") {
      bytes = DecodeContent(content, kMaxBundleBytes - total);
    }
    if (!bytes.ok()) {
      reader.Error(encoding == "base64+gz" ? "content" : "encoding",
                   bytes.status().message());
      continue;
    }
    total += bytes->size();
    if (total > kMaxBundleBytes || files.size() >= kMaxBundleFiles) {
      spec.Error("resources", absl::StrCat("has more than ", kMaxBundleBytes,
                                           " bytes or ", kMaxBundleFiles,
                                           " files; split the bundle"));
      break;
    }
    if (!files.emplace(name, *std::move(bytes)).second) {
      reader.Error("name", absl::StrCat("\"", ShownText(name),
                                        "\" is there twice"));
    }
  }
  for (auto& [name, bytes] : files) {
    storage::v1::BundleFile& file = *result.add_resources();
    file.set_name(name);
    file.set_size(bytes.size());
    contents.push_back(std::move(bytes));
  }
  if (files.empty() && !spec.Has("resources")) {
    spec.Warning("resources", "is empty: the bundle deploys nothing");
  }
  spec.UnsupportedUnless("targetCustomizationMode", {"FirstMatch"});
  spec.UnsupportedIfPresent({"rolloutStrategy"});
  spec.Unsupported({"forceSyncGeneration", "paused", "targetRestrictions",
                    "dependsOn", "contentsId", "helmOpOptions", "valuesHash"});
}

struct SecretShape {
  const char* type;
  std::vector<std::string> required;
};

const std::vector<SecretShape>& SecretShapes() {
  static const auto& shapes = *new std::vector<SecretShape>{
      {"kubernetes.io/basic-auth", {"password"}},
      {"kubernetes.io/ssh-auth", {"ssh-privatekey"}},
      {"Opaque", {}},
  };
  return shapes;
}

// Keys alone are named in messages.
void ReadSecretValues(FieldReader& root,
                      std::map<std::string, std::string>& values) {
  if (std::optional<FieldReader> data = root.Object("data");
      data.has_value()) {
    const json& object = *root.Value("data");
    for (const auto& item : object.items()) {
      std::string decoded;
      if (item.value().is_null()) {
        values[item.key()] = "";
      } else if (!item.value().is_string() ||
                 !absl::Base64Unescape(
                     absl::StrReplaceAll(
                         item.value().get_ref<const std::string&>(),
                         {{"\n", ""}, {"\r", ""}}),
                     &decoded)) {
        data->Error(item.key(),
                    "is not valid base64; plain text goes under stringData");
      } else {
        values[item.key()] = std::move(decoded);
      }
    }
  }
  if (std::optional<FieldReader> data = root.Object("stringData");
      data.has_value()) {
    const json& object = *root.Value("stringData");
    for (const auto& item : object.items()) {
      if (!item.value().is_string()) {
        data->Error(item.key(), "must be a string; write it in quotes");
      } else {
        values[item.key()] = item.value().get<std::string>();
      }
    }
  }
}

void ReadSecret(FieldReader& root, Document& document, SecretData& result) {
  std::string type = root.String("type");
  if (type.empty()) type = "Opaque";
  document.mutable_secret()->set_type(type);
  root.Ignored({"immutable"});
  std::map<std::string, std::string> values;
  ReadSecretValues(root, values);

  const auto& shapes = SecretShapes();
  const auto shape =
      std::find_if(shapes.begin(), shapes.end(),
                   [&type](const SecretShape& s) { return type == s.type; });
  if (shape == shapes.end()) {
    root.Error("type", absl::StrCat("\"", ShownText(type),
                                    "\" is not one of "
                                    "kubernetes.io/basic-auth, "
                                    "kubernetes.io/ssh-auth, Opaque"));
    return;
  }
  for (const std::string& key : shape->required) {
    if (values[key].empty()) {
      root.Error("", absl::StrCat("a Secret of type ", type, " needs the key ",
                                  key));
    }
  }
  static const auto& known = *new std::vector<std::string>{
      "username", "password", "ssh-privatekey", "known_hosts"};
  const auto is_known = [](const std::string& key) {
    return std::find(known.begin(), known.end(), key) != known.end();
  };
  if (std::none_of(values.begin(), values.end(),
                   [&](const auto& v) { return is_known(v.first); })) {
    root.Error("",
               "holds none of username, password, ssh-privatekey and "
               "known_hosts: only Secrets with Git credentials are accepted");
  }
  for (auto& [key, value] : values) {
    if (absl::StartsWith(key, "github_app_")) {
      root.log().Error(root.pointer(),
                       absl::StrCat(ShownText(key),
                                    " is a key of Fleet that is known but "
                                    "not supported yet; take it out"),
                       "UNIMPLEMENTED");
      continue;
    }
    if (!is_known(key)) {
      const std::string nearest = NearestWord(key, known);
      root.Warning("", absl::StrCat(
                           "key \"", ShownText(key), "\" has no effect",
                           nearest.empty() ? ""
                                           : absl::StrCat("; did you mean \"",
                                                          nearest, "\"?")));
      continue;
    }
    if (value.size() > kMaxSecretValue) {
      root.Error("", absl::StrCat("key ", key, " has more than ",
                                  kMaxSecretValue, " bytes"));
      continue;
    }
    if (value.empty()) continue;
    storage::v1::SecretEntry& entry = *result.add_entries();
    entry.set_key(key);
    entry.set_value(value);
  }
}

void ReadMetadata(FieldReader& root, absl::string_view default_workspace,
                  Document& document) {
  document.set_workspace(std::string(default_workspace));
  std::optional<FieldReader> metadata = root.Object("metadata");
  if (!metadata.has_value()) {
    if (!root.Has("metadata")) root.Error("", "has no metadata.name");
    return;
  }
  document.set_name(metadata->String("name"));
  const std::string name_problem = DnsSubdomainProblem(document.name());
  if (document.name().empty()) {
    metadata->Error("", "has no name");
  } else if (!name_problem.empty()) {
    metadata->Error("name", name_problem);
  }
  const std::string workspace = metadata->String("namespace");
  if (!workspace.empty()) document.set_workspace(workspace);
  const std::string workspace_problem = DnsLabelProblem(document.workspace());
  if (!workspace_problem.empty()) {
    metadata->Error("namespace", workspace_problem);
  }
  ReadLabels(*metadata, "labels", *document.mutable_labels());
  // What Kubernetes writes there.
  metadata->Ignored({"annotations", "creationTimestamp", "deletionTimestamp",
                     "deletionGracePeriodSeconds", "finalizers", "generateName",
                     "generation", "managedFields", "ownerReferences",
                     "resourceVersion", "selfLink", "uid"});
  metadata->Finish();
}

// The kind when it is accepted; logs an error and returns "" otherwise.
std::string ReadKind(FieldReader& root) {
  const std::string api = root.String("apiVersion");
  const std::string kind = root.String("kind");
  if (!root.Has("kind")) {
    root.Error("", absl::StrCat("has no kind; accepted are ",
                                AcceptedKinds()));
    return "";
  }
  if (kind.empty()) {
    // A kind that is no text has been reported.
    if (root.log().ok()) {
      root.Error("kind", absl::StrCat("is empty; accepted are ",
                                      AcceptedKinds()));
    }
    return "";
  }
  if (CanonicalKind(kind) != kind) {
    const std::string meant = CanonicalKind(kind);
    root.Error("kind",
               absl::StrCat("\"", ShownText(kind),
                            "\" is not a kind that can be applied",
                            meant.empty() ? std::string()
                                          : absl::StrCat("; did you mean \"",
                                                         meant, "\"?"),
                            "; accepted are ", AcceptedKinds()));
    return "";
  }
  const absl::string_view wanted = kind == "Secret" ? "v1" : kFleetApi;
  if (api != wanted) {
    root.Error("apiVersion",
               absl::StrCat("must be \"", wanted, "\" for a ", kind,
                            ", and is \"", ShownText(api), "\""));
    return "";
  }
  return kind;
}

std::string SubjectOf(const Document& document) {
  return absl::StrCat(document.kind(), " ", ShownText(document.workspace()),
                      "/", ShownText(document.name()));
}

void ReadDocument(FieldReader& root, absl::string_view default_workspace,
                  ParsedDocument& parsed) {
  Document& document = parsed.document;
  const std::string kind = ReadKind(root);
  if (kind.empty()) return;
  document.set_kind(kind);
  ReadMetadata(root, default_workspace, document);
  root.log().set_subject(SubjectOf(document));
  if (kind == "Secret") {
    ReadSecret(root, document, parsed.secret_data);
    root.Finish();
    return;
  }
  static const json& empty = *new json(json::object());
  std::optional<FieldReader> given = root.Object("spec");
  FieldReader spec = given.has_value()
                         ? *given
                         : FieldReader(empty, "/spec", root.log());
  if (kind == "GitRepo") {
    ReadGitRepo(spec, *document.mutable_git_repo());
  } else if (kind == "Cluster") {
    document.mutable_cluster();
    ReadCluster(spec);
  } else if (kind == "ClusterGroup") {
    core::v1::LabelSelector selector;
    storage::v1::ClusterGroupSpec& group = *document.mutable_cluster_group();
    if (ReadLabelSelector(spec, "selector", selector)) {
      *group.mutable_selector() = std::move(selector);
    } else if (!spec.Has("selector")) {
      spec.Warning("", "has no selector, so the group has no clusters; write "
                       "\"selector: {}\" for all of them");
    }
  } else {
    ReadBundle(spec, *document.mutable_bundle(), parsed.contents);
  }
  spec.Finish();
  root.Ignored({"status"});
  root.Finish();
}

core::v1::Problem ProblemOf(const absl::Status& status,
                            absl::string_view file) {
  core::v1::Problem problem;
  problem.set_code(absl::StatusCodeToString(status.code()));
  problem.set_message(YamlErrorText(status));
  problem.set_file(std::string(file));
  problem.set_line(static_cast<uint32_t>(std::max(0, YamlErrorLine(status))));
  return problem;
}

void ParseFile(const NamedText& file, absl::string_view default_workspace,
               std::set<std::string>& seen, ParsedDocuments& result) {
  absl::StatusOr<std::vector<YamlDocument>> documents =
      ParseYamlDocuments(file.text);
  if (!documents.ok()) {
    result.errors.push_back(ProblemOf(documents.status(), file.name));
    return;
  }
  for (const YamlDocument& yaml : *documents) {
    ProblemLog log(file.name, "", &yaml);
    ParsedDocument parsed;
    parsed.file = file.name;
    parsed.line = yaml.line;
    if (yaml.value.is_object()) {
      FieldReader root(yaml.value, "", log);
      ReadDocument(root, default_workspace, parsed);
    } else {
      log.Error("", absl::StrCat("is not a document; accepted kinds are ",
                                 AcceptedKinds()));
    }
    if (log.ok() && !seen.insert(SubjectOf(parsed.document)).second) {
      log.Error("", absl::StrCat(SubjectOf(parsed.document),
                                 " is there twice; keep one"));
    }
    result.errors.insert(result.errors.end(), log.errors().begin(),
                         log.errors().end());
    result.warnings.insert(result.warnings.end(), log.warnings().begin(),
                           log.warnings().end());
    if (log.ok()) result.documents.push_back(std::move(parsed));
  }
}

}  // namespace

ParsedDocuments ParseDocuments(const std::vector<NamedText>& files,
                               absl::string_view default_workspace) {
  ParsedDocuments result;
  if (default_workspace.empty()) default_workspace = kDefaultWorkspace;
  std::set<std::string> seen;
  for (const NamedText& file : files) {
    ParseFile(file, default_workspace, seen, result);
  }
  return result;
}

std::string CanonicalKind(absl::string_view kind) {
  const std::string lower = absl::AsciiStrToLower(kind);
  for (const char* known :
       {"GitRepo", "Cluster", "ClusterGroup", "Bundle", "Secret"}) {
    const std::string one = absl::AsciiStrToLower(known);
    if (lower == one || lower == absl::StrCat(one, "s")) return known;
  }
  return "";
}

std::string AcceptedKinds() {
  return "GitRepo, Cluster, ClusterGroup, Bundle, Secret";
}

absl::StatusOr<absl::Duration> ParseGoDuration(absl::string_view text) {
  const absl::Status invalid = absl::InvalidArgumentError(absl::StrCat(
      "\"", ShownText(text),
      "\" is not a duration: write a number and a unit (ns, us, ms, s, m, h), "
      "such as \"15s\" or \"1h30m\""));
  if (text == "0") return absl::ZeroDuration();
  if (text.empty() || text.size() > 32 ||
      !absl::ascii_isdigit(static_cast<unsigned char>(text.front()))) {
    return invalid;
  }
  // U+00B5 and U+03BC are both read as "micro".
  const std::string plain =
      absl::StrReplaceAll(text, {{"\xc2\xb5s", "us"}, {"\xce\xbcs", "us"}});
  absl::Duration duration;
  if (!absl::ParseDuration(plain, &duration)) return invalid;
  if (duration > kMaxDuration) return invalid;
  return duration;
}

std::string DescribeProblems(const std::vector<core::v1::Problem>& problems) {
  std::string out;
  for (const core::v1::Problem& problem : problems) {
    if (!out.empty()) out.push_back('\n');
    if (!problem.file().empty()) {
      absl::StrAppend(&out, problem.file(), ":");
      if (problem.line() > 0) absl::StrAppend(&out, problem.line(), ":");
      out.push_back(' ');
    }
    if (!problem.subject().empty()) {
      absl::StrAppend(&out, problem.subject(), ": ");
    }
    absl::StrAppend(&out, problem.message());
  }
  return out;
}

}  // namespace flotilla::manager
