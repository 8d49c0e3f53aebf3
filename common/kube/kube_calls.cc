// SPDX-License-Identifier: Apache-2.0

#include "common/kube/kube_calls.h"

#include <string>
#include <utility>

#include "absl/status/status.h"

#include "common/kube/kube_url.h"

namespace flotilla {

void KubeCalls::Later(Task task) {
  loop_.Post(
      [alive = std::weak_ptr<bool>(alive_), task = std::move(task)]() mutable {
        if (alive.lock() != nullptr) task();
      });
}

void KubeCalls::Send(HttpRequest request, AnswerDone done, bool may_retry) {
  may_retry = may_retry && request.method == "GET";
  HttpRequest again;
  if (may_retry) again = request;
  std::string target = request.target;
  transport_.Send(
      std::move(request),
      [this, alive = std::weak_ptr<bool>(alive_), done = std::move(done),
       target = std::move(target), again = std::move(again),
       may_retry](absl::StatusOr<HttpAnswer> answer) mutable {
        if (alive.lock() == nullptr) return;
        if (!answer.ok()) {
          if (may_retry && absl::IsUnknown(answer.status())) {
            Send(std::move(again), std::move(done), /*may_retry=*/false);
            return;
          }
          done(answer.status());
          return;
        }
        if ((answer->code >= 200 && answer->code < 300) ||
            answer->code == 304) {
          done(std::move(answer));
          return;
        }
        done(KubeAnswerError(answer->code, answer->retry_after, answer->body,
                             target));
      });
}

}  // namespace flotilla
