// SPDX-License-Identifier: Apache-2.0
//
// Renderer renders charts. What a chart does wrong is no error here: it is
// RenderResponse.error. Errors are of the renderer itself:
// * DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED: the chart takes more time or memory
//   than it may; trying again gives the same.
// * UNAVAILABLE, NOT_FOUND, PERMISSION_DENIED: the renderer cannot run now; try
//   again later.

#ifndef FLOTILLA_MANAGER_RENDER_RENDERER_H_
#define FLOTILLA_MANAGER_RENDER_RENDERER_H_

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "flotilla/render/v1/render.pb.h"

namespace flotilla::manager {

// Loop-affine.
class Renderer {
 public:
  using Done =
      absl::AnyInvocable<void(absl::StatusOr<render::v1::RenderResponse>)>;

  virtual ~Renderer() = default;

  // `done` runs on the loop, never inside the call, and not after the
  // renderer is destroyed. RenderRequest.id is the renderer's to set.
  virtual void Render(render::v1::RenderRequest request, Done done) = 0;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_RENDERER_H_
