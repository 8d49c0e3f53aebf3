// SPDX-License-Identifier: Apache-2.0

#include "manager/frontend/status_writer.h"

#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/kube/kube_error.h"
#include "common/kube/object.h"
#include "common/log/log.h"
#include "flotilla/core/v1/core.pb.h"
#include "manager/frontend/field_managers.h"
#include "manager/frontend/object_document.h"

namespace flotilla::manager {
namespace {

using nlohmann::json;

constexpr int kMaxInFlight = 16;
constexpr size_t kMaxSaid = 4096;
constexpr absl::Duration kRetry = absl::Seconds(5);

core::v1::ResourceKey KeyOfObject(const EventSubject& subject) {
  core::v1::ResourceKey key;
  key.set_group(kFleetGroup);
  key.set_version(kFleetVersion);
  key.set_kind(subject.kind);
  key.set_namespace_(subject.ns);
  key.set_name(subject.name);
  return key;
}

}  // namespace

StatusWriter::StatusWriter(Loop& loop, const Clock& clock, KubeClient& client,
                           Plan plan)
    : loop_(loop), clock_(clock), client_(client), plan_(std::move(plan)) {}

void StatusWriter::OnLive(const EventSubject& subject, json status,
                          int64_t version) {
  const Key key{subject.kind, subject.ns, subject.name};
  Entry& entry = entries_[key];
  if (entry.subject.uid != subject.uid) {
    // Another object of that name: nothing was sent to it.
    entry.sent.clear();
    entry.sent_version = 0;
  }
  entry.subject = subject;
  // An event from before our own write says nothing new.
  if (version >= entry.sent_version) {
    entry.live = std::move(status);
    entry.live_version = version;
  }
  Enqueue(key);
}

void StatusWriter::OnGone(const EventSubject& subject) {
  entries_.erase({subject.kind, subject.ns, subject.name});
}

void StatusWriter::Want(const std::string& kind, const std::string& ns,
                        const std::string& name) {
  const Key key{kind, ns, name};
  if (entries_.count(key) > 0) Enqueue(key);
}

void StatusWriter::Enqueue(const Key& key) {
  Entry& entry = entries_[key];
  if (entry.busy) {
    entry.again = true;
    return;
  }
  if (entry.queued) return;
  entry.queued = true;
  queue_.push_back(key);
  if (queue_.size() > 1) return;
  loop_.Post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) Pump();
  });
}

void StatusWriter::Pump() {
  while (!queue_.empty() && in_flight_ < kMaxInFlight) {
    const Key key = std::move(queue_.front());
    queue_.pop_front();
    const auto found = entries_.find(key);
    if (found == entries_.end() || !found->second.queued) continue;
    found->second.queued = false;
    Write(key);
  }
}

void StatusWriter::Delay(const Key& key, Entry& entry, absl::Duration wait) {
  if (entry.timer == nullptr) {
    entry.timer = loop_.CreateTimer([this, key] { Enqueue(key); });
  }
  if (!entry.timer->armed()) entry.timer->Arm(wait);
}

void StatusWriter::Write(const Key& key) {
  Entry& entry = entries_.at(key);
  std::optional<json> desired = plan_(entry.subject, entry.live);
  if (!desired.has_value()) return;
  std::string text = CanonicalJson(*desired);
  const std::string live = CanonicalJson(entry.live);
  if (text == live) return;
  // The server may have left out what its schema does not know.
  if (text == entry.sent && (entry.live_version <= entry.sent_version ||
                             live == entry.answered)) {
    return;
  }
  const absl::Duration wait =
      entry.rate.Take(loop_.MonotonicNow(), IsUrgent(entry.live, *desired));
  if (wait > absl::ZeroDuration()) return Delay(key, entry, wait);

  const json body = {
      {"apiVersion", absl::StrCat(kFleetGroup, "/", kFleetVersion)},
      {"kind", entry.subject.kind},
      {"metadata",
       {{"name", entry.subject.name},
        {"namespace", entry.subject.ns},
        {"uid", entry.subject.uid}}},
      {"status", *desired}};
  ApplyOptions options;
  options.field_manager = kManagerFields;
  options.subresource = "status";
  options.full_answer = true;
  entry.busy = true;
  entry.sent = std::move(text);
  ++in_flight_;
  ++writes_;
  client_.Apply(KeyOfObject(entry.subject), CanonicalJson(body),
                std::move(options),
                [this, key, uid = entry.subject.uid, before = entry.live,
                 desired = *std::move(desired),
                 alive = std::weak_ptr<bool>(alive_)](
                    const absl::StatusOr<ApplyResult>& answer) mutable {
                  if (alive.expired()) return;
                  --in_flight_;
                  OnAnswer(key, uid, std::move(before), std::move(desired),
                           answer);
                  Pump();
                });
}

void StatusWriter::OnAnswer(const Key& key, const std::string& uid, json before,
                            json desired,
                            const absl::StatusOr<ApplyResult>& answer) {
  const auto found = entries_.find(key);
  if (found == entries_.end() || found->second.subject.uid != uid) return;
  Entry& entry = found->second;
  entry.busy = false;
  if (!answer.ok()) {
    entry.sent.clear();
    entry.again = false;
    const bool gone = absl::IsNotFound(answer.status()) ||
                      absl::IsAborted(answer.status());
    if (!gone) {
      FLOTILLA_LOG_EVERY(WARNING, absl::Seconds(30))
          << "status of " << entry.subject.kind << " " << entry.subject.ns
          << "/" << entry.subject.name << ": " << answer.status();
      Delay(key, entry, kRetry);
    }
    return;
  }
  int64_t version = 0;
  if (absl::SimpleAtoi(answer->object.head.resource_version, &version)) {
    entry.sent_version = version;
  }
  const absl::StatusOr<json> object = ParseKubeJson(answer->object.json);
  entry.answered =
      object.ok() ? CanonicalJson(Member(*object, "status")) : entry.sent;
  if (entry.live_version <= entry.sent_version) {
    entry.live = desired;
    entry.live_version = entry.sent_version;
  }
  const EventSubject subject = entry.subject;
  const bool again = entry.again;
  entry.again = false;
  for (const ObjectEvent& event : EventsOf(subject.kind, before, desired)) {
    Say(subject, event);
  }
  if (again) Enqueue(key);
}

void StatusWriter::Say(const EventSubject& subject, const ObjectEvent& event) {
  const absl::Time now = clock_.Now();
  json object = MakeEvent(subject, event, now, now, 1);
  const std::string name = TextOr(Member(Member(object, "metadata"), "name"));
  if (said_.size() >= kMaxSaid) said_.clear();
  Said& said = said_[absl::StrCat(subject.ns, "/", name)];
  if (said.count++ == 0) said.first = now;
  object = MakeEvent(subject, event, said.first, now, said.count);
  core::v1::ResourceKey key;
  key.set_version("v1");
  key.set_kind("Event");
  key.set_namespace_(subject.ns);
  key.set_name(name);
  ApplyOptions options;
  options.field_manager = kManagerFields;
  client_.Apply(key, CanonicalJson(object), std::move(options),
                [](const absl::StatusOr<ApplyResult>& answer) {
                  if (answer.ok()) return;
                  FLOTILLA_LOG_EVERY(WARNING, absl::Minutes(1))
                      << "Event in the management cluster: "
                      << answer.status();
                });
}

}  // namespace flotilla::manager
