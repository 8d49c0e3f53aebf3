// SPDX-License-Identifier: Apache-2.0
//
// One Kubernetes object on its way into a manifest: what every object must
// have, and what is taken out of it. Texts of problems never hold a value of a
// Secret.

#ifndef FLOTILLA_MANAGER_RENDER_MANIFEST_OBJECT_H_
#define FLOTILLA_MANAGER_RENDER_MANIFEST_OBJECT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "flotilla/core/v1/core.pb.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// Where an object came from.
struct ObjectSource {
  std::string file;
  int line = 0;
  // crds/ of a chart.
  bool crd = false;
};

struct ManifestObject {
  nlohmann::json object;
  ObjectSource source;
  std::string group;
  std::string version;
  std::string kind;
  std::string name;
  // One of Helm's hooks, and when it runs.
  bool is_hook = false;
  core::v1::Hook hook;

  bool is_secret() const { return group.empty() && kind == "Secret"; }
  bool is_crd() const;
  // For problems.
  std::string subject() const;
};

// Null when `object` is no map or has no such member.
const nlohmann::json* FindMember(const nlohmann::json& object,
                                 const char* name);
// Empty when there is no such string.
std::string TextMember(const nlohmann::json& object, const char* name);

// Whether the object is a list of others, as kubectl prints it.
bool IsList(const nlohmann::json& object);

// Fills in group, version, kind and name from `object`. Returns what is wrong,
// or nothing.
std::string Identify(ManifestObject& object);

// Value of an annotation; empty when there is none.
std::string AnnotationOf(const nlohmann::json& object, const char* name);

// What is wrong with labels and annotations, or nothing.
std::string CheckMetadata(const nlohmann::json& object);

// Takes out nulls, and what the API server writes.
void DropServerFields(nlohmann::json& object);

// stringData of a Secret into data, as the API server does. Returns what is
// wrong, or nothing.
std::string FoldSecret(nlohmann::json& object);

// Whether helm.sh/resource-policy says that it is to stay.
bool HasKeepPolicy(const nlohmann::json& object);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_MANIFEST_OBJECT_H_
