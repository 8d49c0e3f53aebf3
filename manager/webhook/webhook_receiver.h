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
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/event/loop.h"
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

  // `loop` and `store` must outlive it.
  WebhookReceiver(Loop& loop, Store& store, Unseal unseal, Poll poll);
  ~WebhookReceiver();
  WebhookReceiver(const WebhookReceiver&) = delete;
  WebhookReceiver& operator=(const WebhookReceiver&) = delete;

  // Judges one request of method POST. Each GitRepo is polled at most once a
  // second; a hint that comes sooner is kept until then.
  WebhookAnswer Receive(const WebhookHeaders& headers, absl::string_view body);

 private:
  // Secrets that GitRepos use: (workspace, name), the global one included.
  using SecretName = std::pair<std::string, std::string>;

  struct Pace {
    absl::Duration last_poll = -absl::InfiniteDuration();
    bool waiting = false;
  };

  // Where the GitRepo's secret is.
  static SecretName SecretOf(const storage::v1::Document& git_repo);
  // Empty when it is not there or cannot be opened.
  WebhookSecret Open(const SecretName& name) const;
  void Hint(const std::string& key);
  void PollWaiting();

  Loop& loop_;
  const Unseal unseal_;
  const Poll poll_;

  // By the key of the document; only those hinted at in the last second.
  std::map<std::string, Pace> paces_;
  std::unique_ptr<Timer> timer_;

  // Declared last: destroyed first.
  TypedMirror<storage::v1::Document> documents_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_WEBHOOK_WEBHOOK_RECEIVER_H_
