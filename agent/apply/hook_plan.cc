// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/hook_plan.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "common/crypto/sha256.h"
#include "common/kube/object.h"

namespace flotilla::agent {

using agentstate::v1::HookProgress;
using core::v1::Hook;
using core::v1::Manifest;
using core::v1::ManifestEntry;

absl::string_view HookEventName(HookEvent event) {
  switch (event) {
    case Hook::EVENT_PRE_INSTALL:
      return "pre-install";
    case Hook::EVENT_POST_INSTALL:
      return "post-install";
    case Hook::EVENT_PRE_UPGRADE:
      return "pre-upgrade";
    case Hook::EVENT_POST_UPGRADE:
      return "post-upgrade";
    case Hook::EVENT_PRE_DELETE:
      return "pre-delete";
    case Hook::EVENT_POST_DELETE:
      return "post-delete";
    default:
      return "";
  }
}

std::string HookText(HookEvent event, const ManifestEntry& hook) {
  return absl::StrCat(HookEventName(event), " hook ", KeyText(hook.key()));
}

HookProgress ProgressOf(const HookProgress& before, const Manifest& manifest,
                        bool has_objects) {
  // Labels that other bundles look at, and what is waited for, are no part of
  // what is released.
  Manifest released = manifest;
  released.mutable_policy()->clear_bundle_labels();
  released.mutable_policy()->clear_depends_on();
  const std::string release = Sha256(released.SerializeAsString());
  if (before.release() == release) return before;
  HookProgress progress;
  progress.set_release(release);
  progress.set_ever(before.ever());
  progress.set_upgrade(has_objects || before.ever());
  return progress;
}

bool HookEventIsOver(const HookProgress& progress, HookEvent event) {
  return std::find(progress.done().begin(), progress.done().end(),
                   HookEventName(event)) != progress.done().end();
}

std::vector<int> HooksOf(const Manifest& manifest, HookEvent event) {
  std::vector<int> found;
  for (int i = 0; i < manifest.hooks_size(); ++i) {
    const auto& events = manifest.hooks(i).hook().events();
    if (std::find(events.begin(), events.end(), event) != events.end()) {
      found.push_back(i);
    }
  }
  return found;
}

}  // namespace flotilla::agent
