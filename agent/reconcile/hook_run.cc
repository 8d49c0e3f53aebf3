// SPDX-License-Identifier: Apache-2.0

#include "agent/reconcile/hook_run.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"

#include "agent/apply/refusal.h"
#include "agent/drift/drift_diff.h"
#include "agent/health/health_verdict.h"
#include "agent/health/pod_rules.h"
#include "common/kube/kube_error.h"
#include "common/kube/object.h"
#include "common/log/log.h"

namespace flotilla::agent {
namespace {

using core::v1::ManifestEntry;
using core::v1::ResourceKey;
using nlohmann::json;

constexpr absl::Duration kDefaultTime = absl::Minutes(5);
constexpr absl::Duration kWatchPause = absl::Seconds(1);

bool IsJob(const ResourceKey& key) {
  return key.group() == "batch" && key.kind() == "Job";
}

bool IsPod(const ResourceKey& key) {
  return key.group().empty() && key.kind() == "Pod";
}

bool IsCrd(const ResourceKey& key) {
  return key.group() == "apiextensions.k8s.io";
}

// Helm leaves its hooks without a mark of an owner.
bool IsHook(const json& object) {
  const json& annotations = Member(Member(object, "metadata"), "annotations");
  return !TextOr(Member(annotations, "helm.sh/hook")).empty();
}

json Parse(const std::string& text) {
  absl::StatusOr<json> parsed = ParseKubeJson(text);
  return parsed.ok() && parsed->is_object() ? *std::move(parsed)
                                            : json::object();
}

std::shared_ptr<const core::v1::Manifest> RunningOf(
    const std::weak_ptr<Deployment>& weak) {
  const std::shared_ptr<Deployment> deployment = weak.lock();
  return deployment == nullptr || deployment->running == nullptr
             ? std::make_shared<const core::v1::Manifest>()
             : deployment->running;
}

// The message of a condition that is True; nullopt when there is none.
absl::optional<std::string> ConditionText(const json& live,
                                          absl::string_view type) {
  const json& conditions = Member(Member(live, "status"), "conditions");
  if (!conditions.is_array()) return absl::nullopt;
  for (const json& condition : conditions) {
    if (TextOr(Member(condition, "type")) != type ||
        TextOr(Member(condition, "status")) != "True") {
      continue;
    }
    const std::string message = TextOr(Member(condition, "message"));
    return message.empty() ? TextOr(Member(condition, "reason")) : message;
  }
  return absl::nullopt;
}

}  // namespace

HookRun::HookRun(const RunTools& tools, std::weak_ptr<Deployment> deployment,
                 HookEvent event, agentstate::v1::HookProgress progress,
                 absl::AnyInvocable<void(RunResult)> done)
    : tools_(tools),
      deployment_(std::move(deployment)),
      manifest_(RunningOf(deployment_)),
      event_(event),
      hooks_(HooksOf(*manifest_, event)),
      progress_(std::move(progress)),
      done_(std::move(done)) {}

HookRun::~HookRun() = default;

const ManifestEntry& HookRun::hook() const {
  return manifest_->hooks(hooks_[next_]);
}

bool HookRun::IsDeletion() const {
  return event_ == core::v1::Hook::EVENT_PRE_DELETE ||
         event_ == core::v1::Hook::EVENT_POST_DELETE;
}

void HookRun::Start() {
  deadline_timer_ = tools_.loop.CreateTimer([this] {
    const bool going = await_ == Await::kGone;
    StopWaiting();
    const std::string time = absl::FormatDuration(deadline_);
    if (going) {
      Stop(RunEnd::kFailed,
           absl::StrCat(Text(), ": the one that ran before is not gone after ",
                        time, " (helm.timeoutSeconds)"));
    } else {
      Failed(
          absl::StrCat("is not done after ", time, " (helm.timeoutSeconds)"));
    }
  });
  watch_timer_ = tools_.loop.CreateTimer([this] { WatchAgain(); });
  deadline_ = manifest_->policy().has_wait()
                  ? absl::Seconds(manifest_->policy().wait().seconds())
                  : kDefaultTime;
  // Never inside the call.
  tools_.loop.Post([weak = weak_from_this()] {
    if (auto self = weak.lock()) self->Next();
  });
}

void HookRun::Next() {
  if (deployment_.expired()) return;
  if (!IsDeletion() && !progress_.failure().empty()) {
    Stop(RunEnd::kFailed, progress_.failure());
    return;
  }
  while (next_ < hooks_.size() &&
         std::find(progress_.done().begin(), progress_.done().end(), Text()) !=
             progress_.done().end()) {
    ++next_;
  }
  if (next_ == hooks_.size()) {
    Finish();
    return;
  }
  Say(absl::StrCat(Text(), " runs"));
  Look();
}

void HookRun::Look() {
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  tools_.applier.Get(
      Lane::kBulk, deployment->user, hook().key(),
      /*metadata_only=*/false,
      [weak = weak_from_this()](absl::StatusOr<KubeObject> live) {
        if (auto self = weak.lock()) self->OnLive(live);
      });
}

void HookRun::OnLive(const absl::StatusOr<KubeObject>& live) {
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  const bool ran = progress_.started() == Text();
  if (!live.ok()) {
    if (MissingWhat(live.status()) != KubeError::Missing::kObject) {
      Refused(live.status());
    } else if (ran) {
      // Kubernetes removes Jobs that are done, where they say so.
      Succeeded();
    } else {
      Apply();
    }
    return;
  }
  const ResourceKey& key = hook().key();
  const json object = Parse(live->json);
  if (ran && live->head.uid == progress_.started_uid()) {
    uid_ = live->head.uid;
    Wait(Await::kDone);
    return;
  }
  if (!BearsMark(object, deployment->bundle_id) && !IsHook(object)) {
    Stop(RunEnd::kFailed,
         absl::StrCat(Text(),
                      ": an object of that name exists that is no hook "
                      "and not of this bundle; remove or rename one"));
    return;
  }
  if (!hook().hook().delete_before() || IsCrd(key)) {
    if (IsJob(key) || IsPod(key)) {
      Stop(RunEnd::kFailed,
           absl::StrCat(Text(),
                        ": one that ran before is still there, and its "
                        "hook-delete-policy does not name "
                        "before-hook-creation; delete it"));
    } else {
      Apply();
    }
    return;
  }
  uid_ = live->head.uid;
  tools_.applier.Delete(
      Lane::kBulk, deployment->user, key, uid_,
      DeleteOptions::Propagation::kBackground,
      [weak = weak_from_this()](absl::StatusOr<DeleteResult> result) {
        auto self = weak.lock();
        if (self == nullptr) return;
        if (result.ok() && result->pending) {
          self->Wait(Await::kGone);
        } else if (result.ok() || absl::IsNotFound(result.status())) {
          self->Apply();
        } else if (absl::IsAborted(result.status())) {
          self->Look();
        } else {
          self->Refused(result.status());
        }
      });
}

void HookRun::Apply() {
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  tools_.applier.Apply(
      Lane::kBulk, deployment->user, hook().key(), hook().blob_digest(),
      ApplyOptions(),
      [weak = weak_from_this()](absl::StatusOr<ApplyResult> result) {
        if (auto self = weak.lock()) self->OnApplied(result);
      });
}

void HookRun::OnApplied(const absl::StatusOr<ApplyResult>& result) {
  if (!result.ok()) {
    Refused(result.status());
    return;
  }
  if (!IsJob(hook().key()) && !IsPod(hook().key())) {
    Succeeded();
    return;
  }
  uid_ = result->object.head.uid;
  progress_.set_started(Text());
  progress_.set_started_uid(uid_);
  Save([this] { Wait(Await::kDone); });
}

void HookRun::Wait(Await what) {
  await_ = what;
  deadline_timer_->Arm(deadline_);
  WatchAgain();
}

void HookRun::WatchAgain() {
  if (await_ == Await::kNothing) return;
  WatchRequest request;
  const ResourceKey& key = hook().key();
  request.kind = {key.group(), key.version(), key.kind()};
  request.ns = key.namespace_();
  request.field_selector = absl::StrCat("metadata.name=", key.name());
  request.metadata_only = await_ == Await::kGone;
  seen_ = false;
  watch_ = tools_.client.Watch(std::move(request), *this);
}

void HookRun::OnSync(Sync) {
  if (!seen_) OnGone();
}

void HookRun::OnEvent(WatchEvent event) {
  seen_ = true;
  const bool other = event.object.head.uid != uid_;
  if (event.type == WatchEvent::Type::kDeleted || other) {
    if (!other || event.type != WatchEvent::Type::kDeleted) OnGone();
    return;
  }
  if (await_ == Await::kDone) OnState(Parse(event.object.json));
}

void HookRun::OnClosed(absl::Status) {
  watch_.reset();
  if (await_ != Await::kNothing) watch_timer_->Arm(kWatchPause);
}

void HookRun::OnState(const json& live) {
  if (IsPod(hook().key())) {
    const std::string phase = TextOr(Member(Member(live, "status"), "phase"));
    if (phase == "Succeeded") {
      Succeeded();
    } else if (phase == "Failed") {
      std::string why = TextOr(Member(Member(live, "status"), "message"));
      Failed(absl::StrCat("failed", why.empty() ? "" : ": ", why));
    }
    return;
  }
  if (ConditionText(live, "Complete").has_value()) {
    Succeeded();
  } else if (const auto why = ConditionText(live, "Failed")) {
    Failed(absl::StrCat("failed", why->empty() ? "" : ": ", *why));
  }
}

void HookRun::OnGone() {
  const bool going = await_ == Await::kGone;
  StopWaiting();
  if (going) {
    Look();
  } else {
    // As Helm: Kubernetes removes Jobs that are done, where they say so.
    Succeeded();
  }
}

void HookRun::StopWaiting() {
  await_ = Await::kNothing;
  watch_.reset();
  watch_timer_->Disarm();
  deadline_timer_->Disarm();
}

void HookRun::Succeeded() {
  StopWaiting();
  FLOTILLA_LOG(INFO) << Text() << " is done";
  progress_.add_done(Text());
  progress_.clear_started();
  progress_.clear_started_uid();
  Save([this] { Next(); });
}

void HookRun::Failed(std::string why) {
  StopWaiting();
  if (!IsJob(hook().key()) && !IsPod(hook().key())) {
    EndFailed(why);
    return;
  }
  ListRequest request;
  request.kind = {"", "v1", "Pod"};
  request.ns = hook().key().namespace_();
  request.metadata_only = false;
  if (IsJob(hook().key())) {
    request.label_selector =
        absl::StrCat("batch.kubernetes.io/job-name=", hook().key().name());
  }
  tools_.client.List(
      std::move(request), [weak = weak_from_this(), why = std::move(why)](
                              absl::StatusOr<ListResult> pods) mutable {
        auto self = weak.lock();
        if (self == nullptr) return;
        const bool job = IsJob(self->hook().key());
        for (size_t i = 0; pods.ok() && i < pods->items.size(); ++i) {
          const KubeObject& pod = pods->items[i];
          if (!job && pod.head.uid != self->uid_) continue;
          const std::string trouble =
              PodTrouble(Parse(pod.json), HealthContext{}).message;
          if (trouble.empty()) continue;
          absl::StrAppend(&why, "; ", trouble);
          break;
        }
        self->EndFailed(why);
      });
}

void HookRun::EndFailed(const std::string& why) {
  const std::string text = absl::StrCat(Text(), " ", why);
  FLOTILLA_LOG(WARNING) << text;
  progress_.clear_started();
  progress_.clear_started_uid();
  if (!IsDeletion()) progress_.set_failure(text);
  Save([this, text] {
    std::vector<int> go;
    for (size_t i = 0; i < next_; ++i) {
      if (manifest_->hooks(hooks_[i]).hook().delete_succeeded()) {
        go.push_back(hooks_[i]);
      }
    }
    if (hook().hook().delete_failed()) go.push_back(hooks_[next_]);
    Clean(std::move(go), [this, text] { Stop(RunEnd::kFailed, text); });
  });
}

void HookRun::Clean(std::vector<int> hooks, absl::AnyInvocable<void()> then) {
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  while (!hooks.empty() && IsCrd(manifest_->hooks(hooks.back()).key())) {
    hooks.pop_back();
  }
  if (hooks.empty()) {
    then();
    return;
  }
  const ResourceKey key = manifest_->hooks(hooks.back()).key();
  hooks.pop_back();
  auto next = [weak = weak_from_this(), hooks = std::move(hooks),
               then = std::move(then)]() mutable {
    if (auto self = weak.lock()) self->Clean(std::move(hooks), std::move(then));
  };
  tools_.applier.Get(
      Lane::kBulk, deployment->user, key, /*metadata_only=*/true,
      [weak = weak_from_this(), key,
       next = std::move(next)](absl::StatusOr<KubeObject> live) mutable {
        auto self = weak.lock();
        const auto still = self == nullptr ? nullptr : self->deployment_.lock();
        if (still == nullptr) return;
        if (!live.ok() || !BearsMark(Parse(live->json), still->bundle_id)) {
          if (!live.ok() && !absl::IsNotFound(live.status())) {
            self->Refused(live.status());
            return;
          }
          next();
          return;
        }
        self->tools_.applier.Delete(
            Lane::kBulk, still->user, key, live->head.uid,
            DeleteOptions::Propagation::kBackground,
            [weak, next = std::move(next)](
                absl::StatusOr<DeleteResult> result) mutable {
              auto run = weak.lock();
              if (run == nullptr) return;
              if (result.ok() || absl::IsNotFound(result.status()) ||
                  absl::IsAborted(result.status())) {
                next();
              } else {
                run->Refused(result.status());
              }
            });
      });
}

void HookRun::Finish() {
  std::vector<int> go;
  for (const int index : hooks_) {
    if (manifest_->hooks(index).hook().delete_succeeded()) go.push_back(index);
  }
  Clean(std::move(go), [this] {
    progress_.add_done(std::string(HookEventName(event_)));
    if (!IsDeletion()) progress_.set_ever(true);
    Save([this] { Stop(RunEnd::kClean, ""); });
  });
}

void HookRun::Save(absl::AnyInvocable<void()> then) {
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  tools_.cache.SetHooks(
      deployment->bundle_id, progress_,
      [weak = weak_from_this(),
       then = std::move(then)](absl::Status status) mutable {
        auto self = weak.lock();
        if (self == nullptr) return;
        if (!status.ok()) {
          self->Stop(RunEnd::kBlocked,
                     absl::StrCat("the agent cannot write its data: ",
                                  status.message()));
          return;
        }
        then();
      });
}

void HookRun::Refused(const absl::Status& status) {
  if (next_ >= hooks_.size()) next_ = hooks_.size() - 1;
  const Refusal refusal = JudgeRefusal(hook().key(), status, hook().secret());
  RunEnd end = RunEnd::kFailed;
  if (refusal.kind == Refusal::Kind::kTransient) end = RunEnd::kBlocked;
  if (refusal.kind == Refusal::Kind::kKindMissing ||
      refusal.kind == Refusal::Kind::kNamespaceMissing) {
    end = RunEnd::kWaiting;
  }
  Stop(end, absl::StrCat(Text(), ": ", refusal.message));
}

void HookRun::Say(const std::string& what) {
  const std::shared_ptr<Deployment> deployment = deployment_.lock();
  if (deployment == nullptr) return;
  deployment->trouble = what;
  tools_.changed(*deployment, IdentityOf(hook().key()));
}

void HookRun::Stop(RunEnd end, const std::string& why) {
  StopWaiting();
  if (done_ == nullptr) return;
  auto done = std::move(done_);
  done_ = nullptr;
  RunResult result;
  if (end != RunEnd::kClean) result.Note(end, why);
  done(std::move(result));
}

}  // namespace flotilla::agent
