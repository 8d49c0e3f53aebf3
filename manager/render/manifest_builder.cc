// SPDX-License-Identifier: Apache-2.0

#include "manager/render/manifest_builder.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/crypto/sha256.h"
#include "common/yaml/documents.h"
#include "manager/bundle/bundle_name.h"
#include "manager/render/deploy_policy.h"
#include "manager/render/overlays.h"
#include "manager/render/style.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using core::v1::Problem;
using nlohmann::json;

constexpr char kManagedLabel[] = "flotilla.dev/managed";
constexpr char kBundleIdAnnotation[] = "flotilla.dev/bundle-id";
constexpr char kBundleAnnotation[] = "flotilla.dev/bundle";
constexpr char kPolicyAnnotation[] = "helm.sh/resource-policy";
constexpr char kHookAnnotation[] = "helm.sh/hook";
constexpr char kChartFile[] = "Chart.yaml";
constexpr char kCrdGroup[] = "apiextensions.k8s.io";
constexpr char kCrdKind[] = "CustomResourceDefinition";
constexpr char kKustomizeGroup[] = "kustomize.config.k8s.io";
constexpr char kKustomizeText[] =
    "a kustomization lies here, and Kustomize is run only for the "
    "kustomization.yaml in the bundle's root or in kustomize.dir: set "
    "kustomize.dir, or keep the file out with .fleetignore";

constexpr size_t kMaxProblems = 20;
constexpr size_t kMaxObjects = 20000;
// As deep as the agent reads objects.
constexpr int kMaxObjectDepth = 60;
constexpr size_t kMaxObjectBytes = 3 << 20;

YamlLimits ObjectLimits() {
  YamlLimits limits;
  limits.max_depth = kMaxObjectDepth;
  return limits;
}

bool IsYamlName(absl::string_view name) {
  return absl::EndsWith(name, ".yaml") || absl::EndsWith(name, ".yml") ||
         absl::EndsWith(name, ".json");
}

bool IsFleetYaml(absl::string_view name) {
  return BaseOf(name) == "fleet.yaml" || BaseOf(name) == "fleet.yml";
}

bool IsUnderTemplates(absl::string_view name) {
  return absl::StartsWith(name, "templates/") ||
         absl::StrContains(DirectoryOf(name), "/templates/");
}

void FillRequest(const RenderInput& input, render::v1::RenderRequest* request) {
  request->set_release_name(input.options.helm().release_name().empty()
                                ? ReleaseName(input.bundle_name)
                                : input.options.helm().release_name());
  request->set_namespace_(ReleaseNamespace(input.options));
  request->set_values_json(input.options.helm().values_json());
  request->set_skip_schema_validation(
      input.options.helm().skip_schema_validation());
  request->set_disable_dns(input.options.helm().disable_dns());
  request->set_kube_version(input.facts.kube_version());
  std::set<std::string> versions;
  for (const core::v1::KindFact& kind : input.facts.kinds()) {
    const std::string version =
        kind.group().empty() ? kind.version()
                             : absl::StrCat(kind.group(), "/", kind.version());
    versions.insert(version);
    versions.insert(absl::StrCat(version, "/", kind.kind()));
  }
  for (const std::string& version : versions) {
    request->add_api_versions(version);
  }
  request->set_random_seed(input.random_seed);
  request->set_now_unix_seconds(input.now_unix_seconds);
}

void AddFile(absl::string_view name, absl::string_view bytes,
             render::v1::RenderRequest* request) {
  render::v1::File* file = request->add_files();
  file->set_name(std::string(name));
  file->set_content(std::string(bytes));
}

// Directories that are bundles or charts of their own (spec 6.7), "x/".
std::set<std::string> ForeignDirectories(const RenderInput& input) {
  std::set<std::string> directories;
  for (const RenderFile& file : input.files) {
    if (DirectoryOf(file.name).empty()) continue;
    if (IsFleetYaml(file.name) || BaseOf(file.name) == kChartFile) {
      directories.insert(DirectoryOf(file.name));
    }
  }
  return directories;
}

bool IsInside(const std::set<std::string>& directories,
              absl::string_view name) {
  for (size_t slash = name.find('/'); slash != absl::string_view::npos;
       slash = name.find('/', slash + 1)) {
    if (directories.count(std::string(name.substr(0, slash + 1))) > 0) {
      return true;
    }
  }
  return false;
}

void PlanRaw(const RenderInput& input, RenderPlan* plan) {
  const std::set<std::string> foreign = ForeignDirectories(input);
  bool has_template = false;
  render::v1::RenderRequest request;
  for (size_t i = 0; i < input.files.size(); ++i) {
    const RenderFile& file = input.files[i];
    if (absl::StartsWith(file.name, "overlays/") || IsFleetYaml(file.name) ||
        IsInside(foreign, file.name)) {
      continue;
    }
    if (IsUnderTemplates(file.name)) {
      const bool partial = absl::EndsWith(file.name, ".tpl");
      if (!IsYamlName(file.name) && !partial) continue;
      has_template = has_template || !partial;
      std::string name = file.name;
      if (!absl::StartsWith(name, "templates/")) {
        name = absl::StrCat("templates/", name);
      }
      if (name != file.origin()) plan->renamed[name] = file.origin();
      AddFile(name, file.bytes, &request);
    } else if (IsYamlName(file.name)) {
      plan->raw_files.push_back(i);
    }
  }
  if (!has_template) {
    plan->renamed.clear();
    return;
  }
  const std::string build =
      input.revision.empty() ? "0" : input.revision.substr(0, 12);
  AddFile(kChartFile,
          absl::StrCat("apiVersion: v2\nname: ",
                       ReleaseName(input.bundle_name),
                       "\nversion: v0.0.0+", build, "\n"),
          &request);
  FillRequest(input, &request);
  plan->request = std::move(request);
}

// ---- Objects --------------------------------------------------------------

// Where an object came from.
struct Source {
  std::string file;
  int line = 0;
  bool crd = false;
};

// An object on its way into the manifest.
struct Candidate {
  json object;
  Source source;
  std::string group;
  std::string version;
  std::string kind;
  std::string name;
};

const json* FindMember(const json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(name);
  return it == object.end() ? nullptr : &*it;
}

std::string TextMember(const json& object, const char* name) {
  const json* member = FindMember(object, name);
  if (member == nullptr || !member->is_string()) return "";
  return member->get_ref<const std::string&>();
}

void DropNulls(json* value) {
  if (value->is_object()) {
    for (auto it = value->begin(); it != value->end();) {
      if (it->is_null()) {
        it = value->erase(it);
      } else {
        DropNulls(&*it);
        ++it;
      }
    }
  } else if (value->is_array()) {
    for (json& item : *value) DropNulls(&item);
  }
}

bool IsName(absl::string_view text) {
  if (text.empty() || text.size() > 253 || text == "." || text == "..") {
    return false;
  }
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7F || c == '/' || c == '%') return false;
  }
  return true;
}

bool IsWord(absl::string_view text, absl::string_view also) {
  if (text.empty() || text.size() > 253) return false;
  for (char c : text) {
    const bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       (c >= '0' && c <= '9');
    if (!alnum && !absl::StrContains(also, c)) return false;
  }
  return true;
}

// Collects objects, then makes the manifest of them.
//
// Thread-compatible.
class ManifestMaker {
 public:
  explicit ManifestMaker(const RenderInput& input)
      : input_(input), namespace_(ReleaseNamespace(input.options)) {
    for (const core::v1::KindFact& kind : input.facts.kinds()) {
      scopes_[{kind.group(), kind.kind()}] = kind.namespaced();
    }
  }

  void AddRawFile(const RenderFile& file) {
    absl::StatusOr<std::vector<YamlDocument>> documents =
        ParseYamlDocuments(file.bytes, ObjectLimits());
    if (!documents.ok()) {
      Fail(file.origin(), YamlErrorLine(documents.status()),
           absl::StrCat("the file is not YAML: ",
                        YamlErrorText(documents.status())));
      return;
    }
    for (YamlDocument& document : *documents) {
      Source source;
      source.file = file.origin();
      source.line = document.line;
      if (!document.value.is_object()) {
        Fail(source, "the document is no Kubernetes object, which is a map");
        continue;
      }
      if (FindMember(document.value, "kind") == nullptr) {
        Warn(source, "the document has no kind and was left out");
        continue;
      }
      AddObject(std::move(document.value), source);
    }
  }

  void AddRendered(const RenderPlan& plan,
                   const render::v1::RenderedObject& rendered) {
    Source source;
    source.file =
        InBundle(plan, rendered.source_file(), rendered.from_bundle());
    source.crd = rendered.crd();
    absl::StatusOr<json> object = ParseJson(rendered.json(), ObjectLimits());
    if (!object.ok()) {
      Fail(source, absl::StrCat("an object that the template renders to cannot "
                                "be used: ",
                                YamlErrorText(object.status())));
      return;
    }
    AddObject(*std::move(object), source);
  }

  // File of the bundle for a file that the worker names.
  static std::string InBundle(const RenderPlan& plan, const std::string& file,
                              bool from_bundle) {
    if (file.empty() || from_bundle) return file;
    const auto it = plan.renamed.find(file);
    if (it != plan.renamed.end()) return it->second;
    return absl::StrCat(plan.style.chart_directory, file);
  }

  void AddRenderError(const RenderPlan& plan,
                      const render::v1::RenderError& error) {
    const Source source = SourceOf(plan, error);
    Fail(source, error.message());
  }

  void AddRenderWarning(const RenderPlan& plan,
                        const render::v1::RenderError& warning) {
    const Source source = SourceOf(plan, warning);
    Warn(source, warning.message());
  }

  BuiltManifest Finish() {
    LearnFromCrds();
    for (Candidate& candidate : candidates_) Place(&candidate);
    if (entries_.empty() && result_.problems.empty()) {
      result_.warnings.push_back(
          MakeProblem(input_, "", 0, "the bundle has no objects"));
    }
    EnsureNamespace();
    for (auto& [identity, entry] : entries_) {
      *result_.manifest.add_entries() = std::move(entry);
    }
    *result_.manifest.mutable_policy() = MakeDeployPolicy(input_);
    for (auto& [digest, blob] : blobs_) {
      result_.blobs.push_back(std::move(blob));
    }
    for (const GroupKind& kind : asked_) result_.kinds_asked.push_back(kind);
    if (!result_.problems.empty()) {
      result_.manifest.Clear();
      result_.blobs.clear();
    }
    return std::move(result_);
  }

  BuiltManifest* result() { return &result_; }

 private:
  static Source SourceOf(const RenderPlan& plan,
                         const render::v1::RenderError& error) {
    Source source;
    source.file = InBundle(plan, error.file(), error.from_bundle());
    // Values are written in fleet.yaml.
    if (source.file.empty() && absl::StartsWith(error.path(), "helm.")) {
      source.file = "fleet.yaml";
    }
    source.line = static_cast<int>(error.line());
    return source;
  }

  // Group, kind, namespace, name.
  using Identity =
      std::tuple<std::string, std::string, std::string, std::string>;

  void Fail(absl::string_view file, int line, absl::string_view message,
            absl::string_view subject = "") {
    if (result_.problems.size() >= kMaxProblems) return;
    result_.problems.push_back(MakeProblem(
        input_, file, line, input_.secrets.Redact(message), subject));
  }
  void Fail(const Source& source, absl::string_view message,
            absl::string_view subject = "") {
    Fail(source.file, source.line, message, subject);
  }
  void Warn(const Source& source, absl::string_view message,
            absl::string_view subject = "") {
    if (result_.warnings.size() >= kMaxProblems) return;
    result_.warnings.push_back(
        MakeProblem(input_, source.file, source.line,
                    input_.secrets.Redact(message), subject));
  }

  static std::string Subject(const Candidate& candidate) {
    return absl::StrCat(candidate.kind, " ", candidate.name);
  }

  // Flattens lists and checks what every object must have.
  void AddObject(json object, const Source& source) {
    const std::string kind = TextMember(object, "kind");
    const json* items = FindMember(object, "items");
    const json* metadata = FindMember(object, "metadata");
    if (absl::EndsWith(kind, "List") && items != nullptr && items->is_array() &&
        (metadata == nullptr || TextMember(*metadata, "name").empty())) {
      for (json& item : object["items"]) {
        if (!item.is_object()) {
          Fail(source, absl::StrCat("an item of the ", kind, " is no object"));
          return;
        }
        AddObject(std::move(item), source);
      }
      return;
    }

    Candidate candidate;
    candidate.source = source;
    candidate.kind = kind;
    if (!IsWord(kind, "")) {
      Fail(source, "the object has no kind, or it is no word");
      return;
    }
    const std::string api_version = TextMember(object, "apiVersion");
    if (!IsWord(api_version, "./-")) {
      Fail(source, absl::StrCat("the ", kind,
                                " has no apiVersion, or it is no group and "
                                "version"));
      return;
    }
    const size_t slash = api_version.find('/');
    if (slash == std::string::npos) {
      candidate.version = api_version;
    } else {
      candidate.group = api_version.substr(0, slash);
      candidate.version = api_version.substr(slash + 1);
    }
    if (candidate.version.empty() ||
        absl::StrContains(candidate.version, '/')) {
      Fail(source, absl::StrCat("apiVersion of the ", kind,
                                " is no group and version"));
      return;
    }
    if (candidate.group == kKustomizeGroup) {
      Fail(source, kKustomizeText);
      return;
    }
    if (metadata == nullptr || !metadata->is_object()) {
      Fail(source, absl::StrCat("the ", kind, " has no metadata"));
      return;
    }
    candidate.name = TextMember(*metadata, "name");
    if (candidate.name.empty()) {
      const bool generated = FindMember(*metadata, "generateName") != nullptr;
      Fail(source,
           generated
               ? absl::StrCat("the ", kind,
                              " has metadata.generateName, and an object that "
                              "is kept in line needs a fixed metadata.name")
               : absl::StrCat("the ", kind,
                              " has no metadata.name, or it is no string"));
      return;
    }
    if (!IsName(candidate.name)) {
      Fail(source, absl::StrCat("metadata.name of the ", kind,
                                " is no name of Kubernetes"));
      return;
    }
    if (const json* annotations = FindMember(*metadata, "annotations");
        annotations != nullptr && !source.crd) {
      const std::string hook = TextMember(*annotations, kHookAnnotation);
      if (!hook.empty()) {
        // The worker has done the same for charts.
        if (!IsTestHook(hook)) {
          Fail(source,
               absl::StrCat("the object has the annotation ", kHookAnnotation,
                            ": ", hook,
                            ", and hooks other than test are not supported "
                            "yet: remove it, or make the object a plain one"),
               Subject(candidate));
        }
        return;
      }
    }
    if (candidates_.size() >= kMaxObjects) {
      if (candidates_.size() == kMaxObjects) {
        Fail(source, absl::StrCat("the bundle has more than ", kMaxObjects,
                                  " objects"));
      }
      return;
    }
    candidate.object = std::move(object);
    candidates_.push_back(std::move(candidate));
  }

  static bool IsTestHook(absl::string_view hook) {
    for (absl::string_view event : absl::StrSplit(hook, ',')) {
      event = absl::StripAsciiWhitespace(event);
      if (event != "test" && event != "test-success" &&
          event != "test-failure") {
        return false;
      }
    }
    return true;
  }

  static bool IsCrd(const Candidate& candidate) {
    return candidate.group == kCrdGroup && candidate.kind == kCrdKind;
  }

  void LearnFromCrds() {
    for (const Candidate& candidate : candidates_) {
      if (!IsCrd(candidate)) continue;
      const json* spec = FindMember(candidate.object, "spec");
      if (spec == nullptr) continue;
      const json* names = FindMember(*spec, "names");
      if (names == nullptr) continue;
      const std::string scope = TextMember(*spec, "scope");
      if (scope != "Namespaced" && scope != "Cluster") continue;
      own_scopes_[{TextMember(*spec, "group"), TextMember(*names, "kind")}] =
          scope == "Namespaced";
    }
  }

  // A kind that nobody knows is taken for namespaced: most are, and when the
  // CRD comes later the agent says what is wrong.
  bool IsNamespaced(const Candidate& candidate) {
    const GroupKind kind = {candidate.group, candidate.kind};
    const auto own = own_scopes_.find(kind);
    if (own != own_scopes_.end()) return own->second;
    asked_.insert(kind);
    const auto known = scopes_.find(kind);
    return known == scopes_.end() || known->second;
  }

  bool CheckStrings(const Candidate& candidate, const json& metadata,
                    const char* field) {
    const json* map = FindMember(metadata, field);
    if (map == nullptr || map->is_null()) return true;
    if (!map->is_object()) {
      Fail(candidate.source, absl::StrCat("metadata.", field, " is no map"),
           Subject(candidate));
      return false;
    }
    for (auto it = map->begin(); it != map->end(); ++it) {
      if (it->is_string() || it->is_null()) continue;
      Fail(candidate.source,
           absl::StrCat("metadata.", field, ".", it.key(),
                        " must be a string: put it in quotes"),
           Subject(candidate));
      return false;
    }
    return true;
  }

  // stringData into data, as the API server does. Never shows a value.
  bool FoldSecret(Candidate* candidate) {
    json& object = candidate->object;
    for (const char* field : {"data", "stringData"}) {
      const json* map = FindMember(object, field);
      if (map == nullptr) continue;
      if (!map->is_object()) {
        Fail(candidate->source, absl::StrCat(field, " of the Secret is no map"),
             Subject(*candidate));
        return false;
      }
      for (auto it = map->begin(); it != map->end(); ++it) {
        if (!it->is_string()) {
          Fail(candidate->source,
               absl::StrCat(field, ".", it.key(),
                            " of the Secret must be a string"),
               Subject(*candidate));
          return false;
        }
      }
    }
    json data = json::object();
    if (const json* map = FindMember(object, "data"); map != nullptr) {
      for (auto it = map->begin(); it != map->end(); ++it) {
        std::string packed;
        for (char c : it->get_ref<const std::string&>()) {
          if (c != '\n' && c != '\r') packed.push_back(c);
        }
        std::string decoded;
        if (packed.size() % 4 != 0 || absl::StrContains(packed, ' ') ||
            !absl::Base64Unescape(packed, &decoded)) {
          Fail(candidate->source,
               absl::StrCat("data.", it.key(),
                            " of the Secret is not base64; plain text belongs "
                            "under stringData"),
               Subject(*candidate));
          return false;
        }
        data[it.key()] = std::move(packed);
      }
    }
    if (const json* map = FindMember(object, "stringData"); map != nullptr) {
      for (auto it = map->begin(); it != map->end(); ++it) {
        data[it.key()] =
            absl::Base64Escape(it->get_ref<const std::string&>());
      }
      object.erase("stringData");
    }
    if (!data.empty()) object["data"] = std::move(data);
    return true;
  }

  // Makes the entry of one object.
  void Place(Candidate* candidate) {
    json& object = candidate->object;
    json& metadata = object["metadata"];
    if (!CheckStrings(*candidate, metadata, "labels") ||
        !CheckStrings(*candidate, metadata, "annotations")) {
      return;
    }
    DropNulls(&object);
    object.erase("status");
    for (const char* field :
         {"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp",
          "deletionGracePeriodSeconds", "managedFields", "generation",
          "selfLink", "generateName"}) {
      metadata.erase(field);
    }

    std::string name_space;
    if (!PlaceInNamespace(candidate, &name_space)) return;
    const bool is_secret =
        candidate->group.empty() && candidate->kind == "Secret";
    if (is_secret && !FoldSecret(candidate)) return;
    // Values of a Secret may be anywhere.
    const bool secret = is_secret || input_.secrets.any();

    bool keep = candidate->source.crd ||
                (IsCrd(*candidate) && !input_.options.delete_crd_resources());
    if (const json* annotations = FindMember(metadata, "annotations");
        annotations != nullptr) {
      const std::string policy = absl::AsciiStrToLower(
          absl::StripAsciiWhitespace(TextMember(*annotations,
                                                kPolicyAnnotation)));
      keep = keep || policy == "keep";
    }
    metadata["labels"][kManagedLabel] = "true";
    metadata["annotations"][kBundleIdAnnotation] = input_.bundle_id;
    metadata["annotations"][kBundleAnnotation] =
        absl::StrCat(input_.workspace, "/", input_.bundle_name);

    const Identity identity = {candidate->group, candidate->kind, name_space,
                               candidate->name};
    const auto known = entries_.find(identity);
    if (known != entries_.end()) {
      Fail(candidate->source,
           absl::StrCat("the object is there twice: in ",
                        known->second.source_file(),
                        " and in ",
                        InRepository(input_, candidate->source.file)),
           Subject(*candidate));
      return;
    }
    core::v1::ManifestEntry entry;
    core::v1::ResourceKey* key = entry.mutable_key();
    key->set_group(candidate->group);
    key->set_version(candidate->version);
    key->set_kind(candidate->kind);
    key->set_namespace_(name_space);
    key->set_name(candidate->name);
    entry.set_keep(keep);
    entry.set_secret(secret);
    entry.set_source_file(InRepository(input_, candidate->source.file));
    if (!SetBlob(object, &entry)) {
      Fail(candidate->source,
           absl::StrCat("the object is larger than ", kMaxObjectBytes,
                        " bytes"),
           Subject(*candidate));
      return;
    }
    anything_in_namespace_ =
        anything_in_namespace_ || name_space == namespace_;
    entries_.emplace(identity, std::move(entry));
  }

  bool PlaceInNamespace(Candidate* candidate, std::string* name_space) {
    json& metadata = candidate->object["metadata"];
    const std::string& forced = input_.options.namespace_();
    if (!IsNamespaced(*candidate)) {
      // crds/ of a chart does not count, as with Helm.
      if (!forced.empty() && !candidate->source.crd) {
        Fail(candidate->source,
             absl::StrCat("the option `namespace: ", forced,
                          "` forces everything into one namespace, and a ",
                          candidate->kind,
                          " lives in none: use defaultNamespace instead"),
             Subject(*candidate));
        return false;
      }
      metadata.erase("namespace");
      return true;
    }
    const json* own = FindMember(metadata, "namespace");
    if (!forced.empty()) {
      *name_space = forced;
    } else if (own != nullptr && own->is_string() &&
               !own->get_ref<const std::string&>().empty()) {
      *name_space = own->get<std::string>();
    } else if (own != nullptr && !own->is_string()) {
      Fail(candidate->source, "metadata.namespace is no string",
           Subject(*candidate));
      return false;
    } else {
      *name_space = namespace_;
    }
    if (!IsNamespaceName(*name_space)) {
      Fail(candidate->source,
           "the namespace is no name of a namespace: up to 63 small letters, "
           "digits and dashes",
           Subject(*candidate));
      return false;
    }
    metadata["namespace"] = *name_space;
    return true;
  }

  bool SetBlob(const json& object, core::v1::ManifestEntry* entry) {
    ManifestBlob blob;
    blob.bytes =
        object.dump(-1, ' ', false, json::error_handler_t::replace);
    if (blob.bytes.size() > kMaxObjectBytes) return false;
    blob.digest = Sha256(blob.bytes);
    entry->set_blob_digest(blob.digest);
    entry->set_raw_size(blob.bytes.size());
    blobs_.emplace(blob.digest, std::move(blob));
    return true;
  }

  // The namespace that Helm would create (decisions.md 5). "default" is always
  // there.
  void EnsureNamespace() {
    if (input_.options.create_namespace() == storage::v1::TRI_STATE_FALSE ||
        namespace_ == "default") {
      return;
    }
    const bool wanted = anything_in_namespace_ ||
                        input_.options.namespace_labels_size() > 0 ||
                        input_.options.namespace_annotations_size() > 0;
    if (!wanted) return;
    const Identity identity = {"", "Namespace", "", namespace_};
    if (entries_.count(identity) > 0) return;
    core::v1::ManifestEntry entry;
    entry.mutable_key()->set_version("v1");
    entry.mutable_key()->set_kind("Namespace");
    entry.mutable_key()->set_name(namespace_);
    entry.set_ensure_namespace(true);
    // Owned by none: no marks.
    SetBlob({{"apiVersion", "v1"},
             {"kind", "Namespace"},
             {"metadata", {{"name", namespace_}}}},
            &entry);
    entries_.emplace(identity, std::move(entry));
  }

  const RenderInput& input_;
  const std::string namespace_;
  absl::btree_map<GroupKind, bool> scopes_;
  absl::btree_map<GroupKind, bool> own_scopes_;
  std::set<GroupKind> asked_;
  std::vector<Candidate> candidates_;
  absl::btree_map<Identity, core::v1::ManifestEntry> entries_;
  absl::btree_map<std::string, ManifestBlob> blobs_;
  bool anything_in_namespace_ = false;
  BuiltManifest result_;
};

}  // namespace

RenderPlan PlanRender(const RenderInput& input) {
  RenderPlan plan;
  const std::string name_space = ReleaseNamespace(input.options);
  if (!IsNamespaceName(name_space)) {
    plan.problems.push_back(MakeProblem(
        input, "fleet.yaml", 0,
        absl::StrCat("\"", name_space,
                     "\" is no name of a namespace: up to 63 small letters, "
                     "digits and dashes")));
    return plan;
  }
  plan.style = DetectStyle(input);
  plan.problems = plan.style.problems;
  plan.warnings = plan.style.warnings;
  if (!plan.problems.empty()) return plan;
  if (plan.style.raw()) {
    PlanRaw(input, &plan);
    return plan;
  }
  if (input.options.yaml_overlays_size() > 0) {
    plan.warnings.push_back(MakeProblem(
        input, "fleet.yaml", 0,
        "yaml.overlays means nothing here: it is for raw YAML, and the bundle "
        "is rendered with Helm or Kustomize"));
  }
  render::v1::RenderRequest request;
  if (plan.style.helm) {
    for (const RenderFile& file : input.files) {
      absl::string_view name = file.name;
      if (!absl::ConsumePrefix(&name, plan.style.chart_directory)) continue;
      // Charts of other targets.
      if (absl::StartsWith(name, kDownloadedCharts)) continue;
      AddFile(name, file.bytes, &request);
    }
  }
  if (plan.style.kustomize) {
    render::v1::Kustomize* kustomize = request.mutable_kustomize();
    kustomize->set_dir(plan.style.kustomize_dir);
    for (const RenderFile& file : input.files) {
      if (absl::StartsWith(file.name, kDownloadedCharts)) continue;
      render::v1::File* copy = kustomize->add_files();
      copy->set_name(file.name);
      copy->set_content(file.bytes);
    }
  }
  FillRequest(input, &request);
  plan.request = std::move(request);
  return plan;
}

BuiltManifest BuildManifest(const RenderInput& input, const RenderPlan& plan,
                            const render::v1::RenderResponse* response) {
  ManifestMaker maker(input);
  maker.result()->warnings = plan.warnings;
  if (response != nullptr) {
    maker.result()->uses_capabilities = response->uses_capabilities();
    maker.result()->uses_random = response->uses_random();
    maker.result()->uses_now = response->uses_now();
    for (const render::v1::RenderError& warning : response->warnings()) {
      maker.AddRenderWarning(plan, warning);
    }
    if (response->has_error()) maker.AddRenderError(plan, response->error());
    for (const render::v1::RenderedObject& object : response->objects()) {
      maker.AddRendered(plan, object);
    }
  }
  for (size_t index : plan.raw_files) maker.AddRawFile(input.files[index]);
  return maker.Finish();
}

BundleRender::BundleRender(RenderInput input) : input_(std::move(input)) {
  const Style style = DetectStyle(input_);
  if (style.problems.empty() && style.raw() &&
      input_.options.yaml_overlays_size() > 0) {
    overlays_ = std::make_unique<OverlayMerge>(input_);
  }
}

BundleRender::~BundleRender() = default;

absl::optional<render::v1::RenderRequest> BundleRender::Next() {
  if (overlays_ != nullptr) {
    std::vector<render::v1::Patch> patches = overlays_->NextPatches();
    if (!patches.empty()) {
      render::v1::RenderRequest request;
      for (render::v1::Patch& patch : patches) {
        *request.add_patches() = std::move(patch);
      }
      return request;
    }
    problems_ = overlays_->problems();
    warnings_ = overlays_->warnings();
    std::vector<RenderFile> files = overlays_->TakeFiles();
    overlays_.reset();
    input_.files = std::move(files);
  }
  if (planned_) return absl::nullopt;
  planned_ = true;
  if (!problems_.empty()) return absl::nullopt;
  plan_ = PlanRender(input_);
  problems_ = plan_.problems;
  if (!problems_.empty() || !plan_.request.has_value()) return absl::nullopt;
  absl::optional<render::v1::RenderRequest> request = std::move(plan_.request);
  plan_.request.reset();
  return request;
}

void BundleRender::Answer(render::v1::RenderResponse response) {
  if (overlays_ != nullptr) {
    overlays_->TakePatched(response);
    return;
  }
  response_ = std::move(response);
}

BuiltManifest BundleRender::Finish() {
  BuiltManifest built;
  if (problems_.empty()) {
    built = BuildManifest(input_, plan_,
                          response_.has_value() ? &*response_ : nullptr);
  } else {
    built.problems = std::move(problems_);
  }
  built.warnings.insert(built.warnings.begin(), warnings_.begin(),
                        warnings_.end());
  return built;
}

std::string FactsDigest(const core::v1::ClusterFacts& facts,
                        const std::vector<GroupKind>& kinds_asked,
                        bool uses_capabilities) {
  absl::btree_map<GroupKind, bool> scopes;
  for (const core::v1::KindFact& kind : facts.kinds()) {
    scopes[{kind.group(), kind.kind()}] = kind.namespaced();
  }
  std::string text;
  for (const GroupKind& kind : kinds_asked) {
    const auto it = scopes.find(kind);
    absl::StrAppend(&text, kind.first, "/", kind.second, "=",
                    it == scopes.end() || it->second ? "namespaced" : "cluster",
                    "\n");
  }
  if (uses_capabilities) {
    absl::StrAppend(&text, facts.kube_version(), "\n");
    for (const core::v1::KindFact& kind : facts.kinds()) {
      absl::StrAppend(&text, kind.group(), "/", kind.version(), "/",
                      kind.kind(), "\n");
    }
  }
  return Sha256(text);
}

}  // namespace flotilla::manager
