// SPDX-License-Identifier: Apache-2.0
//
// ManifestMaker collects the objects that a bundle came to, and makes the
// manifest of them: scopes and namespaces, Flotilla's own marks, one entry for
// each object, bytes by digest.
//
//   ManifestMaker maker(input);
//   maker.AddFile(file);                       // raw YAML
//   maker.Add(json, source);                   // what the worker gave
//   BuiltManifest built = maker.Finish();

#ifndef FLOTILLA_MANAGER_RENDER_MANIFEST_MAKER_H_
#define FLOTILLA_MANAGER_RENDER_MANIFEST_MAKER_H_

#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/strings/string_view.h"
#include "common/yaml/documents.h"
#include "flotilla/core/v1/core.pb.h"
#include "manager/render/manifest_object.h"
#include "manager/render/render_input.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {

// One object's bytes.
struct ManifestBlob {
  // SHA-256 of `bytes`, raw.
  std::string digest;
  std::string bytes;
};

// Group and kind.
using GroupKind = std::pair<std::string, std::string>;

struct BuiltManifest {
  core::v1::Manifest manifest;
  // Distinct blobs that the manifest names, sorted by digest.
  std::vector<ManifestBlob> blobs;
  // Not empty: the rest is not to be used.
  std::vector<core::v1::Problem> problems;
  std::vector<core::v1::Problem> warnings;
  // What the result depends on besides bundle, options and time. Kinds whose
  // scope was asked of the facts, sorted.
  std::vector<GroupKind> kinds_asked;
  bool uses_capabilities = false;
  bool uses_random = false;
  bool uses_now = false;
};

// How deep an object may be, among others.
YamlLimits ObjectLimits();

// Thread-compatible.
class ManifestMaker {
 public:
  // `input` must outlive it.
  explicit ManifestMaker(const RenderInput& input);
  ManifestMaker(const ManifestMaker&) = delete;
  ManifestMaker& operator=(const ManifestMaker&) = delete;

  // The documents of a file of raw YAML or JSON.
  void AddFile(const RenderFile& file);
  // An object, or a list of objects.
  void Add(nlohmann::json object, const ObjectSource& source);

  void Fail(const ObjectSource& source, absl::string_view message,
            absl::string_view subject = "");
  void Warn(const ObjectSource& source, absl::string_view message);

  // What was found so far; for what is not said object by object.
  BuiltManifest& result() { return result_; }
  bool empty() const { return objects_.empty(); }

  // Once.
  BuiltManifest Finish();

 private:
  // Group, kind, namespace, name.
  using Identity =
      std::tuple<std::string, std::string, std::string, std::string>;

  void LearnFromCrds();
  bool IsNamespaced(const ManifestObject& object);
  void Place(ManifestObject& object);
  bool PlaceInNamespace(ManifestObject& object, std::string& name_space);
  bool MustKeep(const ManifestObject& object) const;
  void AddMarks(nlohmann::json& metadata, bool is_hook) const;
  bool SetBlob(const nlohmann::json& object, core::v1::ManifestEntry& entry);
  void EnsureNamespace();
  void CheckDependencies();

  // Constant after construction.
  const RenderInput& input_;
  const std::string namespace_;
  absl::btree_map<GroupKind, bool> scopes_;

  std::vector<ManifestObject> objects_;
  absl::btree_map<GroupKind, bool> own_scopes_;
  std::set<GroupKind> asked_;
  absl::btree_map<Identity, core::v1::ManifestEntry> entries_;
  std::vector<core::v1::ManifestEntry> hooks_;
  absl::btree_map<std::string, ManifestBlob> blobs_;
  bool anything_in_namespace_ = false;
  BuiltManifest result_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_MANIFEST_MAKER_H_
