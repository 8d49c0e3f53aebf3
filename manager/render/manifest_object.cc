// SPDX-License-Identifier: Apache-2.0

#include "manager/render/manifest_object.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;

constexpr char kPolicyAnnotation[] = "helm.sh/resource-policy";
constexpr char kCrdGroup[] = "apiextensions.k8s.io";
constexpr char kCrdKind[] = "CustomResourceDefinition";
constexpr char kKustomizeGroup[] = "kustomize.config.k8s.io";
constexpr char kKustomizeText[] =
    "a kustomization lies here, and Kustomize is run only for the "
    "kustomization.yaml in the bundle's root or in kustomize.dir: set "
    "kustomize.dir, or keep the file out with .fleetignore";

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

std::string CheckStrings(const json& metadata, const char* field) {
  const json* map = FindMember(metadata, field);
  if (map == nullptr || map->is_null()) return "";
  if (!map->is_object()) return absl::StrCat("metadata.", field, " is no map");
  for (auto it = map->begin(); it != map->end(); ++it) {
    if (it->is_string() || it->is_null()) continue;
    return absl::StrCat("metadata.", field, ".", it.key(),
                        " must be a string: put it in quotes");
  }
  return "";
}

std::string CheckSecret(const json& object) {
  for (const char* field : {"data", "stringData"}) {
    const json* map = FindMember(object, field);
    if (map == nullptr) continue;
    if (!map->is_object()) {
      return absl::StrCat(field, " of the Secret is no map");
    }
    for (auto it = map->begin(); it != map->end(); ++it) {
      if (it->is_string()) continue;
      return absl::StrCat(field, ".", it.key(),
                          " of the Secret must be a string");
    }
  }
  return "";
}

std::string IdentifyVersion(ManifestObject& object) {
  const std::string text = TextMember(object.object, "apiVersion");
  if (!IsWord(text, "./-")) {
    return absl::StrCat("the ", object.kind,
                        " has no apiVersion, or it is no group and version");
  }
  const size_t slash = text.find('/');
  if (slash == std::string::npos) {
    object.version = text;
  } else {
    object.group = text.substr(0, slash);
    object.version = text.substr(slash + 1);
  }
  if (object.version.empty() || absl::StrContains(object.version, '/')) {
    return absl::StrCat("apiVersion of the ", object.kind,
                        " is no group and version");
  }
  return object.group == kKustomizeGroup ? kKustomizeText : "";
}

std::string IdentifyName(ManifestObject& object) {
  const json* metadata = FindMember(object.object, "metadata");
  if (metadata == nullptr || !metadata->is_object()) {
    return absl::StrCat("the ", object.kind, " has no metadata");
  }
  object.name = TextMember(*metadata, "name");
  if (object.name.empty()) {
    return FindMember(*metadata, "generateName") != nullptr
               ? absl::StrCat("the ", object.kind,
                              " has metadata.generateName, and an object that "
                              "is kept in line needs a fixed metadata.name")
               : absl::StrCat("the ", object.kind,
                              " has no metadata.name, or it is no string");
  }
  if (!IsName(object.name)) {
    return absl::StrCat("metadata.name of the ", object.kind,
                        " is no name of Kubernetes");
  }
  return "";
}

}  // namespace

bool ManifestObject::is_crd() const {
  return group == kCrdGroup && kind == kCrdKind;
}

std::string ManifestObject::subject() const {
  return absl::StrCat(kind, " ", name);
}

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

std::string AnnotationOf(const json& object, const char* name) {
  const json* metadata = FindMember(object, "metadata");
  if (metadata == nullptr) return "";
  const json* annotations = FindMember(*metadata, "annotations");
  return annotations == nullptr ? "" : TextMember(*annotations, name);
}

bool IsList(const json& object) {
  const json* items = FindMember(object, "items");
  const json* metadata = FindMember(object, "metadata");
  return absl::EndsWith(TextMember(object, "kind"), "List") &&
         items != nullptr && items->is_array() &&
         (metadata == nullptr || TextMember(*metadata, "name").empty());
}

std::string Identify(ManifestObject& object) {
  object.kind = TextMember(object.object, "kind");
  if (!IsWord(object.kind, "")) {
    return "the object has no kind, or it is no word";
  }
  std::string problem = IdentifyVersion(object);
  return problem.empty() ? IdentifyName(object) : problem;
}

std::string CheckMetadata(const json& object) {
  const json* metadata = FindMember(object, "metadata");
  if (metadata == nullptr) return "";
  std::string problem = CheckStrings(*metadata, "labels");
  return problem.empty() ? CheckStrings(*metadata, "annotations") : problem;
}

void DropServerFields(json& object) {
  DropNulls(&object);
  object.erase("status");
  json& metadata = object["metadata"];
  for (const char* field :
       {"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp",
        "deletionGracePeriodSeconds", "managedFields", "generation",
        "selfLink", "generateName"}) {
    metadata.erase(field);
  }
}

std::string FoldSecret(json& object) {
  std::string problem = CheckSecret(object);
  if (!problem.empty()) return problem;
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
        return absl::StrCat("data.", it.key(),
                            " of the Secret is not base64; plain text belongs "
                            "under stringData");
      }
      data[it.key()] = std::move(packed);
    }
  }
  if (const json* map = FindMember(object, "stringData"); map != nullptr) {
    for (auto it = map->begin(); it != map->end(); ++it) {
      data[it.key()] = absl::Base64Escape(it->get_ref<const std::string&>());
    }
    object.erase("stringData");
  }
  if (!data.empty()) object["data"] = std::move(data);
  return "";
}

bool HasKeepPolicy(const json& object) {
  return absl::AsciiStrToLower(absl::StripAsciiWhitespace(
             AnnotationOf(object, kPolicyAnnotation))) == "keep";
}

}  // namespace flotilla::manager
