// SPDX-License-Identifier: Apache-2.0
//
// Which of Helm's hooks a deployment has to run, told from its manifest and
// from what the disk remembers. A release is a manifest: it runs the hooks of
// an install where the bundle was not in the cluster before, else those of an
// upgrade; a hook that has succeeded does not run again for the same release,
// nor does one that failed.

#ifndef FLOTILLA_AGENT_APPLY_HOOK_PLAN_H_
#define FLOTILLA_AGENT_APPLY_HOOK_PLAN_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "flotilla/agentstate/v1/agentstate.pb.h"
#include "flotilla/core/v1/core.pb.h"

namespace flotilla::agent {

using HookEvent = core::v1::Hook::Event;

// As Helm writes it, such as "pre-install".
absl::string_view HookEventName(HookEvent event);

// Names one hook at one event, as in HookProgress.done.
std::string HookText(HookEvent event, const core::v1::ManifestEntry& hook);

// `before`, or the beginning of the release of `manifest` when `before` is of
// another one. `has_objects`: some of the bundle are in the cluster.
agentstate::v1::HookProgress ProgressOf(
    const agentstate::v1::HookProgress& before,
    const core::v1::Manifest& manifest, bool has_objects);

bool HookEventIsOver(const agentstate::v1::HookProgress& progress,
                     HookEvent event);

// Indices into manifest.hooks of all of one event, in the order of running.
std::vector<int> HooksOf(const core::v1::Manifest& manifest, HookEvent event);

}  // namespace flotilla::agent

#endif  // FLOTILLA_AGENT_APPLY_HOOK_PLAN_H_
