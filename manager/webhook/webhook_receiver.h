// SPDX-License-Identifier: Apache-2.0
//
// Turns webhooks into polls: whoever knows the secret of a GitRepo may have it
// looked at now, and no more than that (spec.md 9.6). Secrets are those that
// GitRepos name in spec.webhookSecret, and "gitjob-webhook" in
// "cattle-fleet-system" for all others. With none at all every webhook is
// refused.

#ifndef FLOTILLA_MANAGER_WEBHOOK_WEBHOOK_RECEIVER_H_
#define FLOTILLA_MANAGER_WEBHOOK_WEBHOOK_RECEIVER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/event/loop.h"
#include "common/event/worker_pool.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "manager/store/store.h"
#include "manager/store/typed_mirror.h"
#include "manager/webhook/webhook_request.h"

namespace flotilla::manager {

// What is answered over HTTP.
struct WebhookAnswer {
  int status = 200;
  std::string text;
};

// Loop-affine.
class WebhookReceiver {
 public:
  // Opens SecretSpec.sealed; the result is a serialised SecretData.
  using Unseal = absl::AnyInvocable<absl::StatusOr<std::string>(
      const storage::v1::SecretSpec& secret) const>;
  // Has a GitRepo polled.
  using Poll = std::function<void(const std::string& workspace,
                                  const std::string& name)>;
  using Respond = absl::AnyInvocable<void(WebhookAnswer)>;

  // All must outlive it. `workers` are few: who sends much without knowing a
  // secret keeps nothing else waiting.
  WebhookReceiver(Loop& loop, Store& store, WorkerPool& workers, Unseal unseal,
                  Poll poll);
  ~WebhookReceiver();
  WebhookReceiver(const WebhookReceiver&) = delete;
  WebhookReceiver& operator=(const WebhookReceiver&) = delete;

  // Judges one request of method POST. `respond` is called once, on the loop;
  // never after this is gone. Each GitRepo is polled at most once a second; a
  // hint that comes sooner is kept until then.
  void Receive(WebhookHeaders headers, std::string body, Respond respond);

 private:
  // Secrets that GitRepos use: (workspace, name), the global one included.
  using SecretName = std::pair<std::string, std::string>;

  // What the body of a request says, and which secrets its sender knows.
  struct Judgement {
    std::set<SecretName> known;
    absl::StatusOr<PushEvent> push = PushEvent();
  };

  struct Pace {
    absl::Duration last_poll = -absl::InfiniteDuration();
    bool waiting = false;
  };

  // Where the GitRepo's secret is.
  static SecretName SecretOf(const storage::v1::Document& git_repo);
  // Empty when it is not there or cannot be opened.
  WebhookSecret Open(const SecretName& name) const;
  WebhookAnswer Answer(WebhookProvider provider, const Judgement& judgement);
  void Hint(const std::string& key);
  void PollWaiting();

  Loop& loop_;
  WorkerPool& workers_;
  const Unseal unseal_;
  const Poll poll_;

  // By the key of the document. Those of more than a second ago go with the
  // next hint.
  std::map<std::string, Pace> paces_;
  std::unique_ptr<Timer> timer_;

  // Requests with the workers.
  int judged_ = 0;

  // Completions hold it weakly: none runs after this is gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  // Declared last: destroyed first.
  TypedMirror<storage::v1::Document> documents_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_WEBHOOK_WEBHOOK_RECEIVER_H_
