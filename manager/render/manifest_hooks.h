// SPDX-License-Identifier: Apache-2.0
//
// What annotations of an object say about its turn: Helm's hooks
// (helm.sh/hook, hook-weight, hook-delete-policy; read as Helm reads them) and
// objects that it depends on.

#ifndef FLOTILLA_MANAGER_RENDER_MANIFEST_HOOKS_H_
#define FLOTILLA_MANAGER_RENDER_MANIFEST_HOOKS_H_

#include <string>
#include <vector>

#include "nlohmann/json.hpp"

#include "flotilla/core/v1/core.pb.h"

namespace flotilla::manager {

// Thread-compatible.
struct HookReading {
  // The object is a hook, and no object of the release.
  bool is_hook = false;
  // No events: it never runs.
  core::v1::Hook hook;
  // What the user should know; empty: nothing.
  std::string warning;
};

HookReading ReadHook(const nlohmann::json& object);

// Into the order in which Helm runs the hooks of one event: by weight, name,
// and kind.
void SortHooks(std::vector<core::v1::ManifestEntry>* hooks);

// Thread-compatible.
struct DependsOnReading {
  std::vector<core::v1::ResourceKey> keys;  // Without versions.
  std::string problem;                      // Empty: none.
};

// The annotations config.kubernetes.io/depends-on (as cli-utils reads it) and
// flotilla.dev/depends-on, of the same form: "group/kind/name" or
// "group/namespaces/namespace/kind/name", with commas between.
DependsOnReading ReadDependsOn(const nlohmann::json& object);

// Thread-compatible.
struct DependencyProblem {
  const core::v1::ManifestEntry* entry = nullptr;
  std::string message;
};

// What is wrong with what `entries` depend on: an object that is none of them,
// or a circle, which is named. One problem for each entry at most.
std::vector<DependencyProblem> CheckDependsOn(
    const std::vector<const core::v1::ManifestEntry*>& entries);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_MANIFEST_HOOKS_H_
