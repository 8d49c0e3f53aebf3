// SPDX-License-Identifier: Apache-2.0
//
// How the agent is to treat a deployment, from its effective options.

#ifndef FLOTILLA_MANAGER_RENDER_DEPLOY_POLICY_H_
#define FLOTILLA_MANAGER_RENDER_DEPLOY_POLICY_H_

#include "flotilla/core/v1/core.pb.h"
#include "manager/render/render_input.h"

namespace flotilla::manager {

// The commit is no part of it: a commit that leaves a bundle as it is changes
// no manifest (decisions.md 1).
core::v1::DeployPolicy MakeDeployPolicy(const RenderInput& input);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_DEPLOY_POLICY_H_
