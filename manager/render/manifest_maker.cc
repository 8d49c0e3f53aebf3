// SPDX-License-Identifier: Apache-2.0

#include "manager/render/manifest_maker.h"

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/crypto/sha256.h"
#include "manager/render/deploy_policy.h"
#include "manager/render/manifest_hooks.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;

constexpr char kManagedLabel[] = "flotilla.dev/managed";
constexpr char kBundleIdAnnotation[] = "flotilla.dev/bundle-id";
constexpr char kBundleAnnotation[] = "flotilla.dev/bundle";

constexpr size_t kMaxProblems = 20;
constexpr size_t kMaxObjects = 20000;
// As deep as the agent reads objects.
constexpr int kMaxObjectDepth = 60;
constexpr size_t kMaxObjectBytes = 3 << 20;

}  // namespace

YamlLimits ObjectLimits() {
  YamlLimits limits;
  limits.max_depth = kMaxObjectDepth;
  return limits;
}

ManifestMaker::ManifestMaker(const RenderInput& input)
    : input_(input), namespace_(ReleaseNamespace(input.options)) {
  for (const core::v1::KindFact& kind : input.facts.kinds()) {
    scopes_[{kind.group(), kind.kind()}] = kind.namespaced();
  }
}

void ManifestMaker::AddFile(const RenderFile& file) {
  ObjectSource source;
  source.file = file.origin();
  YamlLimits limits = ObjectLimits();
  // As Helm reads it.
  limits.lenient = true;
  absl::StatusOr<std::vector<YamlDocument>> documents =
      ParseYamlDocuments(file.bytes, limits);
  if (!documents.ok()) {
    source.line = YamlErrorLine(documents.status());
    Fail(source, absl::StrCat("the file is not YAML: ",
                              YamlErrorText(documents.status())));
    return;
  }
  for (YamlDocument& document : *documents) {
    for (const YamlDoubt& doubt : document.doubts) {
      source.line = doubt.line;
      Warn(source, doubt.text);
    }
    source.line = document.line;
    if (!document.value.is_object()) {
      Fail(source, "the document is no Kubernetes object, which is a map");
      continue;
    }
    const json* kind = FindMember(document.value, "kind");
    if (kind == nullptr || kind->is_null() || *kind == "") {
      Warn(source, "the document has no kind and was left out");
      continue;
    }
    Add(std::move(document.value), source);
  }
}

void ManifestMaker::Add(json object, const ObjectSource& source) {
  if (IsList(object)) {
    const std::string kind = TextMember(object, "kind");
    for (json& item : object["items"]) {
      if (!item.is_object()) {
        Fail(source, absl::StrCat("an item of the ", kind, " is no object"));
        return;
      }
      Add(std::move(item), source);
    }
    return;
  }

  ManifestObject candidate;
  candidate.object = std::move(object);
  candidate.source = source;
  if (const std::string problem = Identify(candidate); !problem.empty()) {
    Fail(source, problem);
    return;
  }
  HookReading hook;
  if (!source.crd) hook = ReadHook(candidate.object);
  if (!hook.warning.empty()) Warn(source, hook.warning);
  if (hook.is_hook && hook.hook.events().empty()) return;
  candidate.is_hook = hook.is_hook;
  candidate.hook = std::move(hook.hook);
  if (objects_.size() >= kMaxObjects) {
    if (objects_.size() == kMaxObjects) {
      Fail(source, absl::StrCat("the bundle has more than ", kMaxObjects,
                                " objects"));
    }
    return;
  }
  objects_.push_back(std::move(candidate));
}

void ManifestMaker::Fail(const ObjectSource& source, absl::string_view message,
                         absl::string_view subject) {
  if (result_.problems.size() >= kMaxProblems) return;
  result_.problems.push_back(MakeProblem(input_, source.file, source.line,
                                         input_.secrets.Redact(message),
                                         subject));
}

void ManifestMaker::Warn(const ObjectSource& source,
                         absl::string_view message) {
  if (result_.warnings.size() >= kMaxProblems) return;
  result_.warnings.push_back(MakeProblem(input_, source.file, source.line,
                                         input_.secrets.Redact(message)));
}

BuiltManifest ManifestMaker::Finish() {
  LearnFromCrds();
  for (ManifestObject& object : objects_) Place(object);
  if (entries_.empty() && hooks_.empty() && result_.problems.empty()) {
    result_.warnings.push_back(
        MakeProblem(input_, "", 0, "the bundle has no objects"));
  }
  CheckDependencies();
  EnsureNamespace();
  for (auto& [identity, entry] : entries_) {
    *result_.manifest.add_entries() = std::move(entry);
  }
  SortHooks(&hooks_);
  for (core::v1::ManifestEntry& hook : hooks_) {
    *result_.manifest.add_hooks() = std::move(hook);
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

void ManifestMaker::CheckDependencies() {
  std::vector<const core::v1::ManifestEntry*> entries;
  for (const auto& [identity, entry] : entries_) entries.push_back(&entry);
  for (const DependencyProblem& problem : CheckDependsOn(entries)) {
    if (result_.problems.size() >= kMaxProblems) return;
    const core::v1::ResourceKey& key = problem.entry->key();
    result_.problems.push_back(
        MakeProblem(input_, "", 0, input_.secrets.Redact(problem.message),
                    absl::StrCat(key.kind(), " ", key.name())));
    result_.problems.back().set_file(problem.entry->source_file());
  }
}

void ManifestMaker::LearnFromCrds() {
  for (const ManifestObject& object : objects_) {
    if (!object.is_crd()) continue;
    const json* spec = FindMember(object.object, "spec");
    if (spec == nullptr) continue;
    const json* names = FindMember(*spec, "names");
    if (names == nullptr) continue;
    const std::string scope = TextMember(*spec, "scope");
    if (scope != "Namespaced" && scope != "Cluster") continue;
    own_scopes_[{TextMember(*spec, "group"), TextMember(*names, "kind")}] =
        scope == "Namespaced";
  }
}

// A kind that nobody knows is taken for namespaced: most are, and when the CRD
// comes later the agent says what is wrong.
bool ManifestMaker::IsNamespaced(const ManifestObject& object) {
  const GroupKind kind = {object.group, object.kind};
  const auto own = own_scopes_.find(kind);
  if (own != own_scopes_.end()) return own->second;
  asked_.insert(kind);
  const auto known = scopes_.find(kind);
  return known == scopes_.end() || known->second;
}

// Makes the entry of one object.
void ManifestMaker::Place(ManifestObject& object) {
  std::string problem = CheckMetadata(object.object);
  if (!problem.empty()) {
    Fail(object.source, problem, object.subject());
    return;
  }
  DropServerFields(object.object);
  std::string name_space;
  if (!PlaceInNamespace(object, name_space)) return;
  if (object.is_secret()) problem = FoldSecret(object.object);
  if (!problem.empty()) {
    Fail(object.source, problem, object.subject());
    return;
  }
  DependsOnReading depends_on = ReadDependsOn(object.object);
  if (!depends_on.problem.empty()) {
    Fail(object.source, depends_on.problem, object.subject());
    return;
  }
  AddMarks(object.object["metadata"], object.is_hook);

  const Identity identity = {object.group, object.kind, name_space,
                             object.name};
  const auto known = entries_.find(identity);
  if (known != entries_.end() && !object.is_hook) {
    Fail(object.source,
         absl::StrCat("the object is there twice: in ",
                      known->second.source_file(), " and in ",
                      InRepository(input_, object.source.file)),
         object.subject());
    return;
  }
  core::v1::ManifestEntry entry;
  core::v1::ResourceKey* key = entry.mutable_key();
  key->set_group(object.group);
  key->set_version(object.version);
  key->set_kind(object.kind);
  key->set_namespace_(name_space);
  key->set_name(object.name);
  entry.set_keep(!object.is_hook && MustKeep(object));
  // Values of a Secret may be anywhere.
  const bool secret = object.is_secret() || input_.secrets.any();
  entry.set_secret(secret);
  entry.set_source_file(InRepository(input_, object.source.file));
  if (!SetBlob(object.object, entry)) {
    Fail(object.source,
         absl::StrCat("the object is larger than ", kMaxObjectBytes, " bytes"),
         object.subject());
    return;
  }
  anything_in_namespace_ = anything_in_namespace_ || name_space == namespace_;
  if (object.is_hook) {
    *entry.mutable_hook() = std::move(object.hook);
    hooks_.push_back(std::move(entry));
    return;
  }
  for (core::v1::ResourceKey& other : depends_on.keys) {
    *entry.add_depends_on() = std::move(other);
  }
  entries_.emplace(identity, std::move(entry));
}

bool ManifestMaker::PlaceInNamespace(ManifestObject& object,
                                     std::string& name_space) {
  json& metadata = object.object["metadata"];
  const std::string& forced = input_.options.namespace_();
  if (!IsNamespaced(object)) {
    // crds/ of a chart does not count, as with Helm.
    if (!forced.empty() && !object.source.crd) {
      Fail(object.source,
           absl::StrCat("the option `namespace: ", forced,
                        "` forces everything into one namespace, and a ",
                        object.kind,
                        " lives in none: use defaultNamespace instead"),
           object.subject());
      return false;
    }
    metadata.erase("namespace");
    return true;
  }
  const json* own = FindMember(metadata, "namespace");
  if (!forced.empty()) {
    name_space = forced;
  } else if (own != nullptr && !own->is_string()) {
    Fail(object.source, "metadata.namespace is no string", object.subject());
    return false;
  } else {
    name_space = TextMember(metadata, "namespace");
    if (name_space.empty()) name_space = namespace_;
  }
  if (!IsNamespaceName(name_space)) {
    Fail(object.source,
         "the namespace is no name of a namespace: up to 63 small letters, "
         "digits and dashes",
         object.subject());
    return false;
  }
  metadata["namespace"] = name_space;
  return true;
}

bool ManifestMaker::MustKeep(const ManifestObject& object) const {
  return object.source.crd ||
         (object.is_crd() && !input_.options.delete_crd_resources()) ||
         HasKeepPolicy(object.object);
}

// Hooks are not watched: nothing keeps them in line.
void ManifestMaker::AddMarks(json& metadata, bool is_hook) const {
  if (!is_hook) metadata["labels"][kManagedLabel] = "true";
  metadata["annotations"][kBundleIdAnnotation] = input_.bundle_id;
  metadata["annotations"][kBundleAnnotation] =
      absl::StrCat(input_.workspace, "/", input_.bundle_name);
}

bool ManifestMaker::SetBlob(const json& object,
                            core::v1::ManifestEntry& entry) {
  ManifestBlob blob;
  blob.bytes = object.dump(-1, ' ', false, json::error_handler_t::replace);
  if (blob.bytes.size() > kMaxObjectBytes) return false;
  blob.digest = Sha256(blob.bytes);
  entry.set_blob_digest(blob.digest);
  entry.set_raw_size(blob.bytes.size());
  blobs_.emplace(blob.digest, std::move(blob));
  return true;
}

// The namespace that Helm would create (decisions.md 5). "default" is always
// there.
void ManifestMaker::EnsureNamespace() {
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
          entry);
  entries_.emplace(identity, std::move(entry));
}

}  // namespace flotilla::manager
