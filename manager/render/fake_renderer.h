// SPDX-License-Identifier: Apache-2.0
//
// FakeRenderer answers what a test tells it to, and remembers what it was
// asked.

#ifndef FLOTILLA_MANAGER_RENDER_FAKE_RENDERER_H_
#define FLOTILLA_MANAGER_RENDER_FAKE_RENDERER_H_

#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/event/loop.h"
#include "flotilla/render/v1/render.pb.h"
#include "manager/render/renderer.h"

namespace flotilla::manager {

// Loop-affine.
class FakeRenderer final : public Renderer {
 public:
  using Answer = std::function<absl::StatusOr<render::v1::RenderResponse>(
      const render::v1::RenderRequest&)>;

  explicit FakeRenderer(Loop& loop) : loop_(loop) {}
  ~FakeRenderer() override { *alive_ = false; }
  FakeRenderer(const FakeRenderer&) = delete;
  FakeRenderer& operator=(const FakeRenderer&) = delete;

  // By default the answer has no objects.
  void set_answer(Answer answer) { answer_ = std::move(answer); }
  const std::vector<render::v1::RenderRequest>& requests() const {
    return requests_;
  }

  // Answers wait until Release(), which gives all that wait.
  void Hold() { held_ = true; }
  void Release() {
    held_ = false;
    for (Waiting& waiting : waiting_) {
      Give(std::move(waiting.first), std::move(waiting.second));
    }
    waiting_.clear();
  }

  void Render(render::v1::RenderRequest request, Done done) override {
    requests_.push_back(request);
    if (held_) {
      waiting_.emplace_back(std::move(request), std::move(done));
      return;
    }
    Give(std::move(request), std::move(done));
  }

 private:
  using Waiting = std::pair<render::v1::RenderRequest, Done>;

  void Give(render::v1::RenderRequest request, Done done) {
    loop_.Post([this, alive = alive_, request = std::move(request),
                done = std::move(done)]() mutable {
      if (!*alive) return;
      done(answer_ == nullptr ? render::v1::RenderResponse()
                              : answer_(request));
    });
  }

  // Collaborators. Not owned.
  Loop& loop_;

  // Loop state.
  Answer answer_;
  std::vector<render::v1::RenderRequest> requests_;
  std::deque<Waiting> waiting_;
  bool held_ = false;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_FAKE_RENDERER_H_
