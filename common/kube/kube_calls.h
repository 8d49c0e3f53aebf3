// SPDX-License-Identifier: Apache-2.0
//
// KubeCalls sends the requests of one HttpKubeClient: an answer that is not
// 2xx or 304 becomes its error, and a GET whose stream was reset before its
// answer was complete is sent once more. Nothing of it runs once it is gone.

#ifndef FLOTILLA_COMMON_KUBE_KUBE_CALLS_H_
#define FLOTILLA_COMMON_KUBE_KUBE_CALLS_H_

#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

#include "common/event/loop.h"
#include "common/kube/http_kube_options.h"
#include "common/kube/http_transport.h"

namespace flotilla {

// Loop-affine.
class KubeCalls {
 public:
  using AnswerDone = absl::AnyInvocable<void(absl::StatusOr<HttpAnswer>)>;

  // Both must outlive it.
  KubeCalls(HttpTransport& transport, Loop& loop,
            const HttpKubeClientOptions& options)
      : transport_(transport), loop_(loop), options_(options) {}
  KubeCalls(const KubeCalls&) = delete;
  KubeCalls& operator=(const KubeCalls&) = delete;

  void Send(HttpRequest request, AnswerDone done) {
    Send(std::move(request), std::move(done), /*may_retry=*/true);
  }
  std::unique_ptr<HttpStream> Open(HttpRequest request,
                                   HttpStreamListener& listener) {
    return transport_.Open(std::move(request), listener);
  }
  // Runs `task` in a later turn.
  void Later(Task task);

  const HttpKubeClientOptions& options() const { return options_; }

 private:
  void Send(HttpRequest request, AnswerDone done, bool may_retry);

  // Collaborators. Not owned.
  HttpTransport& transport_;
  Loop& loop_;

  // Constant after construction.
  const HttpKubeClientOptions options_;

  // Lets late tasks see that this is gone.
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_KUBE_KUBE_CALLS_H_
